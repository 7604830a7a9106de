"""What all pictures of the card have in common: a dark panel with round corners, its colours, letters and files.

The panel is opaque, so that a picture looks the same on the Hub's light page and on its dark one. All sizes are pixels
of the picture and count from its upper left corner. The letters are large, for a phone shows the picture at a quarter
of its width. Nothing depends on the machine: the letters are those that matplotlib brings, its settings are not read.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import FancyBboxPatch
from matplotlib.text import Text
from matplotlib.transforms import IdentityTransform
from PIL import Image

from rock_glacier_dataset import CLASS_NAMES

WIDTH = 1640
"""Width of every picture in pixels, twice that of the Hub's column of text."""

MARGIN = 26

TEXT = 36
"""Size of the letters in pixels."""

LINE = 48
"""Height of a line of text in pixels."""

MOST_BYTES = 300 * 1024
"""Largest size of a picture's file."""

PANEL = "#161b26"
BRIGHT = "#f2f4f8"
MUTED = "#aab2c0"
FAINT = "#3a4355"

# From the palette of Okabe and Ito (Color Universal Design, 2008), which is made for all kinds of colour vision.
CLASS_COLOURS = dict(zip(CLASS_NAMES, ("#E69F00", "#56B4E9"), strict=True))
SHARED_COLOUR = "#F0E442"

WEBP_SETTINGS: tuple[dict[str, Any], ...] = (
    {"lossless": True, "quality": 50},
    *({"quality": quality} for quality in (95, 90, 85, 80, 75, 70, 60, 50, 40)),
)
"""How a WebP picture is compressed: as the first of these that keeps it small enough."""

_FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
_PLAIN, _BOLD = _FONTS / "DejaVuSans.ttf", _FONTS / "DejaVuSans-Bold.ttf"
_ROUND = 24


class PictureError(Exception):
    """A picture cannot be made as it should be: says which, and what to do."""


@contextlib.contextmanager
def own_settings() -> Iterator[None]:
    """Draw with matplotlib's defaults, whatever the user's settings are."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        yield


def new_panel(height: int) -> Figure:
    """Begin a picture: an empty panel of `WIDTH` x `height` pixels."""
    figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72, facecolor="none")  # at 72 dpi a point is a pixel
    FigureCanvasAgg(figure)
    shape = f"round,pad=0,rounding_size={_ROUND}"
    look: dict[str, Any] = {"facecolor": PANEL, "edgecolor": "none", "zorder": -1}  # behind the fields
    figure.add_artist(FancyBboxPatch((0, 0), WIDTH, height, boxstyle=shape, transform=IdentityTransform(), **look))
    return figure


def write(
    figure: Figure, x: float, y: float, text: str, *, colour: str = BRIGHT, bold: bool = False, align: str = "left"
) -> Text:
    """Write a line of text.

    Args:
        figure: the picture.
        x: where the line begins, ends or has its middle, by `align`.
        y: the letters' base line.
        text: the line.
        colour: its colour.
        bold: whether it is bold.
        align: "left", "right" or "center".

    Returns:
        the text as it was drawn.
    """
    font = FontProperties(fname=_BOLD if bold else _PLAIN, size=TEXT)
    place = _from_above(figure, x, y)
    return figure.text(
        *place, text, color=colour, fontproperties=font, ha=align, va="baseline", transform=IdentityTransform()
    )


def write_in_parts(figure: Figure, x: float, y: float, *parts: tuple[str, str, bool]) -> None:
    """Write a line whose parts, each a text, a colour and whether it is bold, follow one another."""
    for text, colour, bold in parts:
        drawn = write(figure, x, y, text, colour=colour, bold=bold)
        x = drawn.get_window_extent().x1 + TEXT / 3


def add_axes(figure: Figure, x: float, y: float, width: float, height: float) -> Axes:
    """Add a field without axis lines, whose upper left corner is (x, y)."""
    whole = figure.bbox
    left, bottom = _from_above(figure, x, y + height)
    axes = figure.add_axes((left / whole.width, bottom / whole.height, width / whole.width, height / whole.height))
    axes.set_axis_off()
    return axes


def add_pixels(figure: Figure, x: float, y: float, size: int, rgb: npt.NDArray[np.uint8]) -> Axes:
    """Add a square of pixels, each of them a square too where the size is a whole multiple.

    Args:
        figure: the picture.
        x: left edge.
        y: upper edge.
        size: width and height.
        rgb: uint8 array of shape (rows, columns, 3), as many rows as columns.

    Returns:
        the field, in which (0, 0) is the upper left corner of the first pixel and (columns, rows) the lower right one
        of the last.
    """
    axes = add_axes(figure, x, y, size, size)
    rows, columns = rgb.shape[:2]
    shown = rgb if size % rows == 0 else np.asarray(Image.fromarray(rgb).resize((size, size), Image.Resampling.LANCZOS))
    axes.imshow(shown, extent=(0, columns, rows, 0), interpolation="nearest", aspect="auto")
    return axes


def add_outline(axes: Axes, edges: npt.NDArray[np.float64], colour: str, width: float, *, clip: bool = True) -> None:
    """Draw edges in a field of pixels, on a dark casing that keeps them apart from snow.

    Args:
        axes: the field.
        edges: float array of shape (edges, 2, 2), as `tile_outlines.outline_edges` gives them.
        colour: colour of the lines.
        width: their width in pixels of the picture.
        clip: whether what reaches out of the field is cut off.
    """
    for line_colour, line_width in ((PANEL, 2 * width), (colour, width)):
        axes.add_collection(
            LineCollection(list(edges), colors=line_colour, linewidths=line_width, capstyle="projecting", clip_on=clip),
            autolim=False,
        )


def rectangle_edges(x: float, y: float, width: float, height: float) -> npt.NDArray[np.float64]:
    """Return the four edges of a rectangle, as `add_outline` takes them."""
    corners = [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]
    return np.array(list(zip(corners, corners[1:] + corners[:1], strict=True)), np.float64)


def percent(share: float) -> str:
    """Write a share as the card writes it.

    Example:
        >>> percent(0.295)
        '30 %'
    """
    return f"{100 * share:.0f} %"


def mask_rgb(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Return a mask's own colours, uint8 of shape (128, 128, 3): white is rock glacier, black is background."""
    return np.repeat(np.where(mask, 255, 0).astype(np.uint8)[..., None], 3, axis=-1)


def encoded_picture(name: str, figure: Figure) -> bytes:
    """Encode a picture.

    Args:
        name: file name; one that ends in .webp is compressed with as much loss as it takes, and any other is a PNG.
        figure: the picture.

    Returns:
        the file, at most `MOST_BYTES` long; the same picture gives the same bytes.

    Raises:
        PictureError: it does not become small enough.
    """
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    image = Image.fromarray(np.asarray(canvas.buffer_rgba()))  # type: ignore[no-untyped-call]
    is_webp = name.endswith(".webp")
    for settings in WEBP_SETTINGS if is_webp else ({"optimize": True},):
        file = io.BytesIO()
        image.save(file, "WEBP" if is_webp else "PNG", **settings)
        if file.tell() <= MOST_BYTES:
            return file.getvalue()
    raise PictureError(f"{name}: has {file.tell()} bytes, more than {MOST_BYTES}; try other tiles with --seed")


def _from_above(figure: Figure, x: float, y: float) -> tuple[float, float]:
    """Turn a place that counts from above into matplotlib's, which counts from below."""
    return x, figure.bbox.height - y
