"""The tiles of a sample: synthetic scenes, and the squares that are cut from them.

A scene is cut along a grid, so that its tiles meet and do not overlap. Where tiles of another split are to share
ground with train tiles, they are cut from the same scene between the lines of that grid (`SharedGround`).
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from rock_glacier.sample.terrain import render_scene
from rock_glacier_dataset import BACKGROUND_COLOUR, CLASS_NAMES, ROCK_GLACIER_COLOUR, TILE_SIZE

LEAST_COLOURS = 16
"""Colours that tiles must share to overlap (see DESIGN of overlaps in rock_glacier.grounds)."""

LEAST_COVERAGE = 0.03
"""A tile is cut as glaciar when at least this share of its pixels is rock glacier."""

MOST_ATTEMPTS = 20
"""How often a scene is rendered anew that has a square without enough rock glacier."""

HALF_TILE = TILE_SIZE // 2
"""Many tiles of the dataset lie this far from another."""

MOST_SHIFT = TILE_SIZE * 3 // 4
"""Pixels between tiles that share ground, at most, so that what they share is plainly seen."""

MOST_DRAWS = 100_000
"""How often a place for a tile is drawn in a scene before that is given up."""

IMAGE_COMPRESSION = 2
"""zlib level; synthetic tiles become as small at this one as at the usual 6, in a third of the time."""

MASK_COMPRESSION = 6


class Scene(NamedTuple):
    """What a worker needs to know to render a scene and to cut tiles from it.

    Attributes:
        seed: Seed of the sample.
        split: Number of the split.
        label: Number of the class.
        number: Number of the scene within split and class.
        grid: Tiles along a side.
        tiles: How many tiles to cut.
    """

    seed: int
    split: int
    label: int
    number: int
    grid: int
    tiles: int


class SharedGround(NamedTuple):
    """Tiles that overlap those of a scene, out of the endless row of such tiles that each scene has.

    Attributes:
        scene: The scene, of another split.
        first: Place in that row of the first tile to cut.
        tiles: How many tiles to cut.
    """

    scene: Scene
    first: int
    tiles: int


class CutTile(NamedTuple):
    """A tile's PNG file and its mask's, which a cordillera tile has not."""

    image: bytes
    mask: bytes | None


class Ground(NamedTuple):
    """A rendered scene.

    Attributes:
        rgb: Red, green and blue, uint8 (rows, columns, 3).
        mask: bool (rows, columns), True on a rock glacier.
    """

    rgb: npt.NDArray[np.uint8]
    mask: npt.NDArray[np.bool_]


def encoded_tile(rgb: npt.NDArray[np.uint8]) -> bytes:
    """Encode red, green and blue, uint8 (rows, columns, 3), as an opaque RGBA PNG file."""
    image = Image.fromarray(rgb).convert("RGBA")
    return _png(image, IMAGE_COMPRESSION)


def encoded_mask(mask: npt.NDArray[np.bool_]) -> bytes:
    """Encode a mask, bool (rows, columns), True on a rock glacier, as an RGBA PNG file in the contract's colours."""
    palette = np.array([BACKGROUND_COLOUR, ROCK_GLACIER_COLOUR], dtype=np.uint8)
    return _png(Image.fromarray(palette[mask.astype(np.intp)]), MASK_COMPRESSION)


def _png(image: Image.Image, compression: int) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=compression)
    return file.getvalue()


def cut(work: Scene | SharedGround) -> list[CutTile]:
    """Cut the tiles of a scene, or those that overlap them.

    Raises:
        RuntimeError: The renderer makes no scene with enough rock glacier, which is a fault in it.
    """
    return cut_scene(work) if isinstance(work, Scene) else cut_shared_ground(work)


def cut_scene(scene: Scene) -> list[CutTile]:
    """Render a scene and cut it into tiles along its grid, row by row.

    Args:
        scene: The scene.

    Returns:
        Its tiles, each 128 x 128 pixels.

    Raises:
        RuntimeError: The renderer makes no scene with enough rock glacier, which is a fault in it.
    """
    ground = _rendered(scene)
    return [_cut_tile(scene, ground, corner) for corner in _corners(scene)]


