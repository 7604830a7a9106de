"""The card of each branch of the Hub repository, made from the project's README.

A section of the README between `<!-- name -->` and `<!-- /name -->` is replaced:

    sample               a warning, if the tiles are synthetic
    tiles                number of tiles
    splits               table of the splits
    audit                sites, shared ground and the result of the audit
    pictures:<name>      a picture and its caption; the map stays if there is no other
    synthetic:<name>     an output of the synthetic sample; it stays only if the tiles are synthetic
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import datasets
import pandas as pd
from datasets.info import DatasetInfosDict
from huggingface_hub import DatasetCard

from rock_glacier.audit.geography import describe_geography
from rock_glacier.faults import InputError, severity_of
from rock_glacier.hub.pictures import Picture
from rock_glacier.output import count
from rock_glacier_dataset import (
    CLASS_NAMES,
    CONFIG_NAMES,
    HOMEPAGE,
    REPO_ID,
    SPLIT_NAMES,
    Fault,
)

# The Hub's size categories, by upper limit of the number of tiles.
_SIZE_CATEGORIES = {
    10**3: "n<1K",
    10**4: "1K<n<10K",
    10**5: "10K<n<100K",
    10**6: "100K<n<1M",
}

# Start of a link to a file that is not published.
_LINK_TO_PROJECT = re.compile(r"\]\((?=docs/|CONTRIBUTING\.md|CHANGELOG\.md)")

_SECTION = re.compile(
    r"<!-- (?P<name>\S+) -->\n?(?P<content>.*?)\n?<!-- /(?P=name) -->(?P<end>\n*)", re.DOTALL
)

_SAMPLE = """\
> **This is a synthetic sample of {tiles}, not satellite images.** It has the form of the dataset. \
The numbers and pictures below show the sample, unless their text says otherwise."""

_SCRIPT_TEXT = """
# Archives and loading script of {repo_id}

