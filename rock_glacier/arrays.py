"""Tiles and masks as decoded arrays."""

from __future__ import annotations

import concurrent.futures
import errno
import functools
import io
import math
import os
import shutil
import struct
import zlib
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import numpy.typing as npt
from datasets.fingerprint import Hasher
from datasets.utils.logging import tqdm
from filelock import FileLock
from PIL import Image, ImageOps

from rock_glacier.files import new_output_folder, read_png_file
from rock_glacier.masks import mask_to_class_indices
from rock_glacier.parallel import count_cores
from rock_glacier_dataset import TILE_SIZE, png_fault

_SIGNATURE_SIZE = 8  # bytes
_BATCH = 64  # tiles that a thread decodes and writes at a time, some 4 MiB
_FORMAT = 1  # of the files; another number makes them anew


def to_arrays(
    dataset: datasets.Dataset,
    *,
    rgb: bool = True,
    cache_dir: str | os.PathLike[str] | None = None,
    num_workers: int | None = None,
) -> dict[str, npt.NDArray[Any]]:
    """Decode a dataset into arrays, once: later calls map the files that the first call wrote.

    The files are keyed by the fingerprint that `datasets` gives every dataset, so a filtered, shuffled or otherwise
    changed dataset has arrays of its own. Several processes may ask at once: one decodes, the others wait for it.
    A forked worker process shares the arrays; let a spawned one call this function itself.

    Args:
        dataset: one split of either config, from the Hub or from archives, or any selection of its rows. Images may be
            decoded or not. Columns other than those below are left out.
        rgb: leave out the alpha channel.
        cache_dir: folder of the files. Default: `rock-glacier-arrays` in the cache of `datasets`.
        num_workers: number of threads that decode. Default: one for each core.

    Returns:
        arrays mapped from files, by column, in the order of the rows. Changes to an array stay in the process.

        - `image`: uint8 of shape (N, 128, 128, 3), or (N, 128, 128, 4) without `rgb`, values in [0, 255].
        - `labels`: int64 of shape (N,), values in {0, 1}, where the dataset has labels.
        - `masks`: uint8 of shape (N, 128, 128), values in {0, 1}, where the dataset has masks; 1 is rock glacier.
        - `path`: str of shape (N,), such as `train/cordillera/1512.png`.

    Raises:
        TypeError: `dataset` is not a `datasets.Dataset`, such as all splits or a stream.
        ValueError: a column is missing, or an image or a mask cannot be decoded.
        OSError: the files cannot be written. A disk that is too full is found before the work (`errno.ENOSPC`).

    Example:
        >>> tiles = datasets.load_dataset("alkzar90/rock-glacier-dataset", split="train")  # doctest: +SKIP
        >>> arrays = to_arrays(tiles)  # doctest: +SKIP
        >>> batch = arrays["image"][[7, 2, 5]]  # doctest: +SKIP
    """
    if not isinstance(dataset, datasets.Dataset):
        raise TypeError(f"expected one split, such as dataset['train']; got {type(dataset).__name__}")
    columns = [name for name in ("image", "labels", "masks", "path") if name in dataset.column_names]
    if not {"image", "path"} < set(columns):
        raise ValueError(
            f"expected the columns image, path, and labels or masks; got {', '.join(dataset.column_names)}"
        )
    cache = Path(cache_dir or Path(datasets.config.HF_DATASETS_CACHE) / "rock-glacier-arrays").expanduser().resolve()
    folder = cache / Hasher.hash((dataset._fingerprint, rgb, _FORMAT))
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not folder.is_dir():
                _write_arrays(dataset, columns, folder, rgb, num_workers or count_cores())
    # Copied on write, because PyTorch warns of arrays that are read-only.
    return {name: np.lib.format.open_memmap(folder / f"{name}.npy", "c") for name in columns}


