"""Predictions of a model as files: scores for image-classification, masks for image-segmentation.

Scores are a CSV or Parquet file with the columns `path` and `score`, the probability of `glaciar`.
Masks are a folder of PNG files with the paths of the tiles: `FOLDER/test/glaciar/012.png`.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from PIL import Image

from rock_glacier.faults import InputError
from rock_glacier.masks import mask_to_class_indices
from rock_glacier.output import count
from rock_glacier.png import decode_any
from rock_glacier_dataset import TILE_SIZE, ArchiveError, is_ignored

_SAVE_MASK = (
    f"Save the mask as an 8-bit PNG file of {TILE_SIZE} x {TILE_SIZE} pixels: grey with 0 and 1 or "
    "0 and 255, or black and white"
)


@dataclass(frozen=True)
class Predictions:
    """Predictions of a model for tiles, in any order.

    Attributes:
        source: File or folder of the predictions, or another name for messages.
        paths: Paths of the tiles.
        values: float64 of shape (tiles,), the probability of `glaciar`; or uint8 of shape
            (tiles, 128, 128), predicted masks of 0 and 1 (rock glacier).
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
        predicted = pd.Index(self.paths)
        tiles = pd.Index(paths)
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
        paths = table["path"].cast(pa.string()).to_pylist()
        scores = table["score"].cast(pa.float64()).to_numpy()  # null becomes NaN
    except pa.ArrowException as error:
        raise InputError(
            f"{file}: the column path must hold text, score must hold numbers ({error})."
        ) from None
    is_valid = (scores >= 0) & (scores <= 1)  # false for NaN
    if not is_valid.all():
        row = int(np.argmin(is_valid))
        raise InputError(
            f"{file}: row {row + 1} ({paths[row]}): the score {scores[row]} is not a probability "
            "from 0 to 1. Give the probability of glaciar, for logits their softmax or sigmoid."
        )
    return Predictions(str(file), paths, scores)


def read_masks(folder: Path) -> Predictions:
    """Read predicted masks.

    Args:
        folder: Folder of PNG files with the paths of the tiles. A file has 1 to 8 bits per channel:
            grey with the values 0 and 1 or 0 and 255, or black and white like the dataset's masks.

    Raises:
        InputError: If there are no such files, or if one is damaged or has another size or values.
    """
    if not folder.is_dir():
        raise InputError(
            f"{folder}: is not a folder. Give a folder with masks such as test/glaciar/012.png."
        )
    paths = [file.relative_to(folder).as_posix() for file in sorted(folder.rglob("*.png"))]
    paths = [path for path in paths if not is_ignored(path)]
    if not paths:
        raise InputError(
            f"{folder}: holds no PNG files. Name masks by the paths of the tiles, for example "
            "test/glaciar/012.png."
        )
    masks = np.empty((len(paths), TILE_SIZE, TILE_SIZE), np.uint8)
    for row, path in enumerate(paths):
        masks[row] = _read_mask(folder / path)
    return Predictions(str(folder), paths, masks)


def _read_table(file: Path) -> pa.Table:
    if not file.is_file():
        raise InputError(f"{file}: is not a file. Give a CSV or Parquet file of scores.")
    try:
        if file.suffix == ".csv":
            types = {"path": pa.string(), "score": pa.float64()}
            options = pyarrow.csv.ConvertOptions(column_types=types)
            return pyarrow.csv.read_csv(file, convert_options=options)
        if file.suffix == ".parquet":
            return pq.read_table(file)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{file}: cannot be read ({error}). Write the file again.") from None
    raise InputError(f"{file}: its name does not end in .csv or .parquet. Give such a file.")


def _read_mask(file: Path) -> npt.NDArray[np.uint8]:
    png = file.read_bytes()
    try:
        pixels = decode_any(png, str(file))
    except ArchiveError as error:
        raise InputError(f"{file}: {error.fault.problem}. {_SAVE_MASK}.") from None
    if Image.open(io.BytesIO(png)).mode == "P":
        # Some software writes class indices with an arbitrary palette, often all black.
        raise InputError(f"{file}: has a palette. {_SAVE_MASK}.")
    colours = pixels.reshape(-1, 4)
    grey = pixels[..., 0]
    if (colours[:, :3] == colours[:, :1]).all() and (colours[:, 3] == 255).all():
        for white in (1, 255):
            if np.isin(grey, (0, white)).all():
                return (grey == white).astype(np.uint8)
    try:
        return mask_to_class_indices(pixels)
    except ValueError as error:
        raise InputError(f"{file}: {error}. {_SAVE_MASK}.") from None
