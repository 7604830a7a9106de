"""Command line: train plain models, and write their predictions."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rock_glacier.console import add_options, run, say


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="""\
Train plain models on train, and write their predictions in the form that
evaluate.py scores: for image-classification a logistic regression ("linear")
and a random forest ("forest") on colour, relief and texture, for
image-segmentation boosted trees on the surroundings of each pixel ("pixels").""",
        epilog="""\
OUT gets MODEL-SPLIT.parquet for each model and split, and baseline.json with
seed, versions and features. Validation chooses the threshold of masks, and
nothing else. The same archives, seed and versions give the same predictions.

  python scripts/baseline.py sample predicted --name image-classification
  python scripts/evaluate.py predicted/forest-test.parquet --data-dir sample \\
      --name image-classification

Prints a line for each file. Exit status: 0 for success, 1 for a failure, after
which OUT is as it was before, 2 for wrong usage.""",
    )
    add_options(parser, "data_dir", "out", "--name")
    parser.add_argument(
        "--split",
        dest="splits",
        choices=("train", "validation", "test"),
        action="append",
        help="split to predict; may be given several times (default: test)",
    )
    add_options(parser, "--overwrite", "--seed", "--num-proc", "--dask")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.seed >= 2**32:
        parser.error(f"--seed is {options.seed}; it is at most {2**32 - 1}")

    def train() -> None:
        from rock_glacier.baselines.baseline import train_baselines

        splits = options.splits or ["test"]
        for file in train_baselines(
            options.data_dir,
            Path(options.out),
            options.name,
            splits,
            options.seed,
            options.num_proc,
            options.dask,
            options.overwrite,
        ):
            say(f"wrote {file}")

    return run(parser.prog, train, Exception, if_interrupted="interrupted; nothing was written", extra="baseline")