def _write_arrays(dataset: datasets.Dataset, columns: list[str], folder: Path, rgb: bool, num_workers: int) -> None:
    size = (len(dataset), TILE_SIZE, TILE_SIZE)
    shapes = {"image": (*size, 3 if rgb else 4), **({"masks": size} if "masks" in columns else {})}
    needed, free = sum(map(math.prod, shapes.values())), shutil.disk_usage(folder.parent).free
    if needed > free:
        what = f"{needed / 2**20:,.1f} MiB are needed and {free / 2**20:,.1f} MiB are free"
        raise OSError(errno.ENOSPC, f"{folder.parent}: {what}; make room, or give another folder as cache_dir")
    rows = dataset.with_format("arrow").select_columns(columns)  # undecoded, whatever the features say
    with new_output_folder(folder) as unfinished:
        for name, shape in shapes.items():
            np.lib.format.open_memmap(unfinished / f"{name}.npy", "w+", np.uint8, shape)
        for name in set(columns) - set(shapes):
            values = rows.select_columns(name)[:][name].to_pylist()
            np.save(unfinished / f"{name}.npy", np.array(values, np.int64 if name == "labels" else np.str_))
        decode = functools.partial(_decode_batch, rows, list(shapes), unfinished, rgb)
        with concurrent.futures.ThreadPoolExecutor(num_workers) as pool:  # Pillow and zlib release the interpreter lock
            starts = range(0, len(rows), _BATCH)
            for _ in tqdm(pool.map(decode, starts), total=len(starts), desc="Decoding", unit=" batches"):
                pass


def _decode_batch(rows: datasets.Dataset, columns: list[str], folder: Path, rgb: bool, start: int) -> None:
    """Decode a batch of rows into its place in the files."""
    batch = rows[start : start + _BATCH].to_pylist()
    for name in columns:
        pixels = np.stack([_decode_row(row, name) for row in batch])
        pixels = np.ascontiguousarray(pixels[..., :3]) if rgb and name == "image" else pixels
        # Written, not assigned to a mapped file: on a full disk that would end the process.
        with open(folder / f"{name}.npy", "r+b") as file:
            file.seek(-(len(rows) - start) * pixels[0].nbytes, os.SEEK_END)
            file.write(pixels.data)


def _decode_row(row: dict[str, Any], column: str) -> npt.NDArray[np.uint8]:
    try:
        if row[column] is None:
            raise ValueError("it is missing")
        png = row[column]["bytes"]
        pixels = decode_png(read_png_file(Path(row[column]["path"])) if png is None else png)
        return mask_to_class_indices(pixels) if column == "masks" else pixels
    except ValueError as error:
        raise ValueError(f"{row['path']}: {column} cannot be decoded ({error}); replace it or drop the row") from error


def encode_png(image: Image.Image, compress_level: int = 6) -> bytes:
    """Return an image as a PNG file, compressed by a level of zlib from 0 to 9."""
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=compress_level)
    return file.getvalue()


def decode_png(png: bytes) -> npt.NDArray[np.uint8]:
    """Decode a tile or a mask, and check every chunk of the file, which Pillow does not.

    Args:
        png: an 8-bit RGBA PNG file of 128 x 128 pixels.

    Returns:
        uint8 array of shape (128, 128, 4), values in [0, 255]: red, green, blue, alpha.

    Raises:
        ValueError: the file is not such a PNG file, or is damaged.
    """
    if fault := png_fault(png):
        raise ValueError(fault[0])
    return decode_any_png(png)


def decode_any_png(png: bytes) -> npt.NDArray[np.uint8]:
    """Decode a PNG file of any colour type, and check its header and every chunk first.

    Args:
        png: a PNG file of 128 x 128 pixels, of 1 to 8 bits a channel.

    Returns:
        uint8 array of shape (128, 128, 4), values in [0, 255]: red, green, blue, alpha; opaque where the file has none.

    Raises:
        ValueError: the file is not such a PNG file, or is damaged.
    """
    fault = png_fault(png)
    if fault and (fault[1] == "png-corrupt" or png[16:24] != struct.pack(">LL", TILE_SIZE, TILE_SIZE) or png[24] > 8):
        raise ValueError(fault[0])
    place, kind, kinds = _SIGNATURE_SIZE, b"", []
    while kind != b"IEND":  # ISO/IEC 15948, 5.3: length, type, content, checksum of type and content
        end = place + 8 + int.from_bytes(png[place : place + 4], "big")
        kind = png[place + 4 : place + 8]
        if zlib.crc32(png[place + 4 : end]).to_bytes(4, "big") != png[end : end + 4]:
            raise ValueError(f"the checksum of its chunk {kind!r} is wrong")
        kinds.append(kind)
        place = end + 4
    if kinds.count(b"IHDR") > 1:  # before anything is decoded, for a second header may claim any size
        raise ValueError(f"has {kinds.count(b'IHDR')} headers")
    try:
        with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
            return np.array(ImageOps.exif_transpose(image).convert("RGBA"))  # turned as `datasets` turns it
    except MemoryError:
        raise
    except Exception as error:  # of many kinds, by what is damaged
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from error
