"""A model's predictions as files: scores for image-classification, masks for image-segmentation.

Scores are a Parquet or CSV file with the columns `path` and `score`, the probability of glaciar. Masks are a Parquet
file with the columns `path` and `mask`, PNG files as bytes or a Hugging Face image column, or a folder of PNG files
named as the tiles are (`FOLDER/test/glaciar/012.png`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from rock_glacier.arrays import decode_any_png, encode_png
from rock_glacier.console import PrintableError
from rock_glacier.files import check_columns, read_csv, read_png_file
from rock_glacier.masks import class_indices_to_mask, mask_to_class_indices
from rock_glacier_dataset import TILE_SIZE

Scores = npt.NDArray[np.float64]
"""Shape (tiles,), values in [0, 1]: the probability of glaciar."""

Mask = npt.NDArray[np.uint8]
"""Shape (128, 128), values in {0, 1}: 1 is rock glacier."""

_SCORE_SCHEMA = pa.schema([("path", pa.string()), ("score", pa.float64())])
_MASK_SCHEMA = datasets.Features({"path": datasets.Value("string"), "mask": datasets.Image()}).arrow_schema
_MASKS_OF_ROW_GROUP = 100
_MOST_ROWS = 2**22  # of a Parquet file, which may claim any number in some bytes


class PredictionError(PrintableError, ValueError):
    """A fault in predictions: names the file, the tile's path, what is wrong and the remedy."""


def write_scores(file: Path, paths: Sequence[str], scores: Scores) -> None:
    """Write the predictions of a classifier to a Parquet file."""
    pq.write_table(pa.table([list(paths), scores], schema=_SCORE_SCHEMA), file)


def write_masks(file: Path, masks: Iterable[tuple[str, Mask]]) -> None:
    """Write path and predicted mask of each tile to a Parquet file, as an image column of `datasets`.

    Raises:
        ValueError: a mask has another shape or other values.
    """
    rows = []
    for path, mask in masks:
        rows.append({"path": path, "mask": {"bytes": encode_png(class_indices_to_mask(mask)), "path": None}})
    pq.write_table(pa.Table.from_pylist(rows, _MASK_SCHEMA), file, row_group_size=_MASKS_OF_ROW_GROUP)


def read_scores(file: Path) -> tuple[list[str], Scores]:
    """Read the predictions of a classifier.

    Args:
        file: a `.parquet` or a `.csv` file with the columns `path` and `score`; other columns are ignored.

    Returns:
        the tiles' paths and their scores, in the order of the file.

    Raises:
        PredictionError: it is not such a file, a column is missing, or a score is not a probability.
        OSError: it cannot be read.
    """
    paths, column = _read_columns(file, "score", (".parquet", ".csv"))
    if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type) or pa.types.is_boolean(column.type)):
        raise PredictionError(
            f"{file}: the column score holds {column.type}; it is a number, the probability of glaciar"
        )
    scores = column.cast(pa.float64()).to_numpy()  # null becomes NaN
    wrong = np.flatnonzero(~((scores >= 0) & (scores <= 1)))  # NaN included
    if wrong.size:
        others = f" (nor are {wrong.size - 1} more)" if wrong.size > 1 else ""
        raise PredictionError(
            f"{file}: {paths[wrong[0]]}: the score {scores[wrong[0]]} is not a probability{others}; give that of "
            "glaciar, from 0 to 1 (of logits, the softmax or the sigmoid)"
        )
    return paths, scores


