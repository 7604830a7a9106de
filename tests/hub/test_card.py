"""The card: the README with its marked sections filled."""

from __future__ import annotations

import dataclasses

import datasets
import factories
import pandas as pd
import pytest
from matplotlib.figure import Figure

from rock_glacier.faults import InputError
from rock_glacier.hub.card import (
    Content,
    SharedPixels,
    describe_ground,
    fill_sections,
    make_card,
)
from rock_glacier.hub.pictures import Picture
from rock_glacier_dataset import CONFIG_NAMES, SPLIT_NAMES, Fault, features_of

README = (factories.REPOSITORY / "README.md").read_text(encoding="utf-8")
NOTHING = SharedPixels(overlapping=0, identical=0)


def make_content(test_tiles=1, faults=None, pictures=()):
    counts = {split: {"cordillera": 1, "glaciar": 0} for split in SPLIT_NAMES}
    counts["test"]["cordillera"] = test_tiles
    splits = ["train", "validation", *["test"] * test_tiles]
    index = pd.DataFrame({"split": splits, "site": range(len(splits)), "block": 0})
    index["easting"] = None
    part = datasets.SplitDict()
    part.add(datasets.SplitInfo("test", 5, test_tiles))
    infos = {
        config: datasets.DatasetInfo(features=features_of(config), splits=part)
        for config in CONFIG_NAMES
    }
    return Content("me/it", False, counts, index, NOTHING, faults, pictures, infos)


@pytest.mark.parametrize(
    ("tiles", "category"),
    [(3, "n<1K"), (2_000, "1K<n<10K"), (11_700, "10K<n<100K"), (100_000, "100K<n<1M")],
)
def test_size_category_follows_from_the_number_of_tiles(tiles, category):
    card = make_card(README, make_content(tiles - 2))
    assert card.data["size_categories"] == [category]
    assert f"The dataset has {tiles:,} Sentinel-2 images" in card.text


def test_a_picture_replaces_its_section():
    picture = Picture("example", "p.webp", Figure(), "A tile.", "Its mask.")
    card = make_card(README, make_content(pictures=[picture]))
    assert "\n\n![A tile.](assets/p.webp)\n\n*Its mask.*\n\nA tile is" in card.text
    assert card.text.count("![") == 2  # the other one is assets/map.png
    assert "<!--" not in card.text


def test_real_tiles_get_no_outputs_of_the_sample():
    content = make_content()
    assert "ynthetic" not in make_card(README, content).text.partition("## From a clone")[0]
    text = make_card(README, dataclasses.replace(content, is_sample=True)).text
    assert "landform_recall_50" in text
    assert "synthetic sample of 3 tiles" in text


def test_the_map_is_replaced_only_by_another_map():
    assert "](assets/map.png)" in make_card(README, make_content()).text
    picture = Picture("map", "new.png", Figure(), "Map.", "All tiles.")
    card = make_card(README, make_content(pictures=[picture]))
    assert "![Map.](assets/new.png)\n\n*All tiles.*" in card.text
    assert "assets/map.png" not in card.text


def test_links_to_the_project_leave_the_hub():
    card = make_card(README, make_content())
    assert "](docs/" not in card.text
    assert "/blob/HEAD/docs/training.md" in card.text


def test_faults_of_the_audit_are_counted():
    faults = [Fault("mask-conflict", place, "differs") for place in ("a", "b")]
    card = make_card(README, make_content(faults=faults))
    assert "2 x `mask-conflict` (warning)" in card.text


def test_a_readme_without_a_section_is_refused():
    with pytest.raises(InputError, match="<!-- splits -->"):
        fill_sections("# Title <!-- tiles -->1<!-- /tiles -->", {"splits": "", "tiles": ""})


def test_inline_and_block_sections_are_filled():
    text = "<!-- a -->\n1\n<!-- /a -->\n\nIt is <!-- b -->1<!-- /b -->.\n\n"
    text += "<!-- c -->\n<!-- /c -->\n\nEnd"
    assert fill_sections(text, {"a": "x\ny", "b": "z"}) == "x\ny\n\nIt is z.\n\nEnd"


def test_shared_ground_is_counted_by_block():
    splits = ["train", "test", "test", "test"]
    index = pd.DataFrame({"split": splits, "site": [0, 0, 0, 1], "block": [0, 0, 1, 0]})
    text = describe_ground(index.assign(easting=None), NOTHING)
    assert "4 tiles show 2 sites" in text
    assert "Of 3 test tiles, 1 share ground" in text


def test_shared_pixels_that_the_index_lacks_are_counted():
    index = pd.DataFrame({"split": ["train", "test"], "site": [0, 1], "block": 0, "easting": None})
    text = describe_ground(index, SharedPixels(overlapping=2_000, identical=1))
    assert "Of 1 test tile, none shares ground" in text
    assert "pixel for pixel: 2,000; pairs of identical tiles: 1." in text


def test_the_area_of_located_test_tiles_is_stated():
    index = pd.DataFrame({"split": "test", "site": 0, "block": 0, "epsg": 32719}, index=range(3))
    index["easting"] = [400_000.0, 400_000.0, 401_280.0]
    index = index.assign(northing=6_300_000.0, outlines=[[], [], []])
    text = describe_ground(index, NOTHING)
    assert "3 located test tiles cover 3.3 km², the area of 2 tiles" in text
