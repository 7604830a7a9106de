"""A model's predictions as files: scores for image-classification, masks for image-segmentation; written and read.

Scores are a Parquet or CSV file with the columns `path` and `score`, the probability of glaciar. Masks are a Parquet
file with the columns `path` and `mask`, or a folder of PNG files named as the tiles are
(`FOLDER/test/glaciar/012.png`). `write_masks` writes a Hugging Face image column, which
`datasets.load_dataset("parquet", data_files=...)` shows; `MaskPredictions` reads what other tools write as well.
"""

from __future__ import annotations

import io
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from rock_glacier.files import new_output_file
from rock_glacier.masks import class_indices_to_mask
from rock_glacier.scoring import THRESHOLD
from rock_glacier.scoring.mask_formats import Mask, mask_of_array, mask_of_png
from rock_glacier_dataset import TILE_SIZE

Scores = npt.NDArray[np.float64]
"""Shape (tiles,), values in [0, 1]: the probability of glaciar."""

_SCORE_SUFFIXES = (".parquet", ".csv")
_SCORE_SCHEMA = pa.schema([("path", pa.string()), ("score", pa.float64())])
_MASK_COLUMNS = ("mask", "masks")
_MASK_SCHEMA = datasets.Features({"path": datasets.Value("string"), "mask": datasets.Image()}).arrow_schema
_MASKS_WRITTEN_AT_ONCE = 100
_MASKS_READ_AT_ONCE = 64  # 8 MiB as float64


class PredictionError(ValueError):
    """A fault in predictions: names the file, the tile's path, what is wrong and the remedy."""


def write_scores(file: Path, paths: Sequence[str], scores: npt.ArrayLike) -> None:
    """Write the predictions of a classifier.

    Args:
        file: a `.parquet` or a `.csv` file; it appears when it is complete, or stays as it was.
        paths: the tiles' paths.
        scores: shape (tiles,), values in [0, 1]: the probability of glaciar for each.

    Raises:
        PredictionError: a score is not a probability, the numbers of paths and scores differ, or the file has another
            suffix.
        OSError: the file cannot be written.
    """
    values = np.asarray(scores, np.float64)
    _check_suffix(file, _SCORE_SUFFIXES)
    if values.shape != (len(paths),):
        raise PredictionError(
            f"{file}: {len(paths)} paths and scores of shape {values.shape}; give one score for each path"
        )
    _check_scores(file, paths, values)
    table = pa.table([list(paths), values], schema=_SCORE_SCHEMA)
    with new_output_file(file) as temporary:
        if file.suffix == ".csv":
            pa_csv.write_csv(table, temporary)
        else:
            pq.write_table(table, temporary)


def write_masks(file: Path, masks: Iterable[tuple[str, npt.NDArray[np.uint8]]]) -> int:
    """Write the predictions of a segmentation model; memory does not grow with their number.

    Args:
        file: a `.parquet` file; it appears when it is complete, or stays as it was.
        masks: path and predicted mask of each tile, shape (128, 128) with values in {0, 1}.

    Returns:
        the number of masks.

    Raises:
        PredictionError: a mask has another shape or other values, or the file has another suffix.
        OSError: the file cannot be written.
    """
    _check_suffix(file, (".parquet",))

    def row_of(path: str, mask: npt.NDArray[np.uint8]) -> dict[str, Any]:
        png = io.BytesIO()
        try:
            class_indices_to_mask(mask).save(png, "PNG")
        except ValueError as error:
            raise PredictionError(f"{file}: {path}: {error}") from None
        return {"path": path, "mask": {"bytes": png.getvalue(), "path": None}}

    rows, number = itertools.starmap(row_of, masks), 0
    with new_output_file(file) as temporary, pq.ParquetWriter(temporary, _MASK_SCHEMA) as writer:
        while some := list(itertools.islice(rows, _MASKS_WRITTEN_AT_ONCE)):
            writer.write_table(pa.Table.from_pylist(some, _MASK_SCHEMA))
            number += len(some)
    return number


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
    _check_suffix(file, _SCORE_SUFFIXES)
    if file.suffix == ".csv":
        types = pa_csv.ConvertOptions(column_types=_SCORE_SCHEMA, strings_can_be_null=True)
        try:
            with file.open("rb") as opened:  # one thread, because errors then name the row
                table = pa_csv.read_csv(opened, pa_csv.ReadOptions(use_threads=False), convert_options=types)
        except (pa.ArrowInvalid, UnicodeDecodeError) as error:
            raise PredictionError(f"{file}: is not CSV of path and score ({error}); write it again") from None
        _check_columns(file, _SCORE_SCHEMA.names, table.column_names)
    else:
        with _open_parquet(file) as parquet:
            _check_columns(file, _SCORE_SCHEMA.names, parquet.schema_arrow.names)
            table = parquet.read(_SCORE_SCHEMA.names)
    kind = table.schema.field("score").type
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
        raise PredictionError(f"{file}: the column score holds {kind}; it is a number, the probability of glaciar")
    paths, scores = _read_paths(file, table["path"]), table["score"].cast(pa.float64()).to_numpy()  # null becomes NaN
    _check_scores(file, paths, scores)
    return paths, scores


def _check_scores(file: Path, paths: Sequence[str], scores: Scores) -> None:
    wrong = np.flatnonzero(~((scores >= 0) & (scores <= 1)))  # NaN included
    if wrong.size:
        others = f" (nor are {wrong.size - 1} more)" if wrong.size > 1 else ""
        raise PredictionError(
            f"{file}: {paths[wrong[0]]}: the score {scores[wrong[0]]} is not a probability{others}; give that of "
            "glaciar, from 0 to 1 (of logits, the softmax or the sigmoid)"
        )


