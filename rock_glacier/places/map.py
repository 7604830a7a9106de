"""Draw a map of the located tiles: footprints by split, and the rock glaciers of their masks.

The map has one panel per region. Its background is light and opaque, so it looks the same on a
light and on a dark page. Its text is readable when it is shown at half its width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import geopandas
import matplotlib.style
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyproj
import shapely
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from rock_glacier.output import count
from rock_glacier.places.footprints import FOOTPRINT_WIDTH, footprint_squares
from rock_glacier.places.outlines import PIXEL
from rock_glacier.sites.orientations import oriented
from rock_glacier_dataset import SPLIT_NAMES, TILE_SIZE

SPLIT_COLOURS = {"train": "#0072b2", "validation": "#cc79a7", "test": "#d55e00"}
"""Blue, reddish purple and vermilion of Okabe and Ito, Color Universal Design (2008).

These three differ most, for all kinds of colour vision, if the colours of the classes and yellow,
which is too light, are left out of the palette.
"""

BACKGROUND = "#ffffff"
"""Colour around the panels."""

TEXT_COLOUR = "#1f2630"
"""Colour of text."""

FAINT_COLOUR = "#5b6472"
"""Colour of text and lines that are less important."""

STYLE: Any = {
    "font.size": 20,
    "font.family": "DejaVu Sans",  # part of matplotlib, so every machine has it
    "axes.titlesize": 22,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "text.color": TEXT_COLOUR,
    "axes.labelcolor": TEXT_COLOUR,
    "xtick.labelsize": 17,
    "ytick.labelsize": 17,
    "xtick.color": FAINT_COLOUR,
    "ytick.color": FAINT_COLOUR,
    "figure.facecolor": BACKGROUND,
    "axes.facecolor": BACKGROUND,
}
"""Settings of matplotlib for light pictures."""

_LAND_COLOUR = "#f1efea"
_GRID_COLOUR = "#c9c5bb"
_ROCK_GLACIER_COLOUR = "#2b2b2b"

# Footprints that are closer than this are in one region, in metres. Tiles around all 81 outlines of
# the curators would be in 8 regions.
_GAP = 5000

# Land around the footprints of a panel, in metres.
_MARGIN = 400

# Regions in a map. More would be too small to read.
_LARGEST_REGIONS = 6

# Width and height of the detail that is shown next to a single region, in metres.
_DETAIL = 6000

# Largest width and height of a merged mask, in pixels: about the width of the picture.
_MERGED_SIZE = 1600

WIDTH = 1640
"""Width of a picture in pixels: twice the width of the text on the Hub."""

# Other sizes in pixels.
_DPI = 100
_LEGEND_HEIGHT = 70
_TITLE_HEIGHT = 55
_TICKS = 50  # labels below and to the left of a panel
_SPACE = 34  # to the right of a panel
_NOTE_HEIGHT = 35
_LABEL_SPACE = 140  # smallest distance between labels of the graticule
_LABEL_EDGE = 20  # smallest distance of a longitude's label from the side of a panel
_LABEL_END = 55  # smallest distance of a latitude's label from the top or bottom of a panel
_SCALE_BAR = 9  # distance of the scale bar from its panel
_ROW_HEIGHTS = {1: 720, 2: 440}  # largest height of a panel, by number of rows

# Edges of footprints: width in pixels, largest opacity, and the share of the ground that they hide.
_LINE_WIDTH = 1.1
_LARGEST_OPACITY = 0.4
_LARGEST_HIDDEN = 0.3

# Narrowest and widest shape of a panel: width divided by height.
_ASPECTS = (0.8, 1.6)


@dataclass(frozen=True)
class Map:
    """A map with its texts.

    Attributes:
        figure: The map, 1,640 pixels wide.
        alt: Alternative text.
        caption: Text below it.
    """

    figure: Figure
    alt: str
    caption: str


@dataclass(frozen=True)
class _Panel:
    """A part of the map. Bounds are left, bottom, right and top in metres of the UTM zone."""

    title: str
    tiles: pd.DataFrame
    bounds: tuple[float, float, float, float]

    @property
    def epsg(self) -> int:
        return int(self.tiles["epsg"].iloc[0])

    @property
    def aspect(self) -> float:
        left, bottom, right, top = self.bounds
        return float(np.clip((right - left) / (top - bottom), *_ASPECTS))


def draw_map(index: pd.DataFrame, masks: npt.NDArray[np.uint8]) -> Map | None:
    """Draw a map of the located tiles.

    Args:
        index: Rows of the tile index.
        masks: The masks, in the same order: shape (n, 128, 128), 1 is rock glacier. They may be
            mapped from a file.

    Returns:
        The map, or None if no tile is located. The same tiles give the same picture.
    """
    numbered = index.reset_index(drop=True)
    located = numbered[numbered["epsg"].notna()]
    if located.empty:
        return None
    columns = ["epsg", "easting", "northing", "longitude", "latitude"]
    located = located.astype(dict.fromkeys(columns, float))
    regions = [tiles for _, tiles in located.groupby(_find_regions(located))]
    shown = sorted(regions, key=len, reverse=True)[:_LARGEST_REGIONS]
    shown.sort(key=lambda tiles: tiles["latitude"].max(), reverse=True)
    panels = [_Panel(count(len(tiles), "tile"), tiles, _bounds(tiles)) for tiles in shown]
    detail = _find_detail(panels)
    if detail is not None:
        panels.append(detail)
    with matplotlib.style.context(STYLE, after_reset=True):
        figure = _draw_panels(panels, masks)
        if detail is not None:
            _draw_frame(figure.axes[0], detail)
        _draw_legend(figure, pd.concat(shown))
    return Map(figure, _describe(shown), _make_caption(numbered, regions, shown))


def _find_regions(located: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Return the region of each tile, a number.

    Tiles of one region are connected by tiles that are less than `_GAP` apart. Tiles of different
    UTM zones are in different regions.
    """
    region = np.zeros(len(located), np.int64)
    for epsg in sorted(located["epsg"].unique()):
        rows = np.flatnonzero(located["epsg"] == epsg)
        left = located["easting"].to_numpy()[rows]
        top = located["northing"].to_numpy()[rows]
        half = _GAP / 2
        squares = shapely.box(
            left - half, top - FOOTPRINT_WIDTH - half, left + FOOTPRINT_WIDTH + half, top + half
        )
        parts = shapely.get_parts(shapely.union_all(squares))
        corners = shapely.points(left, top)
        tile, part = shapely.STRtree(parts).query(corners, predicate="within")
        region[rows[tile]] = region.max() + 1 + part
    return region


