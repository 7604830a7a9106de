"""The pictures of the card, drawn from the staged tiles, with their texts.

The style is that of the map: a light, opaque background, so a picture looks the same on a light and
on a dark page, and letters that are readable when the picture is shown at half its width.
"""

from __future__ import annotations

import dataclasses
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
from rock_glacier.places.map import (
    BACKGROUND,
    FAINT_COLOUR,
    STYLE,
    TEXT_COLOUR,
    WIDTH,
    draw_map,
)
from rock_glacier.sites.mosaic import draw_mosaic, fit_pair
from rock_glacier.tiles import TileSet
from rock_glacier_dataset import CLASS_NAMES, GLACIAR, TILE_SIZE

MAP_NAME = "map.png"

_DPI = 100

# Outline of a mask: yellow of Okabe and Ito, Color Universal Design (2008), as in the pages of
# `score`.
_OUTLINE_COLOUR = "#f0e442"

# Colour next to tiles that are drawn in place: neither snow nor shadow.
_CANVAS_COLOUR = "#808080"

_STYLE: Any = {
    **STYLE,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 0.1,
    "figure.constrained_layout.w_pad": 0.1,
}

# Edges around lines, to show them on snow and in shadow.
_DARK_EDGE: list[AbstractPathEffect] = [withStroke(linewidth=7, foreground=TEXT_COLOUR)]
_LIGHT_EDGE: list[AbstractPathEffect] = [withStroke(linewidth=10, foreground=BACKGROUND)]

# Heights of pictures in pixels.
_MAX_HEIGHT = 900
_TILES_HEIGHT = 690
_EXAMPLE_HEIGHT = 640

# Tiles of each class in the picture of tiles.
_TILES_PER_CLASS = 6

# Share of a tile that the mask of the example covers: enough to see, with mountain around it.
_EXAMPLE_SHARE = 0.25

# Candidates for a picture; the one with the most contrast is shown.
_CANDIDATES = 30

# Tiles that are closer to the example than this are shown around it, in pixels of 10 m.
_SURROUNDINGS = 2 * TILE_SIZE

_SYNTHETIC = "Synthetic sample, not satellite images"


@dataclass(frozen=True)
class Picture:
    """A picture of the card.

    Attributes:
        name: Name of its section in the README, such as `example`.
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
        Map, tiles, example of a mask, and overlap, in this order. The map, the example or the
        overlap are omitted if no tile is located, no tile has a mask, or no tiles overlap.
    """
    # The rows of the index, in the order of the arrays.
    placed = index.set_index("path").loc[tiles.table["path"]].reset_index()
    pictures = []
    with matplotlib.style.context(_STYLE, after_reset=True):
        for picture in (
            _draw_map(tiles, placed),
            _draw_tiles(tiles, placed),
            _draw_example(tiles, placed),
            _draw_overlap(tiles, placed, pairs),
        ):
            if picture is None:
                continue
            if is_sample:
                picture = _mark_as_synthetic(picture)
            _save(picture.figure, folder / picture.file_name)
            pictures.append(picture)
    return pictures


def _mark_as_synthetic(picture: Picture) -> Picture:
    picture.figure.supxlabel(_SYNTHETIC, x=0.01, ha="left", color=FAINT_COLOUR, fontsize=18)
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
    drawn = draw_map(placed, tiles.masks)
    if drawn is None:
        return None
    return Picture("map", MAP_NAME, drawn.figure, drawn.alt, drawn.caption)


