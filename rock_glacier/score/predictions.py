"""Predictions of a model as files: scores for image-classification, masks for image-segmentation.

Scores are a CSV or Parquet file with the columns `path` and `score`, the probability of `glaciar`.
Masks are a folder of grey PNG files with the paths of the tiles: `FOLDER/test/glaciar/012.png`.
They hold a class or a score for each pixel.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from PIL import Image

from rock_glacier.faults import InputError
from rock_glacier.output import count
from rock_glacier.png import decode_any
from rock_glacier_dataset import TILE_SIZE, ArchiveError, is_ignored

MAX_VALUE = 255
"""Value of a pixel in `Predictions.values` whose score is 1."""

# Largest rounding error of a score. A softmax in float32 can give 1.0000001.
_ROUNDING = 1e-6

_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")  # the first bytes of a file

_SAVE_MASK = (
    f"Save the mask as a grey 8-bit PNG file of {TILE_SIZE} x {TILE_SIZE} pixels, with the values "
    "0 and 1, 0 and 255, or scores times 255"
)


@dataclass(frozen=True)
class Predictions:
    """Predictions of a model for tiles, in any order.

    Attributes:
        source: File or folder of the predictions, or another name for messages.
        paths: Paths of the tiles.
        values: float64 of shape (tiles,), the probability of `glaciar`; or uint8 of shape
            (tiles, 128, 128), the probability of rock glacier times `MAX_VALUE`, which is 0 or
            `MAX_VALUE` in a mask of classes.
    """

    source: str
    paths: Sequence[str]
    values: npt.NDArray[Any]

    def in_order_of(self, paths: Sequence[str]) -> npt.NDArray[Any]:
        """Return the values in the order of the tiles of a split.

        Args:
            paths: Paths of all tiles of the split.

        Raises:
            InputError: If there is not exactly one prediction for each tile.
        """
        predicted = _with_lower_case_extension(self.paths)
        tiles = _with_lower_case_extension(paths)
        example = f"Tiles of the split have paths such as {paths[0]}"
        self._check(predicted.difference(tiles), f"not tiles of the split. {example}")
        self._check(predicted[predicted.duplicated()].unique(), "predicted more than once")
        self._check(tiles.difference(predicted), "not predicted. Predict every tile of the split")
        return self.values[predicted.get_indexer(tiles)]

    def _check(self, paths: pd.Index, problem: str) -> None:
        if len(paths) == 0:
            return
        verb = "is" if len(paths) == 1 else "are"
        raise InputError(
            f"{self.source}: {count(len(paths), 'path')}, such as {paths[0]}, {verb} {problem}."
        )


def _with_lower_case_extension(paths: Sequence[str]) -> pd.Index:
    return pd.Index([path[:-4] + path[-4:].lower() for path in paths])


def read_scores(file: Path) -> Predictions:
    """Read the predictions of a classifier.

    Args:
        file: A `.csv` or `.parquet` file with the columns `path` and `score`. Other columns are
            ignored.

    Raises:
        InputError: If it is not such a file, or if a score is not a number from 0 to 1.
    """
    table = _read_table(file)
    for name in ("path", "score"):
        if table.column_names.count(name) != 1:
            columns = ", ".join(table.column_names)
            raise InputError(f"{file}: needs one column {name}. Its columns are: {columns}.")
    try:
        paths = pc.utf8_trim_whitespace(table["path"].cast(pa.string())).to_pylist()
        scores = table["score"].cast(pa.float64()).to_numpy()  # null becomes NaN
    except pa.ArrowException as error:
        raise InputError(
            f"{file}: the column path must hold text, score must hold numbers ({error})."
        ) from None
    is_valid = (scores >= -_ROUNDING) & (scores <= 1 + _ROUNDING)  # false for NaN
    if not is_valid.all():
        row = int(np.argmin(is_valid))
        raise InputError(
            f"{file}: row {row + 1} ({paths[row]}): the score {scores[row]} is not a probability "
            "from 0 to 1. Give the probability of glaciar, for logits their softmax or sigmoid."
        )
    return Predictions(str(file), paths, scores.clip(0, 1))


def read_masks(folder: Path) -> Predictions:
    """Read predicted masks.

    All files are read in the same way. If they hold only 0 and 1, or only 0 and 255, they are
    classes; otherwise they are scores times 255.

    Args:
        folder: Folder of PNG files with the paths of the tiles; links to folders are followed. A
            file is grey with 1 to 8 bits per pixel, or has equal red, green and blue. A file with
            a palette is read by its indices if they are 0 and 1.

    Raises:
        InputError: If there are no such files, if one is damaged or has another size, colours or
            palette, or if some masks hold 0 and 1 and others 0 and 255.
    """
    if not folder.is_dir():
        raise InputError(
            f"{folder}: is not a folder. Give a folder with masks such as test/glaciar/012.png."
        )
    paths = sorted(_list_pngs(folder))
    if not paths:
        raise InputError(
            f"{folder}: holds no PNG files. Name masks by the paths of the tiles, for example "
            "test/glaciar/012.png."
        )
    values = np.empty((len(paths), TILE_SIZE, TILE_SIZE), np.uint8)
    is_used = np.zeros(MAX_VALUE + 1, np.bool_)  # of each value
    for row, path in enumerate(paths):
        values[row] = _read_grey(folder / path)
        is_used[values[row]] = True
    if not is_used[2:].any():
        values *= MAX_VALUE
    elif is_used[1] and not is_used[2:MAX_VALUE].any():
        raise InputError(
            f"{folder}: some masks hold 0 and 1, others 0 and 255. Save all in the same way."
        )
    return Predictions(str(folder), paths, values)


def _read_table(file: Path) -> pa.Table:
    """Read a table; blanks around the names of its columns are dropped."""
    if not file.is_file():
        raise InputError(f"{file}: is not a file. Give a CSV or Parquet file of scores.")
    suffix = file.suffix.lower()
    if suffix not in (".csv", ".parquet"):
        raise InputError(f"{file}: its name does not end in .csv or .parquet. Give such a file.")
    try:
        table = _read_csv(file) if suffix == ".csv" else pq.read_table(file)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{file}: cannot be read ({error}). Write the file again.") from None
    return table.rename_columns([name.strip() for name in table.column_names])


def _read_csv(file: Path) -> pa.Table:
    with file.open("rb") as opened:
        if opened.read(2) in _UTF16_MARKS:
            raise InputError(f"{file}: is encoded as UTF-16. Save it as UTF-8.")
    with pyarrow.csv.open_csv(file) as reader:
        names = reader.schema.names
    types = {"path": pa.string(), "score": pa.float64()}
    column_types = {name: types[name.strip()] for name in names if name.strip() in types}
    options = pyarrow.csv.ConvertOptions(column_types=column_types)
    return pyarrow.csv.read_csv(file, convert_options=options)


def _list_pngs(folder: Path) -> Iterator[str]:
    """Yield the relative paths of the PNG files below a folder; links to folders are followed."""
    for directory, _, names in os.walk(folder, followlinks=True):
        for name in names:
            path = Path(directory, name).relative_to(folder).as_posix()
            if name.lower().endswith(".png") and not is_ignored(path):
                yield path


def _read_grey(file: Path) -> npt.NDArray[np.uint8]:
    """Read the grey values, or the indices 0 and 1, of a file: uint8 of shape (128, 128)."""
    png = file.read_bytes()
    try:
        pixels = decode_any(png, str(file))
    except ArchiveError as error:
        raise InputError(f"{file}: {error.fault.problem}. {_SAVE_MASK}.") from None
    with Image.open(io.BytesIO(png)) as image:
        if image.mode == "P":
            return _read_indices(image, file)
    if (pixels[..., :3] != pixels[..., :1]).any() or (pixels[..., 3] != MAX_VALUE).any():
        raise InputError(f"{file}: has colours or transparent pixels. {_SAVE_MASK}.")
    return pixels[..., 0]


def _read_indices(image: Image.Image, file: Path) -> npt.NDArray[np.uint8]:
    """Read class indices that were saved with a palette.

    Some software saves indices with an arbitrary palette, often all black or without entries. Other
    software makes a palette of the colours of a mask, and may put white first.
    """
    indices = np.array(image)
    if indices.max() > 1:
        raise InputError(f"{file}: has a palette and indices other than 0 and 1. {_SAVE_MASK}.")
    missing_colours = [0] * 6
    palette = np.array([*(image.getpalette() or []), *missing_colours])
    if palette[:3].sum() > palette[3:6].sum():
        raise InputError(f"{file}: has a palette with the brighter colour first. {_SAVE_MASK}.")
    return indices