def _bounds(tiles: pd.DataFrame) -> tuple[float, float, float, float]:
    return (
        tiles["easting"].min() - _MARGIN,
        tiles["northing"].min() - FOOTPRINT_WIDTH - _MARGIN,
        tiles["easting"].max() + FOOTPRINT_WIDTH + _MARGIN,
        tiles["northing"].max() + _MARGIN,
    )


def _find_detail(panels: list[_Panel]) -> _Panel | None:
    """Return a panel of the part that shows most rock glacier, if there is one large region."""
    left, bottom, right, top = panels[0].bounds
    if len(panels) > 1 or max(right - left, top - bottom) < 2 * _DETAIL:
        return None
    tiles = panels[0].tiles
    # There is a candidate around each tile.
    x = tiles["easting"].to_numpy() + (FOOTPRINT_WIDTH - _DETAIL) / 2
    y = tiles["northing"].to_numpy() - (FOOTPRINT_WIDTH + _DETAIL) / 2
    candidates = shapely.box(x, y, x + _DETAIL, y + _DETAIL)
    footprints = footprint_squares(tiles["easting"], tiles["northing"])
    candidate, tile = shapely.STRtree(footprints).query(candidates, predicate="contains")
    best = np.bincount(candidate, tiles["mask_share"].to_numpy()[tile]).argmax()
    shown = tiles[shapely.intersects(footprints, candidates[best])]
    return _Panel("Detail", shown, tuple(candidates[best].bounds))


