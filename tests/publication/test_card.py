"""The card that goes to the Hub: the README, with metadata that follow from what was staged."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import sys

import datasets
import pytest
from huggingface_hub import DatasetCard

from rock_glacier.publication.card import published_card
from rock_glacier.publication.picture_record import OVERLAP, PORTRAIT, PictureRecord, PictureText
from rock_glacier_dataset import CONFIG_NAMES, features_of

README = """---
pretty_name: RockGlacier
license: mit
tags:
- andes
---

# Rock glaciers of José

11,700 tiles.

<!-- splits -->
The release's table.
<!-- /splits -->

![Other text.](assets/portrait.webp)

*Other caption.*

![The leak.](assets/leak.png)

![Two tiles.](assets/overlap.webp)

*They *share* ground.*

The end.
<!-- grounds.csv -->

Read grounds.csv.
<!-- /grounds.csv -->
"""
OWN = {
    PORTRAIT: PictureText("Other text.", "Other caption."),
    OVERLAP: PictureText("Two tiles.", "They *share* ground."),
}
COUNTS = {"train": {"cordillera": 1499, "glaciar": 1}, "validation": {"cordillera": 0, "glaciar": 8}}


def card_of(
    train: int = 1, texts: dict[str, PictureText] | None = None, *, of_sample: bool = False, has_grounds: bool = False
) -> DatasetCard:
    splits = datasets.SplitDict()
    splits.add(datasets.SplitInfo("train", 5 * train, train))
    infos = {config: datasets.DatasetInfo(features=features_of(config), splits=splits) for config in CONFIG_NAMES}
    tiles = COUNTS | {"test": {"cordillera": train, "glaciar": 0}}
    record = PictureRecord(of_sample, tiles, texts or {})
    return DatasetCard(published_card(README, OWN, record, infos, "me/it", has_grounds=has_grounds))


@pytest.mark.parametrize(("tiles", "category"), [(2000, "1K<n<10K"), (11_700, "10K<n<100K"), (998_491, "100K<n<1M")])
def test_the_size_category_follows_from_the_number_of_tiles(tiles, category):
    assert card_of(tiles).data["size_categories"] == [category]


def test_the_readmes_own_metadata_and_text_stay():
    card = card_of()
    assert (card.data["pretty_name"], card.data["license"], card.data["tags"]) == ("RockGlacier", "mit", ["andes"])
    assert (
        card.content.count("\n# Rock glaciers of José\n\n1,509 tiles.\n\n| split | train | validation | test |\n") == 1
    )
    assert "| of them `glaciar` | 1 (0 %) | 8 (100 %) | 0 (0 %) |\n\n![The leak.](assets/leak.png)\n\n" in card.content


def test_pictures_that_were_not_drawn_go_with_their_captions():
    text = PictureText("Tiles.", "Of the archives.")
    with_portrait, with_both = card_of(texts={PORTRAIT: text}), card_of(texts={PORTRAIT: text, OVERLAP: text})
    portrait = "![Tiles.](assets/portrait.webp)\n\n*Of the archives.*\n\n![The leak.](assets/leak.png)\n\n"
    overlap = "![Tiles.](assets/overlap.webp)\n\n*Of the archives.*\n\n"
    assert with_portrait.content.endswith(f"{portrait}The end.\n")
    assert with_both.content.endswith(f"{portrait}{overlap}The end.\n")
    assert "portrait" not in card_of().content
    assert card_of(has_grounds=True).content.endswith("The end.\n\nRead grounds.csv.\n")


def test_the_card_of_a_sample_says_that_it_is_one():
    card = card_of(of_sample=True)
    assert card.data["pretty_name"] == "RockGlacier (synthetic sample)"
    assert "# Rock glaciers of José\n\n> **This is a synthetic sample of 1,509 tiles, not satellite" in card.content


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("license: mit", "license: [mit", "expected"),
        ("Two tiles", "Two", "does not show assets/overlap.webp with the texts of assets/pictures.json"),
    ],
)
def test_a_readme_that_cannot_be_the_template_is_refused(monkeypatch, old, new, said):
    monkeypatch.setattr(sys.modules[__name__], "README", README.replace(old, new))
    with pytest.raises(Exception, match=said):
        card_of()
