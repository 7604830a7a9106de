"""The Croissant file: mlcroissant reads it, and its numbers are those of the staged files."""

from __future__ import annotations

import hashlib
import io
import json
import re

import factories
import geopandas
import mlcroissant
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import shapely
from huggingface_hub import DatasetCard
from PIL import Image

from rock_glacier.faults import InputError
from rock_glacier.hub.croissant import SECTIONS, describe
from rock_glacier.hub.geocroissant import ZONES
from rock_glacier.index import read_index, write_index
from rock_glacier_dataset import CONFIG_NAMES, SPLIT_NAMES, class_of, features_of, mask_path

# mlcroissant and rdflib use deprecated functions.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def read(main):
    return mlcroissant.Dataset(main / "croissant.json", mapping={"repo": main})


@pytest.fixture
def dataset(staged):
    return read(staged / "main")


@pytest.fixture
def located(staged_located):
    """The document of the located sample."""
    return json.loads((staged_located / "main/croissant.json").read_text(encoding="utf-8"))


@pytest.fixture
def card(staged):
    return DatasetCard.load(staged / "main/README.md")


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)))


def boxes(document):
    """South, west, north and east of each place."""
    places = document.get("spatialCoverage", [])
    return {place["name"]: [float(x) for x in place["geo"]["box"].split()] for place in places}


@pytest.mark.parametrize("fixture", ["staged", "staged_located"])
def test_mlcroissant_finds_no_fault(fixture, request):
    main = request.getfixturevalue(fixture) / "main"
    metadata = read(main).metadata
    assert metadata.ctx.issues.report() == ""
    assert metadata.ctx.is_v1_1()


def test_mlcroissant_writes_what_it_reads(staged_located, located):
    again = read(staged_located / "main").metadata.to_json()
    assert again.pop("datePublished") == "2022-10-01"
    assert located.pop("datePublished") == "2022-10"
    assert again == located


def test_document_names_its_standards(located):
    assert located["conformsTo"] == [
        "http://mlcommons.org/croissant/1.1",
        "http://mlcommons.org/croissant/RAI/1.0",
        "http://mlcommons.org/croissant/geo/1.0",
    ]
    assert located["@context"]["geocr"] == "http://mlcommons.org/croissant/geo/"


@pytest.mark.parametrize("config", CONFIG_NAMES)
def test_records_are_the_tiles(dataset, sample, config):
    members = factories.read_members(sample)
    records = {record[f"{config}/path"].decode(): record for record in dataset.records(config)}
    assert sorted(records) == sorted(factories.tile_paths(sample))
    for path, record in records.items():
        assert list(record) == [f"{config}/{name}" for name in ("split", *features_of(config))]
        assert record[f"{config}/split"].decode() == path.partition("/")[0]
        assert np.array_equal(record[f"{config}/image"], pixels(members[path]))
        if config == "image-classification":
            assert record[f"{config}/labels"] == (class_of(path) == "glaciar")
        elif class_of(path) == "glaciar":
            assert np.array_equal(record[f"{config}/masks"], pixels(members[mask_path(path)]))


@pytest.mark.parametrize("fixture", ["staged", "staged_located"])
def test_records_of_the_tile_index(fixture, request):
    main = request.getfixturevalue(fixture) / "main"
    index = read_index(main / "tiles.parquet")
    records = list(read(main).records("tiles"))
    assert len(records) == len(index)
    for record, tile in zip(records, index.to_dict("records"), strict=True):
        assert [name.partition("/")[2] for name in record] == list(index)
        assert record["tiles/path"].decode() == tile["path"]
        assert record["tiles/geometry"] == tile["geometry"]
        assert [name.decode() for name in record["tiles/outlines"]] == list(tile["outlines"])
        for column in ("site", "orientation", "longitude", "epsg", "easting"):
            assert record[f"tiles/{column}"] == (None if pd.isna(tile[column]) else tile[column])


def test_reading_records_logs_no_warning(staged_located, caplog):
    dataset = read(staged_located / "main")
    for record_set in dataset.metadata.record_sets:
        assert len(list(dataset.records(record_set.id))) > 0
    assert [record.message for record in caplog.records if record.levelname != "INFO"] == []


@pytest.mark.parametrize("config", CONFIG_NAMES)
def test_a_split_can_be_read_alone(dataset, config):
    records = list(dataset.records(config, {f"{config}/split": "test"}))
    assert len(records) == 6
    assert all(record[f"{config}/path"].startswith(b"test/") for record in records)


