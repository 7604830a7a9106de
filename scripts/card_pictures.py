"""The pictures of the card, each drawn from what it shows: a portrait, a plate on masks, the splits, and an overlap.

Each function takes tiles and numbers and returns a matplotlib figure; which tiles, and where the file goes, is not
decided here. A picture of synthetic tiles says in its last line that it is one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from archive_survey import GLACIAR, PicturedTile
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from picture_panel import (
    BRIGHT,
    CLASS_COLOURS,
    FAINT,
    LINE,
    MARGIN,
    MUTED,
    PANEL,
    SHARED_COLOUR,
    WIDTH,
    add_axes,
    add_outline,
    add_pixels,
    mask_rgb,
    new_panel,
    percent,
    rectangle_edges,
    write,
    write_in_parts,
)
from PIL import ImageColor
from tile_outlines import outline_edges

from rock_glacier_dataset import CLASS_NAMES, SPLIT_NAMES, TILE_SIZE

SYNTHETIC = "Synthetic sample: made-up terrain, not satellite images"
"""What a picture says last that shows a sample's tiles or numbers."""

PORTRAIT_ROWS, PORTRAIT_COLUMNS = 3, 4
"""Tiles of each class in the portrait."""

COVERAGE_BINS = 20

_SMALL = 192  # a tile in the portrait
_LARGE = 512  # a tile in the plates; four times its size, so that each of its pixels is a square
_BAND = LINE + 26  # what a line of text takes above or below tiles


def portrait(tiles: Mapping[str, Sequence[PicturedTile]], *, synthetic: bool) -> Figure:
    """Draw a mosaic of tiles, those of cordillera on the left and those of glaciar, outlined, on the right.

    Args:
        tiles: of each class, up to `PORTRAIT_ROWS` x `PORTRAIT_COLUMNS`.
        synthetic: whether they are a sample's.
    """
    gap = 4
    side = PORTRAIT_COLUMNS * _SMALL + (PORTRAIT_COLUMNS - 1) * gap
    block = PORTRAIT_ROWS * _SMALL + (PORTRAIT_ROWS - 1) * gap
    figure = new_panel(_BAND + block + _last_band(synthetic))
    has_masks = any(tile.mask is not None for tile in tiles[GLACIAR])
    what = dict(zip(CLASS_NAMES, ("no rock glacier", f"rock glacier{', outlined' if has_masks else ''}"), strict=True))
    for class_name, left in zip(CLASS_NAMES, (MARGIN, WIDTH - MARGIN - side), strict=True):
        heading = ((f"{class_name}:", CLASS_COLOURS[class_name], True), (what[class_name], BRIGHT, False))
        write_in_parts(figure, left, LINE, *heading)
        for place, tile in enumerate(tiles[class_name][: PORTRAIT_ROWS * PORTRAIT_COLUMNS]):
            row, column = divmod(place, PORTRAIT_COLUMNS)
            x, y = left + column * (_SMALL + gap), _BAND + row * (_SMALL + gap)
            axes = add_pixels(figure, x, y, _SMALL, tile.rgb)
            if tile.mask is not None:
                add_outline(axes, outline_edges(tile.mask), CLASS_COLOURS[GLACIAR], 4)
    _say_synthetic(figure, synthetic)
    return figure


def tile_and_mask(tile: PicturedTile, *, synthetic: bool) -> Figure:
    """Draw a tile, its mask, and the mask's outline on the tile.

    Args:
        tile: a tile that has a mask.
        synthetic: whether it is a sample's.
    """
    mask = tile.mask
    if mask is None:
        raise ValueError(f"{tile.path}: has no mask")
    figure = new_panel(_BAND + _LARGE + 2 * LINE + 12 + _last_band(synthetic))
    below = _BAND + _LARGE + LINE
    panels = (("The tile", tile.rgb), ("Its mask", mask_rgb(mask)), ("Both", tile.rgb))
    for place, (heading, rgb) in enumerate(panels):
        x = _panel_left(place)
        write(figure, x, LINE, heading, bold=True)
        axes = add_pixels(figure, x, _BAND, _LARGE, rgb)
        if heading == "Both":
            add_outline(axes, outline_edges(mask), CLASS_COLOURS[GLACIAR], 4)
    lines = (
        ("mountains from above,", f"{TILE_SIZE} x {TILE_SIZE} pixels"),
        ("white: rock glacier", "black: everything else"),
        ("the mask's outline,", "drawn on the tile"),
    )
    for place, (first, second) in enumerate(lines):
        write(figure, _panel_left(place), below, first, colour=BRIGHT)
        write(figure, _panel_left(place), below + LINE, second, colour=BRIGHT)
    _say_synthetic(figure, synthetic)
    return figure