def _draw_tiles(tiles: TileSet, placed: pd.DataFrame) -> Picture:
    """Draw a row of tiles of each class, from as many sites as possible."""
    figure = _new_figure(_TILES_HEIGHT)
    titles = {
        "cordillera": "cordillera: no rock glacier",
        GLACIAR: "glaciar: rock glacier, outlined",
    }
    shown = dict.fromkeys(CLASS_NAMES, 0)
    parts: Any = figure.subfigures(len(CLASS_NAMES), 1)
    for part, label in zip(parts, CLASS_NAMES, strict=True):
        part.suptitle(titles[label], x=0.01, ha="left", size=22, weight="bold")
        candidates = placed[placed["label"] == label].sample(frac=1, random_state=0)
        # Take one tile of each site, then a second tile of each site, and so on.
        rank = candidates.groupby("site").cumcount()
        rows = candidates.index[rank.argsort(kind="stable")]
        panels = part.subplots(1, _TILES_PER_CLASS)
        for axes in panels:
            axes.set_axis_off()
        for axes, row in zip(panels, rows, strict=False):
            axes.imshow(_brighten(tiles.images[row][..., :3]))
            _outline(axes, tiles.masks[row])
            shown[label] += 1
    alt = (
        f"Above: {shown['cordillera']} tiles of class cordillera, mountains without a rock "
        f"glacier. Below: {shown[GLACIAR]} tiles of class glaciar, each rock glacier outlined in "
        "yellow."
    )
    caption = (
        "Tiles of both classes, chosen at random from different sites if possible. Dark tiles are "
        "brightened."
    )
    return Picture("tiles", "tiles.webp", figure, alt, caption)


def _draw_example(tiles: TileSet, placed: pd.DataFrame) -> Picture | None:
    """Draw a tile, its mask, and its place among the other tiles of its site."""
    masked = placed[placed["mask_share"] > 0]
    if masked.empty:
        return None
    row = _choose_example(tiles, masked)
    tile = placed.loc[row]
    place = "among other tiles of its site"
    if pd.notna(tile["easting"]):
        place = f"{_format_place(tile['longitude'], tile['latitude'])}, north up"
    figure = _new_figure(_EXAMPLE_HEIGHT)
    tile_panel, mask_panel, place_panel = figure.subplots(1, 3)
    text = f"{TILE_SIZE} x {TILE_SIZE} pixels of 10 m"
    _show(tile_panel, tiles.images[row][..., :3], "Tile", text)
    _show(mask_panel, class_indices_to_mask(tiles.masks[row]), "Mask", "white: rock glacier")
    others = _draw_place(place_panel, tiles, placed, row)
    place_panel.set_xlabel(place, loc="left")
    alt = (
        f"A tile of {TILE_SIZE} x {TILE_SIZE} pixels that shows mountains from above; its mask, "
        "white for rock glacier and black for everything else; and, in a frame, its place "
        f"among {count(others, 'other tile')} of its site."
    )
    share = _percent(tile["mask_share"])
    caption = (
        f"`{tile['path']}`, its mask, which covers {share} of the tile, and its place among "
        f"{count(others, 'other tile')} of its site. Tiles may be of different dates."
    )
    return Picture("example", "example.webp", figure, alt, caption)


def _choose_example(tiles: TileSet, masked: pd.DataFrame) -> int:
    """Return the row of a tile with a clear mask, located and with neighbours if possible."""
    is_located = masked["easting"].notna()
    if is_located.any():
        masked = masked[is_located]
    has_neighbours = masked["site"].duplicated(keep=False)
    if has_neighbours.any():
        masked = masked[has_neighbours]
    # Prefer masks that the border of the tile does not cut.
    masks = tiles.masks
    borders = [masks[row][[0, -1]].mean() + masks[row][:, [0, -1]].mean() for row in masked.index]
    distance = (masked["mask_share"] - _EXAMPLE_SHARE).abs() + borders
    order = distance.argsort(kind="stable").to_numpy()
    candidates = masked.index[order[:_CANDIDATES]]
    return max(candidates, key=lambda row: _contrast(tiles, row))


def _draw_place(axes: Axes, tiles: TileSet, placed: pd.DataFrame, row: int) -> int:
    """Draw a tile in a frame and the tiles around it, and return the number of these."""
    tile = placed.loc[row]
    distances = (placed[["x", "y"]] - tile[["x", "y"]].astype(int)).abs().max(axis=1)
    near = placed[(placed["site"] == tile["site"]) & (distances < _SURROUNDINGS)]
    near = pd.concat([near.drop(index=row), near.loc[[row]]]).assign(block=0)
    mosaic = draw_mosaic(tiles, near)
    # The mosaic starts at the first column and row of its tiles.
    left = near["x"].min()
    top = near["y"].min()
    right = near["x"].max() + TILE_SIZE
    bottom = near["y"].max() + TILE_SIZE
    _show(axes, mosaic, "Place", "", extent=(left, right, bottom, top))
    _draw_frame(axes, (tile["x"], tile["y"]), (TILE_SIZE, TILE_SIZE))
    return len(near) - 1


