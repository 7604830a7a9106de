"""A model's predictions as files: scores for image-classification, masks for image-segmentation; written and read.

Scores are a Parquet or CSV file with the columns `path` and `score`, the probability of glaciar. Masks are a Parquet
file with the columns `path` and `mask`, or a folder of PNG files that are named as the tiles are
(`masks/test/glaciar/12.png`). What is written here is a Hugging Face image column, which
`datasets.load_dataset("parquet", data_files=...)` shows; what is read may come from any tool, see `MaskPredictions`.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from mask_formats import Mask, mask_of_array, mask_of_png, png_of_mask
from parquet_shards import write_shard

from rock_glacier.files import new_output_file
from rock_glacier_dataset import TILE_SIZE

Scores = npt.NDArray[np.float64]
"""Shape (tiles,), values in [0, 1]: the probability of glaciar."""

MASK_COLUMNS = ("mask", "masks")

SCORE_SUFFIXES = (".parquet", ".csv")

THRESHOLD = 0.5
"""Probability from which a tile counts as glaciar, and a pixel as rock glacier."""

_MASK_FEATURES = datasets.Features({"path": datasets.Value("string"), "mask": datasets.Image()})

_ROWS_AT_ONCE = 64  # masks; as float64, 8 MiB


class PredictionError(ValueError):
    """A fault in a file of predictions: says which file and path, what is wrong, and what to do."""


class PredictedScores(NamedTuple):
    """Scores as a file holds them, in its order.

    Attributes:
        paths: the tiles' paths, such as `test/glaciar/12.png`.
        scores: the probability of glaciar for each.
    """

    paths: list[str]
    scores: Scores


# -------------------------------------------------------------------------------------------------------------- writing


def write_scores(file: Path, paths: Sequence[str], scores: npt.ArrayLike) -> None:
    """Write the predictions of a classifier.

    Args:
        file: a `.parquet` or a `.csv` file; it appears when it is complete, or stays as it was.
        paths: the tiles' paths.
        scores: shape (tiles,), values in [0, 1]: the probability of glaciar for each.

    Raises:
        PredictionError: a score is no probability, there are not as many as paths, or the file has another suffix.
        OSError: the file cannot be written.
    """
    values = np.asarray(scores, np.float64)
    _check_suffix(file, SCORE_SUFFIXES)
    if values.shape != (len(paths),):
        raise PredictionError(
            f"{file}: {len(paths)} paths and scores of shape {values.shape}; give one score for each path"
        )
    _check_scores(file, paths, values)
    with new_output_file(file) as beside:
        if file.suffix == ".csv":
            with beside.open("w", encoding="utf-8", newline="") as opened:
                writer = csv.writer(opened, lineterminator="\n")
                writer.writerow(("path", "score"))
                writer.writerows(zip(paths, values.tolist(), strict=True))  # the shortest digits that give it back
        else:
            schema = pa.schema([("path", pa.string()), ("score", pa.float64())])
            pq.write_table(pa.table([pa.array(paths, pa.string()), pa.array(values)], schema=schema), beside)


def write_masks(file: Path, masks: Iterable[tuple[str, npt.NDArray[np.uint8]]]) -> int:
    """Write the predictions of a segmentation model.

    Args:
        file: a `.parquet` file; it appears when it is complete, or stays as it was.
        masks: path and predicted mask of each tile, shape (128, 128) with values in {0, 1}; taken as they come, so
            that memory does not grow with their number.

    Returns:
        the number of masks.

    Raises:
        PredictionError: a mask has another shape or other values, or the file has another suffix.
        OSError: the file cannot be written.
    """
    _check_suffix(file, (".parquet",))
    with new_output_file(file) as beside:
        rows = ({"path": path, "mask": _png(file, path, mask)} for path, mask in masks)
        return write_shard(beside, _MASK_FEATURES, rows).examples


def _png(file: Path, path: str, mask: npt.NDArray[np.uint8]) -> bytes:
    try:
        return png_of_mask(mask)
    except ValueError as error:
        raise PredictionError(f"{file}: {path}: {error}") from None


# -------------------------------------------------------------------------------------------------------------- reading


def read_scores(file: Path) -> PredictedScores:
    """Read the predictions of a classifier.

    Args:
        file: a `.parquet` or a `.csv` file with the columns `path` and `score`; others are passed over.

    Raises:
        PredictionError: it is no such file, a column is missing, or a score is no probability.
        OSError: it cannot be read.
    """
    _check_suffix(file, SCORE_SUFFIXES)
    paths, scores = _scores_of_csv(file) if file.suffix == ".csv" else _scores_of_parquet(file)
    _check_scores(file, paths, scores)
    return PredictedScores(paths, scores)


def _scores_of_csv(file: Path) -> PredictedScores:
    paths, scores = [], []
    with file.open(encoding="utf-8-sig", newline="") as opened:
        reader = csv.DictReader(opened)
        try:
            _check_columns(file, ("path", "score"), reader.fieldnames or ())
            for row in reader:
                if not row["path"]:
                    raise PredictionError(f"{file}: line {reader.line_num} has no path; name the tile")
                try:
                    scores.append(float(row["score"] or "nan"))
                except ValueError:
                    raise _no_probability(file, row["path"], row["score"]) from None
                paths.append(row["path"])
        except (UnicodeDecodeError, csv.Error) as error:
            raise PredictionError(f"{file}: line {reader.line_num + 1} is no CSV ({error}); write it anew") from None
    return PredictedScores(paths, np.array(scores, np.float64))


def _scores_of_parquet(file: Path) -> PredictedScores:
    with _open_parquet(file) as parquet:
        _check_columns(file, ("path", "score"), parquet.schema_arrow.names)
        table = parquet.read(["path", "score"])
    kind = table.schema.field("score").type
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
        raise PredictionError(f"{file}: the column score holds {kind}; it is a number, the probability of glaciar")
    scores = table["score"].cast(pa.float64()).to_numpy()  # what is missing becomes NaN
    return PredictedScores(_paths_of(file, table["path"]), scores)


def _check_scores(file: Path, paths: Sequence[str], scores: Scores) -> None:
    wrong = np.flatnonzero(~((scores >= 0) & (scores <= 1)))  # NaN too
    if wrong.size:
        raise _no_probability(file, paths[wrong[0]], scores[wrong[0]], wrong.size - 1)


def _no_probability(file: Path, path: str, score: object, more: int = 0) -> PredictionError:
    others = f" ({more} more are none either)" if more else ""
    return PredictionError(
        f"{file}: {path}: the score {score} is no probability{others}; give that of glaciar, from 0 to 1 (of logits, "
        "the softmax or the sigmoid)"
    )


class MaskPredictions:
    """The predictions of a segmentation model, read mask by mask in the order in which they stand.

    The column `mask` (or `masks`) of a Parquet file may hold PNG files as bytes, a Hugging Face image column, or
    arrays: nested lists of any kind, 128 rows of 128 numbers. The files of a folder are PNG, named by path.

    A mask's values are 0 and 1; or 0 and 255; or in a PNG of colours, the dataset's two. Arrays of floats are
    probabilities of rock glacier, from 0 to 1, and count from the threshold up. In a grey PNG nothing is between:
    whether its 128 is half a probability or a class of its own, the file does not say.

    Args:
        place: the file or folder.
        threshold: probability from which a pixel is rock glacier.

    Attributes:
        paths: the tiles' paths, as they stand.
        are_probabilities: whether the threshold is applied.

    Raises:
        PredictionError: it is no such file or folder, or a column is missing.
        OSError: it cannot be read.
    """

    def __init__(self, place: Path, threshold: float = THRESHOLD) -> None:
        self._place = place
        self._threshold = threshold
        self.are_probabilities = False
        self._kind = "file"
        if place.is_dir():
            self.paths = _paths_of_folder(place)
            return
        _check_suffix(place, (".parquet",), " of masks, or a folder of PNG files")
        with _open_parquet(place) as parquet:
            names = parquet.schema_arrow.names
            self._column = next((name for name in MASK_COLUMNS if name in names), MASK_COLUMNS[0])
            _check_columns(place, ("path", self._column), names)
            self._kind, numbers = _kind_of(place, parquet.schema_arrow.field(self._column))
            self.are_probabilities = pa.types.is_floating(numbers)
            self.paths = _paths_of(place, parquet.read(["path"])["path"])

    def __iter__(self) -> Iterator[tuple[str, Mask]]:
        """Yield path and mask of each tile.

        Raises:
            PredictionError: a mask is missing, damaged, of another size, or has other values.
            OSError: it cannot be read.
        """
        for path, content in self._of_folder() if self._place.is_dir() else self._of_parquet():
            try:
                mask = self._mask_of(content)
            except ValueError as error:
                raise PredictionError(f"{self._place}: {path}: {error}") from None
            yield path, mask

    def _of_folder(self) -> Iterator[tuple[str, Any]]:
        for path in self.paths:
            yield path, (self._place / path).read_bytes()

    def _of_parquet(self) -> Iterator[tuple[str, Any]]:
        with _open_parquet(self._place) as parquet:
            columns = ["path", self._column]
            for batch in parquet.iter_batches(_ROWS_AT_ONCE, columns=columns, use_threads=False):
                column = batch[self._column]
                if isinstance(column, pa.ExtensionArray):
                    column = column.storage
                contents = column if self._kind == "array" else column.to_pylist()
                yield from zip(_paths_of(self._place, batch["path"]), contents, strict=True)

    def _mask_of(self, content: Any) -> Mask:
        if self._kind == "array":
            return mask_of_array(_array_of(content), self._threshold)
        png = content
        if self._kind == "image" and content is not None:
            png = content["bytes"]
            if png is None and content.get("path"):
                raise ValueError(f"is but the name of a file, {content['path']}; write its bytes into the column")
        if png is None:
            raise _no_mask()
        return mask_of_png(png)


def rows_of_tiles(place: Path, predicted: Sequence[str], tiles: Sequence[str], split: str) -> npt.NDArray[np.intp]:
    """Find each prediction's tile.

    Args:
        place: the file or folder of the predictions, for messages.
        predicted: the paths of the predictions.
        tiles: the paths of the split's tiles, each once.
        split: name of the split, for messages.

    Returns:
        shape (predictions,): the place of each prediction's tile in `tiles`.

    Raises:
        PredictionError: there are not as many predictions of each tile as tiles: one.
    """
    rows = {path: row for row, path in enumerate(tiles)}
    counts = Counter(predicted)
    unknown = [path for path in counts if path not in rows]
    if unknown:
        raise PredictionError(
            f"{place}: {_some(unknown)} of no tile of the split {split}, whose paths are such as {tiles[0]}; leave out "
            "what is not of this split"
        )
    doubled = [path for path, count in counts.items() if count > 1]
    if doubled:
        raise PredictionError(f"{place}: {_some(doubled)} predicted more than once; leave one prediction of each")
    missing = [path for path in tiles if path not in counts]
    if missing:
        raise PredictionError(f"{place}: {_some(missing)} not predicted; predict every tile of the split {split}")
    return np.array([rows[path] for path in predicted], np.intp)


def _some(paths: Sequence[str]) -> str:
    """Say how many paths there are, and name the first."""
    names = ", ".join(paths[:3]) + (", ..." if len(paths) > 3 else "")
    return f"1 path ({names}) is" if len(paths) == 1 else f"{len(paths)} paths ({names}) are"


def _kind_of(file: Path, field: pa.Field) -> tuple[str, pa.DataType]:
    """Say what a column of masks holds: `array`, `image` or `file`; and the type of an array's values."""
    kind = field.type.storage_type if isinstance(field.type, pa.BaseExtensionType) else field.type
    if _is_list(kind) and _is_list(kind.value_type):
        return "array", kind.value_type.value_type
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        return "image", pa.null()
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return "file", pa.null()
    raise PredictionError(
        f"{file}: the column {field.name} holds {kind}; masks are PNG files as bytes, images, or nested lists of "
        f"{TILE_SIZE} rows of {TILE_SIZE} numbers"
    )


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _array_of(mask: pa.Scalar) -> npt.NDArray[Any]:
    rows = mask.values
    if rows is None:
        raise _no_mask()
    lengths = set(pc.list_value_length(rows).to_pylist())
    if lengths != {TILE_SIZE}:
        found = ", ".join(sorted(map(str, lengths))[:5]) or "none"
        raise ValueError(f"is rows of {found} numbers; a mask has {TILE_SIZE} rows of {TILE_SIZE}, as the tile has")
    numbers = rows.flatten()
    if numbers.null_count:
        raise ValueError("has pixels without a value; a mask has one for each")
    return numbers.to_numpy(zero_copy_only=False).reshape(-1, TILE_SIZE)


