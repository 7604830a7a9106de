"""Command line: score predictions, and print each metric with its interval."""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rock_glacier.console import add_options, count, note, output_file, positive, run, say, show
from rock_glacier.scoring import MOST_REPLICATES, REPLICATES, THRESHOLD

_WIDTH = 80  # columns of the report
_MEANINGS = {"cordillera": "cordillera (no rock glacier)", "glaciar": "glaciar (rock glacier)"}


def report(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of the report for a person."""
    from rock_glacier.scoring.evaluation import METRICS, heading

    config, bootstrap, matrix = found["config"], found["bootstrap"], found["confusion_matrix"]
    level = f"{bootstrap['level'] * 100:g} % interval"
    yield heading(found)
    yield ""
    yield f"{'metric':<22}{'value':>11}   {level}"
    for key, metric in found["metrics"].items():
        remark = "   (0 is best)" if key == "brier_score" and metric["value"] is not None else ""
        yield f"{METRICS[config][key]:<22}{_shown(metric)}{remark}"
    yield ""
    if other := found.get("against"):
        yield f"Against {Path(other['predictions']).name}:"
        yield f"{'metric':<22}{'value':>11}{'difference':>15}   {level}"
        for key, metric in other["metrics"].items():
            value = "not defined" if metric["value"] is None else f"{metric['value']:.4f}"
            yield f"{METRICS[config][key]:<22}{value:>11}    {_shown(other['difference'][key], '+')}"
        yield ""
    yield f"{matrix['unit']:<32}{'predicted':>30}"
    yield f"{'true':<32}{matrix['classes'][0]:>15}{matrix['classes'][1]:>15}"
    for name, (first, second) in zip(matrix["classes"], matrix["counts"], strict=True):
        yield f"{_MEANINGS.get(name, name):<32}{first:>15}{second:>15}"
    yield ""
    if "threshold" in found:
        rule = f"A tile is glaciar from a score of {found['threshold']:g} up."
    else:
        rule = (
            "Precision, recall, IoU and Dice are of rock glacier, mIoU is the mean of its IoU and that of background. "
            f"A boundary may be {found['boundary_tolerance']:g} pixels off."
        )
    over, clusters = bootstrap["over"], count(bootstrap["clusters"], bootstrap["over"][:-1])
    method = (
        f"Intervals: expanded percentiles of {bootstrap['replicates']} replicates that draw {over} with "
        f"replacement, seed {bootstrap['seed']}: {clusters}, effectively {bootstrap['effective_clusters']:.1f} by "
        "their sizes."
    )
    for text in (f"{rule} {method}", *(f"Note: {limit}" for limit in found["notes"])):
        yield from textwrap.wrap(text, _WIDTH, subsequent_indent="  ", break_long_words=False)


def _shown(metric: Mapping[str, Any], sign: str = "") -> str:
    """Return value and interval of a metric or, with the sign "+", of a difference."""
    if metric["value"] is None:
        return "not defined"
    ends = "none" if metric["low"] is None else f"{metric['low']:{sign}.4f} to {metric['high']:{sign}.4f}"
    return f"{metric['value']:>{sign}11.4f}   {ends}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Score predictions: print each metric with its 95 % interval, and the confusion\nmatrix.",
        epilog="""\
PREDICTIONS for image-classification: a Parquet or CSV file with the columns
  path    the tile's path, such as test/glaciar/012.png
  score   the probability of glaciar, from 0 to 1
PREDICTIONS for image-segmentation: a Parquet file with the columns
  path
  mask    a PNG file as bytes, or an image as datasets stores it
or a folder of PNG files named by path, FOLDER/test/glaciar/012.png. A PNG of
up to 8 bits is grey, with the values 0 and 1 or 0 and 255, or black and white
as the dataset's masks are. Every tile of the split is predicted once, in any
order.

Intervals are computed by drawing grounds where the split has at least 30, else
blocks of grounds, because tiles that share ground are not independent. The
effective number of these clusters is the squared sum of their sizes by the sum
of their squares; below 10, intervals are unreliable. Without grounds.csv they
are too narrow. The report says so.

With --against, both models have the same replicates, so that the interval of a
difference is that of the pair. Above 0, the first model scores higher (for the
Brier score, worse).

Exit status: 0 for success, 1 for a fault in the predictions or the dataset, 2
for wrong usage.""",
    )
    parser.add_argument("predictions", metavar="PREDICTIONS", type=Path, help="file or folder of predictions")
    parser.add_argument(
        "--against", metavar="PREDICTIONS", type=Path, help="predictions of another model, to compare with"
    )
    parser.add_argument(
        "--data-dir", metavar="DATA_DIR", help="take the truth from this folder of archives (default: from the Hub)"
    )
    add_options(parser, "--repo-id", "--revision", "--name")
    parser.add_argument(
        "--split", choices=("train", "validation", "test"), default="test", help="the split (default: %(default)s)"
    )
    parser.add_argument(
        "--grounds",
        metavar="FILE",
        type=Path,
        help="a grounds.csv of build_archives.py (default: grounds.csv beside the dataset, if there is one)",
    )
    parser.add_argument(
        "--threshold",
        metavar="P",
        type=float,
        default=THRESHOLD,
        help="probability from which a tile is glaciar (default: %(default)s)",
    )
    parser.add_argument(
        "--replicates",
        metavar="N",
        type=positive,
        default=REPLICATES,
        help=f"replicates of the bootstrap, at most {MOST_REPLICATES} (default: %(default)s)",
    )
    add_options(parser, "--seed")
    parser.add_argument("--json", metavar="FILE", type=output_file, help="write everything to this file as well")
    of_hub = parser.add_mutually_exclusive_group()
    of_hub.add_argument(
        "--model-index",
        action="store_true",
        help="print, instead of the report, the results for the head of a model card on the Hub; notes go to standard "
        "error",
    )
    of_hub.add_argument(
        "--eval-results",
        action="store_true",
        help="print, instead of the report, a file for the folder .eval_results of a model on the Hub: balanced "
        "accuracy or IoU over pixels, on the split test",
    )
    parser.add_argument("--model-name", metavar="NAME", help="name of the model, for --model-index")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.revision is not None and options.data_dir is not None:
        parser.error("--revision is of the Hub dataset: leave out --data-dir")
    if options.model_index != (options.model_name is not None):
        parser.error("--model-index and --model-name go together: give both or neither")
    if (options.model_index or options.eval_results) and options.against is not None:
        parser.error("--model-index and --eval-results show one model: leave out --against")
    if options.eval_results and options.split != "test":
        parser.error("--eval-results is of the split test: leave out --split")
    if options.replicates > MOST_REPLICATES:
        parser.error(f"--replicates is {options.replicates}; it is at most {MOST_REPLICATES}")
    if not 0 <= options.threshold <= 1:  # NaN included
        parser.error(f"--threshold is {options.threshold}; it is a probability, from 0 to 1")

    def score() -> None:
        from rock_glacier.files import write_file
        from rock_glacier.scoring.evaluation import evaluate
        from rock_glacier.scoring.hub_results import eval_results, model_index

        found = evaluate(
            options.predictions,
            options.name,
            options.split,
            options.against,
            data_dir=options.data_dir,
            repo_id=options.repo_id,
            revision=options.revision,
            grounds=options.grounds,
            threshold=options.threshold,
            replicates=options.replicates,
            seed=options.seed,
        )
        if options.json:
            write_file(options.json, json.dumps(found, indent=2, allow_nan=False) + "\n")
        if not (options.model_index or options.eval_results):
            for line in report(found):
                say(line)
            if options.json:
                say(f"wrote {options.json}")
            return
        text = eval_results(found) if options.eval_results else model_index(found, options.model_name)
        notes = [*found["notes"]]
        if options.data_dir is not None:
            notes.append(f"The text names the dataset {options.repo_id}; make sure that {options.data_dir} holds it.")
        for limit in notes:
            note(f"{parser.prog}: {limit}")
        show(text.rstrip("\n"))

    return run(parser.prog, score, Exception, extra="evaluate")  # client libraries raise exceptions of every kind
