"""Tiles, labels and masks of a loaded dataset as arrays."""

from __future__ import annotations

import concurrent.futures
import errno
import functools
import hashlib
import io
import math
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import numpy.typing as npt
from PIL import Image
from tqdm import tqdm

from rock_glacier.masks import mask_to_class_indices
from rock_glacier.parallel import count_cores
from rock_glacier.png import decode_any
from rock_glacier_dataset import TILE_SIZE, ArchiveError

_COLUMNS = ("image", "labels", "masks", "path")
_BATCH_SIZE = 64  # rows that a thread decodes at once, about 4 MiB
_FORMAT = "2"  # format of the cached files; change it to write them again


def to_arrays(
    dataset: datasets.Dataset,
    *,
    rgb: bool = True,
    cache_dir: str | os.PathLike[str] | None = None,
    num_workers: int | None = None,
) -> dict[str, npt.NDArray[Any]]:
    """Decode a dataset into arrays, once: later calls map the files that the first call wrote.

    The files are identified by the content of the dataset, so a filtered or shuffled dataset has
    its own. Forked workers share the arrays; spawned ones should call this function themselves.

    Args:
        dataset: One split of either config, or any selection of its rows, with RGB or RGBA images.
        rgb: Whether to drop the alpha channel.
        cache_dir: Folder of the files. Default: `rock-glacier-arrays` in the cache of `datasets`.
        num_workers: Number of threads that decode. Default: one for each core.

    Returns:
        Arrays by column, in the order of the rows. Changes to an array stay in the process.

        - `image`: uint8 of shape (n, 128, 128, 3), or (n, 128, 128, 4) without `rgb`.
        - `labels`: int64 of shape (n,), 0 or 1, if the dataset has labels.
        - `masks`: uint8 of shape (n, 128, 128), 0 or 1 (rock glacier), if the dataset has masks.
        - `path`: str of shape (n,), such as `train/cordillera/1512.png`.

    Raises:
        TypeError: If `dataset` is not a `datasets.Dataset`.
        ValueError: If a column is missing, or an image or a mask cannot be decoded.
        OSError: If the files cannot be written. Free disk space is checked first.

    Example:
        >>> tiles = datasets.load_dataset(
        ...     "alkzar90/rock-glacier-dataset", split="train"
        ... )  # doctest: +SKIP
        >>> arrays = to_arrays(tiles)  # doctest: +SKIP
        >>> batch = arrays["image"][[7, 2, 5]]  # doctest: +SKIP
    """
    if not isinstance(dataset, datasets.Dataset):
        raise TypeError(
            f"expected one split, such as dataset['train'], got {type(dataset).__name__}"
        )
    columns = [name for name in _COLUMNS if name in dataset.column_names]
    if not {"image", "path"} < set(columns):
        raise ValueError(
            "expected the columns image, path, and labels or masks, "
            f"got {', '.join(dataset.column_names)}"
        )
    rows = dataset.with_format("arrow").select_columns(columns)  # images stay encoded
    cache = Path(cache_dir or Path(datasets.config.HF_DATASETS_CACHE, "rock-glacier-arrays"))
    folder = cache.expanduser().resolve() / _digest(rows, rgb=rgb)
    if not folder.is_dir():
        _write_arrays(rows, folder, rgb=rgb, num_workers=num_workers or count_cores())
    # Copy on write, because PyTorch warns about read-only arrays.
    return {name: np.lib.format.open_memmap(folder / f"{name}.npy", "c") for name in columns}


def _digest(rows: datasets.Dataset, *, rgb: bool) -> str:
    """Return a digest of the content of a dataset."""
    digest = hashlib.sha256(f"{_FORMAT} {rgb} {rows.column_names}".encode())
    for batch in rows.iter(1000):
        for column in rows.column_names:
            for value in batch[column].to_pylist():
                encoded = _encoded(value) if isinstance(value, dict) else str(value).encode()
                digest.update(len(encoded).to_bytes(8, "big"))
                digest.update(encoded)
    return digest.hexdigest()[:32]


