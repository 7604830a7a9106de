"""Draw the pictures of the card: tiles, a tile with its mask, the splits, two tiles that overlap, and a ground.

Each function takes tiles and numbers and returns a picture: a matplotlib figure with its alternative text and caption.
The letters are large, because a phone shows a picture at a quarter of its width.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib.style
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from matplotlib.patheffects import AbstractPathEffect, withStroke

from rock_glacier.audit.mosaics import Mosaic
from rock_glacier.console import count
from rock_glacier.grounds.turns import turned
from rock_glacier.style import BACKGROUND, FAINT, INK, ORANGE, SKY_BLUE, STYLE, YELLOW
from rock_glacier_dataset import CLASS_NAMES, GLACIAR, SPLIT_NAMES, TILE_SIZE

SYNTHETIC = "Synthetic sample, not satellite images"
"""The last line of a picture that shows the tiles or the numbers of a sample."""

MOSAIC_SHAPE = (3, 4)
"""Rows and columns of the tiles of each class in the portrait."""

WIDTH = 1640
"""Width of every picture in pixels, twice that of the Hub's column of text."""

_DPI = 100
_COVERAGE_BINS = 20
_CLASS_COLOURS = dict(zip(CLASS_NAMES, (ORANGE, SKY_BLUE), strict=True))
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
_LEAST_SPAN = 0.5  # of the brightness of a tile that is shown as it is
_CASING: list[AbstractPathEffect] = [withStroke(linewidth=7, foreground=BACKGROUND)]  # for lines on snow
_ENCODERS: dict[str, dict[str, Any]] = {
    "png": {"pil_kwargs": {"optimize": True}, "metadata": {"Software": None}},  # whose version would change the bytes
    "webp": {"pil_kwargs": {"quality": 80, "method": 6}},
}


class PicturedTile(NamedTuple):
    """A tile to be shown.

    Attributes:
        path: its path.
        rgb: uint8 array of shape (128, 128, 3).
        mask: bool array of shape (128, 128), True on a rock glacier.
    """

    path: str
    rgb: npt.NDArray[np.uint8]
    mask: npt.NDArray[np.bool_]


class Picture(NamedTuple):
    """A picture of the card, with its texts."""

    figure: Figure
    alt: str
    caption: str


def draw_portrait(tiles: Mapping[str, Sequence[PicturedTile]]) -> Picture:
    """Draw a mosaic of tiles, cordillera on the left and glaciar, with the outlines of its masks, on the right.

    Dark and blown-out tiles are stretched.

    Args:
        tiles: tiles of each class; as many are drawn as `MOSAIC_SHAPE` has places.
    """
    figure = _new_figure(700, pad=0.03)
    outlined = any(tile.mask.any() for tile in tiles[GLACIAR])
    meanings = ("no rock glacier", f"rock glacier{', outlined' if outlined else ''}")
    parts: Any = figure.subfigures(1, 2, wspace=0.02)
    shown, stretched = dict.fromkeys(CLASS_NAMES, 0), 0
    for part, name, meaning in zip(parts, CLASS_NAMES, meanings, strict=True):
        part.suptitle(f"{name}: {meaning}", color=_CLASS_COLOURS[name], fontsize=26, fontweight="bold")
        fields = part.subplots(*MOSAIC_SHAPE).ravel()
        for axes in fields:
            axes.set_axis_off()
        for axes, tile in zip(fields, tiles[name], strict=False):
            rgb = stretch(tile.rgb)
            _show(axes, rgb)
            _outline(axes, tile.mask)
            shown[name] += 1
            stretched += rgb is not tile.rgb
    outlines = ", each rock glacier outlined in light blue" if outlined else ""
    alt = (
        f"Mosaic of {sum(shown.values())} square tiles of mountain ground seen from above. On the left "
        f"{shown[CLASS_NAMES[0]]} of class cordillera, without a rock glacier; on the right {shown[GLACIAR]} of class "
        f"glaciar{outlines}."
    )
    caption = "Tiles of both classes, chosen at random, and from different grounds as far as there are any."
    if stretched:
        caption += f" The brightness of {count(stretched, 'dark or blown-out tile')} is stretched for display."
    return Picture(figure, alt, caption)


