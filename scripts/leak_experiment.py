#!/usr/bin/env python
"""Measure how much of a score is memory of the ground: the same models under random and under grouped folds.

    python scripts/leak_experiment.py tiles --class glaciarRoca=glaciar --out leak.png --json leak.json

Tiles that were cut over the same ground are alike. Where folds are random, a model is tested on ground that it was
trained on; where whole groups go to one fold, it is not. Tiles are read, and groups found, as build_archives.py does.

What the experiment can show. The two scores of a model differ by the folds alone: tiles, features, model and seeds are
the same, and so is the number of folds. The interval of a score is that of its repeats, each with another dealing of
the folds and another seed of the model: how far chance in the procedure moves the figure. It says nothing of other
tiles. The interval of the difference is from a bootstrap over groups, which stands for other ground of the same kind as
far as so many groups can.

What it cannot show by that alone. Grouped folds do not only take away the ground that is tested on; they also leave
fewer kinds of ground to train on, and where a class lies in few groups, a model trained without one of them may do
worse than guessing. So the difference is not the leak alone. Therefore the control: classes are dealt to whole groups
at random, by another draw in each repeat, so that there is nothing to learn but which ground belongs to which class.
What random folds score there above 0.5 is memory of the ground and nothing else; what grouped folds score there is what
this procedure gives for ignorance, which may be below 0.5.

And not at all: how well rock glaciers can be told. For that there are too few groups here, and the classes may come
from different scenes.
"""

from __future__ import annotations

import argparse
import csv
import io
import itertools
import json
import math
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import sklearn
from build_archives import GROUPS_NAME, add_class_option, build_archives
from cross_validation import (
    SCHEMES,
    Groups,
    Interval,
    Validated,
    balanced_accuracy,
    bootstrapped,
    interval,
    most_folds,
    relabelled,
    validate,
)
from leak_chart import draw_leak
from PIL import Image
from tile_classifiers import CLASSIFIERS, Labels
from tile_features import FEATURE_NAMES, Features, tile_features
from tile_folders import SourceTile, TileFolderError, find_tiles, read_tile

from rock_glacier.console import run, say
from rock_glacier.files import new_output_file
from rock_glacier.parallel import BackendError, Workers
from rock_glacier_dataset import CLASS_NAMES, ArchiveError

MOST_FOLDS = 5
"""Folds by default, where both classes lie in so many groups."""

REPEATS = 20

LABELLINGS = ("classes", "control")
"""The tiles' own classes; and classes that are dealt to groups at random."""

_PART = 64  # tiles that are described at a time

_DIGITS = 4


class TileSet(NamedTuple):
    """What is cross-validated.

    Attributes:
        features: shape (tiles, features).
        labels: shape (tiles,).
        groups: shape (tiles,).
    """

    features: Features
    labels: Labels
    groups: Groups


# ------------------------------------------------------------------------------------------------------- what is tested


def read_tile_set(folder: Path, prefixes: Mapping[str, str], workers: Workers, num_proc: int | None = None) -> TileSet:
    """Read a folder of tiles: their features, classes and groups.

    Args:
        folder: the tiles, as `build_archives` takes them.
        prefixes: the class of folders of this name, and of files whose names begin so.
        workers: who describes them.
        num_proc: processes that find the groups.

    Raises:
        TileFolderError: a file does not fit, or all tiles are of one class.
        ArchiveError: see `build_archives`.
        OSError: there is no place for temporary archives.
    """
    tiles = find_tiles(folder, prefixes)
    labels = np.array([CLASS_NAMES.index(tile.class_name) for tile in tiles], np.int64)
    for label, name in enumerate(CLASS_NAMES):
        if label not in labels:
            raise TileFolderError(f"{folder}: holds no {name} tiles; add some, or say with --class which they are")
    groups = _groups_of(folder, prefixes, num_proc)
    parts = [(tiles[start : start + _PART],) for start in range(0, len(tiles), _PART)]
    features = np.concatenate(workers.run("Describing tiles", _features_of, parts))
    return TileSet(features, labels, np.array([groups[tile.name] for tile in tiles], np.int64))


def _groups_of(folder: Path, prefixes: Mapping[str, str], num_proc: int | None) -> dict[str, int]:
    """Find the group of each tile, by its file's path in the folder."""
    with tempfile.TemporaryDirectory(prefix="rock-glacier-leak-") as temporary:
        built = Path(temporary) / "archives"
        build_archives(folder, built, prefixes=prefixes, split="random", num_proc=num_proc)
        with (built / GROUPS_NAME).open(encoding="utf-8", newline="") as file:
            return {row["source"]: int(row["group"]) for row in csv.DictReader(file)}


