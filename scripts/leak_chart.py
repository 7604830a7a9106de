"""The picture of the leak: what each model scores under random and under grouped folds, with intervals."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cross_validation import SCHEMES
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

MODEL_NAMES = {"linear": "logistic\nregression", "forest": "random\nforest", "nearest": "nearest\nneighbour"}

TITLES = {
    "classes": "The tiles' own classes",
    "control": "Control: classes dealt to the groups at random",
}

# Of Okabe and Ito's colours, which the colour-blind tell apart (https://jfly.uni-koeln.de/color/); with the marker and
# the place too, for a print may have no colour.
_LOOKS = {"random": ("#D55E00", "o", 0.18), "grouped": ("#0072B2", "s", -0.2)}

_INK, _PAPER, _RULE = (
    "#222222",
    "#FFFFFF",
    "#8A8A8A",
)  # a paper of its own, so that a dark page does not swallow the ink

_WIDTH, _HEIGHT = 4.2, 5.3  # inches; on a page 390 pixels wide, letters of 8.5 points are 11 pixels high

_DOTS = 300  # per inch

_FONT = {"family": "DejaVu Sans", "size": 8.5}


def draw_leak(figures: Mapping[str, Any], file: Path) -> None:
    """Draw the scores of an experiment.

    Args:
        figures: what `leak_experiment.experiment` gives.
        file: where to write the PNG; the same figures give the same bytes with the same matplotlib.
    """
    figure = Figure((_WIDTH, _HEIGHT), facecolor=_PAPER)
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(TITLES), 1, sharex=True)
    for axes, (labelling, title) in zip(panels, TITLES.items(), strict=True):
        _draw_panel(axes, figures["scores"][labelling])
        axes.set_title(title, fontdict=_FONT | {"weight": "bold"}, loc="left", color=_INK)
    _name_schemes(panels[0], figures["scores"]["classes"])
    panels[-1].set_xlabel("balanced accuracy", fontdict=_FONT, color=_INK)
    figure.text(0.02, 0.015, _caption(figures), fontsize=6.8, fontfamily=_FONT["family"], color=_INK, va="bottom")
    figure.subplots_adjust(left=0.22, right=0.97, top=0.95, bottom=0.165, hspace=0.27)
    figure.savefig(file, format="png", dpi=_DOTS, metadata={"Software": None})


def _caption(figures: Mapping[str, Any]) -> str:
    tiles, groups = figures["tiles"], figures["groups"]
    number = sum(tiles.values())
    return (
        f"{number} tiles in {groups['all']} groups of shared ground; {figures['folds']} folds, "
        f"{figures['repeats']} repeats.\nDot: mean. Bar: the middle 95 % of the repeats."
    )


def _draw_panel(axes: Axes, scores: Mapping[str, Any]) -> None:
    axes.axvline(0.5, color=_RULE, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    for row, model in enumerate(scores):
        for scheme in SCHEMES:
            colour, marker, shift = _LOOKS[scheme]
            found = scores[model][scheme]["balanced_accuracy"]
            y = -row + shift
            axes.plot(
                [found["low"], found["high"]], [y, y], color=colour, linewidth=3, solid_capstyle="butt", alpha=0.5
            )
            axes.plot(found["mean"], y, marker, color=colour, markersize=5.5, zorder=3)
            # On the side that is away from the line of guessing, where there is room.
            right = found["mean"] >= 0.5
            axes.annotate(
                f"{found['mean']:.2f}",
                (found["high"] if right else found["low"], y),
                xytext=(6 if right else -6, 0),
                textcoords="offset points",
                ha="left" if right else "right",
                va="center",
                color=colour,
                fontsize=_FONT["size"],
                fontfamily=_FONT["family"],
            )
    axes.set_yticks([-row for row in range(len(scores))], [MODEL_NAMES[model] for model in scores], fontdict=_FONT)
    axes.set_ylim(-len(scores) + 0.5, 0.75)
    axes.set_xlim(0.15, 1.05)
    axes.set_xticks([0.25, 0.5, 0.75, 1], ["0.25", "0.5: guessing", "0.75", "1"], fontdict=_FONT)
    axes.tick_params(length=0, colors=_INK, labelbottom=True)
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_RULE)


def _name_schemes(axes: Axes, scores: Mapping[str, Any]) -> None:
    """Write beside the first row what the two marks are."""
    first = next(iter(scores.values()))
    for scheme in SCHEMES:
        colour, _, shift = _LOOKS[scheme]
        axes.annotate(
            f"{scheme} folds",
            (first[scheme]["balanced_accuracy"]["mean"], shift),
            xytext=(0, 7.5),
            textcoords="offset points",
            ha="center",
            color=colour,
            fontsize=_FONT["size"],
            fontfamily=_FONT["family"],
            bbox={"facecolor": _PAPER, "edgecolor": "none", "pad": 0.5},
        )
