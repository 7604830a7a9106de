#!/usr/bin/env python
"""Train plain models on train, and write what they predict in the form that evaluate.py scores.

    python scripts/baseline.py sample --name image-classification predicted
    python scripts/evaluate.py predicted/forest-test.parquet --data-dir sample --name image-classification

For image-classification a logistic regression and a random forest on what tiles look like (see tile_features.py), for
image-segmentation gradient-boosted trees on what pixels' surroundings look like (see pixel_classifier.py); where
PyTorch is there, a small CNN and a small U-Net from scratch beside them (see torch_baselines.py).

All train on train alone. Validation chooses the threshold of the masks and the epoch of the nets; the logistic
regression and the forest make no use of it. Test is looked at to predict it, and its labels and masks never are.

The same archives, seed and versions give the same predictions, byte by byte, however many processes work; the nets ask
for as many threads too.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
import numpy.typing as npt
from pixel_classifier import (
    LEVELS,
    MOST_TRAIN_TILES,
    MOST_VALIDATION_TILES,
    Masks,
    NoRockGlacierError,
    best_threshold,
    drawn_tiles,
    levels_of,
    train_pixel_classifier,
)
from pixel_features import PIXEL_FEATURE_NAMES
from predictions import write_masks, write_scores
from tile_classifiers import fitted, scores_of
from tile_features import FEATURE_NAMES, Features, features_of_tiles
from tile_parts import map_parts

from rock_glacier.console import run, say
from rock_glacier.files import new_output_folder
from rock_glacier.parallel import BackendError
from rock_glacier_dataset import CLASS_NAMES, CONFIG_NAMES, SPLIT_NAMES, ArchiveError, load_arrays

MODELS = {"image-classification": ("linear", "forest", "cnn"), "image-segmentation": ("pixels", "unet")}
"""The models for each config."""

NETS = ("cnn", "unet")
"""Those that ask for PyTorch."""

RECORD_NAME = "baseline.json"
"""Seed, versions, features and times, beside the predictions."""

_REMEDY = "install it with pip install torch"

_TRAIN, _VALIDATION, _TEST = SPLIT_NAMES

Arrays = dict[str, npt.NDArray[Any]]
"""What `load_arrays` gives of a split."""


class BaselineError(ValueError):
    """What was asked for cannot be trained: says why, and what to do."""


class Task(NamedTuple):
    """What the models have before them.

    Attributes:
        config: name of the config.
        arrays: the splits' arrays: train, validation and those to predict.
        splits: the splits to predict.
        folder: where predictions are written.
        seed: of all that is drawn.
        num_proc: number of processes and threads.
    """

    config: str
    arrays: dict[str, Arrays]
    splits: tuple[str, ...]
    folder: Path
    seed: int
    num_proc: int

    def file(self, model: str, split: str) -> Path:
        """Say where a model's predictions of a split are written."""
        return self.folder / f"{model}-{split}.parquet"


Record = dict[str, Any]
"""What is told of a model: how it was trained, and how long that took."""


class _Clock:
    """Takes the time of each step, in seconds."""

    def __init__(self) -> None:
        self._since = time.perf_counter()

    def lap(self) -> float:
        """Return the seconds since the last lap."""
        since, self._since = self._since, time.perf_counter()
        return round(self._since - since, 2)


# ------------------------------------------------------------------------------------------------------- classification


def _classify_by_features(task: Task, models: Sequence[str]) -> Iterator[tuple[str, Record]]:
    """Train and predict with the logistic regression and the forest, on the same features."""
    clock = _Clock()
    features = {split: _features_of(task, split) for split in dict.fromkeys((_TRAIN, *task.splits))}
    seconds = clock.lap()
    for model in models:
        classifier = fitted(model, features[_TRAIN], task.arrays[_TRAIN]["labels"], task.seed, task.num_proc)
        training = clock.lap()
        for split in task.splits:
            scores = scores_of(classifier, features[split])
            write_scores(task.file(model, split), task.arrays[split]["path"].tolist(), scores)
        times = {"features": seconds, "training": training, "predicting": clock.lap()}
        yield model, {"features": FEATURE_NAMES, "validation": "not used", "seconds": times}


def _features_of(task: Task, split: str) -> Features:
    images = task.arrays[split]["image"]
    return np.concatenate(list(map_parts(f"Describing {split}", features_of_tiles, (images,), num_proc=task.num_proc)))


def _classify_by_net(task: Task) -> Record:
    from torch_baselines import predicted, trained

    clock = _Clock()
    train, validation = ((its["image"], its["labels"]) for its in (task.arrays[_TRAIN], task.arrays[_VALIDATION]))
    found = trained("cnn", train, validation, task.seed, task.num_proc)
    training = clock.lap()
    for split in task.splits:
        its = task.arrays[split]
        scores = np.concatenate(list(predicted(found.net, its["image"], f"Predicting {split}", task.num_proc)))
        write_scores(task.file("cnn", split), its["path"].tolist(), scores)
    times = {"training": training, "predicting": clock.lap()}
    return {"validation": "chose the epoch", "epoch": found.epoch, "seconds": times}


