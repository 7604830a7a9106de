"""Parquet shards: what the Hub's viewer, its storage and every client are promised of each file."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import io
import json

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
from parquet_shards import CONTENT_DEFINED_CHUNKING, ROWS_PER_GROUP, write_shard
from PIL import Image

from rock_glacier_dataset import CONFIG_NAMES, features_of

ROWS = 250


def png(grey: int) -> bytes:
    written = io.BytesIO()
    Image.new("RGBA", (2, 2), (grey, grey, grey, 255)).save(written, "PNG")
    return written.getvalue()


@pytest.fixture(scope="module")
def examples() -> list[dict[str, object]]:
    """Examples of both configs at once; each config takes its own columns."""
    classes = ("cordillera", "glaciar")
    return [
        {
            "image": png(row),
            "masks": png(255 - row),
            "labels": row * 2 // ROWS,
            "path": f"train/{classes[row * 2 // ROWS]}/{row}.png",
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
    write_shard(tmp_path / "shard.parquet", features, rows)
    return pq.ParquetFile(tmp_path / "shard.parquet")


def chunks(file: pq.ParquetFile) -> list[pq.ColumnChunkMetaData]:
    """Every column of every row group."""
    groups = [file.metadata.row_group(number) for number in range(file.num_row_groups)]
    return [group.column(number) for group in groups for number in range(group.num_columns)]


def test_the_rows_come_back_as_they_are(file, features, rows):
    found = file.read().to_pylist()
    images = [column for column, feature in features.items() if isinstance(feature, datasets.Image)]
    assert found == [row | {column: {"bytes": row[column], "path": None} for column in images} for row in rows]
    assert file.schema_arrow.names == list(features)


def test_a_row_group_is_a_page_of_the_viewer(file):
    assert [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)] == [100, 100, 50]
    assert ROWS_PER_GROUP == 100


def test_every_column_has_a_page_index(file):
    assert len(chunks(file)) == 3 * file.metadata.num_columns
    assert all(chunk.has_offset_index for chunk in chunks(file))


def test_images_are_neither_compressed_nor_collected(file):
    for chunk in chunks(file):
        is_image = chunk.path_in_schema.partition(".")[0] in ("image", "masks")
        assert chunk.compression == ("UNCOMPRESSED" if is_image else "SNAPPY"), chunk.path_in_schema
        assert chunk.has_dictionary_page is not is_image, chunk.path_in_schema
        assert chunk.is_stats_set is not is_image, chunk.path_in_schema


def test_the_metadata_tell_that_pages_are_cut_by_content(file):
    told = json.loads(file.metadata.metadata[b"content_defined_chunking"])
    assert told == CONTENT_DEFINED_CHUNKING
    assert told.keys() == {"min_chunk_size", "max_chunk_size", "norm_level"}


def test_pages_are_cut_by_content(tmp_path, monkeypatch):
    pixels = np.random.default_rng(0)
    rows = [{"image": pixels.bytes(50_000), "labels": 0, "path": str(number)} for number in range(60)]

    def size_of_images(name: str) -> int:
        write_shard(tmp_path / name, features_of("image-classification"), rows)
        column = next(chunk for chunk in chunks(pq.ParquetFile(tmp_path / name)) if "bytes" in chunk.path_in_schema)
        return column.total_compressed_size

    cut_by_content = size_of_images("cut")
    monkeypatch.setattr("parquet_shards.CONTENT_DEFINED_CHUNKING", False)
    assert size_of_images("plain") != cut_by_content  # other pages have other headers


def test_the_schema_tells_the_features_to_datasets(file, features):
    assert b"huggingface" in file.schema_arrow.metadata
    assert datasets.Features.from_arrow_schema(file.schema_arrow) == features


def test_the_same_rows_give_the_same_bytes(features, rows, tmp_path):
    written = [tmp_path / "one.parquet", tmp_path / "two.parquet"]
    for path in written:
        write_shard(path, features, iter(rows))
    one, two = (path.read_bytes() for path in written)
    assert one == two


def test_no_image_is_decoded(features, rows, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("an image was decoded or encoded")

    for name in ("PIL.Image.open", "PIL.Image.Image.save", "PIL.Image.Image.load"):
        monkeypatch.setattr(name, refuse)
    assert write_shard(tmp_path / "shard.parquet", features, rows).examples == ROWS


def test_examples_are_written_a_row_group_at_a_time_and_counted(features, rows, tmp_path):
    path = tmp_path / "shard.parquet"
    sizes: list[int] = []

    def taking():
        for row in rows:
            sizes.append(path.stat().st_size)
            yield row

    shard = write_shard(path, features, taking())
    assert [number for number in range(1, ROWS) if sizes[number] > sizes[number - 1]] == [100, 200]
    nbytes = sum(len(value) for row in rows for value in row.values() if isinstance(value, (bytes, str)))
    assert (shard.name, shard.examples, shard.file_bytes) == (path.name, ROWS, path.stat().st_size)
    assert nbytes < shard.num_bytes < 2 * nbytes


def test_a_shard_without_examples_is_a_whole_file(features, tmp_path):
    assert write_shard(tmp_path / "shard.parquet", features, []).examples == 0
    empty = pq.ParquetFile(tmp_path / "shard.parquet")
    assert empty.metadata.num_rows == 0
    assert datasets.Features.from_arrow_schema(empty.schema_arrow) == features
