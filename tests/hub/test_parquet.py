"""Parquet files: what the Hub's viewer, its storage and every client are promised of each."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import json

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest

from rock_glacier.publication.parquet import write_parquet
from rock_glacier_dataset import CONFIG_NAMES, features_of

ROWS = 250
NAME = "config/shard.parquet"


@pytest.fixture(scope="module")
def examples() -> list[dict[str, object]]:
    """Examples of both configs at once; each config takes its own columns. Nothing here decodes an image."""
    pixels = np.random.default_rng(0)
    return [
        {
            "image": pixels.bytes(20_000),
            "masks": pixels.bytes(900),
            "labels": row % 2,
            "path": f"train/glaciar/{row}.png",
        }
        for row in range(ROWS)
    ]


@pytest.fixture(params=CONFIG_NAMES)
def features(request) -> datasets.Features:
    return features_of(request.param)


@pytest.fixture
def rows(features, examples) -> list[dict[str, object]]:
    return [{column: example[column] for column in features} for example in examples]


@pytest.fixture
def file(features, rows, tmp_path) -> pq.ParquetFile:
    write_parquet(tmp_path / NAME, features, rows)
    return pq.ParquetFile(tmp_path / NAME)


def chunks(file: pq.ParquetFile) -> list[pq.ColumnChunkMetaData]:
    """Every column of every row group."""
    groups = [file.metadata.row_group(number) for number in range(file.num_row_groups)]
    return [group.column(number) for group in groups for number in range(group.num_columns)]


def test_the_rows_come_back_as_they_are_in_groups_of_a_page_of_the_viewer(file, features, rows):
    images = [column for column, feature in features.items() if isinstance(feature, datasets.Image)]
    expected = [row | {column: {"bytes": row[column], "path": None} for column in images} for row in rows]
    assert file.read().to_pylist() == expected
    assert datasets.Features.from_arrow_schema(file.schema_arrow) == features
    assert [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)] == [100, 100, 50]


def test_columns_are_indexed_and_images_neither_compressed_nor_collected(file):
    for chunk in chunks(file):
        is_image = chunk.path_in_schema.partition(".")[0] in ("image", "masks")
        assert chunk.has_offset_index
        assert chunk.compression == ("UNCOMPRESSED" if is_image else "SNAPPY"), chunk.path_in_schema
        assert chunk.has_dictionary_page is not is_image, chunk.path_in_schema
        assert chunk.is_stats_set is not is_image, chunk.path_in_schema


def test_pages_are_cut_by_content_so_that_a_row_more_leaves_most_of_them_as_they_are(file, features, rows, tmp_path):
    told = json.loads(file.metadata.metadata[b"content_defined_chunking"])
    assert told.keys() == {"min_chunk_size", "max_chunk_size", "norm_level"}
    chunk = next(chunk for chunk in chunks(file) if chunk.path_in_schema == "image.bytes")
    content = (tmp_path / NAME).read_bytes()[chunk.data_page_offset :][: chunk.total_compressed_size]
    write_parquet(tmp_path / "more.parquet", features, [rows[-1], *rows])
    more = (tmp_path / "more.parquet").read_bytes()
    middle = content[len(content) // 2 :][: 2**18]
    assert more.count(middle) == 1
    header_sizes = chunk.total_compressed_size - 100 * 20_004  # 4 bytes before each image say its length
    assert header_sizes > 100  # of several pages; one would take some 30 bytes


def test_rows_are_written_as_they_come_and_the_same_each_time(features, rows, tmp_path):
    path = tmp_path / NAME
    sizes: list[int] = []

    def taken_as_they_come():
        for row in rows:
            sizes.append(path.stat().st_size)
            yield row

    write_parquet(tmp_path / NAME, features, taken_as_they_come())
    grown = [number for number in range(1, ROWS) if sizes[number] > sizes[number - 1]]
    assert grown == [100, 200]  # a row group at a time, so that memory does not grow
    content = path.read_bytes()
    write_parquet(tmp_path / "again.parquet", features, rows)
    assert (tmp_path / "again.parquet").read_bytes() == content