# --------------------------------------------------------------------------------------------------------- segmentation


def _segment_by_pixels(task: Task) -> Record:
    clock = _Clock()
    train = task.arrays[_TRAIN]
    classifier = train_pixel_classifier(train["image"], train["masks"], task.seed, task.num_proc)
    training = clock.lap()

    def levels(images: npt.NDArray[np.uint8], name: str) -> Iterator[Masks]:
        return levels_of(classifier, images, name, task.num_proc)

    record = _predict_masks(task, "pixels", levels, clock, training)
    return {"features": PIXEL_FEATURE_NAMES, "train_tiles": min(len(train["path"]), MOST_TRAIN_TILES)} | record


def _segment_by_net(task: Task) -> Record:
    from torch_baselines import predicted_levels, trained

    clock = _Clock()
    train, validation = ((its["image"], its["masks"]) for its in (task.arrays[_TRAIN], task.arrays[_VALIDATION]))
    found = trained("unet", train, validation, task.seed, task.num_proc)
    training = clock.lap()

    def levels(images: npt.NDArray[np.uint8], name: str) -> Iterator[Masks]:
        return predicted_levels(found.net, images, name, task.num_proc)

    record = _predict_masks(task, "unet", levels, clock, training)
    return record | {"validation": "chose the epoch, and the threshold of masks", "epoch": found.epoch}


def _predict_masks(
    task: Task,
    model: str,
    levels: Callable[[npt.NDArray[np.uint8], str], Iterator[Masks]],
    clock: _Clock,
    training: float,
) -> Record:
    """Choose the threshold on validation, and write the masks of the splits."""
    validation = task.arrays[_VALIDATION]
    tiles = drawn_tiles(len(validation["path"]), MOST_VALIDATION_TILES, task.seed)
    threshold, fit = best_threshold(
        levels(validation["image"][tiles], "Choosing a threshold"), validation["masks"][tiles]
    )
    choosing = clock.lap()
    for split in task.splits:
        its = task.arrays[split]
        masks = (mask for part in levels(its["image"], f"Predicting {split}") for mask in part >= threshold)
        pairs = zip(its["path"].tolist(), masks, strict=True)
        write_masks(task.file(model, split), ((path, mask.astype(np.uint8)) for path, mask in pairs))
    return {
        "validation": "chose the threshold of masks",
        "threshold": threshold / LEVELS,
        "validation_tiles": len(tiles),
        "validation_iou": round(fit, 4),
        "seconds": {"training": training, "choosing": choosing, "predicting": clock.lap()},
    }


# ------------------------------------------------------------------------------------------------------------ all of it


def baseline(
    data_dir: str,
    out: Path,
    config: str,
    *,
    splits: Sequence[str] = (_TEST,),
    models: Sequence[str] | None = None,
    seed: int = 0,
    num_proc: int | None = None,
    cache_dir: str | None = None,
) -> list[tuple[str, str, Path]]:
    """Train models on train and write their predictions.

    Args:
        data_dir: folder of archives, or URL of one.
        out: the folder to make; it may exist when it is empty. It appears when all is written, or not at all.
        config: name of the config.
        splits: the splits to predict.
        models: some of the config's `MODELS`; all that can be had without it, nets being left out without PyTorch.
        seed: not negative.
        num_proc: number of processes and threads; by default one for each core.
        cache_dir: where the arrays of the splits are kept; without it, where `datasets` keeps its own.

    Returns:
        model, split and file of each set of predictions.

    Raises:
        BaselineError: PyTorch is not there, or train lacks a class.
        NoRockGlacierError: there is no rock glacier in train, or nothing else.
        ArchiveError: the archives have a fault.
        FileExistsError: `out` exists and is not an empty folder; it stays as it is.
        OSError: the predictions cannot be written.
    """
    chosen = tuple(models or MODELS[config])
    if not has_torch():
        if set(models or ()) & set(NETS):
            raise BaselineError(
                f"{' and '.join(set(chosen) & set(NETS))} asks for PyTorch, which is not here; {_REMEDY}"
            )
        chosen = tuple(model for model in chosen if model not in NETS)
    wanted = tuple(split for split in SPLIT_NAMES if split in splits)
    with new_output_folder(out) as folder:
        arrays = {
            split: load_arrays(config, split=split, data_dir=data_dir, cache_dir=cache_dir, num_proc=num_proc)
            for split in SPLIT_NAMES
            if split in (_TRAIN, _VALIDATION, *wanted)
        }
        task = Task(config, arrays, wanted, folder, seed, num_proc or joblib.cpu_count())
        records = dict(_run_models(task, chosen))
        _write_record(task, records)
    return [(model, split, Path(out) / task.file(model, split).name) for model in records for split in wanted]


def has_torch() -> bool:
    """Tell whether PyTorch is installed."""
    return importlib.util.find_spec("torch") is not None


