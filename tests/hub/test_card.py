"""The card that goes to the Hub: the README, with the numbers, pictures and metadata of what was staged."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import datasets
import pytest
from card_blocks import README
from conftest import REPOSITORY
from huggingface_hub import DatasetCard

from rock_glacier.publication.card import published_card
from rock_glacier.publication.picture_record import GROUND, OVERLAP, PORTRAIT, PictureRecord, PictureText, read_record
from rock_glacier_dataset import CONFIG_NAMES, features_of

TEMPLATE = README.read_text(encoding="utf-8")
OWN = read_record(REPOSITORY / "assets").texts
COUNTS = {"train": {"cordillera": 1499, "glaciar": 1}, "validation": {"cordillera": 0, "glaciar": 8}}


def card_of(test: int = 1, texts=OWN, *, readme=TEMPLATE, of_sample=False, has_grounds=True, audit=None) -> DatasetCard:
    splits = datasets.SplitDict()
    splits.add(datasets.SplitInfo("test", 5 * test, test))
    infos = {config: datasets.DatasetInfo(features=features_of(config), splits=splits) for config in CONFIG_NAMES}
    pictures = PictureRecord(of_sample, COUNTS | {"test": {"cordillera": test, "glaciar": 0}}, texts)
    return DatasetCard(published_card(readme, OWN, pictures, infos, "me/it", has_grounds=has_grounds, audit=audit))


@pytest.mark.parametrize(("tiles", "category"), [(2000, "1K<n<10K"), (11_700, "10K<n<100K"), (998_491, "100K<n<1M")])
def test_the_size_category_follows_from_the_number_of_tiles(tiles, category):
    assert card_of(tiles).data["size_categories"] == [category]


def test_the_readmes_own_metadata_stay_and_its_numbers_are_those_of_the_tiles():
    card, own = card_of(), DatasetCard(TEMPLATE).data.to_dict()
    del own["size_categories"]
    assert own.items() <= card.data.to_dict().items()
    assert "glaciers in the Chilean Andes: 1,509 tiles of" in card.text
    table = "| tiles | 1,500 | 8 | 1 |\n| of them `cordillera` | 1,499 (100 %) | 0 (0 %) | 1 (100 %) |\n"
    table += "| of them `glaciar` | 1 (0 %) | 8 (100 %) | 0 (0 %) |\n\n"
    assert f"{table}Measured on" in card.text
    audited = card_of(audit={"errors": 0, "warnings": 1}).text
    assert (
        f"{table}The audit of these archives counts ground that two splits share as an error; it found 0 errors"
        in audited
    )


def test_each_picture_has_its_texts_and_goes_with_them_where_it_was_not_drawn():
    card = card_of(texts={PORTRAIT: PictureText("Tiles.", "Of the *archives*.")}, has_grounds=False)
    assert "![Tiles.](assets/portrait.webp)\n\n*Of the *archives*.*\n\nSentinel-2 images" in card.text
    named = {f"assets/{OVERLAP}", f"assets/{GROUND}", "Synthetic sample", "block_folds", "`grounds.csv` beside"}
    assert {text for text in named if text in card_of().text} == named
    assert {text for text in named if text in card.text} == set()
    assert "<!--" not in card_of().text + card.text


def test_the_card_of_a_sample_says_that_it_is_one():
    card = card_of(of_sample=True)
    assert card.data["pretty_name"] == "RockGlacier (synthetic sample)"
    assert "\n# Rock Glacier Dataset\n\n> **This is a synthetic sample of 1,509 tiles, not satellite" in card.text


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("license: mit", "license: [mit", "expected"),
        ("![Mosaic", "![Picture", "does not show assets/portrait.webp with the texts of assets/pictures.json"),
    ],
)
def test_a_readme_that_cannot_be_the_template_is_refused(old, new, said):
    with pytest.raises(Exception, match=said):
        card_of(readme=TEMPLATE.replace(old, new))