class MaskPredictions:
    """Predicted masks in a file or a folder, read one by one.

    Args:
        place: a folder of PNG files named by path, or a `.parquet` file with the columns `path` and `mask` (or
            `masks`). A mask there is a PNG file as bytes, an image as `datasets` stores it, or a nested list of 128
            rows of 128 numbers; see `mask_formats`.
        threshold: probability from which a pixel is rock glacier, where masks are floats.

    Attributes:
        paths: the tiles' paths.
        are_probabilities: whether the threshold is applied.

    Raises:
        PredictionError: it is not such a file or folder, or a column is missing.
        OSError: it cannot be read.
    """

    def __init__(self, place: Path, threshold: float = THRESHOLD) -> None:
        self._place, self._threshold, self._are_arrays, self.are_probabilities = place, threshold, False, False
        if place.is_dir():
            files = (file.relative_to(place) for file in place.rglob("*") if file.suffix.lower() == ".png")
            self.paths = sorted(file.as_posix() for file in files if not file.name.startswith("."))  # "._" of macOS
            if not self.paths:
                raise PredictionError(
                    f"{place}: holds no PNG files; name them by path, such as test/glaciar/012.png in it"
                )
            return
        _check_suffix(place, (".parquet",), " of masks, or a folder of PNG files")
        with _open_parquet(place) as parquet:
            names = parquet.schema_arrow.names
            self._column = next((name for name in _MASK_COLUMNS if name in names), _MASK_COLUMNS[0])
            _check_columns(place, ("path", self._column), names)
            numbers = _numbers_of_column(place, parquet.schema_arrow.field(self._column))
            self._are_arrays = numbers is not None
            self.are_probabilities = numbers is not None and pa.types.is_floating(numbers)
            self.paths = _read_paths(place, parquet.read(["path"])["path"])

    def __iter__(self) -> Iterator[tuple[str, Mask]]:
        """Yield path and mask of each tile, in the order of `paths`.

        Raises:
            PredictionError: a mask is missing or damaged, or has another size or other values.
            OSError: it cannot be read.
        """
        for path, content in zip(self.paths, self._contents(), strict=True):
            try:
                yield path, self._mask_of(content)
            except ValueError as error:
                raise PredictionError(f"{self._place}: {path}: {error}") from None

    def _contents(self) -> Iterator[Any]:
        if self._place.is_dir():
            yield from ((self._place / path).read_bytes() for path in self.paths)
            return
        with _open_parquet(self._place) as parquet:
            for batch in parquet.iter_batches(_MASKS_READ_AT_ONCE, columns=[self._column], use_threads=False):
                column = batch[self._column]
                column = column.storage if isinstance(column, pa.ExtensionArray) else column
                yield from column if self._are_arrays else column.to_pylist()

    def _mask_of(self, content: Any) -> Mask:
        if self._are_arrays:
            content = content.values
        elif isinstance(content, dict):
            if content["bytes"] is None and content.get("path"):
                raise ValueError(f"is only the name of a file, {content['path']}; write its bytes into the column")
            content = content["bytes"]
        if content is None:
            raise ValueError("has no mask; predict one, all 0 where there is no rock glacier")
        return mask_of_array(_array_of(content), self._threshold) if self._are_arrays else mask_of_png(content)


def _numbers_of_column(file: Path, field: pa.Field) -> pa.DataType | None:
    """Return the type of the numbers in a column of arrays; None for a column of PNG files or images."""
    kind = field.type.storage_type if isinstance(field.type, pa.BaseExtensionType) else field.type
    if _is_list(kind) and _is_list(kind.value_type):
        return kind.value_type.value_type
    if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)) and not (
        pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0
    ):
        raise PredictionError(
            f"{file}: the column {field.name} holds {kind}; masks are PNG files as bytes, images, or nested lists of "
            f"{TILE_SIZE} rows of {TILE_SIZE} numbers"
        )
    return None


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _array_of(rows: pa.Array) -> npt.NDArray[Any]:
    lengths = set(pc.list_value_length(rows).to_pylist())
    if lengths != {TILE_SIZE}:
        found = ", ".join(sorted(map(str, lengths))[:5]) or "no"
        raise ValueError(f"is rows of {found} numbers; a mask has {TILE_SIZE} rows of {TILE_SIZE}, as the tile has")
    numbers = rows.flatten()
    if numbers.null_count:
        raise ValueError("has pixels without a value; give one for each")
    return numbers.to_numpy(zero_copy_only=False).reshape(-1, TILE_SIZE)


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


def _read_paths(file: Path, column: pa.ChunkedArray) -> list[str]:
    try:
        paths: list[str] = column.cast(pa.string()).to_pylist()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise PredictionError(f"{file}: the column path does not hold text ({error}); name the tiles in it") from None
    if column.null_count:
        raise PredictionError(f"{file}: row {paths.index(None) + 1} has no path; name the tile")  # type: ignore[arg-type]
    return paths


def _open_parquet(file: Path) -> pq.ParquetFile:
    try:
        # Through a small buffer, so that a large row group is never whole in memory.
        return pq.ParquetFile(file, buffer_size=2**20, pre_buffer=False)
    except pa.ArrowInvalid as error:
        raise PredictionError(f"{file}: is not a Parquet file ({error}); write it again") from None


def _check_suffix(file: Path, suffixes: Sequence[str], others: str = "") -> None:
    if file.suffix not in suffixes:
        raise PredictionError(f"{file}: its name does not end in {' or '.join(suffixes)}; give such a file{others}")


def _check_columns(file: Path, expected: Sequence[str], found: Sequence[str]) -> None:
    for name in expected:
        if list(found).count(name) != 1:
            number = "more than one" if name in found else "no"
            raise PredictionError(f"{file}: has {number} column {name}; its columns are {', '.join(found) or 'none'}")
