"""The Croissant file: mlcroissant finds no fault and reads the records."""

from __future__ import annotations

import io
import json

import factories
import mlcroissant
import numpy as np
import pandas as pd
import pytest
from huggingface_hub import DatasetCard
from PIL import Image

from rock_glacier.faults import InputError
from rock_glacier.hub.croissant import SECTIONS, describe
from rock_glacier.index import read_index
from rock_glacier_dataset import CONFIG_NAMES, class_of, features_of, mask_path

# mlcroissant and rdflib use deprecated functions.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def dataset(staged):
    main = staged / "main"
    return mlcroissant.Dataset(main / "croissant.json", mapping={"repo": main})


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)))


def test_mlcroissant_finds_no_fault(dataset):
    assert dataset.metadata.ctx.issues.report() == ""


@pytest.mark.parametrize("config", CONFIG_NAMES)
def test_records_are_the_tiles(dataset, sample, config):
    members = factories.read_members(sample)
    records = {record[f"{config}/path"].decode(): record for record in dataset.records(config)}
    assert sorted(records) == sorted(factories.tile_paths(sample))
    for path, record in records.items():
        assert list(record) == [f"{config}/{name}" for name in ("split", *features_of(config))]
        assert np.array_equal(record[f"{config}/image"], pixels(members[path]))
        if config == "image-classification":
            assert record[f"{config}/labels"] == (class_of(path) == "glaciar")
        elif class_of(path) == "glaciar":
            assert np.array_equal(record[f"{config}/masks"], pixels(members[mask_path(path)]))


@pytest.mark.parametrize("fixture", ["staged", "staged_located"])
def test_records_of_the_tile_index(fixture, request):
    main = request.getfixturevalue(fixture) / "main"
    index = read_index(main / "tiles.parquet")
    dataset = mlcroissant.Dataset(main / "croissant.json", mapping={"repo": main})
    records = list(dataset.records("tiles"))
    assert len(records) == len(index)
    for record, tile in zip(records, index.to_dict("records"), strict=True):
        assert [name.partition("/")[2] for name in record] == list(index)
        assert record["tiles/path"].decode() == tile["path"]
        assert record["tiles/geometry"] == tile["geometry"]
        assert [name.decode() for name in record["tiles/outlines"]] == list(tile["outlines"])
        for column in ("site", "orientation", "longitude", "epsg", "easting"):
            assert record[f"tiles/{column}"] == (None if pd.isna(tile[column]) else tile[column])


def test_a_split_can_be_read_alone(dataset):
    filters = {"image-classification/split": "test"}
    records = list(dataset.records("image-classification", filters))
    assert len(records) == 6
    assert all(record["image-classification/path"].startswith(b"test/") for record in records)


def test_texts_are_sections_of_the_card(staged):
    document = json.loads((staged / "main/croissant.json").read_text(encoding="utf-8"))
    for field in SECTIONS:
        assert len(document[field]) > 30
        assert "![" not in document[field]
    assert "22 tiles" in document["description"]
    assert "Label Studio" in document["rai:dataAnnotationProtocol"]


def test_a_missing_section_is_named(staged):
    card = DatasetCard.load(staged / "main/README.md")
    card.text = card.text.replace("# Annotation process", "# Annotation")
    with pytest.raises(InputError, match="Annotation process"):
        describe(card, "me/it")
