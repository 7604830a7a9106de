"""The published dataset's Croissant: mlcroissant finds no fault and reads the records; it has the card's texts."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import io
import json

import mlcroissant
import numpy as np
import pytest
from archive_contents import contents, tile_paths
from conftest import SAMPLE_SIZES
from PIL import Image

from rock_glacier.archives.writer import mask_path
from rock_glacier.publication.croissant import SECTIONS, describe
from rock_glacier_dataset import CLASS_NAMES, CONFIG_NAMES, SPLIT_NAMES, features_of

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of which mlcroissant and rdflib are full


@pytest.fixture(scope="module")
def dataset(staged):
    return mlcroissant.Dataset(staged / "main" / "croissant.json", mapping={"repo": staged / "main"})


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


def test_mlcroissant_finds_no_fault(dataset):
    assert dataset.metadata.ctx.issues.report() == ""


@pytest.mark.parametrize("config", CONFIG_NAMES)
def test_mlcroissant_reads_each_record(dataset, sample, config):
    found = {record[f"{config}/path"].decode(): record for record in dataset.records(config)}
    assert list(next(iter(found.values()))) == [f"{config}/{name}" for name in ("split", *features_of(config))]
    assert len(found) == sum(SAMPLE_SIZES.values())
    for split in SPLIT_NAMES:
        members = contents(sample, split)
        for path in tile_paths(sample, split):
            record, name = found[path], path.split("/")[1]
            assert record[f"{config}/split"] == split.encode()
            assert np.array_equal(record[f"{config}/image"], pixels(members[path]))
            if config == "image-classification":
                assert record[f"{config}/labels"] == CLASS_NAMES.index(name)
            else:
                mask = pixels(members[mask_path(path)])[..., 0] if name == "glaciar" else np.zeros((128, 128))
                assert np.array_equal(np.asarray(record[f"{config}/masks"])[..., 0], mask)


def test_a_split_is_read_alone(dataset):
    filters = {"image-classification/split": "test"}
    paths = [record["image-classification/path"] for record in dataset.records("image-classification", filters)]
    assert len(paths) == SAMPLE_SIZES["test"]
    assert all(path.startswith(b"test/") for path in paths)


def test_the_responsible_ai_fields_hold_the_texts_of_the_card(dataset, staged):
    metadata = dataset.metadata
    assert "Label Studio" in metadata.data_annotation_protocol[0]
    assert "three places" in metadata.data_limitations[0]
    assert "orbit" in metadata.personal_sensitive_information[0]
    assert "synthetic sample of 22 tiles" in metadata.description
    assert "Sentinel-2 images of rock glaciers in the Chilean Andes: 22 tiles" in metadata.description
    document = json.loads((staged / "main" / "croissant.json").read_text(encoding="utf-8"))
    for field in SECTIONS:
        assert len(document[field]) > 30
        assert "](" not in document[field]
        assert "![" not in document[field]
        assert "\n*" not in document[field]
    assert document["conformsTo"][1] == "http://mlcommons.org/croissant/RAI/1.0"
    assert document["citeAs"] in (staged / "main" / "README.md").read_text(encoding="utf-8")
    assert "geospatial" in document["keywords"]


def test_the_address_is_the_repositorys_and_a_section_that_the_card_lacks_is_named(staged):
    card = (staged / "main" / "README.md").read_text(encoding="utf-8")
    assert json.loads(describe(card, "me/it"))["url"] == "https://huggingface.co/datasets/me/it"
    with pytest.raises(ValueError, match=r"has no text below the heading Annotation process, which croissant\.json"):
        describe(card.replace("Annotation process", "Annotation"), "me/it")
