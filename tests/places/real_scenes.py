"""Real masks on synthetic scenes of three dates, to measure how well tiles are located.

The release's tiles are not available, but 1,165 of its masks are. Each is placed on the curators'
outlines with the other masks of its group, and a tile is cut at this place from a synthetic scene.
`cordillera` tiles are cut from places without outlines. A test uses some of the masks. To measure
all, run in the clone:

    PYTHONPATH=.:tests python -m places.real_scenes make ../shared/real OUT
    rock-glacier audit OUT/data --outlines ../shared/real/outlines --index OUT/tiles.parquet
    PYTHONPATH=.:tests python -m places.real_scenes compare OUT/tiles.parquet OUT/truth.csv
"""

from __future__ import annotations

import argparse
import tempfile
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import factories
import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.signal import fftconvolve
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from rock_glacier.index import read_index
from rock_glacier.masks import mask_to_class_indices
from rock_glacier.parallel import Workers
from rock_glacier.places.outlines import Raster, rasterise, read_outlines
from rock_glacier.png import decode_tile, encode
from rock_glacier.sites.mask_overlaps import find_mask_overlaps
from rock_glacier.sites.orientations import COMPOSED, MATRICES, ORIENTATIONS, oriented
from rock_glacier.sites.placement import place_tiles
from rock_glacier.synthetic import Place, cut, make_ground, render
from rock_glacier_dataset import TILE_SIZE

EPSG = 32719
PIXEL = 10  # metres
DATES = 3
SURE_STEPS = 100  # boundary steps; mask overlaps with as many are never false
COARSE = 4  # pixels that are joined when a group is searched on the outlines
MARGIN = 80  # pixels of a scene around its masks
LEAST_OVERLAP = 16  # width and height of an overlap, in pixels
TOLERANCE = 60  # metres; a tile farther from its true place is located wrongly


def make_real_scenes(
    out: Path, real: Path, cordillera: int, ids: Collection[str] = (), seed: int = 0
) -> pd.DataFrame:
    """Write archives; the `glaciar` tiles of their split test have real masks.

    Args:
        out: Folder to create.
        real: Folder of the real masks and outlines.
        cordillera: Number of tiles without a rock glacier.
        ids: Names of masks to use, such as `007`. Default: all.
        seed: Seed of the random numbers.

    Returns:
        The truth, one row per tile: `path`, `label`, `group` (of masks that overlap; -1 without a
        mask), `orientation`, `date`, `easting` and `northing`.
    """
    masks = read_masks(real, ids)
    outlines = read_outlines(real / "outlines")
    truth = place_masks(masks, outlines)
    truth["path"] = [f"test/glaciar/{name}.png" for name in masks]
    truth["label"] = "glaciar"
    rng = np.random.default_rng(seed)
    scene = _choose_scene(truth, outlines)
    truth = pd.concat([truth, _place_cordillera(rng, scene, cordillera)], ignore_index=True)
    truth["date"] = rng.integers(DATES, size=len(truth))
    ground = make_ground(rng, len(scene.pixels))
    dates = [render(rng, ground) for _ in range(DATES)]
    tiles = {}
    rows: Any = truth.itertuples()
    for row in rows:
        x = (row.easting - scene.easting) // PIXEL
        y = (scene.northing - row.northing) // PIXEL
        tiles[row.path] = encode(cut(dates[row.date], Place(x, y, row.orientation)), 2)
    factories.make_data_dir(out, tiles, {f"test/masks/{name}.png": masks[name] for name in masks})
    return truth


def read_masks(real: Path, ids: Collection[str] = ()) -> dict[str, bytes]:
    """Return the PNG files of masks of the release's test split, by name."""
    with zipfile.ZipFile(real / "release_test_masks.zip") as archive:
        names = {Path(member).stem: member for member in archive.namelist() if "png" in member}
        return {name: archive.read(names[name]) for name in sorted(ids or names)}