def _run_models(task: Task, models: Sequence[str]) -> Iterator[tuple[str, Record]]:
    """Train and predict with each of the models."""
    if task.config == CONFIG_NAMES[0]:
        labels = task.arrays[_TRAIN]["labels"]
        for label, name in enumerate(CLASS_NAMES):
            if not (labels == label).any():
                raise BaselineError(f"train: has no {name} tiles, so that there is nothing to learn; add some")
        of_features = [model for model in models if model not in NETS]
        if of_features:
            yield from _classify_by_features(task, of_features)
    ways = {"cnn": _classify_by_net, "pixels": _segment_by_pixels, "unet": _segment_by_net}
    for model in models:
        if model in ways:
            yield model, ways[model](task)


def _write_record(task: Task, records: dict[str, Record]) -> None:
    packages = ["numpy", "scipy", "scikit-learn", *(["torch"] if set(records) & set(NETS) else [])]
    record = {
        "config": task.config,
        "seed": task.seed,
        "threads": task.num_proc,
        "tiles": {split: len(its["path"]) for split, its in task.arrays.items()},
        "versions": {"python": platform.python_version()} | {name: version(name) for name in packages},
        "models": records,
    }
    (task.folder / RECORD_NAME).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8", newline="\n")


# --------------------------------------------------------------------------------------------------- the command line


def _parser() -> argparse.ArgumentParser:
    models = "; ".join(f"{', '.join(several)} for {config}" for config, several in MODELS.items())
    parser = argparse.ArgumentParser(
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="""\
Train plain models on train, and write what they predict in the form that
evaluate.py scores: for image-classification a logistic regression and a
random forest on colour and relief, for image-segmentation boosted trees on
what pixels' surroundings look like; where PyTorch is there, a small CNN and a
small U-Net from scratch beside them.""",
        epilog=f"""\
OUT gets MODEL-SPLIT.parquet for each model and split, and {RECORD_NAME}, which
says seed, versions, features and times. Validation chooses the threshold of
masks and the epoch of nets, and nothing else. The same archives, seed and
versions give the same predictions, however many processes work; nets ask for
as many threads too.

  python scripts/baseline.py sample --name image-classification predicted
  python scripts/evaluate.py predicted/forest-test.parquet --data-dir sample \\
      --name image-classification

Prints a line for each model. Exit status: 0 when all is written, 1 when it is
not, in which case OUT is as it was before, 2 for wrong usage.""",
    )
    parser.add_argument("data_dir", metavar="DATA_DIR", help="folder of archives, or URL of one")
    parser.add_argument("out", metavar="OUT", type=Path, help="the folder to make; it may exist when it is empty")
    parser.add_argument(
        "--name", metavar="CONFIG", choices=CONFIG_NAMES, required=True, help=f"the config: {' or '.join(CONFIG_NAMES)}"
    )
    parser.add_argument(
        "--split",
        metavar="SPLIT",
        dest="splits",
        choices=SPLIT_NAMES,
        action="append",
        help=f"predict this split; may be given several times ({', '.join(SPLIT_NAMES)}; default: {_TEST})",
    )
    parser.add_argument(
        "--models",
        metavar="MODEL,...",
        type=lambda text: tuple(text.split(",")),
        help=f"train these alone, with commas between them ({models}; default: all that can be had)",
    )
    parser.add_argument("--seed", metavar="S", type=int, default=0, help="seed of all that is drawn (default: 0)")
    parser.add_argument("--num-proc", metavar="N", type=int, help="number of processes (default: one for each core)")
    parser.add_argument(
        "--cache-dir", metavar="DIR", help="where the decoded splits are kept (default: where datasets keeps its own)"
    )
    return parser


def _check_options(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    if not 0 <= options.seed < 2**32:
        parser.error(f"--seed is {options.seed}; it is from 0 to {2**32 - 1}")
    if options.num_proc is not None and options.num_proc < 1:
        parser.error(f"--num-proc is {options.num_proc}; it is 1 at least")
    for model in options.models or ():
        if model not in MODELS[options.name]:
            parser.error(
                f"--models names {model!r}, which is none for {options.name}: {', '.join(MODELS[options.name])}"
            )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    _check_options(parser, options)

    def train() -> None:
        written = baseline(
            options.data_dir,
            options.out,
            options.name,
            splits=options.splits or (_TEST,),
            models=options.models,
            seed=options.seed,
            num_proc=options.num_proc,
            cache_dir=options.cache_dir,
        )
        for model, split, file in written:
            say(f"{model}: wrote {file}; {_command(file, options.data_dir, options.name, split)}")
        if not has_torch() and not options.models:
            net = MODELS[options.name][-1]
            print(f"{parser.prog}: {net} was left out, for PyTorch is not here; {_REMEDY}", file=sys.stderr)

    return run(
        parser.prog,
        train,
        (BaselineError, NoRockGlacierError, ArchiveError, BackendError, BrokenExecutor, OSError),
        if_interrupted="interrupted; nothing was written",
    )


def _command(file: Path, data_dir: str, config: str, split: str) -> str:
    """Say how to score a file of predictions."""
    command = ["python", "scripts/evaluate.py", str(file), "--data-dir", data_dir, "--name", config]
    return shlex.join([*command, *(["--split", split] if split != _TEST else [])])


if __name__ == "__main__":
    sys.exit(main())