def stretch(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Stretch the brightness of a dark or blown-out tile for display; the hue stays.

    Args:
        rgb: uint8 array of shape (height, width, 3).

    Returns:
        an array of that kind; the same one where the middle 96 % of the brightness span half of the range.

    Example:
        >>> stretch(np.array([[[40, 40, 50], [60, 60, 70]]], np.uint8)).tolist()
        [[[12, 12, 15], [237, 237, 255]]]
    """
    brightness = rgb @ _LUMA / 255
    low, high = np.quantile(brightness, [0.02, 0.98])
    if not 0 < high - low < _LEAST_SPAN:
        return rgb
    wanted = np.clip((brightness - low) / (high - low), 0.05, 0.95)
    return np.clip(rgb * (wanted / np.maximum(brightness, 1 / 255))[..., None], 0, 255).astype(np.uint8)


def draw_tile_and_mask(tile: PicturedTile) -> Picture:
    """Draw a tile, its mask, and the mask's outline on the tile."""
    figure = _new_figure(735)
    mask = np.where(tile.mask[..., None], np.uint8(255), np.zeros(3, np.uint8))
    texts = {
        "The tile": f"mountains from above,\n{TILE_SIZE} x {TILE_SIZE} pixels",
        "Its mask": "white: rock glacier\nblack: everything else",
        "Both": "the mask's outline,\ndrawn on the tile",
    }
    panels = figure.subplots(1, 3)
    for axes, rgb, (title, text) in zip(panels, (tile.rgb, mask, tile.rgb), texts.items(), strict=True):
        _show(axes, rgb)
        _title(axes, title)
        axes.set_xlabel(text, loc="left", labelpad=12)
    _outline(panels[-1], tile.mask)
    alt = (
        f"Three squares side by side: a tile of {TILE_SIZE} x {TILE_SIZE} pixels showing mountains from above; its "
        "mask, white where there is rock glacier and black everywhere else; and the tile again with the mask's outline "
        "in light blue."
    )
    return Picture(figure, alt, f"`{tile.path}` and its mask, which covers {_percent(float(tile.mask.mean()))} of it.")


def draw_splits(counts: Mapping[str, Mapping[str, int]], coverages: Mapping[str, npt.NDArray[np.float64]]) -> Picture:
    """Draw the number of tiles of each class in each split, and how much of its glaciar tiles the masks cover.

    Args:
        counts: number of tiles of each split and class.
        coverages: mask coverages of each split's glaciar tiles, values in [0, 1].
    """
    figure = _new_figure(640)
    any_masks = any(shares.size for shares in coverages.values())
    charts = figure.subplots(len(SPLIT_NAMES), 2, sharex="col", sharey="col", width_ratios=(5, 4))
    rows, medians = [], []
    for (bar, histogram), split in zip(charts, SPLIT_NAMES, strict=True):
        total, left = sum(counts[split].values()), 0.0
        for name, x, side in zip(CLASS_NAMES, (0.02, 0.98), ("left", "right"), strict=True):
            share = counts[split][name] / total
            bar.barh(0, share, left=left, color=_CLASS_COLOURS[name], edgecolor=BACKGROUND, linewidth=4)
            number = f"{counts[split][name]:,} ({_percent(share)})"
            bar.annotate(number, (x, 0), ha=side, va="center", color=BACKGROUND)
            left += share
        rows.append(f"{split} with {' and '.join(f'{counts[split][name]:,} {name}' for name in CLASS_NAMES)} tiles")
        bar.set_xlim(0, 1)
        bar.set_ylabel(f"{split}\n{count(total, 'tile')}", rotation=0, ha="left", va="center", labelpad=150)
        for axes in (bar, histogram):
            axes.spines[:].set_visible(False)
            axes.tick_params(length=0, labelleft=False, labelbottom=axes is histogram and split == SPLIT_NAMES[-1])
        if any_masks:
            histogram.axhline(0, color=FAINT, linewidth=2)
        if (shares := coverages[split]).size:
            colour = _CLASS_COLOURS[GLACIAR]
            histogram.hist(shares, _COVERAGE_BINS, range=(0, 1), density=True, color=colour, rwidth=0.9)
            median = _percent(float(np.median(shares)))
            histogram.annotate(f"median {median}", (1, 0.7), xycoords="axes fraction", ha="right")
            medians.append(f"{median} in {split}")
    for name, side in zip(CLASS_NAMES, ("left", "right"), strict=True):
        charts[0, 0].set_title(name, loc=side, color=_CLASS_COLOURS[name], fontweight="bold")
    alt = f"Chart with a row for each split: {', '.join(rows)}"
    caption = "Number and share of the tiles of each class"
    if any_masks:
        _title(charts[0, 1], "mask coverage, glaciar")
        charts[-1, 1].set_xticks([0, 0.5, 1], map(_percent, (0, 0.5, 1)))
        charts[0, 1].margins(y=0.35)
        alt += "; beside each a histogram of how much of a glaciar tile its mask covers"
        caption += f", and how much of a glaciar tile its mask covers: in the median {', '.join(medians)}"
    return Picture(figure, f"{alt}.", f"{caption}.")


def draw_overlap(pair: Mapping[str, Any], a: PicturedTile, b: PicturedTile) -> Picture:
    """Draw two tiles of two splits that overlap, and both laid on each other.

    Args:
        pair: an overlap, as in the audit: tile a's pixel (x, y) is pixel (x - dx, y - dy) of tile b under the turn.
        a: the tile of that name.
        b: the tile of that name.
    """
    figure = _new_figure(690)
    dx, dy = pair["dx"], pair["dy"]
    size = (TILE_SIZE - abs(dx), TILE_SIZE - abs(dy))
    b = b._replace(rgb=turned(b.rgb, pair["turn"]))
    panels = figure.subplots(1, 3)
    splits = []
    for axes, tile, corner in zip(panels, (a, b), ((max(dx, 0), max(dy, 0)), (max(-dx, 0), max(-dy, 0))), strict=False):
        split, name, _ = tile.path.split("/")
        splits.append(split)
        _show(axes, tile.rgb)
        _title(axes, f"A {split} tile, {name}")
        _frame(axes, corner, size, YELLOW)
    together = panels[2]
    _title(together, "Laid on each other")
    for tile, corner in ((b, (dx, dy)), (a, (0, 0))):
        _show(together, tile.rgb, corner)
        _frame(together, corner, (TILE_SIZE, TILE_SIZE), INK)
    _frame(together, (max(dx, 0), max(dy, 0)), size, YELLOW)
    reach = (TILE_SIZE + max(abs(dx), abs(dy))) / 2
    x, y = (TILE_SIZE + dx) / 2, (TILE_SIZE + dy) / 2
    together.set(xlim=(x - reach, x + reach), ylim=(y + reach, y - reach))
    share = _percent(pair["pixels"] / TILE_SIZE**2)
    turn = ". The second is turned to fit" if pair["turn"] else ""
    text = f"Framed: the same ground, pixel for pixel, {share} of each tile{turn}"
    panels[0].set_xlabel(text, loc="left", color=YELLOW, labelpad=12)
    alt = (
        f"A {splits[0]} tile and a {splits[1]} tile side by side, each with a yellow frame around the ground that both "
        f"show, pixel for pixel, {share} of each tile; on the right both laid on each other, so that the frames "
        "coincide."
    )
    return Picture(figure, alt, f"`{a.path}` and `{b.path}` share {share} of their pixels{turn}.")


def draw_grounds_side_by_side(mosaics: Sequence[Mosaic]) -> Picture:
    """Draw grounds as mosaics of their tiles, of one height."""
    aspects = [mosaic.image.width / mosaic.image.height for mosaic in mosaics]
    figure = _new_figure(min(900, 90 + round(WIDTH / sum(aspects))))
    panels = figure.subplots(1, len(mosaics), squeeze=False, width_ratios=aspects)[0]
    for axes, mosaic in zip(panels, mosaics, strict=True):
        axes.imshow(mosaic.image)
        axes.set_axis_off()
        axes.set_anchor("NW")
        blocks = f", {mosaic.blocks:,} blocks" if mosaic.blocks > 1 else ""
        _title(axes, f"A ground of {count(mosaic.tiles, 'tile')}{blocks}")
    tiles = " and ".join(count(mosaic.tiles, "tile") for mosaic in mosaics)
    tinted = ", tinted by block" if any(mosaic.blocks > 1 for mosaic in mosaics) else ""
    alt = (
        f"{'Two mosaics side by side' if len(mosaics) > 1 else 'Mosaic'} of the tiles of a ground: {tiles}, some "
        "perhaps of other dates, turned and laid where they belong, so that ridges go on from one tile to the next"
        f"{tinted}."
    )
    return Picture(figure, alt, f"The largest grounds, of {tiles}, each tile laid where it belongs{tinted}.")


def mark_as_synthetic(picture: Picture) -> Picture:
    """Say on a picture, and in its texts, that it shows a sample."""
    picture.figure.supxlabel(SYNTHETIC, x=0.01, ha="left", color=FAINT, fontsize=22)
    return picture._replace(alt=f"{picture.alt} {SYNTHETIC}.", caption=f"{picture.caption} Synthetic sample.")


@matplotlib.style.context(STYLE, after_reset=True)
def encode(figure: Figure, name: str) -> bytes:
    """Encode a picture; the same picture gives the same bytes.

    Args:
        figure: the picture.
        name: file name, which ends in `.png` or `.webp`.
    """
    file, kind = io.BytesIO(), name.rpartition(".")[2]
    figure.savefig(file, format=kind, **_ENCODERS[kind])
    return file.getvalue()


def _new_figure(height: int, pad: float = 0.12) -> Figure:
    """Begin a picture of `WIDTH` x `height` pixels, with `pad` inches around each field."""
    layout = ConstrainedLayoutEngine(w_pad=pad, h_pad=pad, wspace=0, hspace=0)
    return Figure((WIDTH / _DPI, height / _DPI), dpi=_DPI, layout=layout)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _title(axes: Axes, text: str) -> None:
    axes.set_title(text, loc="left", fontweight="bold")


def _show(axes: Axes, rgb: npt.NDArray[np.uint8], corner: tuple[float, float] = (0, 0)) -> None:
    """Show a tile whose upper left pixel has its upper left corner at `corner`."""
    x, y = corner
    axes.imshow(rgb, extent=(x, x + TILE_SIZE, y + TILE_SIZE, y))
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def _outline(axes: Axes, mask: npt.NDArray[np.bool_]) -> None:
    """Draw the outline of a mask on its tile."""
    if mask.any():
        centres = np.arange(-1, TILE_SIZE + 1) + 0.5  # of pixels; one more on each side, so that the outline closes
        lines = axes.contour(centres, centres, np.pad(mask, 1), [0.5], colors=_CLASS_COLOURS[GLACIAR], linewidths=3)
        lines.set_path_effects(_CASING)
        axes.set(xlim=(0, TILE_SIZE), ylim=(TILE_SIZE, 0))


def _frame(axes: Axes, corner: tuple[float, float], size: tuple[float, float], colour: str) -> None:
    frame = Rectangle(corner, *size, fill=False, edgecolor=colour, linewidth=4, clip_on=False, path_effects=_CASING)
    axes.add_patch(frame)
