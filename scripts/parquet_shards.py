"""Parquet as the Hub serves it: how the examples of one shard become one file.

Row groups of at most 100 rows, which is what the dataset viewer shows on a page; a page index, by which it reads a few
rows of a group; pages cut by content, so that a later version of the file shares its unchanged pages with this one in
the Hub's storage; the `huggingface` features in the schema, by which every version of `datasets` knows an image. Images
are kept as the bytes that they are, and nothing compresses them again. The same examples give the same bytes.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

ROWS_PER_GROUP = 100

CONTENT_DEFINED_CHUNKING = {"min_chunk_size": 2**18, "max_chunk_size": 2**20, "norm_level": 0}
"""Bytes in a page, the values that `datasets` and the Hub's storage use: https://huggingface.co/docs/hub/xet."""


class ParquetShard(NamedTuple):
    """A Parquet file that was written.

    Attributes:
        name: file name.
        examples: number of rows.
        num_bytes: size of the rows in memory, as Arrow; what a card calls the size of a split.
        file_bytes: size of the file.
    """

    name: str
    examples: int
    num_bytes: int
    file_bytes: int


def shard_name(split: str, shard: int, shards: int) -> str:
    """Name the file of one shard of a split.

    Example:
        >>> shard_name("train", 0, 1)
        'train-00000-of-00001.parquet'
    """
    return f"{split}-{shard:05d}-of-{shards:05d}.parquet"


def write_shard(path: Path, features: datasets.Features, examples: Iterable[Mapping[str, Any]]) -> ParquetShard:
    """Write examples to a Parquet file.

    Args:
        path: the file to write.
        features: what an example holds; images are given as the bytes of their files.
        examples: in the order of the rows; taken as they come, so that memory does not grow with their number.

    Returns:
        what was written.
    """
    schema = features.arrow_schema
    rows = num_bytes = 0
    images = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
    # What `features.encode_example` makes of them too, in a fifth of the time.
    encoded = ({**example, **{name: {"bytes": example[name], "path": None} for name in images}} for example in examples)
    with pq.ParquetWriter(
        path,
        schema,
        write_page_index=True,
        use_content_defined_chunking=CONTENT_DEFINED_CHUNKING,
        **_column_options(features, schema),
    ) as writer:
        writer.add_key_value_metadata({"content_defined_chunking": json.dumps(CONTENT_DEFINED_CHUNKING)})
        while group := list(itertools.islice(encoded, ROWS_PER_GROUP)):
            table = pa.Table.from_pylist(group, schema)
            writer.write_table(table, row_group_size=ROWS_PER_GROUP)
            rows += table.num_rows
            num_bytes += table.nbytes
    return ParquetShard(path.name, rows, num_bytes, path.stat().st_size)


def _column_options(features: datasets.Features, schema: pa.Schema) -> dict[str, Any]:
    """Say how each column is written; images are neither compressed, nor collected in dictionaries or statistics."""
    images = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
    others = [name for name in features if name not in images]
    leaves = [f"{name}.{field.name}" for name in images for field in schema.field(name).type]
    return {
        "compression": {**dict.fromkeys(leaves, "none"), **dict.fromkeys(others, "snappy")},
        "use_dictionary": others,
        "write_statistics": others,
    }