def _draw_frame(axes: Axes, detail: _Panel) -> None:
    """Draw the place of the detail on the map of its region."""
    left, bottom, right, top = detail.bounds
    frame = Rectangle((left, bottom), right - left, top - bottom, fill=False)
    frame.set(edgecolor=TEXT_COLOUR, linewidth=2.5, zorder=6)
    axes.add_patch(frame)


def _draw_panels(panels: list[_Panel], masks: npt.NDArray[np.uint8]) -> Figure:
    """Draw the panels in rows that fill the width of the picture."""
    number_of_rows = 1 if len(panels) <= 3 else 2
    size = math.ceil(len(panels) / number_of_rows)
    rows = [panels[start : start + size] for start in range(0, len(panels), size)]
    heights = []
    for row in rows:
        free = WIDTH - len(row) * (_TICKS + _SPACE)
        aspects = sum(panel.aspect for panel in row)
        heights.append(min(_ROW_HEIGHTS[number_of_rows], round(free / aspects)))
    total = _LEGEND_HEIGHT + sum(heights) + len(rows) * (_TITLE_HEIGHT + _TICKS) + _NOTE_HEIGHT
    figure = Figure((WIDTH / _DPI, total / _DPI), dpi=_DPI)
    top = total - _LEGEND_HEIGHT
    for row, height in zip(rows, heights, strict=True):
        free = WIDTH - len(row) * (_TICKS + _SPACE)
        aspects = sum(panel.aspect for panel in row)
        left = 0.0
        bottom = top - _TITLE_HEIGHT - height
        for panel in row:
            left += _TICKS
            width = free * panel.aspect / aspects
            box = (left / WIDTH, bottom / total, width / WIDTH, height / total)
            axes = figure.add_axes(box)
            _draw_panel(axes, panel, masks, width / height)
            left += width + _SPACE
        top = bottom - _TICKS
    return figure


def _draw_panel(axes: Axes, panel: _Panel, masks: npt.NDArray[np.uint8], aspect: float) -> None:
    left, bottom, right, top = panel.bounds
    # Show more land to fill the panel, at one scale in both directions.
    width = max(right - left, aspect * (top - bottom))
    height = width / aspect
    left -= (width - right + left) / 2
    bottom -= (height - top + bottom) / 2
    limits = {"xlim": (left, left + width), "ylim": (bottom, bottom + height)}
    axes.set(**limits, facecolor=_LAND_COLOUR, title=panel.title)
    axes.spines[:].set_color(FAINT_COLOUR)
    _draw_graticule(axes, panel.epsg)
    _draw_rock_glaciers(axes, panel.tiles, masks)
    for split in SPLIT_NAMES:
        tiles = panel.tiles[panel.tiles["split"] == split]
        if not tiles.empty:
            _draw_footprints(axes, tiles, SPLIT_COLOURS[split])
    axes.set(**limits, xlabel="", ylabel="")
    _draw_scale_bar(axes)


def _draw_graticule(axes: Axes, epsg: int) -> None:
    """Draw lines of longitude and latitude, with labels at the edge of the panel."""
    left, right = axes.get_xlim()
    bottom, top = axes.get_ylim()
    metres_per_pixel = (right - left) / axes.get_window_extent().width
    to_metres = pyproj.Transformer.from_crs("EPSG:4326", f"EPSG:{epsg}", always_xy=True)
    bounds = to_metres.transform_bounds(left, bottom, right, top, direction="INVERSE")
    west, south, east, north = bounds
    step = _round_up(_LABEL_SPACE * metres_per_pixel * (east - west) / (right - left))
    decimals = max(0, -math.floor(math.log10(step)))
    x_ticks = {}
    for longitude in np.arange(math.ceil(west / step), east / step) * step:
        latitudes = np.linspace(south, north)
        x, y = to_metres.transform(np.full_like(latitudes, longitude), latitudes)
        axes.plot(x, y, color=_GRID_COLOUR, linewidth=1.5, zorder=1)
        x_ticks[np.interp(bottom, y, x)] = _format_degrees(longitude, "EW", decimals)
    y_ticks = {}
    for latitude in np.arange(math.ceil(south / step), north / step) * step:
        longitudes = np.linspace(west, east)
        x, y = to_metres.transform(longitudes, np.full_like(longitudes, latitude))
        axes.plot(x, y, color=_GRID_COLOUR, linewidth=1.5, zorder=1)
        y_ticks[np.interp(left, x, y)] = _format_degrees(latitude, "NS", decimals)
    edge = _LABEL_EDGE * metres_per_pixel
    x_ticks = {x: text for x, text in x_ticks.items() if left + edge < x < right - edge}
    end = _LABEL_END * metres_per_pixel
    y_ticks = {y: text for y, text in y_ticks.items() if bottom + end < y < top - end}
    axes.set_xticks(list(x_ticks), list(x_ticks.values()))
    axes.set_yticks(list(y_ticks), list(y_ticks.values()), rotation=90, va="center")


