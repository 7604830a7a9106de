"""A ground as a picture: its tiles where they lie, with its blocks in colour."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from rock_glacier.grounds.turns import turned
from rock_glacier_dataset import TILE_SIZE

# Told apart in all common forms of colour blindness: Okabe and Ito, Color Universal Design, 2008.
_BLOCK_COLOURS = ["#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7"]
_TINT = 0.25
_NOTHING = "#808080"  # neither snow nor shadow
_LARGEST = 800


def draw_mosaic(
    tiles: Iterable[npt.NDArray[np.uint8]],
    turns: Sequence[int],
    x: Sequence[int],
    y: Sequence[int],
    blocks: Sequence[int],
    largest: int = _LARGEST,
) -> Image.Image:
    """Draw the tiles of a ground over one another, the last on top; where there are several blocks, tint them.

    Args:
        tiles: the ground's tiles, uint8 arrays of shape (128, 128, 4); one at a time is taken.
        turns: turn of each.
        x: column of each turned tile's upper left pixel in the ground.
        y: its row.
        blocks: number of each tile's block.
        largest: width and height of the picture at most, in pixels.

    Returns:
        an RGB picture; grey where no tile lies.
    """
    places = np.array([x, y], float).T
    places -= places.min(0)
    is_tinted = len(set(blocks)) > 1
    scale = min(1.0, largest / (places.max() + TILE_SIZE))
    corners = np.rint(scale * np.hstack([places, places + TILE_SIZE])).astype(int)
    mosaic = Image.new("RGB", tuple(corners[:, 2:].max(0).tolist()), _NOTHING)
    for pixels, turn, (left, top, right, bottom), block in zip(tiles, turns, corners.tolist(), blocks, strict=True):
        size = (max(1, right - left), max(1, bottom - top))
        tile = Image.fromarray(np.ascontiguousarray(turned(pixels, turn)[..., :3])).resize(size, Image.Resampling.BOX)
        if is_tinted:
            colour = _BLOCK_COLOURS[block % len(_BLOCK_COLOURS)]
            tile = Image.blend(tile, Image.new("RGB", size, colour), _TINT)
        mosaic.paste(tile, (left, top))
    return mosaic
