"""Folders as maintainers have them, made for the tests: tiles cut from noise, so that what shares ground is known."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from rock_glacier_dataset import TILE_SIZE


def ground(seed: int, size: int = TILE_SIZE) -> npt.NDArray[np.uint8]:
    """Ground that no other seed gives: uint8 of shape (128, size, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (TILE_SIZE, size, 3), np.uint8)


def save_tile(path: Path, seed: int, shift: int = 0, mode: str = "RGB") -> Path:
    """Save the tile that is cut from a seed's ground, some pixels from its left edge."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(ground(seed, 2 * TILE_SIZE)[:, shift : shift + TILE_SIZE]).convert(mode).save(path)
    return path


def save_mask(path: Path, *, rock_glacier: bool = True, mode: str = "L") -> Path:
    """Save a mask whose left half is rock glacier, or nothing of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = Image.new("L", (TILE_SIZE, TILE_SIZE))
    if rock_glacier:
        mask.paste(255, (0, 0, TILE_SIZE // 2, TILE_SIZE))
    mask.convert(mode).save(path)
    return path


def files_of(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder by name."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@contextlib.contextmanager
def limited_file_size(size: int) -> Iterator[None]:
    """Let the process write no file of more than some bytes, as where the disk is full."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