def _round_up(value: float) -> float:
    """Return the next larger value that is 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= value)


def _format_degrees(value: float, directions: str, decimals: int) -> str:
    """Format a longitude (directions "EW") or latitude ("NS"), for example as 69.8° W."""
    direction = directions[int(value < 0)]
    return f"{abs(value):.{decimals}f}° {direction}"


def _draw_rock_glaciers(axes: Axes, tiles: pd.DataFrame, masks: npt.NDArray[np.uint8]) -> None:
    """Fill and outline the pixels that are rock glacier in most of their masks."""
    masked = tiles[tiles["mask_share"] > 0]
    if masked.empty:
        return
    x, y, share = _merge_masks(masked, masks)
    axes.contourf(x, y, share, [0.5, 1.5], colors=[_ROCK_GLACIER_COLOUR], alpha=0.3, zorder=4)
    width = min(2, _footprint_width(axes) / 25)
    axes.contour(x, y, share, [0.5], colors=[_ROCK_GLACIER_COLOUR], linewidths=width, zorder=5)


def _merge_masks(tiles: pd.DataFrame, masks: npt.NDArray[np.uint8]) -> tuple[Any, Any, Any]:
    """Merge masks on the map.

    Returns:
        Easting of the columns, northing of the rows, and for each pixel the share of its masks that
        show rock glacier. Pixels without masks are masked, so outlines end at the edge of masks.
    """
    left = tiles["easting"].min()
    top = tiles["northing"].max()
    columns = ((tiles["easting"] - left) / PIXEL).round().astype(int)
    rows = ((top - tiles["northing"]) / PIXEL).round().astype(int)
    size = max(columns.max(), rows.max()) + TILE_SIZE
    step = math.ceil(size / _MERGED_SIZE)  # of a large region, only each step-th pixel is read
    shape = ((rows.max() + TILE_SIZE) // step + 1, (columns.max() + TILE_SIZE) // step + 1)
    covered = np.zeros(shape, np.uint16)
    glacier = np.zeros(shape, np.uint16)
    for number, row, column, orientation in zip(
        tiles.index, rows, columns, tiles["orientation"], strict=True
    ):
        mask = oriented(masks[number], orientation)[-row % step :: step, -column % step :: step]
        part = (
            slice(-(-row // step), -(-row // step) + mask.shape[0]),
            slice(-(-column // step), -(-column // step) + mask.shape[1]),
        )
        covered[part] += 1
        glacier[part] += mask
    share = np.ma.masked_array(glacier, covered == 0) / np.maximum(covered, 1)
    x = left + PIXEL * (np.arange(shape[1]) * step + 0.5)
    y = top - PIXEL * (np.arange(shape[0]) * step + 0.5)
    return x, y, share


def _draw_footprints(axes: Axes, tiles: pd.DataFrame, colour: str) -> None:
    """Fill and outline the ground that the tiles of a split cover, and draw each footprint."""
    footprints = geopandas.GeoSeries(footprint_squares(tiles["easting"], tiles["northing"]))
    ground = footprints.union_all()
    # Draw fainter lines if they are dense: share of the ground that they would hide.
    coverage = footprints.area.sum() / ground.area
    hidden = 4 * coverage * _LINE_WIDTH / _footprint_width(axes)
    opacity = min(_LARGEST_OPACITY, _LARGEST_HIDDEN / hidden)
    lines = footprints.boundary
    width = 72 / _DPI * _LINE_WIDTH
    lines.plot(ax=axes, aspect=None, color=colour, linewidth=width, alpha=opacity, zorder=2)
    grounds = geopandas.GeoSeries([ground])
    grounds.plot(ax=axes, aspect=None, color=colour, linewidth=0, alpha=0.2, zorder=2)
    width = min(2.5, _footprint_width(axes) / 20)
    grounds.boundary.plot(ax=axes, aspect=None, color=colour, linewidth=width, zorder=3)


def _footprint_width(axes: Axes) -> float:
    """Return the width of a footprint in pixels of the picture."""
    left, right = axes.get_xlim()
    return axes.get_window_extent().width * FOOTPRINT_WIDTH / (right - left)


def _draw_scale_bar(axes: Axes) -> None:
    """Draw a scale bar above the right end of a panel."""
    left, right = axes.get_xlim()
    width = right - left
    length = _round_up(width / 6)
    middle = 1 - length / width / 2
    height = 1 + _SCALE_BAR / axes.get_window_extent().height
    shared: Any = {"color": TEXT_COLOUR, "transform": axes.transAxes}
    axes.plot(
        [1 - length / width, 1],
        [height, height],
        linewidth=4,
        solid_capstyle="butt",
        clip_on=False,
        **shared,
    )
    axes.text(middle, height, f"{length / 1000:g} km", ha="center", va="bottom", size=18, **shared)


def _draw_legend(figure: Figure, shown: pd.DataFrame) -> None:
    handles: list[Any] = []
    numbers = shown["split"].value_counts()
    for split in SPLIT_NAMES:
        if split in numbers:
            label = f"{split}: {count(numbers[split], 'tile')}"
            colour = SPLIT_COLOURS[split]
            handles.append(
                Patch(facecolor=(colour, 0.3), edgecolor=colour, linewidth=2.5, label=label)
            )
    if (shown["mask_share"] > 0).any():
        colour = _ROCK_GLACIER_COLOUR
        handles.append(
            Patch(facecolor=(colour, 0.3), edgecolor=colour, linewidth=2, label="rock glacier")
        )
    figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(_TICKS / WIDTH, 1),
        ncols=len(handles),
        borderaxespad=0.7,
        borderpad=0,
        frameon=False,
        handlelength=1.4,
        handleheight=1,
        columnspacing=1.6,
    )


def _describe(shown: list[pd.DataFrame]) -> str:
    """Return the alternative text: place and number of tiles of each region."""
    regions = []
    for tiles in shown:
        numbers = tiles["split"].value_counts()
        splits = [f"{numbers[split]:,} {split}" for split in SPLIT_NAMES if split in numbers]
        longitude = _format_degrees(tiles["longitude"].median(), "EW", 1)
        latitude = _format_degrees(tiles["latitude"].median(), "NS", 1)
        number = count(len(tiles), "tile")
        regions.append(f"{longitude}, {latitude}: {number} ({', '.join(splits)})")
    return (
        f"Map of {count(len(shown), 'region')} with the footprints of tiles, coloured by split, "
        f"and the outlines of rock glaciers. {'; '.join(regions)}."
    )


def _make_caption(
    index: pd.DataFrame, regions: list[pd.DataFrame], shown: list[pd.DataFrame]
) -> str:
    located = sum(len(tiles) for tiles in regions)
    drawn = sum(len(tiles) for tiles in shown)
    caption = (
        f"Footprints of {count(drawn, 'tile')}, coloured by split, and the rock glaciers that "
        "their masks show."
    )
    if drawn < located:
        omitted = count(len(regions) - len(shown), "smaller region")
        caption += f" Not shown: {omitted} with {count(located - drawn, 'tile')}."
    if located < len(index):
        caption += f" Not located: {count(len(index) - located, 'tile')}."
    return caption