def _features_of(tiles: Sequence[SourceTile]) -> Features:
    found = np.empty((len(tiles), len(FEATURE_NAMES)), np.float32)
    for row, tile in zip(found, tiles, strict=True):
        with Image.open(io.BytesIO(read_tile(tile).image)) as image:
            row[:] = tile_features(np.asarray(image.convert("RGB")))
    return found


def check_folds(tiles: TileSet, folder: Path, folds: int | None) -> int:
    """Say how many folds there are to be.

    Raises:
        TileFolderError: a class lies in too few groups for each fold to test it.
    """
    fewest, name = min((groups, name) for name, groups in most_folds(tiles.labels, tiles.groups).items())
    wanted = min(MOST_FOLDS, fewest) if folds is None else folds
    if fewest < max(wanted, 2):
        remedy = f"give --folds {fewest}, or add" if fewest >= 2 else "add"
        count = f"{fewest} group{'' if fewest == 1 else 's'}"
        raise TileFolderError(
            f"{folder}: its {name} tiles lie in {count} of shared ground, too few for {max(wanted, 2)} folds; "
            f"{remedy} tiles of other ground"
        )
    return wanted


# ------------------------------------------------------------------------------------------------------ the experiment


def experiment(tiles: TileSet, folds: int, repeats: int, seed: int, workers: Workers) -> dict[str, Any]:
    """Cross-validate every classifier under both schemes, with the tiles' own classes and with the control's.

    Args:
        tiles: what is cross-validated.
        folds: number of folds.
        repeats: how often; repeat n takes the seed `seed + n` for everything that is drawn.
        seed: not negative.
        workers: who works; they change nothing in the figures.

    Returns:
        the figures, as the JSON file holds them; see `summary` for the scores.
    """
    seeds = range(seed, seed + repeats)
    runs = list(itertools.product(LABELLINGS, CLASSIFIERS, SCHEMES, seeds))
    found = workers.run("Cross-validating", _validate, [(tiles, folds, *one) for one in runs])
    by_run = dict(zip(runs, found, strict=True))
    scores = {
        labelling: {
            model: summary(
                tiles,
                [_labels(tiles, labelling, one) for one in seeds],
                {scheme: [by_run[labelling, model, scheme, one] for one in seeds] for scheme in SCHEMES},
                seed if labelling == LABELLINGS[0] else None,
            )
            for model in CLASSIFIERS
        }
        for labelling in LABELLINGS
    }
    sizes = np.bincount(tiles.groups)
    return {
        "tiles": {name: int((tiles.labels == label).sum()) for label, name in enumerate(CLASS_NAMES)},
        "groups": {"all": len(np.unique(tiles.groups)), "largest": int(sizes.max())}
        | most_folds(tiles.labels, tiles.groups),
        "folds": folds,
        "repeats": repeats,
        "seed": seed,
        "features": len(FEATURE_NAMES),
        "scikit-learn": sklearn.__version__,
        "scores": scores,
    }


def _validate(tiles: TileSet, folds: int, labelling: str, model: str, scheme: str, seed: int) -> Validated:
    return validate(model, scheme, tiles.features, _labels(tiles, labelling, seed), tiles.groups, folds, seed)


def _labels(tiles: TileSet, labelling: str, seed: int) -> Labels:
    return tiles.labels if labelling == LABELLINGS[0] else relabelled(tiles.groups, seed)


def summary(
    tiles: TileSet, labels: Sequence[Labels], found: Mapping[str, Sequence[Validated]], seed: int | None
) -> dict[str, Any]:
    """Sum up a model's repeats.

    Args:
        tiles: what was cross-validated.
        labels: the classes in each repeat.
        found: by scheme, what each repeat gave.
        seed: of the bootstrap over groups; None for none, as where each repeat has other classes.

    Returns:
        for each scheme the mean and the interval over repeats of `balanced_accuracy` and `roc_auc`, and the share of
        tiles that were `familiar`; for `difference` (random less grouped balanced accuracy) the same over repeats, and
        with a seed over `groups` too.
    """
    accuracies = {
        scheme: [balanced_accuracy(one.correct, its) for one, its in zip(several, labels, strict=True)]
        for scheme, several in found.items()
    }
    told: dict[str, Any] = {
        scheme: {
            "balanced_accuracy": _rounded(interval(accuracies[scheme])),
            "roc_auc": _rounded(interval([one.auc for one in several])),
            "familiar": round(float(np.mean([one.familiar for one in several])), _DIGITS),
        }
        for scheme, several in found.items()
    }
    told["difference"] = {"repeats": _rounded(interval(np.subtract(accuracies["random"], accuracies["grouped"])))}
    if seed is not None:
        means = [np.mean([one.correct for one in found[scheme]], 0) for scheme in SCHEMES]
        drawn = bootstrapped(means[0] - means[1], tiles.labels, tiles.groups, seed)
        told["difference"]["groups"] = _rounded(drawn)
    return told