def place_masks(files: dict[str, bytes], outlines: Any) -> pd.DataFrame:
    """Place masks on the outlines of the release's test split.

    Returns:
        A row for each mask: `group`, `orientation`, `easting` and `northing`.
    """
    masks = np.array([mask_to_class_indices(decode_tile(files[name], name)) for name in files])
    with tempfile.TemporaryDirectory() as folder:
        array_files = factories.array_files(Path(folder), np.zeros((len(masks), 128, 128, 4)))
        array_files.masks.write_bytes(masks.astype(np.uint8).tobytes())
        pairs = find_mask_overlaps(array_files, np.arange(len(masks)), Workers(1))
    pairs = pairs[pairs["steps"] >= SURE_STEPS].assign(kind="mask-overlap", votes=0, correlation=0)
    placed = place_tiles(len(masks), pairs).table.rename(columns={"site": "group"})
    shown = outlines[outlines["name"].str.startswith("glaciar_t_")].reset_index().to_crs(EPSG)
    width = TILE_SIZE * PIXEL
    raster = rasterise(shown, EPSG, tuple(shown.buffer(width).total_bounds))
    groups = [place_group(masks, group, raster) for _, group in placed.groupby("group")]
    return pd.concat(groups).sort_index()


def place_group(masks: npt.NDArray[np.uint8], group: pd.DataFrame, raster: Raster) -> pd.DataFrame:
    """Find the place with the best intersection over union (IoU) of a group on the outlines."""
    pixels = raster.pixels.astype(np.float32)
    best = (-1.0, 0, 0, group)
    for orientation in ORIENTATIONS:
        turned = _turn(group, orientation)
        mosaic = [_join_pixels(layer) for layer in _draw_mosaic(masks, turned)]
        iou, x, y = _find_best(_join_pixels(pixels), *mosaic)
        best = max(best, (iou, COARSE * x, COARSE * y, turned), key=lambda found: found[0])
    _, x, y, turned = best
    # The exact place is up to a joined pixel away.
    rock, seen = _draw_mosaic(masks, turned)
    height, width = rock.shape
    around = np.pad(pixels, COARSE)[y : y + height + 2 * COARSE, x : x + width + 2 * COARSE]
    _, dx, dy = _find_best(around, rock, seen)
    turned["easting"] = raster.easting + PIXEL * (turned.pop("x") + x + dx - COARSE)
    turned["northing"] = raster.northing - PIXEL * (turned.pop("y") + y + dy - COARSE)
    return turned


def _turn(group: pd.DataFrame, orientation: int) -> pd.DataFrame:
    """Apply an orientation to a group."""
    corners = group[["x", "y"]].to_numpy() @ MATRICES[orientation].T
    turned = group.assign(orientation=COMPOSED[orientation, group["orientation"]])
    turned[["x", "y"]] = corners - corners.min(0)
    return turned


