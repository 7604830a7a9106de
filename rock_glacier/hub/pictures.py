"""The pictures of the card, drawn from the staged tiles, with their texts.

The background is dark and opaque: snow and shadow are visible, and a picture looks the same on a
light and on a dark page. The letters are large, because a phone shows a picture at a quarter of its
width.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import AbstractPathEffect, withStroke

from rock_glacier.masks import class_indices_to_mask
from rock_glacier.output import count
from rock_glacier.places.map import WIDTH, draw_map
from rock_glacier.sites.mosaic import draw_mosaic, fit_pair
from rock_glacier.tiles import TileSet
from rock_glacier_dataset import CLASS_NAMES, GLACIAR, SPLIT_NAMES, TILE_SIZE

MAP_NAME = "map.png"

# Largest height of a picture in pixels, except the map.
_MAX_HEIGHT = 900

_DPI = 100
_BACKGROUND = "#161b26"
_TEXT_COLOUR = "#f2f4f8"
_FAINT_COLOUR = "#aab2c0"
_NOTE_COLOUR = "#7d8694"  # readable on a dark picture and on the map, which is light

# Distinguishable with all kinds of colour vision: Okabe and Ito, Color Universal Design (2008).
_YELLOW = "#f0e442"
_CLASS_COLOURS = {"cordillera": "#e69f00", "glaciar": "#56b4e9"}

_STYLE: Any = {
    "font.size": 24,
    "font.family": "DejaVu Sans",  # part of matplotlib, so every machine has it
    "axes.titlesize": 26,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "text.color": _TEXT_COLOUR,
    "axes.labelcolor": _TEXT_COLOUR,
    "xtick.color": _FAINT_COLOUR,
    "ytick.color": _TEXT_COLOUR,
    "figure.facecolor": _BACKGROUND,
    "axes.facecolor": _BACKGROUND,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 0.12,
    "figure.constrained_layout.w_pad": 0.12,
}

# A dark edge around lines, to show them on snow.
_EDGE: list[AbstractPathEffect] = [withStroke(linewidth=7, foreground=_BACKGROUND)]

_PORTRAIT_ROWS = 3
_PORTRAIT_COLUMNS = 4  # of each class

# Share of a tile that the mask of the example covers: enough to see, with mountain around it.
_EXAMPLE_SHARE = 0.25

# Candidates for a picture; the one with the most contrast is shown.
_CANDIDATES = 30

_SYNTHETIC = "Synthetic sample, not satellite images"


@dataclass(frozen=True)
class Picture:
    """A picture of the card.

    Attributes:
        name: Name of its section in the README, such as `portrait`.
        file_name: Name of its file.
        figure: What it shows.
        alt: Alternative text.
        caption: Text below it.
    """

    name: str
    file_name: str
    figure: Figure
    alt: str
    caption: str

    def to_markdown(self) -> str:
        """Return the picture and its caption in Markdown."""
        return f"![{self.alt}](assets/{self.file_name})\n\n*{self.caption}*"


def draw_pictures(
    tiles: TileSet, index: pd.DataFrame, pairs: pd.DataFrame, folder: Path, *, is_sample: bool
) -> list[Picture]:
    """Draw the pictures of the card. The same tiles give the same bytes.

    Args:
        tiles: The decoded tiles.
        index: Their tile index.
        pairs: Their pairs, as in `Sites.pairs`.
        folder: Existing folder for the files.
        is_sample: Whether to mark the pictures as synthetic.

    Returns:
        Map, portrait, example of a mask, splits, overlap and sites, in this order. The map, the
        example, the overlap or the sites are omitted if no tile is located, no tile has a mask, no
        tiles overlap, or no site has two tiles.
    """
    # The rows of the index, in the order of the arrays.
    placed = index.set_index("path").loc[tiles.table["path"]].reset_index()
    pictures = []
    with matplotlib.style.context(_STYLE, after_reset=True):
        for picture in (
            _draw_map(tiles, placed),
            _draw_portrait(tiles, placed),
            _draw_example(tiles, placed),
            _draw_splits(tiles.counts, placed),
            _draw_overlap(tiles, placed, pairs),
            _draw_sites(tiles, placed),
        ):
            if picture is None:
                continue
            if is_sample:
                picture = _mark_as_synthetic(picture)
            _save(picture.figure, folder / picture.file_name)
            pictures.append(picture)
    return pictures


def _mark_as_synthetic(picture: Picture) -> Picture:
    picture.figure.supxlabel(_SYNTHETIC, x=0.01, ha="left", color=_NOTE_COLOUR, fontsize=22)
    return dataclasses.replace(
        picture,
        alt=f"{picture.alt} {_SYNTHETIC}.",
        caption=f"{picture.caption} {_SYNTHETIC}.",
    )


def _save(figure: Figure, file: Path) -> None:
    if file.suffix == ".png":
        # Omit the name of the software, because its version would change the bytes.
        figure.savefig(file, metadata={"Software": None})
    else:
        figure.savefig(file, pil_kwargs={"quality": 80, "method": 6})


def _draw_map(tiles: TileSet, placed: pd.DataFrame) -> Picture | None:
    """Draw the located tiles on a map, which is light."""
    drawn = draw_map(placed, tiles.masks)
    if drawn is None:
        return None
    return Picture("map", MAP_NAME, drawn.figure, drawn.alt, drawn.caption)


def _draw_portrait(tiles: TileSet, placed: pd.DataFrame) -> Picture:
    """Draw tiles of both classes, from as many sites as possible."""
    figure = _new_figure(700)
    titles = {
        "cordillera": "cordillera: no rock glacier",
        GLACIAR: "glaciar: rock glacier, outlined",
    }
    shown = dict.fromkeys(CLASS_NAMES, 0)
    parts: Any = figure.subfigures(1, 2, wspace=0.02)
    for part, label in zip(parts, CLASS_NAMES, strict=True):
        part.suptitle(titles[label], color=_CLASS_COLOURS[label], fontweight="bold")
        part.get_layout_engine().set(w_pad=0.05, h_pad=0.05, wspace=0, hspace=0)
        candidates = placed[placed["label"] == label].sample(frac=1, random_state=0)
        # Take one tile of each site, then a second tile of each site, and so on.
        rank = candidates.groupby("site").cumcount()
        rows = candidates.index[rank.argsort(kind="stable")]
        panels = part.subplots(_PORTRAIT_ROWS, _PORTRAIT_COLUMNS).ravel()
        for axes in panels:
            axes.set_axis_off()
        for axes, row in zip(panels, rows, strict=False):
            axes.imshow(_brighten(tiles.images[row][..., :3]))
            _outline(axes, tiles.masks[row])
            shown[label] += 1
    alt = (
        f"Left: {shown['cordillera']} tiles of class cordillera, mountains without a rock glacier. "
        f"Right: {shown[GLACIAR]} tiles of class glaciar, each rock glacier outlined in light blue."
    )
    caption = (
        "Tiles of both classes, chosen at random from different sites if possible. Dark tiles are "
        "brightened."
    )
    return Picture("portrait", "portrait.webp", figure, alt, caption)


def _draw_example(tiles: TileSet, placed: pd.DataFrame) -> Picture | None:
    """Draw a tile, its mask, and the outline of the mask on the tile."""
    masked = placed[placed["mask_share"] > 0]
    if masked.empty:
        return None
    masks = tiles.masks
    # Prefer masks that the border of the tile does not cut.
    borders = [masks[row][[0, -1]].mean() + masks[row][:, [0, -1]].mean() for row in masked.index]
    distance = (masked["mask_share"] - _EXAMPLE_SHARE).abs() + borders
    candidates = masked.index[distance.argsort(kind="stable")][:_CANDIDATES]
    row = max(candidates, key=lambda row: _contrast(tiles, row))
    image = tiles.images[row][..., :3]
    figure = _new_figure(735)
    tile_panel, mask_panel, both_panel = figure.subplots(1, 3)
    _show(tile_panel, image, "The tile")
    tile_panel.set_xlabel(f"mountains from above,\n{TILE_SIZE} x {TILE_SIZE} pixels", loc="left")
    _show(mask_panel, class_indices_to_mask(masks[row]), "Its mask")
    mask_panel.set_xlabel("white: rock glacier\nblack: everything else", loc="left")
    _show(both_panel, image, "Both")
    both_panel.set_xlabel("outline of the mask\non the tile", loc="left")
    _outline(both_panel, masks[row])
    alt = (
        f"A tile of {TILE_SIZE} x {TILE_SIZE} pixels that shows mountains from above; its mask, "
        "white for rock glacier and black for everything else; the tile again with the outline of "
        "the mask in light blue."
    )
    share = _percent(placed["mask_share"][row])
    caption = f"`{placed['path'][row]}` and its mask, which covers {share} of the tile."
    return Picture("example", "tile_and_mask.webp", figure, alt, caption)


def _draw_splits(counts: Mapping[str, Mapping[str, int]], placed: pd.DataFrame) -> Picture:
    """Draw, for each split, a bar of its classes and a box of its mask shares."""
    figure = _new_figure(600)
    bars, boxes = figure.subplots(1, 2, sharey=True, width_ratios=(5, 4))
    names = []
    descriptions = []
    for row, split in enumerate(SPLIT_NAMES):
        _draw_class_bar(bars, row, counts[split])
        is_glaciar = (placed["split"] == split) & (placed["label"] == GLACIAR)
        _draw_box(boxes, row, placed.loc[is_glaciar, "mask_share"].to_numpy(float))
        names.append(f"{split}\n{count(sum(counts[split].values()), 'tile')}")
        numbers = [f"{counts[split][label]:,} {label}" for label in CLASS_NAMES]
        descriptions.append(f"{split} with {' and '.join(numbers)} tiles")
    for label, side in zip(CLASS_NAMES, ("left", "right"), strict=True):
        bars.set_title(label, loc=side, color=_CLASS_COLOURS[label])
    boxes.set_title("share of a tile that its mask covers", fontsize=22, fontweight="normal")
    bars.set_yticks(range(len(SPLIT_NAMES)), names)
    bars.set(xlim=(0, 1), xticks=[])
    boxes.set_xticks([0, 0.5, 1], ["0 %", "50 %", "100 %"])
    bars.invert_yaxis()
    for axes in (bars, boxes):
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
    alt = (
        f"Chart with a row for each split: {', '.join(descriptions)}. Next to each split is a box "
        "plot of the share of a glaciar tile that its mask covers."
    )
    caption = (
        "Number and share of the tiles of each class, and the share of a glaciar tile that its "
        "mask covers: its range (line), the middle half of the tiles (box) and the median."
    )
    return Picture("splits", "splits.png", figure, alt, caption)


def _draw_class_bar(axes: Axes, row: int, counts: Mapping[str, int]) -> None:
    total = max(sum(counts.values()), 1)
    left = 0.0
    for label, x, side in zip(CLASS_NAMES, (0.02, 0.98), ("left", "right"), strict=True):
        share = counts[label] / total
        colour = _CLASS_COLOURS[label]
        axes.barh(row, share, left=left, color=colour, edgecolor=_BACKGROUND, linewidth=4)
        number = f"{counts[label]:,} ({_percent(share)})"
        axes.text(x, row, number, ha=side, va="center", color=_BACKGROUND)
        left += share


def _draw_box(axes: Axes, row: int, shares: npt.NDArray[np.float64]) -> None:
    """Draw a box plot with its median as text, if there are any shares."""
    if not shares.size:
        return
    low, first_quarter, median, last_quarter, high = np.quantile(shares, [0, 0.25, 0.5, 0.75, 1])
    colour = _CLASS_COLOURS[GLACIAR]
    axes.plot([low, high], [row, row], color=colour, linewidth=3)
    axes.barh(row, last_quarter - first_quarter, 0.3, first_quarter, color=colour)
    axes.barh(row, 0.01, 0.3, median - 0.005, color=_BACKGROUND)
    axes.text(median, row - 0.2, _percent(median), ha="center", va="bottom")


def _draw_overlap(tiles: TileSet, placed: pd.DataFrame, pairs: pd.DataFrame) -> Picture | None:
    """Draw two tiles that share about half of their pixels, in two splits if possible."""
    overlaps = pairs[pairs["kind"] == "overlap"]
    if overlaps.empty:
        return None
    splits = placed["split"].to_numpy(str)
    across = overlaps[splits[overlaps["a"]] != splits[overlaps["b"]]]
    if not across.empty:
        overlaps = across
    distance = (overlaps["pixels"] / TILE_SIZE**2 - 0.5).abs()
    candidates: Any = overlaps.iloc[distance.argsort(kind="stable")[:_CANDIDATES]]
    pair = max(candidates.itertuples(), key=lambda pair: _contrast(tiles, pair.a))
    first, second = fit_pair(tiles, pair)
    both = np.where(first[..., 3:] > 0, first, second)
    height, width = both.shape[:2]
    figure = _new_figure(160 + WIDTH // 3 * height // width)
    titles = [f"{splits[row]}, {placed['label'][row]}" for row in (pair.a, pair.b)]
    panels = figure.subplots(1, 3)
    for axes, image, title in zip(
        panels, (first, second, both), (*titles, "Both in place"), strict=True
    ):
        _show(axes, image, title)
        # The upper left corner and the size of the part that both tiles show.
        corner = (abs(pair.dx) - 0.5, abs(pair.dy) - 0.5)
        size = (TILE_SIZE - abs(pair.dx), TILE_SIZE - abs(pair.dy))
        frame = Rectangle(corner, *size, fill=False, edgecolor=_YELLOW, linewidth=4)
        frame.set(clip_on=False, path_effects=_EDGE)
        axes.add_patch(frame)
    share = _percent(pair.pixels / TILE_SIZE**2)
    note = f"Framed: the same pixels, {share} of each tile"
    panels[0].set_xlabel(note, loc="left", color=_YELLOW)
    alt = (
        f"A tile of the split {splits[pair.a]}, a tile of the split {splits[pair.b]}, and both in "
        f"place. A yellow frame shows the {share} of their pixels that they share."
    )
    paths = f"`{placed['path'][pair.a]}` and `{placed['path'][pair.b]}`"
    caption = f"{paths} share {share} of their pixels."
    return Picture("overlap", "overlap.webp", figure, alt, caption)


def _draw_sites(tiles: TileSet, placed: pd.DataFrame) -> Picture | None:
    """Draw the two largest sites as mosaics of their tiles, side by side and of one height."""
    sizes = placed["site"].value_counts().sort_index().sort_values(ascending=False, kind="stable")
    sites = [placed[placed["site"] == site] for site in sizes[sizes > 1].index[:2]]
    if not sites:
        return None
    mosaics = [draw_mosaic(tiles, site) for site in sites]
    aspects = [mosaic.width / mosaic.height for mosaic in mosaics]
    figure = _new_figure(90 + round(WIDTH / sum(aspects)))
    panels = figure.subplots(1, len(mosaics), squeeze=False, width_ratios=aspects)[0]
    tint = ""
    for axes, mosaic, site in zip(panels, mosaics, sites, strict=True):
        title = f"Site of {count(len(site), 'tile')}"
        if site["block"].nunique() > 1:
            title += f", {site['block'].nunique():,} blocks"
            tint = ", tinted by block"
        _show(axes, mosaic, title)
    numbers = " and ".join(count(len(site), "tile") for site in sites)
    alt = (
        f"Mosaics of the largest sites, of {numbers}. Each tile is drawn in its orientation and "
        f"place, over its neighbours{tint}. Tiles may be of different dates."
    )
    caption = (
        f"The largest sites, of {numbers}, each tile in its place{tint}. Tiles may be of different "
        "dates."
    )
    return Picture("sites", "sites.webp", figure, alt, caption)


def _new_figure(height: int) -> Figure:
    """Create a picture of `WIDTH` x `height` pixels."""
    return Figure((WIDTH / _DPI, min(height, _MAX_HEIGHT) / _DPI), dpi=_DPI)


def _show(axes: Axes, image: Any, title: str) -> None:
    axes.imshow(image)
    axes.set_title(title)
    axes.set(xticks=[], yticks=[], anchor="NW")
    axes.spines[:].set_visible(False)


def _outline(axes: Axes, mask: npt.NDArray[np.uint8]) -> None:
    """Draw the outline of a mask, if it has one, on its tile."""
    if not mask.any():
        return
    # One more pixel on each side closes the outline at the edge of the tile.
    pixels = np.arange(-1, TILE_SIZE + 1)
    colour = _CLASS_COLOURS[GLACIAR]
    lines = axes.contour(pixels, pixels, np.pad(mask, 1), [0.5], colors=colour, linewidths=3)
    lines.set_path_effects(_EDGE)
    axes.set(xlim=(-0.5, TILE_SIZE - 0.5), ylim=(TILE_SIZE - 0.5, -0.5))


def _brighten(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Brighten a tile until 2 % of its values are saturated; other pixels keep their hue."""
    factor = 255 / max(float(np.quantile(rgb, 0.98)), 1.0)
    return np.clip(rgb * factor, 0, 255).astype(np.uint8)


def _contrast(tiles: TileSet, row: int) -> float:
    return float(tiles.images[row][..., :3].std())


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
