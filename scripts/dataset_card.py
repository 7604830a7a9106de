"""The dataset card as the Hub reads it: the README, with metadata that come from what was built."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import datasets
from datasets.info import DatasetInfosDict
from huggingface_hub import DatasetCard

from rock_glacier_dataset import CONFIG_NAMES, REPO_ID, RockGlacierDataset

_SIZE_CATEGORIES = {10**3: "n<1K", 10**4: "1K<n<10K", 10**5: "10K<n<100K", 10**6: "100K<n<1M", 10**7: "1M<n<10M"}
"""The Hub's words, by the number of tiles that each ends at."""


def size_category(tiles: int) -> str:
    """Return the Hub's word for a number of tiles.

    Example:
        >>> size_category(11_700)
        '10K<n<100K'
    """
    return next((word for end, word in _SIZE_CATEGORIES.items() if tiles < end), "10M<n<100M")


def configs_of_card(splits: Sequence[str]) -> list[dict[str, Any]]:
    """Return what a card says of the configs: the data files of each, and which is the default."""
    return [
        {
            "config_name": config,
            **({"default": True} if config == RockGlacierDataset.DEFAULT_CONFIG_NAME else {}),
            "data_files": [{"split": split, "path": f"{config}/{split}-*.parquet"} for split in splits],
        }
        for config in CONFIG_NAMES
    ]


def published_card(
    readme: str, infos: Mapping[str, datasets.DatasetInfo], repo_id: str, files: Iterable[str] = ()
) -> str:
    """Turn the README into the card of a Hub repository with Parquet files.

    Args:
        readme: the README, with metadata at its head.
        infos: for each config the features, and the splits with their numbers of examples and bytes.
        repo_id: the Hub dataset that the card's calls are to load.
        files: the Parquet files' paths in the repository; where a call names the only file of a split and there are
            several, it is to name the first.

    Returns:
        the card: `configs` names the data files of each config and split, `dataset_info` gives what is in `infos`, and
        the size category follows from the number of tiles.
    """
    card = DatasetCard(_calls_to(readme, repo_id, files), ignore_metadata_errors=False)
    info = infos[RockGlacierDataset.DEFAULT_CONFIG_NAME]
    card.data["size_categories"] = [size_category(_number_of_tiles(info))]
    card.data["configs"] = configs_of_card(list(info.splits))
    DatasetInfosDict(infos).to_dataset_card_data(card.data)
    return str(card)


def card_of_script(card: str) -> str:
    """Turn a published card into that of a branch that holds the loading script.

    `datasets` would take data files and counts from it in place of what the script gives.
    """
    script_card = DatasetCard(card, ignore_metadata_errors=False)
    for key in ("configs", "dataset_info"):
        script_card.data.pop(key, None)
    return str(script_card)


def infos_in_card(card: str) -> dict[str, datasets.DatasetInfo]:
    """Return what a published card says of each config."""
    return dict(DatasetInfosDict.from_dataset_card_data(DatasetCard(card, ignore_metadata_errors=False).data))


def _number_of_tiles(info: datasets.DatasetInfo) -> int:
    return sum(split.num_examples for split in info.splits.values())


def _calls_to(readme: str, repo_id: str, files: Iterable[str]) -> str:
    """Let the calls and paths that load this dataset by name load that one; what the text tells of it stays."""
    for before in ('load_dataset("', "hf://datasets/"):
        readme = readme.replace(before + REPO_ID, before + repo_id)
    for file in files:
        first, shard, _ = file.partition("-00000-of-")
        if shard:
            readme = readme.replace(f"{first}-00000-of-00001.parquet", file)
    return readme
