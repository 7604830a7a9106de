"""The card of each branch of the Hub repository: the README, with numbers, pictures and metadata of what is staged.

The README is the template. These parts of it follow the data:

- the pictures that are drawn from archives, with the texts of their record; each caption is a paragraph below;
- the table between `<!-- splits -->` and `<!-- /splits -->`;
- the lines between `<!-- grounds.csv -->` and `<!-- /grounds.csv -->`, which go where there is no such file;
- the number of the release's tiles, the dataset's name, and the names of its Parquet files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import datasets
from datasets.info import DatasetInfosDict
from huggingface_hub import DatasetCard

from rock_glacier.archives.grounds_file import GROUNDS_NAME
from rock_glacier.console import REPO_ID, count
from rock_glacier.publication.picture_record import Counts, PictureRecord, PictureText
from rock_glacier_dataset import CLASS_NAMES, CONFIG_NAMES, HOMEPAGE, RELEASE_SIZES, SPLIT_NAMES

_SIZE_CATEGORIES = {10**3: "n<1K", 10**4: "1K<n<10K", 10**5: "10K<n<100K", 10**6: "100K<n<1M"}
"""The Hub's categories, by the number of tiles below which each holds."""

_LINK_TO_PROJECT = re.compile(r"\]\((?=docs/|CONTRIBUTING\.md)")
"""The beginning of a link to a file that is not published."""

_MARKED = re.compile(r"<!-- (\S+) -->\n(.*?)<!-- /\1 -->\n", re.DOTALL)

_SAMPLE = """\
> **This is a synthetic sample of {tiles}, not satellite images.** It has the form of the dataset, whose card follows,
> with the sample's numbers and pictures of a sample.
"""

_SCRIPT_TEXT = """
# Archives and loading script of {repo_id}

The dataset, as Parquet, and its card are on the [branch main](https://huggingface.co/datasets/{repo_id}). This branch
holds the archives that the Parquet was made from, in `data/`, and the loading script that reads them with `datasets`
below 4:

```python
from datasets import load_dataset

tiles = load_dataset("{repo_id}", revision="script", trust_remote_code=True)
```
"""


def published_card(
    readme: str,
    own: Mapping[str, PictureText],
    pictures: PictureRecord,
    infos: Mapping[str, datasets.DatasetInfo],
    repo_id: str,
    *,
    has_grounds: bool,
    audit: Mapping[str, Any] | None = None,
    files: Iterable[str] = (),
) -> str:
    """Turn the README into the card of a Hub repository with Parquet files.

    Links to files that are not published lead to the project's repository.

    Args:
        readme: the README, with metadata at its head.
        own: the texts of the pictures that the README shows.
        pictures: the pictures to show in their place, and what is staged: its tiles, and whether it is a sample.
        infos: for each config the features, and the splits with their numbers of examples and bytes.
        repo_id: the Hub dataset that the card's calls are to load.
        has_grounds: whether there is a grounds.csv.
        audit: the audit's numbers of `errors` and `warnings`, if the archives were audited.
        files: paths of the Parquet files in the repository. Where a call names the only file of a split and there are
            several, it names the first instead.

    Raises:
        ValueError: the README's metadata are not YAML, or it does not show a picture with its own text.
    """
    marked = {"splits": _table(pictures.tiles)}
    if audit:
        found = f"{count(audit['errors'], 'error')} and {count(audit['warnings'], 'warning')}"
        what = "The audit of these archives counts ground that two splits share as an error"
        marked["splits"] += f"\n{what}; it found {found}.\n"
    if not has_grounds:
        marked[GROUNDS_NAME] = ""
    readme = _show_data(readme, own, pictures, marked)
    readme = _LINK_TO_PROJECT.sub(f"]({HOMEPAGE}/blob/HEAD/", readme).replace(REPO_ID, repo_id)
    for file in files:
        if "-00000-of-" in file:
            readme = readme.replace(f"{file.partition('-of-')[0]}-of-00001.parquet", file)
    card = DatasetCard(readme, ignore_metadata_errors=False)
    tiles = _total(pictures.tiles)
    card.data["size_categories"] = [next(word for end, word in _SIZE_CATEGORIES.items() if tiles < end)]
    if pictures.of_sample:
        card.data["pretty_name"] += " (synthetic sample)"
    card.data["configs"] = [
        {
            "config_name": config,
            **({"default": True} if config == CONFIG_NAMES[0] else {}),
            "data_files": [{"split": split, "path": f"{config}/{split}-*.parquet"} for split in SPLIT_NAMES],
        }
        for config in CONFIG_NAMES
    ]
    DatasetInfosDict(infos).to_dataset_card_data(card.data)
    return str(card)


def _show_data(readme: str, own: Mapping[str, PictureText], pictures: PictureRecord, marked: Mapping[str, str]) -> str:
    """Give the README the numbers, pictures and texts of what is staged, and what stands between its markers."""
    for name, text in own.items():
        if text.paragraphs(name) not in readme:
            raise ValueError(f"README.md: does not show assets/{name} with the texts of assets/pictures.json")
        new = pictures.texts.get(name)
        readme = readme.replace(text.paragraphs(name), new.paragraphs(name) if new else "")
    readme = _MARKED.sub(lambda found: marked.get(found[1], found[2]), readme)
    tiles = count(_total(pictures.tiles), "tile")
    readme = readme.replace(count(sum(RELEASE_SIZES.values()), "tile"), tiles)
    if pictures.of_sample:
        readme = re.sub(r"^(# .*\n)", rf"\1\n{_SAMPLE.format(tiles=tiles)}", readme, count=1, flags=re.MULTILINE)
    return readme


def _table(tiles: Counts) -> str:
    """Return the table of the splits: tiles, and of each class their number and share."""
    totals = {split: sum(tiles[split].values()) for split in SPLIT_NAMES}
    rows = {"split": [*SPLIT_NAMES], "tiles": [f"{totals[split]:,}" for split in SPLIT_NAMES]}
    for name in CLASS_NAMES:
        numbers = [(tiles[split][name], totals[split]) for split in SPLIT_NAMES]
        rows[f"of them `{name}`"] = [f"{number:,} ({100 * number / total:.0f} %)" for number, total in numbers]
    head, *body = (f"| {' | '.join([name, *cells])} |\n" for name, cells in rows.items())
    return "".join([head, f"|---{'|---:' * len(SPLIT_NAMES)}|\n", *body])


def _total(tiles: Counts) -> int:
    return sum(sum(classes.values()) for classes in tiles.values())


def script_card(card: str, repo_id: str) -> str:
    """Turn a published card into that of the branch `script`.

    It has no data files and no counts, which `datasets` would use instead of the script's.
    """
    own = DatasetCard(card, ignore_metadata_errors=False)
    for key in ("configs", "dataset_info"):
        own.data.pop(key, None)
    own.text = _SCRIPT_TEXT.format(repo_id=repo_id)
    return str(own)
