"""Synthetic tiles and masks in the layout of the dataset, for tests, benchmarks and examples.

A scene is a relief of value noise in the light of a low sun, with gullies, snow and brown ground. A
rock glacier is a lobe with steep margins and transverse ridges, raised over the relief; its mask is
the area that was raised. The dates of a scene differ in light, snow, contrast, haze and noise.
Each scene has a place in a zone of the dataset, so tiles and rock glaciers have true coordinates.

Lengths and heights are in pixels (10 m). Colours were chosen by eye from 300 real tiles.
"""

from __future__ import annotations

import io
import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from rock_glacier import output
from rock_glacier.archives import SAMPLE_VERSION, write_archives, write_manifest
from rock_glacier.index import make_index, write_index
from rock_glacier.masks import class_indices_to_mask
from rock_glacier.png import encode
from rock_glacier_dataset import (
    CLASS_NAMES,
    GLACIAR,
    SPLIT_NAMES,
    TILE_SIZE,
    class_of,
    mask_path,
    split_of,
)

Field = npt.NDArray[np.float32]  # shape (size, size)
# 8-bit RGB in the shade and in the sun; values above 255 are saturated
Colours = tuple[tuple[int, int, int], tuple[int, int, int]]

DEFAULT_SIZES = {"train": 70, "validation": 10, "test": 24}
"""Tiles of each split, in about the proportions of the release."""

# Width and height of a scene that the splits share. Two of its tiles overlap by half on average.
_SHARED_SIZE = 2 * TILE_SIZE

# The same of a scene with three rock glaciers. The last quarter has room for cordillera tiles.
_GLACIAR_SIZE = 5 * TILE_SIZE // 2

# One of so many shared cordillera tiles is cut from a scene with rock glaciers. Most sites still
# have one class, or mostly one, as in the early tiles of the dataset.
_CORDILLERA_STEP = 4

# Largest number of tiles of a scene that the splits share: 600 such tiles are 30 sites.
_TILES_PER_SCENE = 20

# Dates of a scene that the splits share.
_DATES = 3

# Smallest share of a glaciar tile that is rock glacier.
_LEAST_COVERAGE = 0.09

# Width of a pixel, in metres.
_PIXEL = 10

# UTM zone 19 south, the zone of the dataset.
_EPSG = 32719

# Smallest distance between two scenes.
_LEAST_GAP = 50

# Width and height of the part of a zone that holds one scene.
_CELL = _GLACIAR_SIZE + 2 * _LEAST_GAP

OUTLINES_NAME = "outlines.geojson"
"""File with the outlines of the rock glaciers."""

TRUE_INDEX_NAME = "true_tiles.parquet"
"""File with the true tile index."""

# Level of zlib. The usual 6 takes three times as long and makes hardly smaller files.
_COMPRESSION = 2


