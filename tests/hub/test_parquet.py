"""Parquet files: properties that the Hub's viewer and storage rely on."""

from __future__ import annotations

import datasets
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from rock_glacier.archives import sort_key
from rock_glacier.hub.parquet import (
    find_difference,
    list_tiles,
    plan_files,
    read_rows,
    write_parquet,
)
from rock_glacier_dataset import CONFIG_NAMES, features_of


@pytest.fixture(scope="module")
def rows():
    """250 rows with the columns of both configs. Nothing here decodes an image."""
    random = np.random.default_rng(0)
    return [
        {
            "image": {"bytes": random.bytes(20_000), "path": None},
            "masks": {"bytes": random.bytes(900), "path": None},
            "labels": row % 2,
            "path": f"train/glaciar/{row}.png",
        }
        for row in range(250)
    ]


@pytest.fixture(params=CONFIG_NAMES)
def features(request):
    return features_of(request.param)


@pytest.fixture
def file(features, rows, tmp_path):
    write_parquet(tmp_path / "config/file.parquet", features, select(rows, features))
    return tmp_path / "config/file.parquet"


def select(rows, features):
    return [{name: row[name] for name in features} for row in rows]


def is_image(column: str) -> bool:
    return column.split(".")[0] in ("image", "masks")


def column_chunks(file):
    metadata = pq.read_metadata(file)
    for group in range(metadata.num_row_groups):
        for column in range(metadata.num_columns):
            yield metadata.row_group(group).column(column)


def test_schema_holds_the_features(file, features):
    assert datasets.Features.from_arrow_schema(pq.read_schema(file)) == features


def test_row_groups_are_pages_of_the_viewer(file):
    metadata = pq.read_metadata(file)
    groups = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    assert groups == [100, 100, 50]


def test_every_column_has_a_page_index(file):
    assert all(chunk.has_offset_index for chunk in column_chunks(file))


def test_images_are_not_compressed(file):
    for chunk in column_chunks(file):
        expected = "UNCOMPRESSED" if is_image(chunk.path_in_schema) else "SNAPPY"
        assert chunk.compression == expected


def test_an_added_row_keeps_most_pages(file, features, rows, tmp_path):
    """Pages are cut by content, so the Hub stores unchanged pages once."""
    chunk = next(column_chunks(file))
    content = file.read_bytes()[chunk.data_page_offset :][: chunk.total_compressed_size]
    middle = content[len(content) // 2 :][: 2**18]
    write_parquet(tmp_path / "more", features, select([rows[-1], *rows], features))
    assert (tmp_path / "more").read_bytes().count(middle) == 1
    assert pq.read_metadata(file).metadata[b"content_defined_chunking"]


def test_rows_are_distributed_in_the_order_of_hashes():
    paths = [f"train/glaciar/{number}.png" for number in range(10)]
    archives = ["a.zip", "b.zip", "c.zip", *["a.zip"] * 7]
    files = plan_files(pd.DataFrame({"path": paths, "split": "train", "archive": archives}))
    assert list(files) == [f"train-0000{number}-of-00003.parquet" for number in range(3)]
    assert [len(tiles) for tiles in files.values()] == [3, 3, 4]
    written = [path for tiles in files.values() for path in tiles["path"]]
    assert written == sorted(paths, key=sort_key)


def test_a_changed_byte_of_a_row_is_found(sample, tmp_path):
    tiles = list_tiles(sample)
    config = "image-classification"
    file = tmp_path / "file.parquet"
    rows = list(read_rows(sample, tiles, config))
    write_parquet(file, features_of(config), rows)
    assert find_difference(file, config, sample, tiles) == ""
    assert find_difference(file, config, sample, tiles[1:]) != ""
    assert find_difference(file, "image-segmentation", sample, tiles) != ""
    rows[7]["image"]["bytes"] = rows[7]["image"]["bytes"][:-1] + b"x"
    write_parquet(file, features_of(config), rows)
    assert tiles["path"][7] in find_difference(file, config, sample, tiles)