def _encoded(image: dict[str, Any]) -> bytes:
    """Return the bytes of an encoded image, which may be a separate file."""
    if image["bytes"] is not None:
        content: bytes = image["bytes"]
        return content
    return Path(image["path"]).read_bytes()


def _write_arrays(rows: datasets.Dataset, folder: Path, *, rgb: bool, num_workers: int) -> None:
    """Write the arrays to a temporary folder and rename it, so readers see only complete files."""
    shapes: dict[str, tuple[int, ...]] = {
        "image": (len(rows), TILE_SIZE, TILE_SIZE, 3 if rgb else 4)
    }
    if "masks" in rows.column_names:
        shapes["masks"] = (len(rows), TILE_SIZE, TILE_SIZE)
    folder.parent.mkdir(parents=True, exist_ok=True)
    needed = sum(math.prod(shape) for shape in shapes.values())
    free = shutil.disk_usage(folder.parent).free
    if needed > free:
        problem = f"arrays need {needed / 1e6:,.0f} MB, but only {free / 1e6:,.0f} MB is free"
        fix = "Free some space, or pass another folder as cache_dir"
        raise OSError(errno.ENOSPC, f"{problem}. {fix}", str(folder.parent))
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="unfinished-") as temporary:
        unfinished = Path(temporary, "arrays")
        unfinished.mkdir()
        for name, shape in shapes.items():
            np.lib.format.open_memmap(unfinished / f"{name}.npy", "w+", np.uint8, shape)
        for name in set(rows.column_names) - set(shapes):
            values = rows.select_columns(name)[:][name].to_pylist()
            dtype = np.int64 if name == "labels" else np.str_
            np.save(unfinished / f"{name}.npy", np.array(values, dtype))
        decode = functools.partial(_decode_batch, rows, unfinished, rgb)
        starts = range(0, len(rows), _BATCH_SIZE)
        # Threads are enough: Pillow and zlib release the interpreter lock.
        with concurrent.futures.ThreadPoolExecutor(num_workers) as pool:
            batches = pool.map(decode, starts)
            for _ in tqdm(batches, desc="Decoding", total=len(starts), disable=None):
                pass
        try:
            unfinished.rename(folder)
        except OSError:
            # Another process may have written the same arrays in the meantime.
            if not folder.is_dir():
                raise


def _decode_batch(rows: datasets.Dataset, folder: Path, rgb: bool, start: int) -> None:
    """Decode a batch of rows into its place in the files."""
    batch = rows[start : start + _BATCH_SIZE].to_pylist()
    for name in {"image", "masks"} & set(rows.column_names):
        pixels = np.stack([_decode(row, name) for row in batch])
        if name == "image" and rgb:
            pixels = np.ascontiguousarray(pixels[..., :3])
        # Write to the file: on a full disk, assigning to a mapped array would kill the process.
        with open(folder / f"{name}.npy", "r+b") as file:
            file.seek(-(len(rows) - start) * pixels[0].nbytes, os.SEEK_END)
            file.write(pixels.data)


def _decode(row: dict[str, Any], column: str) -> npt.NDArray[np.uint8]:
    """Decode the image or the mask of a row.

    Returns:
        uint8 array of shape (128, 128, 4), or of shape (128, 128) with 0 and 1 for a mask.
    """
    place = f"{row['path']}: {column}"
    if row[column] is None:
        raise ValueError(f"{place}: is missing. Drop the row.")
    try:
        if column == "masks":
            return _decode_mask(_encoded(row[column]), place)
        return decode_any(_encoded(row[column]), place)
    except ArchiveError:
        raise
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error


def _decode_mask(png: bytes, place: str) -> npt.NDArray[np.uint8]:
    """Decode a mask: white and black, or class indices as Pillow saves them (modes L and P)."""
    pixels = decode_any(png, place)
    with Image.open(io.BytesIO(png)) as image:
        if image.mode in ("L", "P"):
            values = np.array(image)
            if values.max() <= 1 and pixels[..., :3].max() <= 1:
                return values
            palette = image.palette
            if palette and (values.max() >= len(palette.palette) // 3 or not pixels[..., :3].any()):
                raise ValueError("has a palette that does not show its class indices")
    return mask_to_class_indices(pixels)