def class_shares(counts: Mapping[str, int]) -> dict[str, float]:
    """Return the share of each class among the tiles of a split, in [0, 1].

    Example:
        >>> class_shares({"cordillera": 3, "glaciar": 1})
        {'cordillera': 0.75, 'glaciar': 0.25}
    """
    total = sum(counts.values())
    return {name: counts[name] / total for name in CLASS_NAMES}


def coverage_shares(coverages: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return which share of the masks of a split covers 0 to 5 % of its tile, 5 to 10 %, and so on.

    Args:
        coverages: mask coverage of each tile, values in [0, 1].

    Returns:
        float array of shape (20,), whose sum is 1; coverage 1 counts to the last.

    Example:
        >>> coverage_shares(np.array([0.01, 0.02, 0.07, 1.0]))[[0, 1, -1]].tolist()
        [0.5, 0.25, 0.25]
    """
    numbers, _ = np.histogram(coverages, bins=COVERAGE_BINS, range=(0, 1))
    return numbers / max(coverages.size, 1)


def splits(
    counts: Mapping[str, Mapping[str, int]],
    coverages: Mapping[str, npt.NDArray[np.float64]] | None,
    *,
    synthetic: bool,
) -> Figure:
    """Draw for each split the share of its classes, and how much of its glaciar tiles the masks cover.

    Args:
        counts: number of tiles of each split and class.
        coverages: mask coverage of each split's glaciar tiles, values in [0, 1]; None where there are no masks.
        synthetic: whether the numbers are a sample's.
    """
    row_height, top = 176, _BAND + 8
    figure = new_panel(top + len(SPLIT_NAMES) * row_height + LINE + _last_band(synthetic))
    bar_left, chart_left = 300, 960
    bar_width = (chart_left if coverages else WIDTH) - 70 - bar_left
    for class_name, x, align in zip(CLASS_NAMES, (bar_left, bar_left + bar_width), ("left", "right"), strict=True):
        write(figure, x, LINE, class_name, colour=CLASS_COLOURS[class_name], bold=True, align=align)
    bins = {split: coverage_shares(one) for split, one in (coverages or {}).items()}
    highest = max((one.max() for one in bins.values()), default=0) or 1
    chart_width = WIDTH - MARGIN - 24 - chart_left
    if coverages:
        write(figure, chart_left, LINE, "mask coverage of glaciar tiles", bold=True)
    for row, split in enumerate(SPLIT_NAMES):
        y = top + row * row_height
        write(figure, MARGIN, y + 62, split, bold=True)
        write(figure, MARGIN, y + 62 + LINE, f"{sum(counts[split].values()):,} tiles", colour=MUTED)
        _draw_shares(figure, bar_left, y + 26, bar_width, class_shares(counts[split]))
        if coverages:
            _draw_coverage(figure, (chart_left, y, chart_width, row_height - 28), coverages[split], highest)
    if coverages:
        below = top + len(SPLIT_NAMES) * row_height + 22
        for share, align in ((0.0, "left"), (0.5, "center"), (1.0, "right")):
            write(figure, chart_left + share * chart_width, below, percent(share), colour=MUTED, align=align)
    _say_synthetic(figure, synthetic)
    return figure


def _draw_shares(figure: Figure, x: float, y: float, width: float, shares: Mapping[str, float]) -> None:
    axes = add_axes(figure, x, y, width, 50)
    axes.set_xlim(0, width)
    axes.set_ylim(0, 1)
    begin = 0.0
    for name in CLASS_NAMES:
        axes.add_patch(Rectangle((begin, 0), shares[name] * width, 1, facecolor=CLASS_COLOURS[name], edgecolor="none"))
        begin += shares[name] * width
    axes.axvline(shares[CLASS_NAMES[0]] * width, color=PANEL, linewidth=6)
    for name, edge, align in zip(CLASS_NAMES, (x, x + width), ("left", "right"), strict=True):
        write(figure, edge, y + 50 + 40, percent(shares[name]), align=align)


def _draw_coverage(
    figure: Figure, place: tuple[float, float, float, float], coverages: npt.NDArray[np.float64], highest: float
) -> None:
    axes = add_axes(figure, *place)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, highest)
    step = 1 / COVERAGE_BINS
    left = np.arange(COVERAGE_BINS) * step
    axes.bar(left, coverage_shares(coverages), width=step * 0.9, align="edge", color=CLASS_COLOURS[GLACIAR])
    axes.axhline(0, color=FAINT, linewidth=4)
    if coverages.size:
        x, y, width, _ = place
        text = f"median {percent(float(np.median(coverages)))}"
        write(figure, x + width, y + 62, text, align="right")


def shared_rectangles(pair: Mapping[str, Any]) -> tuple[tuple[int, int, int, int], tuple[int, int, int, int]]:
    """Return where the shared ground of a pair lies on tile a and on tile b, as (x, y, width, height) in pixels.

    Args:
        pair: of the audit: tile a's pixel (x, y) is tile b's pixel (x - dx, y - dy).

    Example:
        >>> shared_rectangles({"dx": 28, "dy": -64})
        ((28, 0, 100, 64), (0, 64, 100, 64))
    """
    dx, dy = pair["dx"], pair["dy"]
    size = TILE_SIZE - abs(dx), TILE_SIZE - abs(dy)
    return (max(dx, 0), max(dy, 0), *size), (max(-dx, 0), max(-dy, 0), *size)


def overlap(pair: Mapping[str, Any], a: PicturedTile, b: PicturedTile, *, synthetic: bool) -> Figure:
    """Draw two tiles cut over the same ground, and both laid together as they lie on it.

    Args:
        pair: of the audit: "a", "b", "dx", "dy", "pixels".
        a: the tile of that name.
        b: the same.
        synthetic: whether they are a sample's.
    """
    figure = new_panel(_BAND + _LARGE + LINE + 12 + _last_band(synthetic))
    rectangles = shared_rectangles(pair)
    for place, (tile, rectangle) in enumerate(zip((a, b), rectangles, strict=True)):
        x = _panel_left(place)
        split, class_name, _ = tile.path.split("/")
        write_in_parts(
            figure, x, LINE, (f"A {split} tile", BRIGHT, True), (class_name, CLASS_COLOURS[class_name], False)
        )
        axes = add_pixels(figure, x, _BAND, _LARGE, _dimmed_outside(tile.rgb, rectangle))
        add_outline(axes, rectangle_edges(*rectangle), SHARED_COLOUR, 6, clip=False)
    x = _panel_left(2)
    write(figure, x, LINE, "Laid together", bold=True)
    together, corner = laid_together(pair, a.rgb, b.rgb)
    axes = add_pixels(figure, x, _BAND, _LARGE, together)
    left, top, width, height = rectangles[0]
    for edges, colour, thick in (
        (rectangle_edges(*corner, TILE_SIZE, TILE_SIZE), BRIGHT, 3),
        (rectangle_edges(corner[0] + pair["dx"], corner[1] + pair["dy"], TILE_SIZE, TILE_SIZE), BRIGHT, 3),
        (rectangle_edges(corner[0] + left, corner[1] + top, width, height), SHARED_COLOUR, 6),
    ):
        add_outline(axes, edges, colour, thick, clip=False)
    below = _BAND + _LARGE + LINE
    share = percent(pair["pixels"] / TILE_SIZE**2)
    parts = (
        ("Framed:", SHARED_COLOUR, True),
        (f"the same ground, pixel for pixel, {share} of each tile", BRIGHT, False),
    )
    write_in_parts(figure, MARGIN, below, *parts)
    _say_synthetic(figure, synthetic)
    return figure


def laid_together(
    pair: Mapping[str, Any], a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[np.uint8], tuple[int, int]]:
    """Lay two tiles on the ground that they share, in the middle of a square.

    Args:
        pair: of the audit.
        a: uint8 array of shape (128, 128, 3).
        b: the same.

    Returns:
        uint8 array of shape (size, size, 3), in the panel's colour where neither lies, and the place (x, y) of tile a's
        upper left corner in it.
    """
    dx, dy = pair["dx"], pair["dy"]
    size = TILE_SIZE + max(abs(dx), abs(dy))
    x, y = (size - TILE_SIZE - abs(dx)) // 2 + max(-dx, 0), (size - TILE_SIZE - abs(dy)) // 2 + max(-dy, 0)
    together = np.full((size, size, 3), ImageColor.getrgb(PANEL), np.uint8)
    together[y + dy : y + dy + TILE_SIZE, x + dx : x + dx + TILE_SIZE] = b
    together[y : y + TILE_SIZE, x : x + TILE_SIZE] = a
    return together, (x, y)


def _dimmed_outside(rgb: npt.NDArray[np.uint8], rectangle: tuple[int, int, int, int]) -> npt.NDArray[np.uint8]:
    x, y, width, height = rectangle
    dimmed = (rgb * 0.45).astype(np.uint8)
    dimmed[y : y + height, x : x + width] = rgb[y : y + height, x : x + width]
    return dimmed


def _panel_left(place: int) -> int:
    return MARGIN + place * (_LARGE + MARGIN)


def _last_band(synthetic: bool) -> int:
    return _BAND if synthetic else MARGIN


def _say_synthetic(figure: Figure, synthetic: bool) -> None:
    if synthetic:
        write(figure, MARGIN, figure.bbox.height - MARGIN, SYNTHETIC, colour=MUTED)