def make_sample(  # noqa: PLR0913  # these are the options of the command
    out: str | os.PathLike[str],
    *,
    train: int = DEFAULT_SIZES["train"],
    validation: int = DEFAULT_SIZES["validation"],
    test: int = DEFAULT_SIZES["test"],
    overlap: float = 0.0,
    seed: int = 0,
    outlines: bool = False,
) -> pd.DataFrame:
    """Make a folder of archives with synthetic tiles and masks.

    Half of the tiles of each split are of each class. The same arguments give the same bytes with
    the same versions of numpy, Pillow, zlib and the packages of the extra `geo`.

    Args:
        out: Folder to create, or an empty folder to fill.
        train: Number of tiles of the split train, at least 1.
        validation: Number of tiles of the split validation, at least 1.
        test: Number of tiles of the split test, at least 1.
        overlap: Share of the tiles, 0 to 1, that are cut from scenes which the splits share: at
            random places, on random dates and in random orientations, up to 20 tiles per scene.
            A quarter of such cordillera tiles is cut from scenes with rock glaciers, next to these.
            The other tiles share no ground.
        seed: Seed of the random numbers, at least 0.
        outlines: Whether to write the outlines of the rock glaciers to `outlines.geojson` (WGS 84,
            with the property `name`) and the true index to `true_tiles.parquet`. This needs the
            extra `geo`.

    Returns:
        The truth, one row per tile, with the columns `path`, `split`, `label`, `mask_share`,
        `site`, `x`, `y` and `orientation` of the tile index; with `outlines`, the other columns
        except `source` and `block` too. In the truth, all tiles are located: those with a mask by
        their outlines, the others by their site.

    Raises:
        FileExistsError: If `out` is neither new nor empty.
        OSError: If `out` cannot be written.
    """
    from tqdm.auto import tqdm

    sizes = {"train": train, "validation": validation, "test": test}
    rows: list[dict[str, Any]] = []
    polygons: list[Any] = []
    with output.new_folder(out) as folder:
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            scenes = _plan_scenes(sizes, overlap)
            # `disable=None` shows the bar only if standard error is a terminal.
            for number, scene in enumerate(tqdm(scenes, "Drawing", disable=None, unit=" scenes")):
                rng = np.random.default_rng((seed, number))
                scene_rows, mask = _draw_scene(rng, scene, Path(scratch))
                if outlines:
                    corner = _choose_corner(rng, number, len(scenes))
                    _add_corners(scene_rows, corner)
                    polygons += _vectorise(mask, corner)
                rows += [{"site": number, **row} for row in scene_rows]
            truth = pd.DataFrame(rows)
            for split in SPLIT_NAMES:
                paths = truth["path"][truth["split"] == split]
                write_archives(folder, split, paths, lambda path: Path(scratch, path).read_bytes())
        counts = {
            split: {label: _count(size, label) for label in CLASS_NAMES}
            for split, size in sizes.items()
        }
        write_manifest(folder, SAMPLE_VERSION, counts)
        if outlines:
            truth = _write_places(folder, truth, polygons)
    return truth


@dataclass(frozen=True)
class _Scene:
    """A scene to draw.

    Attributes:
        paths: Paths of its tiles. A scene that the splits do not share has one tile.
        size: Width and height.
        lobes: Number of rock glaciers.
    """

    paths: Sequence[str]
    size: int
    lobes: int


@dataclass(frozen=True)
class _Corner:
    """Upper left corner of a square, in metres in UTM zone 19 south."""

    easting: int
    northing: int


# Corners from which scenes spread to the east, and to the north (1) or south (-1), to keep zones
# apart: Atacama, Huasco, and the zone that the curators call Argentina.
_ZONES = (
    (_Corner(441_170, 6_869_420), 1),  # 28.3 S, 69.6 W
    (_Corner(393_060, 6_769_350), -1),  # 29.2 S, 70.1 W
    (_Corner(425_520, 6_315_170), -1),  # 33.3 S, 69.8 W
)


@dataclass(frozen=True)
class Place:
    """Where to cut a tile: after `orientation` was applied to it, it is the square at (x, y)."""

    x: int = 0
    y: int = 0
    orientation: int = 0
    date: int = 0


@dataclass(frozen=True)
class Ground:
    """The features of a scene that are the same on all dates.

    Attributes:
        height: Relief with rock glaciers.
        mask: Whether a pixel is rock glacier.
        snow: Tendency to hold snow, about -1 to 1.
        earth: Tendency to be bare brown ground, about -1 to 1.
    """

    height: Field
    mask: npt.NDArray[np.bool_]
    snow: Field
    earth: Field


@dataclass(frozen=True)
class _Season:
    """Colours of rock, and how much snow and brown ground covers it."""

    rock: Colours
    snowiness: float  # added to `Ground.snow`
    earthiness: float  # added to `Ground.earth`