def _no_mask() -> ValueError:
    return ValueError("has no mask; predict one, all 0 where there is no rock glacier")


def _paths_of_folder(folder: Path) -> list[str]:
    files = (file.relative_to(folder) for file in folder.rglob("*") if file.suffix.lower() == ".png")
    # In archives, macOS lays others of that suffix beside the files: __MACOSX/._12.png.
    paths = sorted(file.as_posix() for file in files if not file.name.startswith("."))
    if not paths:
        raise PredictionError(f"{folder}: holds no PNG files; name them by path, such as test/glaciar/12.png in it")
    return paths


def _paths_of(file: Path, column: pa.Array | pa.ChunkedArray) -> list[str]:
    try:
        paths: list[str] = column.cast(pa.string()).to_pylist()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise PredictionError(f"{file}: the column path holds no text ({error})") from None
    if column.null_count:
        raise PredictionError(f"{file}: row {paths.index(None) + 1} has no path; name the tile")  # type: ignore[arg-type]
    return paths


def _open_parquet(file: Path) -> pq.ParquetFile:
    try:
        # Read through a small buffer as it is asked for, so that one large row group is never in memory whole.
        return pq.ParquetFile(file, buffer_size=2**20, pre_buffer=False)
    except pa.ArrowInvalid as error:
        raise PredictionError(f"{file}: is no Parquet file ({error}); write it anew") from None


def _check_suffix(file: Path, suffixes: Sequence[str], others: str = "") -> None:
    if file.suffix not in suffixes:
        raise PredictionError(f"{file}: is no {' or '.join(suffixes)} file by its name; give one{others}")


def _check_columns(file: Path, wanted: Sequence[str], found: Sequence[str]) -> None:
    for name in wanted:
        if name not in found:
            there = ", ".join(found) or "none"
            raise PredictionError(f"{file}: has no column {name}; its columns are {there}")
