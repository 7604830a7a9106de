"""The pictures of the card, drawn from the tiles that are staged, with their texts.

The background is dark and opaque: snow and shadow show, and a picture looks the same on a light and
on a dark page. The letters are large, because a phone shows a picture at a quarter of its width.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import matplotlib.style
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from matplotlib.patheffects import AbstractPathEffect, withStroke
from PIL import Image

from rock_glacier.output import count
from rock_glacier.sites.mosaic import draw_mosaic
from rock_glacier.sites.orientations import oriented
from rock_glacier.tiles import TileSet
from rock_glacier_dataset import CLASS_NAMES, GLACIAR, SPLIT_NAMES, TILE_SIZE

# Width of a picture in pixels: twice the width of the text on the Hub.
WIDTH = 1640

_DPI = 100
_BACKGROUND = "#161b26"
_TEXT_COLOUR = "#f2f4f8"
_FAINT_COLOUR = "#aab2c0"

# From the palette of Okabe and Ito (Color Universal Design, 2008), for all kinds of colour vision.
_YELLOW = "#f0e442"
_CLASS_COLOURS = {"cordillera": "#e69f00", "glaciar": "#56b4e9"}

_STYLE: Any = {
    "font.size": 24,
    "axes.titlesize": 26,
    "font.family": "DejaVu Sans",  # part of matplotlib, so every machine has it
    "text.color": _TEXT_COLOUR,
    "axes.labelcolor": _TEXT_COLOUR,
    "xtick.color": _FAINT_COLOUR,
    "ytick.color": _TEXT_COLOUR,
    "axes.edgecolor": _FAINT_COLOUR,
    "figure.facecolor": _BACKGROUND,
    "axes.facecolor": _BACKGROUND,
}

# A dark edge around lines, to show them on snow.
_EDGE: list[AbstractPathEffect] = [withStroke(linewidth=7, foreground=_BACKGROUND)]

_PORTRAIT_ROWS = 3
_PORTRAIT_COLUMNS = 4  # of each class

# Share of a tile that the mask of the example covers: enough to see, with mountain around it.
_EXAMPLE_SHARE = 0.25

# Candidates for a picture; the one with the most contrast is shown.
_CANDIDATES = 30

# Tiles of a site among which an overlap is searched for, to bound the number of pairs.
_SITE_SAMPLE = 500

_SYNTHETIC = "Synthetic sample, not satellite images"


@dataclass(frozen=True)
class Picture:
    """A picture of the card.

    Attributes:
        name: Name of its section of the README, such as `portrait`.
        file_name: Name of its file.
        image: Content of the file.
        alt: Alternative text.
        caption: Text below it.
    """

    name: str
    file_name: str
    image: bytes
    alt: str
    caption: str

    def to_markdown(self) -> str:
        """Return the picture and its caption in Markdown."""
        return f"![{self.alt}](assets/{self.file_name})\n\n*{self.caption}*"


def draw_pictures(tiles: TileSet, index: pd.DataFrame, *, is_sample: bool) -> list[Picture]:
    """Draw the pictures of the card. The same tiles give the same bytes.

    Args:
        tiles: The decoded tiles.
        index: Their tile index.
        is_sample: Whether to mark the pictures as synthetic.

    Returns:
        Portrait, example of a mask, splits, overlap and sites, in this order. A picture is omitted
        if no tile has a mask, no two tiles overlap, or no two tiles show the same site.
    """
    # The rows of the index, in the order of the arrays.
    placed = index.set_index("path").loc[tiles.table["path"]].reset_index()
    with matplotlib.style.context(_STYLE, after_reset=True):
        drawings = [
            _draw_portrait(tiles, placed),
            _draw_example(tiles, placed),
            _draw_splits(tiles.counts, placed),
            _draw_overlap(tiles, placed),
            _draw_sites(tiles, placed),
        ]
        return [drawing.encode(is_sample) for drawing in drawings if drawing is not None]


@dataclass(frozen=True)
class _Drawing:
    """A picture before it is encoded; see `Picture`."""

    name: str
    file_name: str
    figure: Figure
    alt: str
    caption: str

    def encode(self, is_sample: bool) -> Picture:
        note = ""
        if is_sample:
            style: Any = {"ha": "left", "color": _FAINT_COLOUR, "fontsize": 22}
            self.figure.supxlabel(_SYNTHETIC, x=0.01, **style)
            note = f" {_SYNTHETIC}."
        file = io.BytesIO()
        if self.file_name.endswith(".png"):
            # Without the name of the software, whose version would change the bytes.
            self.figure.savefig(file, format="png", metadata={"Software": None})
        else:
            options = {"quality": 80, "method": 6}
            self.figure.savefig(file, format="webp", pil_kwargs=options)
        texts = {"alt": self.alt + note, "caption": self.caption + note}
        return Picture(self.name, self.file_name, file.getvalue(), **texts)


def _draw_portrait(tiles: TileSet, placed: pd.DataFrame) -> _Drawing:
    """Draw tiles of both classes, from as many sites as possible."""
    figure = _new_figure(700, pad=0.05)
    parts: Any = figure.subfigures(1, 2, wspace=0.02)
    titles = {"cordillera": "no rock glacier", GLACIAR: "rock glacier, outlined"}
    shown = dict.fromkeys(CLASS_NAMES, 0)
    for part, label in zip(parts, CLASS_NAMES, strict=True):
        title = f"{label}: {titles[label]}"
        part.suptitle(title, color=_CLASS_COLOURS[label], fontsize=26, fontweight="bold")
        panels = part.subplots(_PORTRAIT_ROWS, _PORTRAIT_COLUMNS).ravel()
        is_shown = (placed["label"] == label) & ((label != GLACIAR) | (placed["mask_share"] > 0))
        candidates = placed[is_shown].sample(frac=1, random_state=0)
        # First one tile of each site, then the second of each site, and so on.
        rank = candidates.groupby("site").cumcount()
        rows = candidates.index[rank.argsort(kind="stable")]
        for axes in panels:
            axes.set_axis_off()
        for axes, row in zip(panels, rows, strict=False):
            _show(axes, _stretch(tiles.images[row][..., :3]))
            _outline(axes, tiles.masks[row])
            shown[label] += 1
    alt = (
        f"Mosaic of {sum(shown.values())} tiles of mountains seen from above. Left: "
        f"{shown['cordillera']} tiles of class cordillera, without a rock glacier. Right: "
        f"{shown[GLACIAR]} tiles of class glaciar, each rock glacier outlined in light blue."
    )
    caption = (
        "Tiles of both classes, chosen at random from different sites where possible. The "
        "brightness of dark and overexposed tiles is stretched."
    )
    return _Drawing("portrait", "portrait.webp", figure, alt, caption)


def _draw_example(tiles: TileSet, placed: pd.DataFrame) -> _Drawing | None:
    """Draw a tile, its mask, and the outline of the mask on the tile."""
    masked = placed[placed["mask_share"] > 0]
    if masked.empty:
        return None
    masks = tiles.masks
    # A mask that the border of the tile cuts shows less of the rock glacier.
    cut = [float(np.r_[masks[row][[0, -1]], masks[row].T[[0, -1]]].mean()) for row in masked.index]
    distance = (masked["mask_share"] - _EXAMPLE_SHARE).abs() + cut
    candidates = masked.index[distance.argsort(kind="stable")][:_CANDIDATES]
    row = max(candidates, key=lambda row: _contrast(tiles, row))
    image = tiles.images[row][..., :3]
    mask = masks[row]
    figure = _new_figure(735)
    panels = figure.subplots(1, 3)
    titles = ("The tile", "Its mask", "Both")
    notes = (
        f"mountains from above,\n{TILE_SIZE} x {TILE_SIZE} pixels",
        "white: rock glacier\nblack: everything else",
        "outline of the mask\non the tile",
    )
    pictures = (image, np.repeat(mask[..., None] * np.uint8(255), 3, axis=2), image)
    for axes, picture, title, note in zip(panels, pictures, titles, notes, strict=True):
        _show(axes, picture)
        axes.set_title(title, loc="left", fontweight="bold")
        axes.set_xlabel(note, loc="left", labelpad=12)
    _outline(panels[-1], mask)
    alt = (
        f"Three squares side by side: a tile of {TILE_SIZE} x {TILE_SIZE} pixels that shows "
        "mountains from above; its mask, white for rock glacier and black for everything else; the "
        "tile again with the outline of the mask in light blue."
    )
    share = _percent(placed["mask_share"][row])
    caption = f"`{placed['path'][row]}` and its mask, which covers {share} of the tile."
    return _Drawing("example", "tile_and_mask.webp", figure, alt, caption)


def _draw_splits(counts: Mapping[str, Mapping[str, int]], placed: pd.DataFrame) -> _Drawing:
    """Draw the number of tiles of each class, and a histogram of mask shares, for each split."""
    figure = _new_figure(640)
    charts = figure.subplots(len(SPLIT_NAMES), 2, sharex="col", sharey="col", width_ratios=(5, 4))
    descriptions = []
    medians = []
    for (bar, histogram), split in zip(charts, SPLIT_NAMES, strict=True):
        _draw_class_bar(bar, counts[split])
        total = count(sum(counts[split].values()), "tile")
        bar.set_ylabel(f"{split}\n{total}", rotation=0, ha="left", va="center", labelpad=150)
        numbers = [f"{counts[split][label]:,} {label}" for label in CLASS_NAMES]
        descriptions.append(f"{split} with {' and '.join(numbers)} tiles")
        is_glaciar = (placed["split"] == split) & (placed["label"] == GLACIAR)
        shares = placed.loc[is_glaciar, "mask_share"].to_numpy(float)
        histogram.axhline(0, color=_FAINT_COLOUR, linewidth=2)
        if shares.size:
            colour = _CLASS_COLOURS[GLACIAR]
            histogram.hist(shares, 20, range=(0, 1), density=True, color=colour, rwidth=0.9)
            median = _percent(np.median(shares))
            place: Any = {"xy": (1, 0.7), "xycoords": "axes fraction", "ha": "right"}
            histogram.annotate(f"median {median}", **place)
            medians.append(f"{median} in {split}")
        for axes in (bar, histogram):
            axes.spines[:].set_visible(False)
            axes.tick_params(length=0, labelleft=False, labelbottom=False)
    for label, side in zip(CLASS_NAMES, ("left", "right"), strict=True):
        title: Any = {"color": _CLASS_COLOURS[label], "fontweight": "bold"}
        charts[0, 0].set_title(label, loc=side, **title)
    charts[0, 1].set_title("share of a tile that its mask covers", loc="left", fontsize=22)
    charts[-1, 1].set_xticks([0, 0.5, 1], ["0 %", "50 %", "100 %"])
    charts[-1, 1].tick_params(labelbottom=True)
    charts[0, 1].margins(y=0.35)
    alt = (
        f"Chart with a row for each split: {', '.join(descriptions)}. Next to each split is a "
        "histogram of the share of a glaciar tile that its mask covers."
    )
    caption = (
        "Number and share of the tiles of each class, and the share of a tile that its mask covers"
    )
    if medians:
        caption += f" (median: {', '.join(medians)})"
    return _Drawing("splits", "splits.png", figure, alt, f"{caption}.")


def _draw_class_bar(axes: Axes, counts: Mapping[str, int]) -> None:
    total = max(sum(counts.values()), 1)
    left = 0.0
    for label, x, side in zip(CLASS_NAMES, (0.02, 0.98), ("left", "right"), strict=True):
        share = counts[label] / total
        colour = _CLASS_COLOURS[label]
        axes.barh(0, share, left=left, color=colour, edgecolor=_BACKGROUND, linewidth=4)
        number = f"{counts[label]:,} ({_percent(share)})"
        axes.annotate(number, (x, 0), ha=side, va="center", color=_BACKGROUND)
        left += share
    axes.set_xlim(0, 1)


@dataclass(frozen=True)
class Overlap:
    """Two tiles of a site that share pixels.

    Attributes:
        a, b: Row numbers of the tiles.
        dx, dy: Position of tile b relative to tile a in the site's grid, in pixels.
    """

    a: int
    b: int
    dx: int
    dy: int

    @property
    def share(self) -> float:
        """Share of each tile that both show."""
        return (TILE_SIZE - abs(self.dx)) * (TILE_SIZE - abs(self.dy)) / TILE_SIZE**2


def find_overlap(tiles: TileSet, placed: pd.DataFrame) -> Overlap | None:
    """Find two tiles that share about half of their pixels, in two splits if possible.

    Args:
        tiles: The decoded tiles.
        placed: A row of the tile index for each row of `tiles`.

    Returns:
        The overlap, or None if no two tiles of a site have identical pixels in common.
    """
    pairs = []
    for _, site in placed.groupby("site"):
        if len(site) > _SITE_SAMPLE:
            site = site.sample(_SITE_SAMPLE, random_state=0).sort_index()
        if len(site) > 1:
            pairs.append(_list_near_pairs(site))
    if not pairs:
        return None
    candidates = pd.concat(pairs, ignore_index=True)
    area = (TILE_SIZE - candidates["dx"].abs()) * (TILE_SIZE - candidates["dy"].abs())
    candidates["distance"] = (area / TILE_SIZE**2 - 0.5).abs()
    # The clearest kind of pairs first; of its first pairs, the one with the most contrast.
    kind = ["within", "rotated", "straight"]
    for _, group in candidates.groupby(kind):
        overlaps = []
        for pair in group.sort_values(["distance", "a", "b"]).itertuples():
            overlap = Overlap(pair.a, pair.b, pair.dx, pair.dy)
            if _is_identical(tiles, placed, overlap):
                overlaps.append(overlap)
            if len(overlaps) == _CANDIDATES:
                break
        if overlaps:
            return max(overlaps, key=lambda overlap: _contrast(tiles, overlap.a))
    return None


def _list_near_pairs(site: pd.DataFrame) -> pd.DataFrame:
    """List the pairs of a site's tiles that share at least a quarter of a tile."""
    x = site["x"].to_numpy()
    y = site["y"].to_numpy()
    orientation = site["orientation"].to_numpy()
    dx = x[None, :] - x[:, None]
    dy = y[None, :] - y[:, None]
    is_near = (np.abs(dx) <= TILE_SIZE // 2) & (np.abs(dy) <= TILE_SIZE // 2)
    first, second = np.nonzero(np.triu(is_near, 1))
    splits = site["split"].to_numpy(str)
    return pd.DataFrame(
        {
            "a": site.index[first],
            "b": site.index[second],
            "dx": dx[first, second],
            "dy": dy[first, second],
            "within": splits[first] == splits[second],
            "rotated": orientation[first] != orientation[second],
            "straight": np.minimum(np.abs(dx), np.abs(dy))[first, second] < TILE_SIZE // 8,
        }
    )


def _common_squares(overlap: Overlap) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return the common rectangle in the pixels of each tile, rows first."""
    height = TILE_SIZE - abs(overlap.dy)
    width = TILE_SIZE - abs(overlap.dx)
    top = max(overlap.dy, 0)
    left = max(overlap.dx, 0)
    in_a = (slice(top, top + height), slice(left, left + width))
    top -= overlap.dy
    left -= overlap.dx
    in_b = (slice(top, top + height), slice(left, left + width))
    return in_a, in_b


def _is_identical(tiles: TileSet, placed: pd.DataFrame, overlap: Overlap) -> bool:
    in_a, in_b = _common_squares(overlap)
    first = oriented(tiles.images[overlap.a], placed["orientation"][overlap.a])[in_a]
    second = oriented(tiles.images[overlap.b], placed["orientation"][overlap.b])[in_b]
    return bool(np.array_equal(first, second))


def _draw_overlap(tiles: TileSet, placed: pd.DataFrame) -> _Drawing | None:
    """Draw two tiles that overlap, each alone and both in place."""
    overlap = find_overlap(tiles, placed)
    if overlap is None:
        return None
    figure = _new_figure(690)
    panels = figure.subplots(1, 3)
    in_a, in_b = _common_squares(overlap)
    images = []
    for axes, row, common in ((panels[0], overlap.a, in_a), (panels[1], overlap.b, in_b)):
        image = oriented(tiles.images[row], placed["orientation"][row])[..., :3]
        images.append(image)
        _show(axes, image)
        title = f"{placed['split'][row]}, {placed['label'][row]}"
        axes.set_title(title, loc="left", fontweight="bold")
        _frame(axes, common, _YELLOW)
    both = panels[2]
    both.set_title("Both in place", loc="left", fontweight="bold")
    _show(both, images[1], (overlap.dx, overlap.dy))
    _show(both, images[0])
    _frame(both, in_a, _YELLOW)
    reach = (TILE_SIZE + max(abs(overlap.dx), abs(overlap.dy))) / 2
    x = (TILE_SIZE + overlap.dx) / 2
    y = (TILE_SIZE + overlap.dy) / 2
    both.set(xlim=(x - reach, x + reach), ylim=(y + reach, y - reach))
    share = _percent(overlap.share)
    note = f"Framed: the same pixels, {share} of each tile"
    panels[0].set_xlabel(note, loc="left", color=_YELLOW, labelpad=12)
    splits = [placed["split"][overlap.a], placed["split"][overlap.b]]
    alt = (
        f"A tile of the split {splits[0]} and a tile of the split {splits[1]} side by side, each "
        f"with a yellow frame around the {share} of its pixels that both share; on the right both "
        "tiles in place, one frame around the common ground."
    )
    paths = f"`{placed['path'][overlap.a]}` and `{placed['path'][overlap.b]}`"
    caption = f"{paths} share {share} of their pixels."
    return _Drawing("overlap", "overlap.webp", figure, alt, caption)


def _draw_sites(tiles: TileSet, placed: pd.DataFrame) -> _Drawing | None:
    """Draw the two largest sites as mosaics of their tiles, side by side and of one height."""
    sizes = placed["site"].value_counts().sort_index().sort_values(ascending=False, kind="stable")
    largest = sizes[sizes > 1].index[:2]
    if largest.empty:
        return None
    sites = [placed[placed["site"] == site] for site in largest]
    mosaics = [draw_mosaic(tiles, site) for site in sites]
    aspects = [mosaic.width / mosaic.height for mosaic in mosaics]
    figure = _new_figure(min(900, 90 + round(WIDTH / sum(aspects))))
    panels = figure.subplots(1, len(mosaics), squeeze=False, width_ratios=aspects)[0]
    for axes, mosaic, site in zip(panels, mosaics, sites, strict=True):
        axes.imshow(mosaic)
        axes.set_axis_off()
        axes.set_anchor("NW")
        title = f"Site of {count(len(site), 'tile')}"
        if site["block"].nunique() > 1:
            title += f", {site['block'].nunique():,} blocks"
        axes.set_title(title, loc="left", fontweight="bold")
    numbers = " and ".join(count(len(site), "tile") for site in sites)
    tint = ""
    if any(site["block"].nunique() > 1 for site in sites):
        tint = ", tinted by block"
    alt = (
        f"The largest sites, of {numbers}: the tiles of each are oriented and in place, so "
        f"ridges continue from one tile to the next{tint}."
    )
    caption = f"The largest sites, of {numbers}, each tile in its place{tint}."
    return _Drawing("sites", "sites.webp", figure, alt, caption)


def _contrast(tiles: TileSet, row: int) -> float:
    return float(tiles.images[row][..., :3].std())


def _stretch(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Stretch the brightness of a dark or overexposed tile; its hue is kept."""
    brightness = np.asarray(Image.fromarray(np.ascontiguousarray(rgb)).convert("L")) / 255
    low, high = np.quantile(brightness, [0.02, 0.98])
    # A tile is shown as it is if the middle 96 % of its brightness span half of the range.
    if not 0 < high - low < 0.5:
        return rgb
    wanted = np.clip((brightness - low) / (high - low), 0.05, 0.95)
    factors = wanted / np.maximum(brightness, 1 / 255)
    return np.clip(rgb * factors[..., None], 0, 255).astype(np.uint8)


def _new_figure(height: int, pad: float = 0.12) -> Figure:
    """Create a picture of `WIDTH` x `height` pixels, with `pad` inches around each panel."""
    layout = ConstrainedLayoutEngine(w_pad=pad, h_pad=pad, wspace=0, hspace=0)
    return Figure((WIDTH / _DPI, height / _DPI), dpi=_DPI, layout=layout)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _show(axes: Axes, rgb: npt.NDArray[np.uint8], corner: tuple[int, int] = (0, 0)) -> None:
    """Show a tile with its upper left corner at `corner`, (x, y)."""
    x, y = corner
    axes.imshow(rgb, extent=(x, x + TILE_SIZE, y + TILE_SIZE, y))
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def _outline(axes: Axes, mask: npt.NDArray[np.uint8]) -> None:
    """Draw the outline of a mask on its tile."""
    if not mask.any():
        return
    # Centres of the pixels; one more on each side closes the outline at the edge of the tile.
    centres = np.arange(-1, TILE_SIZE + 1) + 0.5
    colour = _CLASS_COLOURS[GLACIAR]
    lines = axes.contour(centres, centres, np.pad(mask, 1), [0.5], colors=colour, linewidths=3)
    lines.set_path_effects(_EDGE)
    axes.set(xlim=(0, TILE_SIZE), ylim=(TILE_SIZE, 0))


def _frame(axes: Axes, square: tuple[slice, slice], colour: str) -> None:
    rows, columns = square
    corner = (columns.start, rows.start)
    size = (columns.stop - columns.start, rows.stop - rows.start)
    style: Any = {"edgecolor": colour, "linewidth": 4, "clip_on": False, "path_effects": _EDGE}
    axes.add_patch(Rectangle(corner, *size, fill=False, **style))
