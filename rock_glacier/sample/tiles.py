"""The tiles of a sample, cut from synthetic scenes.

A scene of one date is cut along a grid, so that its tiles meet and do not overlap. A scene of several dates is cut as
the curators cut theirs: each tile at a random place, on a random date, under a random turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from rock_glacier.arrays import encode_png
from rock_glacier.masks import class_indices_to_mask
from rock_glacier.sample.terrain import make_ground, render_date
from rock_glacier_dataset import GLACIAR, TILE_SIZE

_LEAST_COVERAGE = 0.09  # share of a glaciar tile that is rock glacier; along the grid it is never less
_COMPRESSION = 2  # of zlib; synthetic tiles become as small as at the usual 6, in a third of the time


class Scene(NamedTuple):
    """A scene of a sample.

    Attributes:
        seed: seed of the sample.
        number: number of the scene, which tells it from the sample's others.
        class_name: class of its tiles.
        grid: tiles along a side.
        dates: number of dates; 1 to cut along the grid.
        paths: of the tiles to cut; of one date, at most the square of `grid`.
    """

    seed: int
    number: int
    class_name: str
    grid: int
    dates: int
    paths: Sequence[str]


class Place(NamedTuple):
    """Where a tile lies: turned by `turn`, it has its upper left pixel at (x, y) of the scene."""

    x: int
    y: int
    turn: int
    date: int


class CutTile(NamedTuple):
    """A tile's path and place, and PNG files of the tile and of its mask; a cordillera tile has none."""

    path: str
    place: Place
    image: bytes
    mask: bytes | None


def cut(scene: Scene) -> list[CutTile]:
    """Render a scene and cut its tiles; no two have the same place."""
    seeds = np.random.SeedSequence((scene.seed, scene.number)).spawn(2 + scene.dates)
    of_ground, of_places, *of_dates = map(np.random.default_rng, seeds)
    is_glaciar = scene.class_name == GLACIAR
    ground = make_ground(of_ground, scene.grid * TILE_SIZE, rock_glaciers=is_glaciar)
    dates = [render_date(of_date, ground) for of_date in of_dates]
    places = _grid_places(scene) if scene.dates == 1 else _random_places(of_places, scene, ground.mask)
    return [
        CutTile(
            path,
            place,
            encode_png(Image.fromarray(_tile_at(place, dates[place.date])).convert("RGBA"), _COMPRESSION),
            encode_png(class_indices_to_mask(_tile_at(place, ground.mask)), _COMPRESSION) if is_glaciar else None,
        )
        for path, place in zip(scene.paths, places, strict=True)
    ]


def _grid_places(scene: Scene) -> list[Place]:
    numbers = (divmod(number, scene.grid) for number in range(len(scene.paths)))
    return [Place(TILE_SIZE * column, TILE_SIZE * row, 0, 0) for row, column in numbers]


def _random_places(rng: np.random.Generator, scene: Scene, mask: npt.NDArray[np.bool_]) -> list[Place]:
    places: dict[tuple[int, int], Place] = {}
    while len(places) < len(scene.paths):
        x, y = rng.integers(0, (scene.grid - 1) * TILE_SIZE, 2, endpoint=True).tolist()
        place = Place(x, y, int(rng.integers(8)), int(rng.integers(scene.dates)))
        if scene.class_name != GLACIAR or _tile_at(place, mask).mean() >= _LEAST_COVERAGE:
            places[x, y] = place
    return list(places.values())


def _tile_at(place: Place, scene: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Cut a tile of shape (128, 128, ...). The turns are those of `rock_glacier.grounds.turns`, undone."""
    square = scene[place.y : place.y + TILE_SIZE, place.x : place.x + TILE_SIZE]
    # A turn from 4 on mirrors, and undoes itself.
    return np.rot90(square, -place.turn) if place.turn < 4 else np.rot90(square, place.turn).swapaxes(0, 1)