The dataset as Parquet, and its card, are on the
[branch main](https://huggingface.co/datasets/{repo_id}). This branch holds the archives that the
Parquet was made from, in `data/`, and a script that loads them with `datasets` below 4:

```python
from datasets import load_dataset

tiles = load_dataset("{repo_id}", revision="script", trust_remote_code=True)
```
"""


@dataclass(frozen=True)
class SharedPixels:
    """Numbers of pairs of tiles of different splits.

    Attributes:
        overlapping: Pairs with identical pixels in a common rectangle.
        identical: Pairs with identical pixels everywhere, in any orientation.
    """

    overlapping: int
    identical: int


@dataclass(frozen=True)
class Content:
    """Everything the card describes.

    Attributes:
        repo_id: The repository on the Hub.
        is_sample: Whether the tiles are synthetic.
        counts: Number of tiles of each class in each split.
        index: The tile index.
        shared: Pairs of tiles of different splits that share pixels.
        faults: Faults that the audit found, or None if no audit was made.
        pictures: The pictures.
        infos: Features, splits and sizes of each config.
    """

    repo_id: str
    is_sample: bool
    counts: Mapping[str, Mapping[str, int]]
    index: pd.DataFrame
    shared: SharedPixels
    faults: list[Fault] | None
    pictures: Iterable[Picture]
    infos: Mapping[str, datasets.DatasetInfo]


def make_card(readme: str, content: Content) -> DatasetCard:
    """Turn the README into the card of the branch `main`.

    Links to files that are not published lead to the project's repository.

    Raises:
        InputError: If the README lacks a section.
    """
    tiles = len(content.index)
    sections = {
        "sample": _SAMPLE.format(tiles=count(tiles, "tile")) if content.is_sample else "",
        "tiles": f"{tiles:,}",
        "splits": _make_split_table(content.counts),
        "audit": describe_ground(content.index, content.shared) + _describe_faults(content.faults),
    }
    # The map in the README shows tiles of the release, and says so.
    kept = ["pictures:map"]
    if content.is_sample:
        kept.append("synthetic:score")
    for name in kept:
        sections[name] = _read_section(readme, name)
    for picture in content.pictures:
        sections[f"pictures:{picture.name}"] = picture.to_markdown()
    text = fill_sections(readme, sections)
    text = _LINK_TO_PROJECT.sub(f"]({HOMEPAGE}/blob/HEAD/", text).replace(REPO_ID, content.repo_id)
    card = DatasetCard(text, ignore_metadata_errors=False)
    for limit, category in _SIZE_CATEGORIES.items():
        if tiles < limit:
            card.data["size_categories"] = [category]
            break
    if content.is_sample:
        card.data["pretty_name"] += " (synthetic sample)"
    card.data["configs"] = [_describe_config(config) for config in CONFIG_NAMES]
    DatasetInfosDict(content.infos).to_dataset_card_data(card.data)
    return card


def _read_section(text: str, name: str) -> str:
    """Return the content of a marked section, or an empty string if there is none."""
    for match in _SECTION.finditer(text):
        if match["name"] == name:
            return match["content"]
    return ""


def fill_sections(text: str, sections: Mapping[str, str]) -> str:
    """Replace the marked sections of a text, and remove the marks.

    A section that is not in `sections` is removed.

    Example:
        >>> fill_sections("It has <!-- tiles -->11,700<!-- /tiles --> tiles.", {"tiles": "22"})
        'It has 22 tiles.'

    Raises:
        InputError: If the text lacks a section.
    """
    missing = sections.keys() - {match["name"] for match in _SECTION.finditer(text)}
    if missing:
        mark = f"<!-- {min(missing)} -->"
        raise InputError(f"README.md: the section {mark} is missing. Add its marks.")

    def replace(match: re.Match[str]) -> str:
        section = sections.get(match["name"], "")
        return section + match["end"] if section else ""

    return _SECTION.sub(replace, text)


def _describe_config(config: str) -> dict[str, object]:
    files = [{"split": split, "path": f"{config}/{split}-*.parquet"} for split in SPLIT_NAMES]
    description: dict[str, object] = {"config_name": config, "data_files": files}
    if config == CONFIG_NAMES[0]:
        description["default"] = True
    return description


def _make_split_table(counts: Mapping[str, Mapping[str, int]]) -> str:
    """Return the table of the splits: tiles, and number and share of each class."""
    lines = [f"| split | {' | '.join(SPLIT_NAMES)} |", "|---" + "|---:" * len(SPLIT_NAMES) + "|"]
    totals = {split: sum(counts[split].values()) for split in SPLIT_NAMES}
    lines.append(f"| tiles | {' | '.join(f'{totals[split]:,}' for split in SPLIT_NAMES)} |")
    for name in CLASS_NAMES:
        cells = []
        for split in SPLIT_NAMES:
            share = 100 * counts[split][name] / max(totals[split], 1)
            cells.append(f"{counts[split][name]:,} ({share:.0f} %)")
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def describe_ground(index: pd.DataFrame, shared: SharedPixels) -> str:
    """Describe the sites, the ground that splits share, and the ground that the test tiles cover.

    Args:
        index: The tile index.
        shared: Numbers from the tiles' pixels. The index may lack this ground.
    """
    text = (
        f"**Audit of these archives:** the {count(len(index), 'tile')} show "
        f"{count(index['site'].nunique(), 'site')}. "
    )
    of_train = index.loc[index["split"] == "train", ["site", "block"]].drop_duplicates()
    test = index.loc[index["split"] == "test", ["site", "block"]]
    number = len(test.merge(of_train))
    text += f"Of {count(len(test), 'test tile')}, "
    if number == 0:
        text += "none shares ground with train tiles."
    else:
        text += (
            f"{number:,} share ground with train tiles, directly or through other tiles, so scores "
            "on them are too high."
        )
    text += (
        f" Across splits, pairs of tiles that overlap pixel for pixel: {shared.overlapping:,}; "
        f"pairs of identical tiles: {shared.identical:,}."
    )
    geography = describe_geography(index)
    if geography is not None and "test" in geography.splits.index:
        ground = geography.splits.loc["test"]
        text += (
            f" The {count(int(ground['tiles']), 'located test tile')} cover "
            f"{ground['area_km2']:.1f} km², the area of {ground['area_in_tiles']:.0f} tiles."
        )
    return text


def _describe_faults(faults: list[Fault] | None) -> str:
    if faults is None:
        return ""
    if not faults:
        return " The audit found no faults."
    codes = pd.Series([f"`{fault.code}` ({severity_of(fault)})" for fault in faults])
    found = [f"{number:,} x {code}" for code, number in codes.value_counts(sort=False).items()]
    return f" The audit found {', '.join(found)}."


def make_script_card(card: DatasetCard, repo_id: str) -> DatasetCard:
    """Turn the card of the branch `main` into the card of the branch `script`.

    It has no data files and no counts, which `datasets` would use instead of the script's.
    """
    script_card = DatasetCard(str(card), ignore_metadata_errors=False)
    for key in ("configs", "dataset_info"):
        script_card.data.pop(key, None)
    script_card.text = _SCRIPT_TEXT.format(repo_id=repo_id)
    return script_card
