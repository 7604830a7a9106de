"""The chart of the leak experiment: each model's scores under random folds, folds by groups and folds by blocks."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from rock_glacier.console import count
from rock_glacier.style import FAINT, GREEN, INK, PURPLE, STYLE, VERMILION

_MODEL_NAMES = {"linear": "logistic\nregression", "forest": "random\nforest", "nearest": "nearest\nneighbour"}
_TITLES = {
    "classes": "The tiles' own classes",
    "control": "Control: classes that mean nothing",
}
_LOOKS = {  # markers for prints in grey
    "random": (VERMILION, "o", 0.27, "random folds"),
    "groups": (PURPLE, "D", 0, "folds by groups"),
    "blocks": (GREEN, "s", -0.27, "folds by blocks"),
}
_SIZE = (4.2, 5.3)  # inches; on a page 390 pixels wide, letters of 8.5 points are 11 pixels high
_LETTERS = 8.5  # points


def draw_leak(figures: Mapping[str, Any]) -> bytes:
    """Draw the scores of an experiment.

    Args:
        figures: what `leak_experiment.experiment` returns.

    Returns:
        a PNG file; the same figures give the same bytes with the same matplotlib.
    """
    letters = {"font.size": _LETTERS, "axes.titlesize": _LETTERS}
    with matplotlib.style.context(STYLE | letters, after_reset=True):
        figure = Figure(_SIZE)
        FigureCanvasAgg(figure)
        panels = figure.subplots(len(_TITLES), 1, sharex=True)
        for axes, (labelling, title) in zip(panels, _TITLES.items(), strict=True):
            _draw_panel(axes, figures["scores"][labelling])
            axes.set_title(title, weight="bold", loc="left")
        panels[-1].set_xlabel("balanced accuracy")
        look: dict[str, Any] = {"ncols": len(_LOOKS), "frameon": False, "handletextpad": 0, "columnspacing": 1}
        figure.legend(*panels[0].get_legend_handles_labels(), loc="upper center", labelcolor="linecolor", **look)
        caption = (
            f"{sum(figures['tiles'].values())} tiles of {count(figures['places']['all'], 'place')}, in "
            f"{count(figures['groups']['all'], 'group')} and {count(figures['blocks']['all'], 'block')}; "
            f"{figures['folds']} folds, {count(figures['repeats'], 'repeat')}.\n"
            "Dot: mean. Bar: the middle 95 % of the repeats."
        )
        figure.text(0.02, 0.015, caption, size=6.8, va="bottom")
        figure.subplots_adjust(left=0.22, right=0.97, top=0.905, bottom=0.165, hspace=0.27)
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=300, metadata={"Software": None})
        return file.getvalue()


def _draw_panel(axes: Axes, scores: Mapping[str, Any]) -> None:
    axes.axvline(0.5, color=FAINT, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    for row, model in enumerate(scores):
        for scheme, (colour, marker, shift, name) in _LOOKS.items():
            numbers, y = scores[model][scheme]["balanced_accuracy"], shift - row
            low, mean, high = numbers["low"], numbers["mean"], numbers["high"]
            axes.plot([low, high], [y, y], color=colour, linewidth=3, solid_capstyle="butt", alpha=0.5)
            axes.plot(mean, y, marker, color=colour, markersize=5.5, zorder=3, label=name if row == 0 else None)
            # Away from the line of guessing, where there is room.
            end, step, side = (high, 6, "left") if mean >= 0.5 else (low, -6, "right")
            label: dict[str, Any] = {"textcoords": "offset points", "color": colour}
            axes.annotate(f"{mean:.2f}", (end, y), xytext=(step, 0), ha=side, va="center", **label)
    axes.set_yticks([-row for row in range(len(scores))], [_MODEL_NAMES[model] for model in scores])
    axes.set_ylim(-len(scores) + 0.5, 0.5)
    axes.set_xlim(0.15, 1.05)
    axes.set_xticks([0.25, 0.5, 0.75, 1], ["0.25", "0.5: guessing", "0.75", "1"])
    axes.tick_params(length=0, colors=INK, labelbottom=True)
    axes.spines[["left", "right", "top"]].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)