def read_masks(place: Path) -> tuple[list[str], Iterator[Mask]]:
    """Read predicted masks.

    Args:
        place: a folder of PNG files named by path, or a `.parquet` file with the columns `path` and `mask`. A PNG file
            has up to 8 bits: grey with the values 0 and 1 or 0 and 255, or black and white as the dataset's masks are.

    Returns:
        the tiles' paths, and an iterator over their masks in this order, which raises `PredictionError` at a mask that
        is missing or damaged, or has another size or other values.

    Raises:
        PredictionError: it is not such a file or folder, or a column is missing.
        OSError: it cannot be read.
    """
    if place.is_dir():
        files = (file.relative_to(place) for file in place.rglob("*") if file.suffix.lower() == ".png")
        paths = sorted(file.as_posix() for file in files if not file.name.startswith("."))  # "._" of macOS
        if not paths:
            raise PredictionError(f"{place}: holds no PNG files; name them by path, such as test/glaciar/012.png in it")
        return paths, _masks_of(place, paths, (place / path for path in paths))
    paths, column = _read_columns(place, "mask", (".parquet",), " of masks, or a folder of PNG files")
    kind = column.type
    if not (pa.types.is_struct(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        raise PredictionError(f"{place}: the column mask holds {kind}; masks are PNG files as bytes, or images")
    return paths, _masks_of(place, paths, column.to_pylist())


def _masks_of(place: Path, paths: Sequence[str], contents: Iterable[Any]) -> Iterator[Mask]:
    for path, content in zip(paths, contents, strict=True):
        try:
            png = read_png_file(content) if isinstance(content, Path) else content
            png = png.get("bytes") if isinstance(png, dict) else png
            if not isinstance(png, bytes):
                raise ValueError("has no mask; give the bytes of a PNG file, all black where there is no rock glacier")
            mask = _decode_mask(png)
        except OSError as error:
            raise PredictionError(f"{place}: {path}: cannot be read ({error.strerror}); make it readable") from None
        except ValueError as error:
            raise PredictionError(f"{place}: {path}: {error}") from None
        yield mask


def _decode_mask(png: bytes) -> Mask:
    try:
        pixels = decode_any_png(png)
    except ValueError as error:
        remedy = f"write the mask as a PNG file of {TILE_SIZE} x {TILE_SIZE} pixels of up to 8 bits"
        raise ValueError(f"{error}; {remedy}") from None
    if (pixels[..., :3] != pixels[..., :1]).any() or (pixels[..., 3] != 255).any():
        return mask_to_class_indices(pixels)
    found = np.unique(pixels[..., 0])
    if not (np.isin(found, (0, 1)).all() or np.isin(found, (0, 255)).all()):
        some = ", ".join(map(str, found[:5].tolist())) + (", ..." if found.size > 5 else "")
        raise ValueError(f"has the values {some}; a mask's are 0 and 1, or 0 and 255 (1 and 255 are rock glacier)")
    return (pixels[..., 0] != 0).astype(np.uint8)


def match_tiles(place: Path, predicted: Sequence[str], tiles: Sequence[str], split: str) -> npt.NDArray[np.intp]:
    """Find each prediction's tile.

    Args:
        place: the file or folder of the predictions, for messages.
        predicted: the paths of the predictions.
        tiles: the paths of the split's tiles, each once.
        split: name of the split, for messages.

    Returns:
        shape (predictions,): the place of each prediction's tile in `tiles`.

    Raises:
        PredictionError: a tile is missing, or predicted more than once, or a path is of no tile.
    """
    rows = {path: row for row, path in enumerate(tiles)}
    counts = Counter(predicted)
    unknown = [path for path in counts if path not in rows]
    repeated = [path for path, number in counts.items() if number > 1]
    missing = [path for path in tiles if path not in counts]
    for paths, what in (
        (unknown, f"of no tile of the split {split}, whose paths are such as {tiles[0]}; leave out others"),
        (repeated, "predicted more than once; leave one prediction of each"),
        (missing, f"not predicted; predict every tile of the split {split}"),
    ):
        if paths:
            names = ", ".join(paths[:3]) + (", ..." if len(paths) > 3 else "")
            verb = "path ({}) is" if len(paths) == 1 else "paths ({}) are"
            raise PredictionError(f"{place}: {len(paths)} {verb.format(names)} {what}")
    return np.array([rows[path] for path in predicted], np.intp)


def _read_columns(
    file: Path, name: str, suffixes: Sequence[str], others: str = ""
) -> tuple[list[str], pa.ChunkedArray]:
    """Read the paths and one more column of a table."""
    if file.suffix not in suffixes:
        raise PredictionError(f"{file}: its name does not end in {' or '.join(suffixes)}; give such a file{others}")
    if not file.exists():
        raise PredictionError(f"{file}: no such file; give the predictions of your model")
    try:
        table = read_csv(file, _SCORE_SCHEMA) if file.suffix == ".csv" else _read_parquet(file, ["path", name])
    except (ValueError, OSError) as error:
        raise PredictionError(f"{file}: {error}") from None
    try:
        paths: list[Any] = table["path"].cast(pa.string()).to_pylist()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise PredictionError(f"{file}: the column path does not hold text ({error}); name the tiles in it") from None
    if not all(paths):
        number = next(number for number, path in enumerate(paths, 1) if not path)
        raise PredictionError(f"{file}: row {number} has no path; name the tile")
    return paths, table[name]


def _read_parquet(file: Path, names: list[str]) -> pa.Table:
    try:
        with pq.ParquetFile(file) as parquet:
            check_columns(parquet.schema_arrow.names, names)
            if parquet.metadata.num_rows > _MOST_ROWS:
                raise ValueError(f"claims {parquet.metadata.num_rows:,} rows; give one for each tile")
            table = parquet.read(names)
            table.validate(full=True)  # such as that text is UTF-8
            return table
    except (pa.ArrowException, OSError) as error:  # of both kinds where a page is damaged
        raise ValueError(f"cannot be read as Parquet ({error}); write it again") from None
