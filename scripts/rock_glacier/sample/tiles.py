"""The tiles of a sample, cut from synthetic scenes.

A scene is cut along a grid, so that its tiles meet and do not overlap. Tiles of another split that are to overlap train
tiles are cut from the same scene at other places.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from rock_glacier.arrays import encode_png
from rock_glacier.masks import class_indices_to_mask
from rock_glacier.sample.terrain import render_scene
from rock_glacier_dataset import CLASS_NAMES, GLACIAR, SPLIT_NAMES, TILE_SIZE

_LEAST_COVERAGE = 0.09  # share of a glaciar tile that is rock glacier; along the grid it is never less
_LEAST_COLOURS = 16  # that tiles must share to overlap
_MOST_SHIFT = TILE_SIZE * 3 // 4  # pixels between tiles that overlap
_MOST_DRAWS = 100_000  # of places for tiles that overlap those of a scene
_COMPRESSION = 2  # of zlib; synthetic tiles become as small as at the usual 6, in a third of the time


class Scene(NamedTuple):
    """A scene of a sample.

    Attributes:
        seed: seed of the sample.
        split: name of the split.
        class_name: class of its tiles.
        number: number of the scene within split and class.
        grid: tiles along a side.
        tiles: number of tiles to cut along the grid.
    """

    seed: int
    split: str
    class_name: str
    number: int
    grid: int
    tiles: int


class CutTile(NamedTuple):
    """PNG files of a tile and of its mask; a cordillera tile has none."""

    image: bytes
    mask: bytes | None


def cut(scene: Scene, overlapping: range | None = None) -> list[CutTile]:
    """Render a scene and cut tiles from it.

    Args:
        scene: the scene.
        overlapping: cut these numbers of an endless sequence of tiles that overlap the grid's; by default, cut the
            tiles of the grid.

    Returns:
        the tiles of the grid, row by row, or those of the sequence; no two have the same place.

    Raises:
        ValueError: the scene has too few places for tiles that overlap those of its grid.
    """
    # With a key of its own, a scene looks the same whatever else is rendered.
    key = (SPLIT_NAMES.index(scene.split), CLASS_NAMES.index(scene.class_name), scene.number)
    rng = np.random.default_rng(np.random.SeedSequence(scene.seed, spawn_key=key))
    is_glaciar = scene.class_name == GLACIAR
    rgb, mask = render_scene(rng, scene.grid * TILE_SIZE, rock_glaciers=is_glaciar)
    corners = iter(_grid_corners(scene))
    if overlapping is not None:
        corners = itertools.islice(_overlapping_corners(rng, scene, rgb, mask), overlapping.start, overlapping.stop)
    return [
        CutTile(
            encode_png(Image.fromarray(rgb[_square(corner)]).convert("RGBA"), _COMPRESSION),
            encode_png(class_indices_to_mask(mask[_square(corner)]), _COMPRESSION) if is_glaciar else None,
        )
        for corner in corners
    ]


def _grid_corners(scene: Scene) -> list[tuple[int, int]]:
    numbers = (divmod(number, scene.grid) for number in range(scene.tiles))
    return [(TILE_SIZE * row, TILE_SIZE * column) for row, column in numbers]


def _overlapping_corners(
    rng: np.random.Generator, scene: Scene, rgb: npt.NDArray[np.uint8], mask: npt.NDArray[np.bool_]
) -> Iterator[tuple[int, int]]:
    """Draw corners of tiles that overlap those of the grid: half of them half a tile away from one, half anywhere."""
    corners = _grid_corners(scene)
    taken = set(corners)
    for _ in range(_MOST_DRAWS):
        corner = corners[rng.integers(len(corners))]
        half = rng.random() < 0.5
        shift = rng.integers(-1, 2, 2) * TILE_SIZE // 2 if half else rng.integers(-_MOST_SHIFT, _MOST_SHIFT + 1, 2)
        down, right = shift.tolist()
        place = (corner[0] + down, corner[1] + right)
        if place in taken or min(place) < 0 or max(place) > (scene.grid - 1) * TILE_SIZE:
            continue
        if scene.class_name == GLACIAR and mask[_square(place)].mean() < _LEAST_COVERAGE:
            continue
        shared = rgb[_square(corner)][max(down, 0) :, max(right, 0) :]
        shared = shared[: TILE_SIZE - abs(down), : TILE_SIZE - abs(right)]
        if len(np.unique(shared.reshape(-1, 3), axis=0)) >= _LEAST_COLOURS:  # or else it is flat snow
            taken.add(place)
            yield place
    raise ValueError(f"too few places for tiles that overlap the {scene.tiles} of a train scene; make more train tiles")


def _square(corner: tuple[int, int]) -> tuple[slice, slice]:
    row, column = corner
    return np.s_[row : row + TILE_SIZE, column : column + TILE_SIZE]