def cut_shared_ground(shared: SharedGround) -> list[CutTile]:
    """Render a scene and cut tiles from it that overlap those of its grid.

    Args:
        shared: The scene, and which tiles.

    Returns:
        The tiles, each 128 x 128 pixels; no two of a scene lie in the same place.

    Raises:
        RuntimeError: The scene has no more such places with enough rock glacier.
    """
    ground = _rendered(shared.scene)
    corners = itertools.islice(_shifted_corners(shared.scene, ground), shared.first, shared.first + shared.tiles)
    return [_cut_tile(shared.scene, ground, corner) for corner in corners]


def _rendered(scene: Scene) -> Ground:
    glaciar = _is_glaciar(scene)
    for attempt in range(MOST_ATTEMPTS):
        ground = Ground(
            *render_scene(
                _generator(scene, attempt), size=scene.grid * TILE_SIZE, rock_glaciers=glaciar, spacing=TILE_SIZE
            )
        )
        # Each square has a rock glacier; that it is too small a part of it can hardly be, but is not ruled out.
        if not glaciar or all(_is_covered(ground, corner) for corner in _corners(scene)):
            return ground
    raise RuntimeError(f"{scene}: {MOST_ATTEMPTS} attempts left a square with too little rock glacier")


def _generator(scene: Scene, attempt: int) -> np.random.Generator:
    # A key for each scene: it looks the same whatever else is made, before it or beside it.
    key = (scene.split, scene.label, scene.number, attempt)
    return np.random.default_rng(np.random.SeedSequence(scene.seed, spawn_key=key))


def _is_glaciar(scene: Scene) -> bool:
    return CLASS_NAMES[scene.label] == "glaciar"


def _corners(scene: Scene) -> list[tuple[int, int]]:
    """List the row and column where each tile of a scene begins."""
    return [
        (TILE_SIZE * row, TILE_SIZE * column)
        for row, column in (divmod(number, scene.grid) for number in range(scene.tiles))
    ]


def _shifted_corners(scene: Scene, ground: Ground) -> Iterator[tuple[int, int]]:
    """Draw where tiles begin that overlap those of a scene: half of them at half a tile from one, half anywhere."""
    rng = _generator(scene, MOST_ATTEMPTS)  # which is no attempt's
    corners = _corners(scene)
    last = (scene.grid - 1) * TILE_SIZE
    taken = set(corners)
    for _ in range(MOST_DRAWS):
        row, column = corners[rng.integers(len(corners))]
        if rng.random() < 0.5:
            down, right = (HALF_TILE * int(step) for step in rng.integers(-1, 2, size=2))
        else:
            down, right = (int(step) for step in rng.integers(-MOST_SHIFT, MOST_SHIFT + 1, size=2))
        shifted = (row + down, column + right)
        if shifted in taken or not all(0 <= edge <= last for edge in shifted):
            continue
        if _is_glaciar(scene) and not _is_covered(ground, shifted):
            continue
        shared = ground.rgb[_square((row, column))][max(down, 0) :, max(right, 0) :]
        shared = shared[: TILE_SIZE - abs(down), : TILE_SIZE - abs(right)]
        if len(np.unique(shared.reshape(-1, 3), axis=0)) < LEAST_COLOURS:
            continue  # flat snow, which is no overlap
        taken.add(shifted)
        yield shifted
    raise RuntimeError(f"{scene}: {MOST_DRAWS} draws found too few places for tiles that overlap its own")


def _square(corner: tuple[int, int]) -> tuple[slice, slice]:
    row, column = corner
    return np.s_[row : row + TILE_SIZE, column : column + TILE_SIZE]


def _is_covered(ground: Ground, corner: tuple[int, int]) -> bool:
    return bool(ground.mask[_square(corner)].mean() >= LEAST_COVERAGE)


def _cut_tile(scene: Scene, ground: Ground, corner: tuple[int, int]) -> CutTile:
    square = _square(corner)
    return CutTile(encoded_tile(ground.rgb[square]), encoded_mask(ground.mask[square]) if _is_glaciar(scene) else None)
