"""Pictures of tiles and pairs, with the outlines of their masks."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from rock_glacier.places.footprints import FOOTPRINT_WIDTH
from rock_glacier.places.outlines import rasterise
from rock_glacier.sites.mosaic import draw_pair
from rock_glacier.sites.orientations import INVERSE, oriented
from rock_glacier.tiles import TileSet
from rock_glacier_dataset import TILE_SIZE

# Yellow is visible on rock, snow and shadow, for all kinds of colour vision (Okabe and Ito, 2008).
_COLOUR = (240, 228, 66)

# The mask of a second tile; it differs most from yellow.
_SECOND_COLOUR = (86, 180, 233)

_SCALE = 2  # pixels of a picture per pixel of a tile

_Mask = npt.NDArray[np.uint8]


def draw_tile(tiles: TileSet, row: int) -> Image.Image:
    """Draw a tile at twice its size, with the outline of its mask."""
    return _draw_masked_tile(tiles, row, tiles.masks[row])


def draw_tile_on_outline(tiles: TileSet, tile: Any, outlines: Any) -> Image.Image:
    """Draw a located tile at twice its size, with the rock glaciers of outlines.

    Args:
        tiles: The decoded tiles.
        tile: The tile's row of `Audit.table`, whose name is the row number.
        outlines: A GeoDataFrame of outlines.
    """
    left = tile["easting"]
    top = tile["northing"]
    bounds = (left, top - FOOTPRINT_WIDTH, left + FOOTPRINT_WIDTH, top)
    north_up = rasterise(outlines, int(tile["epsg"]), bounds).pixels
    return _draw_masked_tile(tiles, tile.name, oriented(north_up, INVERSE[tile["orientation"]]))


def draw_conflict(tiles: TileSet, pair: Any) -> Image.Image:
    """Draw two tiles like `draw_pair`, at twice their size, with the outlines of their masks.

    The mask of tile a is yellow, and the mask of tile b is blue.
    """
    picture = draw_pair(tiles, pair)
    step = (picture.width - TILE_SIZE - abs(pair.dx)) // 2
    picture = _enlarge(picture)
    masks = (
        (tiles.masks[pair.a], max(-pair.dx, 0), max(-pair.dy, 0), _COLOUR, (0, 2)),
        (
            oriented(tiles.masks[pair.b], pair.orientation),
            max(pair.dx, 0),
            max(pair.dy, 0),
            _SECOND_COLOUR,
            (1, 2),
        ),
    )
    for mask, x, y, colour, panels in masks:
        for panel in panels:
            _draw_outline(picture, mask, colour, (x + panel * step, y))
    return picture


def _draw_masked_tile(tiles: TileSet, row: int, mask: _Mask) -> Image.Image:
    picture = _enlarge(Image.fromarray(tiles.images[row]).convert("RGB"))
    _draw_outline(picture, mask, _COLOUR)
    return picture


def _enlarge(image: Image.Image) -> Image.Image:
    size = (_SCALE * image.width, _SCALE * image.height)
    return image.resize(size, Image.Resampling.BICUBIC)


def _draw_outline(
    picture: Image.Image,
    mask: _Mask,
    colour: tuple[int, int, int],
    position: tuple[int, int] = (0, 0),
) -> None:
    """Draw the outline of a mask whose upper left pixel is at a position of the tile's pixels."""
    box = (_SCALE * position[0], _SCALE * position[1])
    size = (_SCALE * TILE_SIZE, _SCALE * TILE_SIZE)
    shape = Image.fromarray(255 * np.ascontiguousarray(mask)).resize(size)
    line = _subtract(shape, shape.filter(ImageFilter.MinFilter(5)))
    # A black border makes the line visible on bright snow.
    border = _subtract(shape.filter(ImageFilter.MaxFilter(3)), shape)
    picture.paste((0, 0, 0), box, border)
    picture.paste(colour, box, line)


def _subtract(larger: Image.Image, smaller: Image.Image) -> Image.Image:
    difference: _Mask = np.asarray(larger) - np.asarray(smaller)
    return Image.fromarray(difference)
