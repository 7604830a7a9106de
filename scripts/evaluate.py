#!/usr/bin/env python
"""Tell how good a model's predictions are: metrics, each with the interval in which it lies.

    python scripts/evaluate.py scores.csv --data-dir data --name image-classification
    python scripts/evaluate.py masks.parquet --repo-id alkzar90/rock-glacier-dataset --name image-segmentation
    python scripts/evaluate.py scores.csv --data-dir data --name image-classification --model-index --model-name mine

Predictions are what predictions.py writes and reads. The metrics are explained in class_metrics.py and mask_metrics.py.
The intervals come from a bootstrap over groups of tiles that share ground, not over tiles; why, and by which sources,
says group_bootstrap.py. Without groups, the intervals are too narrow.

(The package `evaluate` of Hugging Face has this file's name. From within scripts/, it cannot be imported.)
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

import evaluation
from evaluation import CLASSIFICATION, MEANINGS, SEGMENTATION, Evaluation, Request, Result
from group_bootstrap import FEW_GROUPS, LEVEL, REPLICATES
from mask_metrics import TOLERANCE
from model_index import model_index
from predictions import THRESHOLD
from true_tiles import Source

from rock_glacier.console import run, say
from rock_glacier.files import new_output_file
from rock_glacier_dataset import CONFIG_NAMES, REPO_ID, SPLIT_NAMES

WIDTH = 80
"""Columns of the report."""

LEAST_REPLICATES = 100
"""With fewer, the ends of an interval are chance."""


def report(found: Evaluation) -> Iterator[str]:
    """Yield the lines that a person reads."""
    asked = found.request
    groups = "" if found.groups is None else f" in {_count(found.groups, 'group')}"
    yield f"{asked.config}, {asked.split}: {_count(found.tiles, 'tile')}{groups}"
    yield ""
    yield f"{'metric':<22}{'value':>11}   {LEVEL * 100:g} % interval"
    yield from map(_line_of_result, found.results)
    yield ""
    yield from _confusion(found)
    yield ""
    rules = {
        CLASSIFICATION: f"A tile is glaciar from a score of {asked.threshold:g} up.",
        SEGMENTATION: f"A boundary may be {asked.tolerance:g} pixels off.",
    }
    yield from _wrapped(
        f"{rules[asked.config]} Intervals: expanded percentiles of {asked.replicates} replicates that draw "
        f"{found.resampled} with replacement, seed {asked.seed}."
    )
    for note in found.notes:
        yield from _wrapped(f"Note: {note}")


def _line_of_result(result: Result) -> str:
    metric, value, interval = result
    remark = f"   ({metric.remark})" if metric.remark else ""
    if math.isnan(value):
        return f"{metric.name:<22}{'not defined':>11}"
    ends = "none" if math.isnan(interval.low) else f"{interval.low:.4f} to {interval.high:.4f}"
    return f"{metric.name:<22}{value:>11.4f}   {ends}{remark}"


def _confusion(found: Evaluation) -> Iterator[str]:
    """Yield the confusion matrix: a row for each true class, a column for each predicted one."""
    unit = "tiles" if found.request.config == CLASSIFICATION else "pixels"
    yield f"{unit:<32}{'predicted':>30}"
    yield f"{'true':<32}{found.classes[0]:>15}{found.classes[1]:>15}"
    for name, (first, second) in zip(found.classes, found.confusion.tolist(), strict=True):
        meaning = f" ({MEANINGS[name]})" if name in MEANINGS else ""
        yield f"{name + meaning:<32}{first:>15}{second:>15}"


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent="  ", break_long_words=False)


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="""\
Compare a model's predictions with the truth. Prints each metric with its
95 % interval, and the confusion matrix.""",
        epilog=f"""\
PREDICTIONS for {CLASSIFICATION}: a Parquet or CSV file with the columns
  path    the tile's path, such as test/glaciar/12.png
  score   the probability of glaciar, from 0 to 1
PREDICTIONS for {SEGMENTATION}: a Parquet file with the columns
  path
  mask    a PNG file as bytes, an image as datasets stores it, or a nested
          list of 128 rows of 128 numbers: 0 and 1, or probabilities of
          rock glacier, which count from the threshold up
or a folder of PNG files named by path, FOLDER/test/glaciar/12.png. A PNG
is grey, with the values 0 and 1 or 0 and 255, or black and white as the
dataset's masks are. Every tile of the split is predicted once; the order
is free.

The intervals are found by drawing groups of tiles, since tiles that share
ground are no independent trials. Without groups they are too narrow, and
with fewer than {FEW_GROUPS} groups not to be relied on; the report says so.

