"""Command line: measure how much of a score is memory of the ground."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rock_glacier.console import add_options, count, output_file, positive, run, say


def result_lines(figures: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each result of the experiment."""
    for name, number in figures["tiles"].items():
        parts = ", ".join(count(figures[part][name], part[:-1]) for part in ("places", "groups", "blocks"))
        yield f"{name}: {count(number, 'tile')}; {parts}"
    yield f"left out: {count(figures['left_out'], 'tile')} across the lines between blocks"
    yield f"folds: {figures['folds']}; {count(figures['repeats'], 'repeat')}, seeds from {figures['seed']}"
    for labelling, models in figures["scores"].items():
        for model, scores in models.items():
            shown = {name: _shown(scores[name]["balanced_accuracy"]) for name in ("random", "groups", "blocks")}
            shown["difference"] = _shown(scores["difference"])
            yield f"{labelling} {model}: {', '.join(f'{name} {text}' for name, text in shown.items())}"


def _shown(numbers: Mapping[str, float]) -> str:
    return f"{numbers['mean']:.2f} [{numbers['low']:.2f}, {numbers['high']:.2f}]"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="""\
Measure how much of a score is memory of the ground: the same models, features
and seeds under random folds, under folds by groups of tiles that share
identical pixels, and under folds by blocks, which share no ground; with the
tiles' own classes and, as a control, with classes that mean nothing, assigned
to whole places at random, so that only places can be learned.""",
        epilog="""\
The tiles of all splits are taken together. Places are found as the audit finds
grounds, and cut into blocks as build_archives.py cuts them; tiles across a line
are left out under all folds. Where a fold leaves one class to train on, this
class is predicted.

  python scripts/leak_experiment.py data_v01 --out leak.png --json leak.json

Prints a line for each model: mean balanced accuracy and, in brackets, the
middle 95 % of the repeats. The same tiles, options and seed give the same
figures. Exit status: 0 for success, 1 for a failure, 2 for wrong usage.""",
    )
    add_options(parser, "data_dir")
    parser.add_argument(
        "--repeats", metavar="N", type=positive, default=20, help="number of repeats (default: %(default)s)"
    )
    parser.add_argument(
        "--folds",
        metavar="N",
        type=positive,
        help="number of folds (default: 5, or as many as the blocks or groups of a class)",
    )
    parser.add_argument("--out", metavar="FILE.png", type=output_file, help="draw the scores and their intervals")
    parser.add_argument("--json", metavar="FILE", type=output_file, help="write the figures to this file as well")
    add_options(parser, "--seed", "--num-proc", "--dask")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.folds == 1:
        parser.error("--folds is 1; it is at least 2")
    if options.out and options.json and options.out.resolve() == options.json.resolve():
        parser.error(f"--out and --json are both {options.out}; name two files")
    if options.out and options.out.suffix.lower() != ".png":
        parser.error(f"--out is {options.out}; name a .png file")

    def measure() -> None:
        from rock_glacier.baselines.leak_chart import draw_leak
        from rock_glacier.baselines.leak_experiment import choose_folds, experiment, read_tiles
        from rock_glacier.files import write_file
        from rock_glacier.parallel import Workers

        workers = Workers(options.num_proc, options.dask, progress=True)
        tiles = read_tiles(options.data_dir, workers)
        folds = choose_folds(tiles, options.folds)
        figures = experiment(tiles, folds, options.repeats, options.seed, workers)
        for line in result_lines(figures):
            say(line)
        chart = draw_leak(figures) if options.out else b""
        if options.json:
            write_file(options.json, json.dumps(figures, indent=2) + "\n")
            say(f"wrote {options.json}")
        if options.out:
            write_file(options.out, chart)
            say(f"wrote {options.out}")

    return run(parser.prog, measure, Exception, extra="baseline")
