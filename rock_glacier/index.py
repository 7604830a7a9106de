"""The tile index, `tiles.parquet`: one row per tile, with everything known about it.

The file is GeoParquet 1.1. It is written by geopandas and can be read by pandas, Polars, DuckDB and
QGIS. Reading it here needs only pandas and pyarrow.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from rock_glacier.archives import sort_key
from rock_glacier.output import new_file
from rock_glacier_dataset import CLASS_NAMES, SPLIT_NAMES, ArchiveError, Fault, split_of

INDEX_NAME = "tiles.parquet"

_SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("split", pa.string()),
        ("label", pa.string()),
        ("source", pa.string()),
        ("site", pa.int32()),
        ("block", pa.int32()),
        ("x", pa.int32()),
        ("y", pa.int32()),
        ("orientation", pa.int8()),
        ("longitude", pa.float64()),
        ("latitude", pa.float64()),
        ("epsg", pa.int32()),
        ("easting", pa.float64()),
        ("northing", pa.float64()),
        ("located_by", pa.string()),
        ("outlines", pa.list_(pa.string())),
        ("mask_share", pa.float32()),
        ("geometry", pa.binary()),
    ]
)
# Columns that hold a value for every tile.
_REQUIRED = ("path", "split", "label", "site", "block", "x", "y", "orientation", "mask_share")
_PANDAS_TYPES = {
    "path": "string",
    "split": "string",
    "label": "string",
    "source": "string",
    "site": "int32",
    "block": "int32",
    "x": "int32",
    "y": "int32",
    "orientation": "int8",
    "longitude": "Float64",
    "latitude": "Float64",
    "epsg": "Int32",
    "easting": "Float64",
    "northing": "Float64",
    "located_by": "string",
    "mask_share": "float32",
}
_GET_AGAIN = "Run `audit --index` to write the index again"


def make_index(table: pd.DataFrame) -> pd.DataFrame:
    """Make the tile index.

    Args:
        table: A row for each tile, with the columns `path`, `split`, `label`, `mask_share`, `site`,
            `x`, `y` and `orientation`. Other columns of the index are optional; a missing `block`
            becomes 0, all others null. Columns that the index does not have are dropped.

    Returns:
        The columns of the index in their order and types, with rows in the order of the published
        Parquet files: by split, then by the SHA-256 of the path. `geometry` holds WKB or None.
    """
    index = pd.DataFrame(index=range(len(table)))
    for name in _SCHEMA.names:
        if name in table:
            index[name] = table[name].to_numpy()
        elif name == "block":
            index[name] = 0
        elif name == "outlines":
            index[name] = pd.Series([[] for _ in range(len(table))], dtype=object)
        else:
            index[name] = None
    index = index.astype(_PANDAS_TYPES)
    order = sorted(
        range(len(index)),
        key=lambda row: (SPLIT_NAMES.index(index["split"][row]), sort_key(index["path"][row])),
    )
    return index.iloc[order].reset_index(drop=True)


def write_index(index: pd.DataFrame, file: str | os.PathLike[str]) -> None:
    """Write the tile index as GeoParquet 1.1.

    Args:
        index: The index, from `make_index` or `read_index`.
        file: The file to write. It is complete or absent.
    """
    import geopandas

    geometry = geopandas.GeoSeries.from_wkb(index["geometry"], crs="EPSG:4326")
    frame = geopandas.GeoDataFrame(index.drop(columns="geometry"), geometry=geometry)
    with new_file(file) as unfinished:
        frame.to_parquet(unfinished, index=False, schema_version="1.1.0")
        # Cast, because a column of nulls has another type.
        table = pq.read_table(unfinished)
        schema = _SCHEMA.with_metadata(table.schema.metadata)
        pq.write_table(table.cast(schema), unfinished)


def read_index(file: str | os.PathLike[str]) -> pd.DataFrame:
    """Read a tile index.

    Args:
        file: A file that `write_index` wrote.

    Returns:
        The columns of the index, typed as by `make_index`, in the order of the file.

    Raises:
        ArchiveError: If the file is not a tile index.
        FileNotFoundError: If there is no such file.
    """
    place = os.path.basename(os.fspath(file))
    try:
        table = pq.read_table(file)
    except FileNotFoundError:
        raise
    except (pa.ArrowInvalid, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # not about the content
            raise
        problem = f"is not a Parquet file, or is damaged ({error})"
        raise ArchiveError(Fault("index-mismatch", place, problem, _GET_AGAIN)) from None
    missing = [name for name in _SCHEMA.names if name not in table.column_names]
    if missing:
        problem = f"lacks the columns {', '.join(missing)}"
        raise ArchiveError(Fault("index-mismatch", place, problem, _GET_AGAIN))
    try:
        table = table.select(_SCHEMA.names).cast(_SCHEMA)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        problem = f"has columns of the wrong type ({error})"
        raise ArchiveError(Fault("index-mismatch", place, problem, _GET_AGAIN)) from None
    _check_values(table, place)
    return table.to_pandas().astype(_PANDAS_TYPES)


def _check_values(table: pa.Table, place: str) -> None:
    incomplete = [name for name in _REQUIRED if table[name].null_count]
    if incomplete:
        problem = f"has rows without {', '.join(incomplete)}"
        raise ArchiveError(Fault("index-mismatch", place, problem, _GET_AGAIN))
    rows = table.select(["path", "split", "label", "orientation"]).to_pandas()
    if rows["path"].duplicated().any():
        problem = f"lists {rows['path'][rows['path'].duplicated()].iloc[0]} twice"
        raise ArchiveError(Fault("index-mismatch", place, problem, _GET_AGAIN))
    is_right = rows["split"] == rows["path"].map(split_of)
    is_right &= rows["label"] == rows["path"].str.split("/").str[1]
    is_right &= rows["label"].isin(CLASS_NAMES) & rows["orientation"].between(0, 7)
    if not is_right.all():
        path = rows["path"][~is_right].iloc[0]
        problem = f"has a wrong split, label or orientation for {path}"
        raise ArchiveError(Fault("index-mismatch", place, problem, _GET_AGAIN))


def check_index(index: pd.DataFrame, paths: Iterable[str]) -> list[Fault]:
    """Return `index-mismatch` faults if an index does not list exactly these tiles."""
    listed = set(index["path"])
    expected = set(paths)
    faults = []
    missing = sorted(expected - listed)
    if missing:
        problem = f"lacks {len(missing):,} of {len(expected):,} tiles, such as {missing[0]}"
        faults.append(Fault("index-mismatch", INDEX_NAME, problem, _GET_AGAIN))
    unknown = sorted(listed - expected)
    if unknown:
        problem = f"lists {len(unknown):,} tiles that are not in the archives, such as {unknown[0]}"
        faults.append(Fault("index-mismatch", INDEX_NAME, problem, _GET_AGAIN))
    return faults
