"""Command line: train plain models, and write their predictions."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

from rock_glacier.baselines import MODELS
from rock_glacier.console import add_options, run, say

_SPLITS = ("train", "validation", "test")


def _parser() -> argparse.ArgumentParser:
    models = "; ".join(f"{', '.join(several)} for {config}" for config, several in MODELS.items())
    parser = argparse.ArgumentParser(
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="""\
Train plain models on train, and write their predictions in the form that
evaluate.py scores: for image-classification a logistic regression and a random
forest on colour, relief and texture, for image-segmentation boosted trees on
the surroundings of each pixel.""",
        epilog="""\
OUT gets MODEL-SPLIT.parquet for each model and split, and baseline.json with
seed, versions, features and times. Validation chooses the threshold of masks,
and nothing else. The same archives, seed and versions give the same
predictions.

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
        choices=_SPLITS,
        action="append",
        help="split to predict; may be given several times (default: test)",
    )
    parser.add_argument(
        "--models", metavar="MODEL,...", help=f"models to train, separated by commas ({models}; default: all)"
    )
    add_options(parser, "--seed", "--num-proc", "--dask")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    models = options.models.split(",") if options.models is not None else MODELS[options.name]
    for model in models:
        if model not in MODELS[options.name]:
            parser.error(f"--models {model}: the models for {options.name} are {', '.join(MODELS[options.name])}")
    if options.seed >= 2**32:
        parser.error(f"--seed is {options.seed}; it is at most {2**32 - 1}")

    def train() -> None:
        from rock_glacier.baselines.baseline import train_baselines

        written = train_baselines(
            options.data_dir,
            Path(options.out),
            options.name,
            splits=options.splits or _SPLITS[-1:],
            models=models,
            seed=options.seed,
            num_proc=options.num_proc,
            dask=options.dask,
            progress=True,
        )
        for model, split, file in written:
            command = ["python", "scripts/evaluate.py", str(file), "--data-dir", options.data_dir]
            command += ["--name", options.name, *(["--split", split] if split != _SPLITS[-1] else [])]
            say(f"{model}: wrote {file}; {shlex.join(command)}")

    return run(parser.prog, train, Exception, if_interrupted="interrupted; nothing was written", extra="baseline")