def _format_place(longitude: float, latitude: float) -> str:
    """Format coordinates in degrees.

    Example:
        >>> _format_place(-69.685, -33.42)
        '69.69° W, 33.42° S'
    """
    east_or_west = "W" if longitude < 0 else "E"
    north_or_south = "S" if latitude < 0 else "N"
    return f"{abs(longitude):.2f}° {east_or_west}, {abs(latitude):.2f}° {north_or_south}"


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
    figure = _new_figure(120 + WIDTH // 3 * height // width)
    titles = [f"{splits[row]}, {placed['label'][row]}" for row in (pair.a, pair.b)]
    panels = figure.subplots(1, 3)
    for axes, image, title in zip(
        panels, (first, second, both), (*titles, "Both in place"), strict=True
    ):
        _show(axes, image, title, "")
        # The upper left corner and the size of the part that both tiles show.
        corner = (abs(pair.dx) - 0.5, abs(pair.dy) - 0.5)
        size = (TILE_SIZE - abs(pair.dx), TILE_SIZE - abs(pair.dy))
        _draw_frame(axes, corner, size)
    share = _percent(pair.pixels / TILE_SIZE**2)
    panels[0].set_xlabel(f"framed: the same pixels, {share} of each tile", loc="left")
    alt = (
        f"Two tiles, of the splits {splits[pair.a]} and {splits[pair.b]}, and both in place. A "
        f"frame shows the {share} of their pixels that they share."
    )
    paths = f"`{placed['path'][pair.a]}` and `{placed['path'][pair.b]}`"
    caption = f"{paths} share {share} of their pixels."
    return Picture("overlap", "overlap.webp", figure, alt, caption)


def _new_figure(height: int) -> Figure:
    """Create a picture of `WIDTH` x `height` pixels."""
    return Figure((WIDTH / _DPI, min(height, _MAX_HEIGHT) / _DPI), dpi=_DPI)


def _show(axes: Axes, image: Any, title: str, text: str, **options: Any) -> None:
    """Draw an image with a title and a text below. Options are those of `Axes.imshow`."""
    axes.imshow(image, **options)
    axes.set_title(title)
    axes.set_xlabel(text, loc="left")
    axes.set(xticks=[], yticks=[], anchor="NW")
    axes.spines[:].set_visible(False)
    axes.set_facecolor(_CANVAS_COLOUR)


def _draw_frame(axes: Axes, corner: tuple[float, float], size: tuple[int, int]) -> None:
    """Draw a frame with its upper left corner and its size in pixels."""
    frame = Rectangle(corner, *size, fill=False, edgecolor=TEXT_COLOUR, linewidth=5)
    frame.set(clip_on=False, path_effects=_LIGHT_EDGE)
    axes.add_patch(frame)


def _outline(axes: Axes, mask: npt.NDArray[np.uint8]) -> None:
    """Draw the outline of a mask, if it has one, on its tile."""
    if not mask.any():
        return
    # One more pixel on each side closes the outline at the edge of the tile.
    pixels = np.arange(-1, TILE_SIZE + 1)
    padded = np.pad(mask, 1)
    lines = axes.contour(pixels, pixels, padded, [0.5], colors=_OUTLINE_COLOUR, linewidths=3)
    lines.set_path_effects(_DARK_EDGE)
    axes.set(xlim=(-0.5, TILE_SIZE - 0.5), ylim=(TILE_SIZE - 0.5, -0.5))


def _brighten(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Brighten a tile until 2 % of its values are saturated; other pixels keep their hue."""
    factor = 255 / max(float(np.quantile(rgb, 0.98)), 1.0)
    return np.clip(rgb * factor, 0, 255).astype(np.uint8)


def _contrast(tiles: TileSet, row: int) -> float:
    return float(tiles.images[row][..., :3].std())


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