_SEASONS = (
    _Season(((28, 31, 36), (80, 98, 116)), snowiness=-2.3, earthiness=-2.6),  # bluish rock
    _Season(((32, 29, 30), (84, 82, 104)), snowiness=-2.8, earthiness=-2.4),  # purple rock
    _Season(((30, 36, 44), (84, 98, 116)), snowiness=-0.6, earthiness=-1.4),  # patches of snow
    _Season(((34, 40, 46), (120, 128, 138)), snowiness=0.5, earthiness=-0.6),  # mostly snow
)
_EARTH: Colours = ((54, 47, 42), (180, 156, 134))
_SNOW: Colours = ((104, 118, 138), (440, 442, 444))
_HAZE = (130, 145, 160)  # 8-bit RGB


def _count(size: int, label: str) -> int:
    """Return the number of tiles of a class in a split; for odd sizes, glaciar has one more."""
    return size - size // 2 if label == GLACIAR else size // 2


def _plan_scenes(sizes: Mapping[str, int], overlap: float) -> list[_Scene]:
    scenes: list[_Scene] = []
    shared: dict[str, list[str]] = {label: [] for label in CLASS_NAMES}
    for label in CLASS_NAMES:
        for split, size in sizes.items():
            paths = [f"{split}/{label}/{tile:03d}.png" for tile in range(_count(size, label))]
            number_alone = len(paths) - round(overlap * len(paths))
            lobes = int(label == GLACIAR)
            scenes += [_Scene([path], TILE_SIZE, lobes) for path in paths[:number_alone]]
            shared[label] += paths[number_alone:]
    cordillera, glaciar = shared.values()
    glaciar += cordillera[::_CORDILLERA_STEP]
    del cordillera[::_CORDILLERA_STEP]
    for paths, size, lobes in ((cordillera, _SHARED_SIZE, 0), (glaciar, _GLACIAR_SIZE, 3)):
        number = math.ceil(len(paths) / _TILES_PER_SCENE)
        scenes += [_Scene(paths[first::number], size, lobes) for first in range(number)]
    return scenes