def _rounded(found: Interval) -> dict[str, float | None]:
    """Round for the JSON file, which has no NaN."""
    return {name: None if math.isnan(value) else round(value, _DIGITS) for name, value in found._asdict().items()}


# --------------------------------------------------------------------------------------------------- the command line


def result_lines(figures: Mapping[str, Any]) -> Iterator[str]:
    """Yield what to say of the figures, a line for each result."""
    groups = figures["groups"]
    counts = ", ".join(f"{count} {name} in {groups[name]} groups" for name, count in figures["tiles"].items())
    yield f"tiles: {counts}; the largest group has {groups['largest']}"
    yield f"folds: {figures['folds']}, repeated {figures['repeats']} times with seeds from {figures['seed']}"
    for labelling, models in figures["scores"].items():
        for model, told in models.items():
            shown = ", ".join(
                f"{scheme} {_shown(told[scheme]['balanced_accuracy'])} (AUC {_shown(told[scheme]['roc_auc'])})"
                for scheme in SCHEMES
            )
            difference = told["difference"]
            over = "groups" if "groups" in difference else "repeats"
            yield f"{labelling} {model}: {shown}, difference {_shown(difference[over])} over {over}"


def _shown(one: Mapping[str, float | None]) -> str:
    if one["mean"] is None:
        return "none"
    return f"{one['mean']:.2f} [{one['low']:.2f}, {one['high']:.2f}]"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="""Measure how much of a score is memory of the ground: the same models, features
and seeds under random folds, and under folds that keep tiles of shared ground
together; with the tiles' own classes, and as a control with classes dealt to
groups of tiles at random, where there is nothing to learn but the ground.""",
        epilog="""TILES holds PNG files as build_archives.py takes them.

  python scripts/leak_experiment.py tiles --class glaciarRoca=glaciar \\
      --out leak.png --json leak.json

Prints a line for each model: mean balanced accuracy and, in brackets, between
which values the middle 95 % of the repeats lie. The difference of the tiles'
own classes has the interval of a bootstrap over groups instead. The same tiles,
options and seed give the same bytes. Exit status: 0 when all is measured, 1
when it is not, 2 for wrong usage.""",
    )
    parser.add_argument("tiles", metavar="TILES", type=Path, help="folder of tiles")
    add_class_option(parser)
    parser.add_argument(
        "--repeats", metavar="N", type=int, default=REPEATS, help="how often to deal folds (default: %(default)s)"
    )
    parser.add_argument(
        "--folds",
        metavar="N",
        type=int,
        help=f"number of folds (default: {MOST_FOLDS}, or as many groups as the class in fewest groups has)",
    )
    parser.add_argument("--seed", metavar="S", type=int, default=0, help="seed of all that is drawn (default: 0)")
    parser.add_argument("--out", metavar="FILE.png", type=Path, help="draw the scores and their intervals")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures to this file too")
    parser.add_argument("--num-proc", metavar="N", type=int, help="number of processes (default: one for each core)")
    return parser


def _check_options(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    leasts = {"--repeats": (options.repeats, 1), "--folds": (options.folds, 2), "--seed": (options.seed, 0)}
    for name, (value, least) in (leasts | {"--num-proc": (options.num_proc, 1)}).items():
        if value is not None and value < least:
            parser.error(f"{name} is {value}; it is {least} at least")
    for name, file in (("--out", options.out), ("--json", options.json)):
        if file and (file.is_dir() or not file.parent.is_dir()):
            parser.error(f"{name} is {file}; name a file in a folder that is there")
    if options.out and options.out.suffix.lower() != ".png":
        parser.error(f"--out is {options.out}; it is drawn as PNG, name a .png file")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    _check_options(parser, options)

    def measure() -> None:
        workers = Workers(options.num_proc, progress=True)
        tiles = read_tile_set(options.tiles, dict(options.prefixes), workers, options.num_proc)
        folds = check_folds(tiles, options.tiles, options.folds)
        figures = experiment(tiles, folds, options.repeats, options.seed, workers)
        for line in result_lines(figures):
            say(line)
        if options.json:
            with new_output_file(options.json) as beside:
                beside.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8", newline="\n")
        if options.out:
            with new_output_file(options.out) as beside:
                draw_leak(figures, beside)

    return run(parser.prog, measure, (TileFolderError, ArchiveError, BackendError, BrokenExecutor, OSError))


if __name__ == "__main__":
    sys.exit(main())
