"""The card that goes to the Hub: the README, with metadata that follow from what was staged."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import datasets
import pytest
from huggingface_hub import DatasetCard

from rock_glacier.publication.card import published_card
from rock_glacier_dataset import CONFIG_NAMES, features_of

README = "---\npretty_name: RockGlacier\nlicense: mit\ntags:\n- andes\n---\n\n# Rock glaciers of José\n"


def infos(tiles: int) -> dict[str, datasets.DatasetInfo]:
    splits = datasets.SplitDict()
    splits.add(datasets.SplitInfo("train", 5 * tiles, tiles))
    return {config: datasets.DatasetInfo(features=features_of(config), splits=splits) for config in CONFIG_NAMES}


@pytest.mark.parametrize(
    ("tiles", "category"), [(999, "n<1K"), (1000, "1K<n<10K"), (11_700, "10K<n<100K"), (999_999, "100K<n<1M")]
)
def test_the_size_category_follows_from_the_number_of_tiles(tiles, category):
    assert DatasetCard(published_card(README, infos(tiles), "me/it")).data["size_categories"] == [category]


def test_the_readmes_own_metadata_and_text_stay():
    card = DatasetCard(published_card(README, infos(1), "me/it"))
    assert (card.data["pretty_name"], card.data["license"], card.data["tags"]) == ("RockGlacier", "mit", ["andes"])
    assert card.content.endswith("\n# Rock glaciers of José\n")


def test_metadata_that_are_no_yaml_are_refused():
    with pytest.raises(Exception, match="expected"):
        published_card(README.replace("license: mit", "license: [mit"), infos(1), "me/it")