Exit status: 0 when all is told, 1 when something is wrong with the
predictions or the dataset, 2 for wrong usage.""",
    )
    parser.add_argument("predictions", metavar="PREDICTIONS", type=Path, help="file or folder of predictions")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data-dir", metavar="DIR", help="the truth: this folder of archives, or URL of one")
    source.add_argument("--repo-id", metavar="ID", help=f"the truth: this Hub dataset, such as {REPO_ID}")
    parser.add_argument("--revision", metavar="REV", help="branch, tag or commit of the Hub dataset (default: main)")
    parser.add_argument(
        "--name", metavar="CONFIG", choices=CONFIG_NAMES, required=True, help=f"the config: {' or '.join(CONFIG_NAMES)}"
    )
    parser.add_argument(
        "--split", metavar="SPLIT", choices=SPLIT_NAMES, default="test", help="the split (default: %(default)s)"
    )
    parser.add_argument(
        "--groups",
        metavar="FILE",
        type=Path,
        help="CSV file with the columns path and group (default: groups.csv of DIR, or data/groups.csv of the Hub "
        "dataset, where there is one)",
    )
    parser.add_argument(
        "--threshold",
        metavar="P",
        type=float,
        default=THRESHOLD,
        help="probability from which a tile counts as glaciar, and a pixel as rock glacier (default: %(default)s)",
    )
    parser.add_argument(
        "--boundary-tolerance",
        metavar="PIXELS",
        type=float,
        help=f"how far a mask's boundary may be off to count as found (default: {TOLERANCE:g})",
    )
    parser.add_argument(
        "--replicates", metavar="N", type=int, default=REPLICATES, help="of the bootstrap (default: %(default)s)"
    )
    parser.add_argument("--seed", metavar="S", type=int, default=0, help="of the bootstrap (default: %(default)s)")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write everything to this file too")
    parser.add_argument(
        "--model-index",
        action="store_true",
        help="print, instead of the report, the block for the head of a model card on the Hub; what is to be known "
        "about the numbers goes to standard error",
    )
    parser.add_argument("--model-name", metavar="NAME", help="name of the model, for --model-index")
    return parser


def _check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """End with the usage where options do not fit."""
    if options.revision is not None and options.repo_id is None:
        parser.error("--revision is of a Hub dataset: give --repo-id too")
    if options.model_index != (options.model_name is not None):
        parser.error("--model-index and --model-name go together: give both or neither")
    if options.boundary_tolerance is not None and options.name != SEGMENTATION:
        parser.error(f"--boundary-tolerance is for masks: give --name {SEGMENTATION}")
    if not 0 <= options.threshold <= 1:
        parser.error(f"--threshold is {options.threshold}; it is a probability, from 0 to 1")
    if options.boundary_tolerance is not None and not 0 <= options.boundary_tolerance < math.inf:
        parser.error(f"--boundary-tolerance is {options.boundary_tolerance}; it is 0 pixels at least")
    if options.replicates < LEAST_REPLICATES:
        parser.error(f"--replicates is {options.replicates}; it is {LEAST_REPLICATES} at least")
    if options.seed < 0:
        parser.error(f"--seed is {options.seed}; it is 0 at least")
    if options.json and (options.json.is_dir() or not options.json.parent.is_dir()):
        parser.error(f"--json is {options.json}; name a file in a folder that is there")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    _check(parser, options)
    request = Request(
        options.predictions,
        Source(options.data_dir, options.repo_id, options.revision),
        options.name,
        options.split,
        options.groups,
        options.threshold,
        TOLERANCE if options.boundary_tolerance is None else options.boundary_tolerance,
        options.replicates,
        options.seed,
    )

    def compare() -> None:
        found = evaluation.evaluate(request, progress=True)
        if options.json:
            with new_output_file(options.json) as beside:
                text = json.dumps(found.as_json(), indent=2, allow_nan=False) + "\n"
                beside.write_text(text, encoding="utf-8", newline="\n")
        if options.model_index:
            for note in (*found.notes, *_notes_on_dataset(options.data_dir)):
                print(f"{parser.prog}: {note}", file=sys.stderr)
            say(model_index(found, options.model_name).rstrip("\n"))
        else:
            for line in report(found):
                say(line)

    return run(parser.prog, compare, Exception)  # whatever a client library raises, one line says it


def _notes_on_dataset(data_dir: str | None) -> Iterator[str]:
    if data_dir is not None:
        yield f"The block says that the dataset is {REPO_ID}: see that {data_dir} holds its archives."


if __name__ == "__main__":
    sys.exit(main())
