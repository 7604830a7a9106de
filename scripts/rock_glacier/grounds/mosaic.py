"""A ground as a picture: its tiles where they lie, with its blocks in colour."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from rock_glacier.grounds.turns import turned
from rock_glacier_dataset import TILE_SIZE

# Told apart in all common forms of colour blindness: Okabe and Ito, Color Universal Design, 2008.
_BLOCK_COLOURS = ["#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7"]
_TINT = 0.25
_LARGEST = 800


def draw_mosaic(
    tile_of: Callable[[int], npt.NDArray[np.uint8]],
    numbers: Sequence[int],
    turns: Sequence[int],
    x: Sequence[int],
    y: Sequence[int],
    blocks: Sequence[int],
    largest: int = _LARGEST,
) -> Image.Image:
    """Draw the tiles of a ground over one another, the first on top, and tint the blocks.

    Args:
        tile_of: returns a tile by its number, uint8 of shape (128, 128, 4).
        numbers: numbers of the ground's tiles.
        turns: turn of each.
        x: column of each turned tile's upper left pixel in the ground, not negative.
        y: its row.
        blocks: number of each tile's block; -1 for a tile that is left out, which gets an outline.
        largest: width and height of the picture at most, in pixels.

    Returns:
        an RGB picture; white where no tile lies.
    """
    size = (max(x) + TILE_SIZE, max(y) + TILE_SIZE)
    mosaic = Image.new("RGB", size, "white")
    for number, turn, left, top in reversed(list(zip(numbers, turns, x, y, strict=True))):
        mosaic.paste(Image.fromarray(np.ascontiguousarray(turned(tile_of(number), turn)[..., :3])), (left, top))
    tinted = mosaic.copy()
    draw = ImageDraw.Draw(tinted)
    for left, top, block in zip(x, y, blocks, strict=True):
        if block >= 0:
            colour = _BLOCK_COLOURS[block % len(_BLOCK_COLOURS)]
            draw.rectangle((left, top, left + TILE_SIZE - 1, top + TILE_SIZE - 1), fill=colour)
    mosaic = Image.blend(mosaic, tinted, _TINT)
    draw = ImageDraw.Draw(mosaic)
    for left, top, block in zip(x, y, blocks, strict=True):
        if block < 0:
            draw.rectangle((left, top, left + TILE_SIZE - 1, top + TILE_SIZE - 1), outline="#d00000")
    mosaic.thumbnail((largest, largest))
    return mosaic
