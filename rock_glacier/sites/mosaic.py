"""Pictures of sites and pairs: tiles in their places."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from rock_glacier.sites.orientations import oriented
from rock_glacier.tiles import TileSet
from rock_glacier_dataset import TILE_SIZE

# Distinguishable with all common forms of colour blindness: Okabe and Ito, Color Universal Design.
_BLOCK_COLOURS = ["#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7"]
_BLOCK_OPACITY = 0.25
_BACKGROUND = "#808080"  # neither snow nor shadow


def draw_mosaic(tiles: TileSet, placed: pd.DataFrame, largest: int = 800) -> Image.Image:
    """Draw the tiles of a site in their places, the last on top; several blocks are tinted.

    Args:
        tiles: The decoded tiles.
        placed: A row for each tile of the site, with the columns `x`, `y`, `orientation` and
            `block`. Its index is the row number in `tiles`.
        largest: Largest width and height of the picture, in pixels.

    Returns:
        An RGB picture; the background is grey.
    """
    images = tiles.images
    left = placed["x"].to_numpy(float) - placed["x"].min()
    top = placed["y"].to_numpy(float) - placed["y"].min()
    width = left.max() + TILE_SIZE
    height = top.max() + TILE_SIZE
    scale = min(1.0, largest / max(width, height))
    mosaic = Image.new("RGB", (round(scale * width), round(scale * height)), _BACKGROUND)
    is_tinted = placed["block"].nunique() > 1
    for row, x, y, orientation, block in zip(
        placed.index, left, top, placed["orientation"], placed["block"], strict=True
    ):
        # Round the corners, not the size, to leave no gaps between neighbours.
        box = (
            round(scale * x),
            round(scale * y),
            round(scale * (x + TILE_SIZE)),
            round(scale * (y + TILE_SIZE)),
        )
        size = (max(1, box[2] - box[0]), max(1, box[3] - box[1]))
        pixels = np.ascontiguousarray(oriented(images[row], orientation)[..., :3])
        tile = Image.fromarray(pixels).resize(size, Image.Resampling.BOX)
        if is_tinted:
            colour = _BLOCK_COLOURS[block % len(_BLOCK_COLOURS)]
            tile = Image.blend(tile, Image.new("RGB", size, colour), _BLOCK_OPACITY)
        mosaic.paste(tile, box[:2])
    return mosaic


def fit_pair(tiles: TileSet, pair: Any) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Draw the two tiles of a pair on one canvas, each in its place.

    Args:
        tiles: The decoded tiles.
        pair: A row of `Sites.pairs`, as a Series or a named tuple.

    Returns:
        Two uint8 arrays of one shape (height, width, 4): tile a, and tile b after its orientation
        was applied. Pixels outside a tile are transparent (0, 0, 0, 0).
    """
    images = tiles.images
    width = TILE_SIZE + abs(pair.dx)
    height = TILE_SIZE + abs(pair.dy)
    first = np.zeros((height, width, 4), np.uint8)
    second = np.zeros((height, width, 4), np.uint8)
    x = max(-pair.dx, 0)
    y = max(-pair.dy, 0)
    first[y : y + TILE_SIZE, x : x + TILE_SIZE] = images[pair.a]
    x = max(pair.dx, 0)
    y = max(pair.dy, 0)
    second[y : y + TILE_SIZE, x : x + TILE_SIZE] = oriented(images[pair.b], pair.orientation)
    return first, second


def draw_pair(tiles: TileSet, pair: Any) -> Image.Image:
    """Draw two tiles fitted on each other: side by side on their common canvas, then both.

    Args:
        tiles: The decoded tiles.
        pair: A row of `Sites.pairs`.

    Returns:
        An RGBA picture of three panels: tile a, tile b in its orientation, and both at half
        opacity. The gaps between the panels are transparent.
    """
    first, second = (Image.fromarray(array) for array in fit_pair(tiles, pair))
    canvas = Image.new("RGBA", first.size, _BACKGROUND)
    panel_a = Image.alpha_composite(canvas, first)
    panel_b = Image.alpha_composite(canvas, second)
    both = Image.blend(panel_a, panel_b, 0.5)
    gap = 8
    width, height = first.size
    picture = Image.new("RGBA", (3 * width + 2 * gap, height))
    for number, panel in enumerate((panel_a, panel_b, both)):
        picture.paste(panel, (number * (width + gap), 0))
    return picture