def test_splits_have_the_numbers_of_tiles(staged, dataset):
    splits = list(dataset.records("splits"))
    assert [split["splits/name"] for split in splits] == list(SPLIT_NAMES)
    assert [split["splits/url"] for split in splits] == [
        "cr:TrainingSplit",
        "cr:ValidationSplit",
        "cr:TestSplit",
    ]
    for split in splits:
        for config in CONFIG_NAMES:
            files = (staged / "main" / config).glob(f"{split['splits/name']}-*")
            rows = sum(pq.read_metadata(file).num_rows for file in files)
            assert rows == split["splits/tiles"]


def test_every_parquet_file_has_its_size_and_checksum(staged, dataset):
    files = factories.files_of(staged / "main")
    expected = {
        name: (f"{len(content)} B", hashlib.sha256(content).hexdigest())
        for name, content in files.items()
        if name.endswith(".parquet")
    }
    described = {
        file.content_url: (file.content_size, file.sha256)
        for file in dataset.metadata.file_objects
        if file.contained_in
    }
    assert described == expected


def test_boxes_enclose_the_located_tiles_of_each_zone(staged_located, located):
    tiles = geopandas.read_parquet(staged_located / "main/tiles.parquet")
    assert boxes(located).keys() == ZONES.keys()
    for name, (south, west, north, east) in boxes(located).items():
        zone = ZONES[name]
        inside = tiles[tiles["latitude"].between(zone[0], zone[2])]
        bounds = inside.total_bounds
        assert np.allclose([west, south, east, north], bounds, rtol=0, atol=1e-5)
        place = next(place for place in located["spatialCoverage"] if place["name"] == name)
        assert f"{len(inside)} located tiles" in place["description"]


def test_grid_resolution_and_bands(staged_located, located):
    index = read_index(staged_located / "main/tiles.parquet")
    epsg = located["geocr:coordinateReferenceSystem"]
    assert (index["epsg"] == int(epsg.removeprefix("EPSG:"))).all()
    assert located["geocr:spatialResolution"]["value"] == 10
    image = located["recordSet"][1]["field"][1]
    bands = image["geocr:bandConfiguration"]
    assert image["name"] == "image"
    assert bands["geocr:bandNameList"] == ["B04", "B03", "B02", "alpha"]
    assert bands["geocr:totalBands"] == 4


def test_bias_states_sites_and_areas(staged_located, located):
    tiles = geopandas.read_parquet(staged_located / "main/tiles.parquet").to_crs(32719)
    text = located["geocr:spatialBias"]
    assert f"{len(tiles)} tiles show {tiles['site'].nunique()} sites" in text
    assert f"The largest site has {tiles['site'].value_counts().max()} tile" in text
    areas = re.findall(
        r"split (\w+), (\d+) located tiles cover (\S+) km2, the area of (\S+) ", text
    )
    for split, number, area, equivalent in areas:
        footprints = tiles.geometry[tiles["split"] == split]
        union = shapely.union_all(footprints).area / 1e6
        assert int(number) == len(footprints)
        assert float(area) == pytest.approx(union, rel=0.001)
        assert float(equivalent) == pytest.approx(union / 1.28**2, abs=0.1)
    assert [split for split, *_ in areas] == list(SPLIT_NAMES)


def test_places_of_unlocated_tiles(staged, card):
    main = staged / "main"
    assert boxes(json.loads(describe(card, main, repo_id="me/it", is_sample=True))) == {}
    release = json.loads(describe(card, main, repo_id="me/it"))
    assert boxes(release) == {name: list(box) for name, box in ZONES.items()}
    assert release["geocr:coordinateReferenceSystem"] == "EPSG:4326"


def test_zones_without_located_tiles_keep_their_box(staged_located, card, tmp_path):
    index = read_index(staged_located / "main/tiles.parquet")
    is_north = index["latitude"] > -29
    columns = ["longitude", "latitude", "epsg", "easting", "northing", "geometry"]
    index[columns] = index[columns].where(is_north)
    index["geometry"] = index["geometry"].where(is_north, None)
    write_index(index, tmp_path / "tiles.parquet")
    document = json.loads(describe(card, tmp_path, repo_id="me/it"))
    found = boxes(document)
    atacama, *others = ZONES
    assert found[atacama] != list(ZONES[atacama])
    assert all(found[name] == list(ZONES[name]) for name in others)


def test_texts_are_sections_of_the_card(dataset):
    for field in SECTIONS:
        assert len(getattr(dataset.metadata, field)[0]) > 0
    assert "22 tiles" in dataset.metadata.description
    assert "Label Studio" in dataset.metadata.data_annotation_protocol[0]
    assert dataset.metadata.cite_as.startswith("@ONLINE {rock-glacier-dataset")


def test_a_missing_section_is_named(staged, card):
    card.text = card.text.replace("# Annotation process", "# Annotation")
    with pytest.raises(InputError, match="Annotation process"):
        describe(card, staged / "main", repo_id="me/it")