def _draw_mosaic(
    masks: npt.NDArray[np.uint8], group: pd.DataFrame
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Draw the masks of a group: whether a pixel is rock glacier, and whether a mask shows it."""
    width, height = group[["x", "y"]].max() + TILE_SIZE
    rock = np.zeros((height, width), np.float32)
    seen = np.zeros((height, width), np.float32)
    rows: Any = group.itertuples()
    for row in rows:
        square = np.s_[row.y : row.y + TILE_SIZE, row.x : row.x + TILE_SIZE]
        rock[square] = oriented(masks[row.Index], row.orientation)
        seen[square] = 1
    return rock, seen


def _join_pixels(layer: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    height, width = layer.shape
    padded = np.pad(layer, ((0, -height % COARSE), (0, -width % COARSE)))
    return padded.reshape(-(-height // COARSE), COARSE, -1, COARSE).mean((1, 3))


def _find_best(
    outlines: npt.NDArray[np.float32], rock: npt.NDArray[np.float32], seen: npt.NDArray[np.float32]
) -> tuple[float, int, int]:
    """Return the best IoU of a mosaic with the outlines, and its column and row."""
    shared = fftconvolve(outlines, rock[::-1, ::-1], mode="valid")
    shown = fftconvolve(outlines, seen[::-1, ::-1], mode="valid")
    iou = shared / (shown + rock.sum() - shared)
    y, x = np.unravel_index(iou.argmax(), iou.shape)
    return float(iou.max()), int(x), int(y)


def _choose_scene(glaciar: pd.DataFrame, outlines: Any) -> Raster:
    """Return the outlines on the square that the tiles of a scene are cut from."""
    west = glaciar["easting"].min() - PIXEL * MARGIN
    north = glaciar["northing"].max() + PIXEL * MARGIN
    width = max(glaciar["easting"].max() - west, north - glaciar["northing"].min())
    size = width // PIXEL + TILE_SIZE + MARGIN
    size += -size % 8  # the renderer averages squares of 8 pixels
    return rasterise(outlines, EPSG, (west, north - PIXEL * size, west + PIXEL * size, north))


def _place_cordillera(rng: np.random.Generator, scene: Raster, tiles: int) -> pd.DataFrame:
    """Choose places for tiles that show no outline."""
    sums = np.pad(scene.pixels.cumsum(0, np.int64).cumsum(1), ((1, 0), (1, 0)))
    sums = sums[TILE_SIZE:] - sums[:-TILE_SIZE]
    free = np.argwhere(sums[:, TILE_SIZE:] == sums[:, :-TILE_SIZE])
    y, x = rng.permutation(free)[:tiles].T
    return pd.DataFrame(
        {
            "path": [f"test/cordillera/{number:04d}.png" for number in range(tiles)],
            "label": "cordillera",
            "group": -1,
            "orientation": rng.integers(8, size=tiles),
            "easting": scene.easting + PIXEL * x,
            "northing": scene.northing - PIXEL * y,
        }
    )


def compare(index: pd.DataFrame, truth: pd.DataFrame) -> dict[str, float]:
    """Compare the places in a tile index with the truth.

    Returns:
        The share of `glaciar` tiles that are located; of the `cordillera` tiles that overlaps
        connect to a located `glaciar` tile, and their number; of all tiles that are located wrongly
        (more than 60 m away, or in a wrong orientation); and the errors in metres.
    """
    both = truth.merge(index, on="path", suffixes=("", "_found"), validate="1:1")
    is_located = both["easting_found"].notna().to_numpy()
    is_glaciar = (both["label"] == "glaciar").to_numpy()
    component = _connect_overlaps(both)
    is_connected = np.isin(component, component[is_located & is_glaciar]) & ~is_glaciar
    east = both["easting_found"] - both["easting"]
    north = both["northing_found"] - both["northing"]
    error = np.hypot(east.astype(float), north.astype(float))
    is_wrong = error > TOLERANCE
    is_wrong |= is_located & (both["orientation"] != both["orientation_found"])
    return {
        "glaciar located": is_located[is_glaciar].mean(),
        "cordillera connected": int(is_connected.sum()),
        "connected cordillera located": is_located[is_connected].mean(),
        "all cordillera located": is_located[~is_glaciar].mean(),
        "wrong": is_wrong.mean(),
        "median error": error.median(),
        "error of 99 %": error.quantile(0.99),
        "largest error": error.max(),
    }


def _connect_overlaps(truth: pd.DataFrame) -> npt.NDArray[np.int32]:
    """Number the components of tiles that overlaps connect: shared ground on one date."""
    shared = np.ones((len(truth), len(truth)), bool)
    for column in ("easting", "northing"):
        values = truth[column].to_numpy()
        apart = abs(values[:, None] - values)
        shared &= apart <= PIXEL * (TILE_SIZE - LEAST_OVERLAP)
    shared &= truth["date"].to_numpy()[:, None] == truth["date"].to_numpy()
    return connected_components(coo_array(shared), directed=False)[1]


def main() -> None:
    """Make the archives, or compare an index with the truth."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", choices=["make", "compare"])
    parser.add_argument("first", type=Path, help="folder of real data, or the index")
    parser.add_argument("second", type=Path, help="folder to create, or the truth")
    options = parser.parse_args()
    if options.step == "make":
        truth = make_real_scenes(options.second / "data", options.first, cordillera=1400)
        truth.to_csv(options.second / "truth.csv", index=False)
    else:
        for name, value in compare(read_index(options.first), pd.read_csv(options.second)).items():
            print(f"{name}: {value:.4f}")


if __name__ == "__main__":
    main()
