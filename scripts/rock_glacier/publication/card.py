"""The card of each branch of the Hub repository, with metadata that follow from what was staged."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import datasets
from datasets.info import DatasetInfosDict
from huggingface_hub import DatasetCard

from rock_glacier.console import REPO_ID
from rock_glacier_dataset import CONFIG_NAMES, SPLIT_NAMES

_SIZE_CATEGORIES = {10**3: "n<1K", 10**4: "1K<n<10K", 10**5: "10K<n<100K", 10**6: "100K<n<1M"}
"""The Hub's categories, by the number of tiles below which each holds."""

_LINK_TO_PROJECT = re.compile(r"\[([^]]+)\]\((?:docs/[^)]+|CONTRIBUTING\.md)\)")
"""A link to a file that is not published."""

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
    readme: str, infos: Mapping[str, datasets.DatasetInfo], repo_id: str, files: Iterable[str] = ()
) -> str:
    """Turn the README into the card of a Hub repository with Parquet files.

    Links to files that are not published become text.

    Args:
        readme: the README, with metadata at its head.
        infos: for each config the features, and the splits with their numbers of examples and bytes.
        repo_id: the Hub dataset that the card's calls are to load.
        files: paths of the Parquet files in the repository. Where a call names the only file of a split and there are
            several, it names the first instead.

    Raises:
        ValueError: the README's metadata are not YAML.
    """
    readme = _LINK_TO_PROJECT.sub(r"\1", readme)
    for before in ('load_dataset("', "hf://datasets/"):
        readme = readme.replace(before + REPO_ID, before + repo_id)
    for file in files:
        first, shard, _ = file.partition("-00000-of-")
        if shard:
            readme = readme.replace(f"{first}-00000-of-00001.parquet", file)
    card = DatasetCard(readme, ignore_metadata_errors=False)
    tiles = sum(split.num_examples for split in infos[CONFIG_NAMES[0]].splits.values())
    card.data["size_categories"] = [next(word for end, word in _SIZE_CATEGORIES.items() if tiles < end)]
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


def script_card(card: str, repo_id: str) -> str:
    """Turn a published card into that of the branch `script`.

    It has no data files and no counts, which `datasets` would use instead of the script's.
    """
    own = DatasetCard(card, ignore_metadata_errors=False)
    for key in ("configs", "dataset_info"):
        own.data.pop(key, None)
    own.text = _SCRIPT_TEXT.format(repo_id=repo_id)
    return str(own)
