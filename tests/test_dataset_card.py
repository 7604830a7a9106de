"""The card that goes to the Hub, and the one beside the loading script."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import datasets
import pytest
from dataset_card import card_of_script, infos_in_card, published_card, size_category
from huggingface_hub import DatasetCard

from rock_glacier_dataset import CONFIG_NAMES, features_of

README = """---
pretty_name: RockGlacier
license: mit
size_categories:
- 1K<n<10K
tags:
- andes
---

# Rock glaciers

`load_dataset("alkzar90/rock-glacier-dataset", name)` takes what `alkzar90/rock-glacier-dataset` holds, says José.
"""


def infos(tiles: int) -> dict[str, datasets.DatasetInfo]:
    def info(config: str) -> datasets.DatasetInfo:
        splits = datasets.SplitDict()
        splits.add(datasets.SplitInfo("train", 5 * tiles, tiles))
        return datasets.DatasetInfo(features=features_of(config), splits=splits, download_size=1, dataset_size=2)

    return {config: info(config) for config in CONFIG_NAMES}


@pytest.mark.parametrize(
    ("tiles", "category"),
    [
        (999, "n<1K"),
        (1000, "1K<n<10K"),
        (9_999, "1K<n<10K"),
        (11_700, "10K<n<100K"),
        (100_000, "100K<n<1M"),
        (1_000_000, "1M<n<10M"),
        (10_000_000, "10M<n<100M"),
    ],
)
def test_the_size_category_follows_from_the_number_of_tiles(tiles, category):
    assert size_category(tiles) == category
    assert DatasetCard(published_card(README, infos(tiles), "me/it")).data["size_categories"] == [category]


def test_the_readmes_own_metadata_and_text_stay():
    card = DatasetCard(published_card(README, infos(1), "alkzar90/rock-glacier-dataset"))
    assert (card.data["pretty_name"], card.data["license"]) == ("RockGlacier", "mit")
    assert card.data["tags"] == ["andes"]
    assert card.content.endswith(README.partition("\n---\n")[2])


def test_calls_load_the_repository_and_the_text_stays():
    card = published_card(README, infos(1), "me/it")
    assert '`load_dataset("me/it", name)` takes what `alkzar90/rock-glacier-dataset` holds' in card


def test_what_was_built_is_read_from_the_card_again():
    found = infos_in_card(published_card(README, infos(7), "me/it"))
    assert list(found) == list(CONFIG_NAMES)
    for config, info in found.items():
        assert info.features == features_of(config)
        assert [(split.name, split.num_examples, split.num_bytes) for split in info.splits.values()] == [
            ("train", 7, 35)
        ]


def test_the_card_beside_the_script_names_no_data_files():
    card = card_of_script(published_card(README, infos(7), "me/it"))
    assert DatasetCard(card).data.to_dict() == {
        "pretty_name": "RockGlacier",
        "license": "mit",
        "size_categories": ["n<1K"],
        "tags": ["andes"],
    }
    assert "# Rock glaciers" in card


def test_metadata_that_are_no_yaml_are_refused():
    with pytest.raises(Exception, match="expected"):
        published_card(README.replace("license: mit", "license: [mit"), infos(1), "me/it")


def test_a_call_names_the_first_file_of_a_split_in_shards():
    path = "hf://datasets/alkzar90/rock-glacier-dataset/image-classification/test-00000-of-{}.parquet"
    files = [f"image-classification/test-{shard:05d}-of-00003.parquet" for shard in range(3)]
    card = published_card(README + path.format("00001"), infos(1), "me/it", files)
    assert path.format("00003").replace("alkzar90/rock-glacier-dataset", "me/it") in card
    assert "of-00001" not in card
