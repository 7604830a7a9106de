"""The card that goes to the Hub: the README, with metadata that follow from what was staged."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import datasets
import pytest
from conftest import REPOSITORY
from huggingface_hub import DatasetCard

from rock_glacier.publication.card import published_card, size_category
from rock_glacier_dataset import CONFIG_NAMES, RELEASE_SIZES, features_of

README = "---\npretty_name: RockGlacier\nlicense: mit\ntags:\n- andes\n---\n\n# Rock glaciers of José\n"


def infos(tiles: int) -> dict[str, datasets.DatasetInfo]:
    splits = datasets.SplitDict()
    splits.add(datasets.SplitInfo("train", 5 * tiles, tiles))
    return {config: datasets.DatasetInfo(features=features_of(config), splits=splits) for config in CONFIG_NAMES}


@pytest.mark.parametrize(
    ("tiles", "category"), [(999, "n<1K"), (1000, "1K<n<10K"), (11_700, "10K<n<100K"), (10_000_000, "10M<n<100M")]
)
def test_the_size_category_follows_from_the_number_of_tiles(tiles, category):
    assert DatasetCard(published_card(README, infos(tiles), "me/it")).data["size_categories"] == [category]


def test_the_release_is_of_the_size_that_the_readme_states():
    card = DatasetCard.load(REPOSITORY / "README.md")
    assert card.data["size_categories"] == [size_category(sum(RELEASE_SIZES.values()))]


def test_the_readmes_own_metadata_and_text_stay():
    card = DatasetCard(published_card(README, infos(1), "me/it"))
    assert (card.data["pretty_name"], card.data["license"], card.data["tags"]) == ("RockGlacier", "mit", ["andes"])
    assert card.content.endswith("\n# Rock glaciers of José\n")


def test_metadata_that_are_no_yaml_are_refused():
    with pytest.raises(Exception, match="expected"):
        published_card(README.replace("license: mit", "license: [mit"), infos(1), "me/it")
