"""The look of the project's pictures: dark, so that snow and shadow show, with an opaque background and large letters.

The background is opaque, so that a picture looks the same on a light page and on a dark one.
"""

from __future__ import annotations

from typing import Any

BACKGROUND, INK, FAINT = "#161b26", "#f2f4f8", "#aab2c0"

# From the palette of Okabe and Ito (Color Universal Design, 2008), which is made for all kinds of colour vision; the
# vermilion lighter, so that letters in it can be read.
ORANGE, SKY_BLUE, YELLOW = "#e69f00", "#56b4e9", "#f0e442"
VERMILION, PURPLE, GREEN = "#f0793a", "#cc79a7", "#009e73"

STYLE: Any = {
    "font.size": 24,
    "axes.titlesize": 26,
    "font.family": "DejaVu Sans",  # which comes with matplotlib
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": FAINT,
    "ytick.color": INK,
    "axes.edgecolor": FAINT,
    "figure.facecolor": BACKGROUND,
    "axes.facecolor": BACKGROUND,
}
"""For `matplotlib.style.context(STYLE, after_reset=True)`, which leaves out the user's own settings."""
