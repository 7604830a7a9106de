"""Rows of both configs, and their Parquet files for the Hub.

A row group holds at most 100 rows, one page of the dataset viewer. It has a page index, with which
the viewer reads single rows. Pages are cut by content, so versions of a file share unchanged pages
in the Hub's storage. The schema holds the `huggingface` features, by which every version of
`datasets` recognises an image. Images keep their bytes and are not compressed again. The same rows
give the same file.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from rock_glacier.archives import sort_key
from rock_glacier_dataset import (
    CLASS_NAMES,
    EMPTY_MASK,
    GLACIAR,
    ArchiveReader,
    class_of,
    features_of,
    find_archives,
    mask_path,
)

# Rows on a page of the dataset viewer.
ROWS_PER_GROUP = 100

# Bytes of a page: the values that `datasets` and the Hub's storage use.
# https://huggingface.co/docs/hub/xet
_CHUNKING = {"min_chunk_size": 2**18, "max_chunk_size": 2**20, "norm_level": 0}


def list_tiles(folder: Path) -> pd.DataFrame:
    """List the tiles of a folder of archives: columns `path`, `split` and `archive` (file name).

    Raises:
        ArchiveError: If an archive cannot be read.
    """
    rows: list[tuple[str, str, str]] = []
    for split, archives in find_archives(str(folder)).items():
        for archive in archives:
            name = os.path.basename(archive)
            with ArchiveReader(split, archive) as reader:
                rows.extend((path, split, name) for path in reader.tiles)
    return pd.DataFrame(rows, columns=["path", "split", "archive"])


def plan_files(tiles: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Distribute tiles over Parquet files: as many files as a split has archives.

    Args:
        tiles: Columns `path`, `split` and `archive`.

    Returns:
        The tiles of each file, such as `train-00000-of-00001.parquet`, by split and then by the
        SHA-256 of the path.
    """
    files = {}
    for split, group in tiles.groupby("split", sort=False):
        ordered = group.iloc[group["path"].map(sort_key).argsort()]
        number = group["archive"].nunique()
        for shard in range(number):
            first = len(ordered) * shard // number
            last = len(ordered) * (shard + 1) // number
            files[f"{split}-{shard:05d}-of-{number:05d}.parquet"] = ordered.iloc[first:last]
    return files


def read_rows(folder: Path, tiles: pd.DataFrame, config: str) -> Iterator[dict[str, Any]]:
    """Yield the row of each tile as Parquet holds it: images are the bytes in the archives.

    Args:
        folder: Folder of the archives.
        tiles: Columns `path`, `split` and `archive`.
        config: Name of the config.

    Raises:
        ArchiveError: If a tile or mask is damaged.
    """
    with contextlib.ExitStack() as stack:
        readers = {}
        for archive, split in tiles.groupby("archive")["split"].first().items():
            reader = ArchiveReader(split, str(folder / str(archive)))
            readers[archive] = stack.enter_context(reader)
        for path, archive in zip(tiles["path"], tiles["archive"], strict=True):
            reader = readers[archive]
            row: dict[str, Any] = {
                "image": {"bytes": reader.read(path), "path": None},
                "path": path,
            }
            if "labels" in features_of(config):
                row["labels"] = CLASS_NAMES.index(class_of(path))
            else:
                is_masked = class_of(path) == GLACIAR
                mask = reader.read(mask_path(path)) if is_masked else EMPTY_MASK
                row["masks"] = {"bytes": mask, "path": None}
            yield row


def write_parquet(
    file: Path, features: datasets.Features, rows: Iterable[Mapping[str, Any]]
) -> None:
    """Write rows to a new Parquet file; memory does not grow with their number.

    Args:
        file: The file to write. Its folder is created if necessary.
        features: The columns.
        rows: The rows, in order, with images as `{"bytes": ..., "path": None}`.
    """
    schema = features.arrow_schema
    images = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
    others = [name for name in features if name not in images]
    compression = dict.fromkeys(others, "snappy")
    for name in images:
        compression[f"{name}.bytes"] = "none"
        compression[f"{name}.path"] = "none"
    file.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(
        file,
        schema,
        write_page_index=True,
        use_content_defined_chunking=_CHUNKING,
        compression=compression,
        use_dictionary=others,
        write_statistics=others,
    ) as writer:
        writer.add_key_value_metadata({"content_defined_chunking": json.dumps(_CHUNKING)})
        remaining = iter(rows)
        while group := list(itertools.islice(remaining, ROWS_PER_GROUP)):
            table = pa.Table.from_pylist(group, schema)
            writer.write_table(table, row_group_size=ROWS_PER_GROUP)


def write_config_file(file: Path, config: str, folder: Path, tiles: pd.DataFrame) -> None:
    """Write a Parquet file of a config from a folder of archives."""
    write_parquet(file, features_of(config), read_rows(folder, tiles, config))


def find_difference(file: Path, config: str, folder: Path, tiles: pd.DataFrame) -> str:
    """Compare a Parquet file of a config with the archives, row by row.

    Returns:
        The first difference, or "" if there is none.
    """
    features = features_of(config)
    parquet = pq.ParquetFile(file)
    if datasets.Features.from_arrow_schema(parquet.schema_arrow) != features:
        return f"its columns are not {', '.join(features)}"
    if parquet.metadata.num_rows != len(tiles):
        return f"has {parquet.metadata.num_rows:,} rows, but the archives hold {len(tiles):,}"
    rows = (row for batch in parquet.iter_batches(ROWS_PER_GROUP) for row in batch.to_pylist())
    for row, expected in zip(rows, read_rows(folder, tiles, config), strict=True):
        if row != expected:
            return f"the row of {expected['path']} differs from the archives"
    return ""