def _choose_corner(rng: np.random.Generator, number: int, scenes: int) -> _Corner:
    """Choose a place for the scene of a number, at random in a cell of the grid of its zone."""
    corner, direction = _ZONES[number % len(_ZONES)]
    columns = math.ceil(math.sqrt(scenes / len(_ZONES)))
    row, column = divmod(number // len(_ZONES), columns)
    east, north = rng.integers(0, _LEAST_GAP, 2, endpoint=True).tolist()
    easting = corner.easting + _PIXEL * (column * _CELL + east)
    northing = corner.northing + _PIXEL * (direction * row * _CELL + north)
    return _Corner(easting, northing)


def _draw_scene(
    rng: np.random.Generator, scene: _Scene, folder: Path
) -> tuple[list[dict[str, Any]], npt.NDArray[np.bool_]]:
    """Draw a scene, and write its tiles and masks to a folder.

    Returns:
        The rows of the truth, and whether each pixel of the scene is rock glacier.
    """
    ground = make_ground(rng, scene.size, scene.lobes)
    if scene.size == TILE_SIZE:
        dates = [render(rng, ground)]
        places = [Place()]
    else:
        dates = [render(rng, ground) for _ in range(_DATES)]
        places = _choose_places(rng, scene, ground.mask)
    rows = []
    for path, place in zip(scene.paths, places, strict=True):
        mask = cut(ground.mask, place)
        _write(folder / path, encode(cut(dates[place.date], place), _COMPRESSION))
        if class_of(path) == GLACIAR:
            _write(folder / mask_path(path), encode(class_indices_to_mask(mask), _COMPRESSION))
        rows.append(
            {
                "path": path,
                "split": split_of(path),
                "label": class_of(path),
                "mask_share": mask.mean(),
                "x": place.x,
                "y": place.y,
                "orientation": place.orientation,
            }
        )
    return rows, ground.mask


def _choose_places(
    rng: np.random.Generator, scene: _Scene, mask: npt.NDArray[np.bool_]
) -> list[Place]:
    """Choose a different place for each tile, with enough rock glacier or none, by its class."""
    shares = _measure_shares(mask)
    free = {"cordillera": shares == 0, GLACIAR: shares >= _LEAST_COVERAGE}
    corners = {
        label: rng.permutation(np.argwhere(is_free)).tolist() for label, is_free in free.items()
    }
    places = []
    for path in scene.paths:
        y, x = corners[class_of(path)].pop()
        places.append(Place(x, y, int(rng.integers(8)), int(rng.integers(_DATES))))
    return places


def _measure_shares(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Return the share of rock glacier in the tile at each place (y, x)."""
    sums = np.pad(mask.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    sums = sums[TILE_SIZE:] - sums[:-TILE_SIZE]
    sums = sums[:, TILE_SIZE:] - sums[:, :-TILE_SIZE]
    return sums / TILE_SIZE**2


def cut(scene: npt.NDArray[Any], place: Place) -> npt.NDArray[Any]:
    """Cut a tile of shape (128, 128, ...) from an array of shape (size, size, ...)."""
    square = scene[place.y : place.y + TILE_SIZE, place.x : place.x + TILE_SIZE]
    # This is the inverse of the orientation, which rotates first and then transposes.
    if place.orientation >= 4:
        square = square.swapaxes(0, 1)
    return np.rot90(square, -place.orientation)


def _write(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


def _add_corners(rows: Sequence[dict[str, Any]], corner: _Corner) -> None:
    for row in rows:
        row["easting"] = corner.easting + _PIXEL * row["x"]
        row["northing"] = corner.northing - _PIXEL * row["y"]


def _vectorise(mask: npt.NDArray[np.bool_], corner: _Corner) -> list[Any]:
    """Return the polygons that cover the rock glaciers of a scene, along the edges of pixels."""
    from rasterio import Affine
    from rasterio.features import shapes
    from shapely.geometry import shape

    transform = Affine(_PIXEL, 0, corner.easting, 0, -_PIXEL, corner.northing)
    found = shapes(mask.astype(np.uint8), mask, connectivity=4, transform=transform)
    return [shape(polygon) for polygon, _ in found]


def _write_places(folder: Path, truth: pd.DataFrame, polygons: Sequence[Any]) -> pd.DataFrame:
    """Write the outlines and the true index, and return the truth with locations."""
    import geopandas
    import shapely

    names = [f"synthetic_{number}" for number in range(1, len(polygons) + 1)]
    outlines = geopandas.GeoDataFrame({"name": names}, geometry=list(polygons), crs=_EPSG)
    geojson = io.BytesIO()  # GDAL does not raise OSError if the disk is full
    outlines.to_file(geojson, driver="GeoJSON", layer="outlines", RFC7946="YES")
    (folder / OUTLINES_NAME).write_bytes(geojson.getbuffer())
    width = _PIXEL * TILE_SIZE
    east = truth["easting"] + width
    south = truth["northing"] - width
    footprints = geopandas.GeoSeries(
        shapely.box(truth["easting"], south, east, truth["northing"]), crs=_EPSG
    )
    centres = footprints.centroid.to_crs("EPSG:4326")
    truth = truth.assign(
        longitude=centres.x,
        latitude=centres.y,
        epsg=_EPSG,
        located_by=np.where(truth["mask_share"] > 0, "outlines", "site"),
        outlines=pd.Series(_name_outlines(footprints, outlines), dtype=object),
        geometry=footprints.to_crs("EPSG:4326").to_wkb(),
    )
    write_index(make_index(truth), folder / TRUE_INDEX_NAME)
    return truth


def _name_outlines(footprints: Any, outlines: Any) -> list[list[str]]:
    """Return the names of the outlines that each footprint intersects, not only touches."""
    # The edges of both are at multiples of 10 m.
    smaller = footprints.buffer(-1)
    tiles, shown = outlines.sindex.query(smaller, predicate="intersects", sort=True)
    names: list[list[str]] = [[] for _ in range(len(footprints))]
    for tile, outline in zip(tiles, shown, strict=True):
        names[tile].append(outlines["name"].iloc[outline])
    return names


def make_ground(rng: np.random.Generator, size: int, lobes: int = 0) -> Ground:
    """Make a scene of width and height `size`, at least 128, with 0 to 3 rock glaciers.

    Each rock glacier is in a square of 128 pixels of its own, except for a narrow margin: at the
    upper left, to the right of it, and below it.
    """
    # Folding noise at zero makes crests.
    bed = 9 * _noise(rng, size, 80, 2) - 12 * np.abs(_noise(rng, size, 64, 3))
    rockiness = _ramp(_noise(rng, size, 40, 3), -0.6, 1.2)
    streaks = _make_streaks(rng, bed)
    height = bed - 2.2 * rockiness * np.abs(streaks) + 0.25 * _noise(rng, size, 6, 2)
    mask = np.zeros((size, size), np.bool_)
    for row, column in ((0, 0), (0, 1), (1, 0))[:lobes]:
        south = (row + rng.uniform(0.38, 0.62)) * TILE_SIZE
        east = (column + rng.uniform(0.38, 0.62)) * TILE_SIZE
        inside, thickness = _make_rock_glacier(rng, size, south, east)
        share = np.where(mask, 0, _ramp(inside, 0, 0.12))
        height += share * (bed + thickness - height)
        mask |= inside > 0
    hollows = 1.2 * (0.5 - _ramp(height - _blur(height, 8), -3, 3))
    snow = 0.7 * _noise(rng, size, 50, 3) + hollows + 0.3 * streaks - 0.5 * rockiness
    return Ground(height, mask, snow, _noise(rng, size, 60, 4))


def _make_rock_glacier(
    rng: np.random.Generator, size: int, row: float, column: float
) -> tuple[Field, Field]:
    """Shape a rock glacier with its centre at (row, column).

    Returns:
        How far inside the outline each pixel is, from 1 at the centre to negative values outside,
        and the thickness, which is valid inside.
    """
    angle = rng.uniform(0, 2 * math.pi)
    length = rng.uniform(42, 70)
    width = length * rng.uniform(0.45, 0.65)
    south = np.arange(size, dtype=np.float32)[:, None] - row
    east = np.arange(size, dtype=np.float32) - column
    along = (south * math.sin(angle) + east * math.cos(angle)) / length
    across = (east * math.sin(angle) - south * math.cos(angle)) / width
    across -= rng.uniform(-0.4, 0.4) * along**2  # bends it
    across /= 0.8 + 0.25 * along.clip(-1, 1)  # widens it towards the front
    warp = _noise(rng, size, 20, 2)
    inside = 1 - np.hypot(along, across) + 0.07 * warp
    levee = np.exp(-(((inside - 0.14) / 0.07) ** 2))
    wavelength = rng.uniform(8, 12)
    phase = 2 * math.pi * (along - 0.5 * across**2) * length / wavelength + 1.3 * warp
    ridges = 0.7 * np.sin(phase) * _ramp(inside, 0.1, 0.3)
    return inside, 4.5 + levee + ridges


def _make_streaks(rng: np.random.Generator, height: Field) -> Field:
    """Make noise that is stretched down the slopes, like gullies: mean 0, deviation 1.

    Noise is summed along a path downhill from each pixel. Each step goes to a random neighbour;
    on average, steps follow the slope. Each pass doubles the number of steps.
    """
    size = len(height)
    south, east = np.gradient(_blur(height, 8))
    steepness = np.hypot(south, east) + 1e-6
    rows, columns = np.ogrid[:size, :size]
    rows = rows + np.floor(rng.random(height.shape, np.float32) - south / steepness)
    columns = columns + np.floor(rng.random(height.shape, np.float32) - east / steepness)
    target = rows.clip(0, size - 1) * size + columns.clip(0, size - 1)
    target = target.astype(np.intp).ravel()
    total = _noise(rng, size, 4, 2).ravel()
    for _ in range(5):
        total = total + total[target]
        target = target[target]
    streaks = total.reshape(size, size)
    streaks = _blur(streaks - _blur(streaks, 8), 2)
    return streaks / (streaks.std() + 1e-6)


def render(rng: np.random.Generator, ground: Ground) -> npt.NDArray[np.uint8]:
    """Render a ground on a random date as RGBA: uint8 of shape (size, size, 4)."""
    season = _SEASONS[rng.integers(len(_SEASONS))]
    light = _make_light(rng, ground.height)
    snow = ground.snow + season.snowiness + rng.uniform(-0.4, 0.4) - 0.3 * (light - 1)
    earth = ground.earth + season.earthiness + rng.uniform(-0.3, 0.3) + 0.5 * (light - 1)
    lit = 0.5 + 0.5 * rng.uniform(0.8, 1.15) * (light - 1)
    rgb = _colour(season.rock, lit)
    rgb += _ramp(earth, -0.6, 0.6)[..., None] * (_colour(_EARTH, lit) - rgb)
    rgb += _ramp(snow, -0.5, 0.4)[..., None] * (_colour(_SNOW, lit) - rgb)
    rgb += rng.uniform(0, 0.12) * (np.array(_HAZE, np.float32) - rgb)
    rgb += 0.8 * rng.standard_normal(light.shape, np.float32)[..., None]
    image = np.full((*light.shape, 4), 255, np.uint8)
    image[..., :3] = np.clip(rgb + 0.5, 0, 255)
    return image


def _make_light(rng: np.random.Generator, height: Field) -> Field:
    """Light a relief by a low sun in the north-east: 1 on level ground, less in the shade."""
    azimuth = math.radians(rng.uniform(30, 75))
    elevation = math.radians(rng.uniform(28, 40))
    south, east = np.gradient(height)
    tilt = south * math.cos(azimuth) - east * math.sin(azimuth)  # towards the sun
    cosine = (1 + tilt / math.tan(elevation)) / np.sqrt(1 + south**2 + east**2)  # Lambert's law
    # The sky lights the shade, which therefore never becomes black.
    sun = np.maximum(cosine, 0.4 * np.exp(np.minimum(cosine / 0.4 - 1, 0)))
    return np.asarray(sun + 0.25 * tilt.clip(-1, 1))


def _colour(colours: Colours, lit: Field) -> Field:
    """Return the colour of each pixel: the first of two if `lit` is 0, the second if it is 1."""
    shade = np.array(colours[0], np.float32)
    sun = np.array(colours[1], np.float32)
    return shade + lit[..., None] * (sun - shade)


def _noise(rng: np.random.Generator, size: int, cell: float, octaves: int) -> Field:
    """Make value noise of mean 0 and deviation about 1; its widest cells have `cell` pixels."""
    total = np.zeros((size, size), np.float32)
    for octave in range(octaves):
        cells = size * 2**octave / cell
        values = rng.standard_normal((math.ceil(cells) + 4, math.ceil(cells) + 4), np.float32)
        left, top = rng.uniform(1, 2, 2)
        box = (left, top, left + cells, top + cells)
        image = Image.fromarray(values).resize((size, size), Image.Resampling.BICUBIC, box)
        total += 1.4 / 2**octave * np.asarray(image)
    return total


def _blur(field: Field, factor: int) -> Field:
    """Average squares of `factor` pixels, and interpolate between them."""
    size = len(field)
    small = Image.fromarray(field).resize((size // factor, size // factor), Image.Resampling.BOX)
    return np.asarray(small.resize((size, size), Image.Resampling.BICUBIC))


def _ramp(field: Field, low: float, high: float) -> Field:
    """Rise smoothly from 0 at `low` to 1 at `high`."""
    share = np.clip((field - low) / (high - low), 0, 1)
    return np.asarray(share * share * (3 - 2 * share))
