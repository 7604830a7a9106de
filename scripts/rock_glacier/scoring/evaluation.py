"""Compare predictions with the truth: metrics with intervals, the confusion matrix, and notes on both."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from rock_glacier.console import count
from rock_glacier.scoring import REPLICATES, THRESHOLD
from rock_glacier.scoring.bootstrap import FEW_GROUNDS, LEVEL, Statistic, bootstrap
from rock_glacier.scoring.class_metrics import CLASS_METRICS, class_statistic
from rock_glacier.scoring.mask_metrics import (
    MASK_METRICS,
    TOLERANCE,
    count_pixels,
    count_tiles_left_out,
    mask_confusion,
    mask_statistic,
)
from rock_glacier.scoring.predictions import Mask, Scores, match_tiles, read_masks, read_scores
from rock_glacier.scoring.truth import decode_true_mask, find_snapshot, load_truth, read_ground_numbers
from rock_glacier_dataset import CLASS_NAMES, CONFIG_NAMES

METRICS = dict(zip(CONFIG_NAMES, (CLASS_METRICS, MASK_METRICS), strict=True))
"""The metrics of each config: their keys, and their names."""


def evaluate(
    predictions: Path,
    config: str,
    split: str,
    *,
    data_dir: str | None,
    repo_id: str,
    revision: str | None = None,
    grounds: Path | None = None,
    threshold: float = THRESHOLD,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> dict[str, Any]:
    """Compare predictions with the truth.

    Args:
        predictions: file or folder of predictions.
        config: name of the config.
        split: name of the split.
        data_dir: folder of archives, or URL of one, that holds the truth; None for the Hub.
        repo_id: the Hub dataset.
        revision: its branch, tag or commit.
        grounds: a grounds.csv; None for the one beside the dataset, if there is one.
        threshold: probability from which a tile is glaciar.
        replicates: number of replicates of the bootstrap.
        seed: seed of the bootstrap.

    Returns:
        what was found, for a JSON file; None for what is not known or defined. `metrics` holds value and interval of
        each of the config's `METRICS`, `confusion_matrix` the `counts` with a row for each true class and a column for
        each predicted one, `notes` what limits the numbers, a sentence each.

    Raises:
        PredictionError: the predictions do not fit.
        ArchiveError: the archives or the grounds have a fault.
        Exception: whatever else loading the dataset raises.
    """
    of_tiles = config == CONFIG_NAMES[0]
    # Faults of the predictions are found first, because loading takes longer.
    read: Callable[[Path], tuple[list[str], Any]] = read_scores if of_tiles else read_masks
    names, predicted = read(predictions)
    folder = data_dir
    if folder is None:
        folder = str(find_snapshot(repo_id, revision))
        revision = Path(folder).name
    truth = load_truth(config, split, data_dir, repo_id, revision)
    paths = list(truth["path"])
    rows = match_tiles(predictions, names, paths, split)
    numbers = read_ground_numbers(grounds, folder, paths)
    if of_tiles:
        statistic, found, notes = _compare_scores(truth, rows, predicted, threshold)
    else:
        statistic, found, notes = _compare_masks(truth, rows, predicted)
    values = statistic(np.ones((1, len(rows))))[0].tolist()
    intervals = bootstrap(statistic, np.arange(len(rows)) if numbers is None else numbers, replicates, seed)
    metrics = {
        key: {
            "value": _or_none(value),
            "low": _or_none(interval.low),
            "high": _or_none(interval.high),
            "undefined_replicates": interval.undefined,
        }
        for key, value, interval in zip(METRICS[config], values, intervals, strict=True)
    }
    number = None if numbers is None else int(numbers.max()) + 1
    source = {"repo_id": repo_id, "revision": revision, "data_dir": data_dir}
    return {
        "config": config,
        "split": split,
        "dataset": {name: value for name, value in source.items() if value is not None},
        "predictions": str(predictions),
        "tiles": len(rows),
        "grounds": number,
        "bootstrap": {
            "over": "tiles" if number is None else "grounds",
            "replicates": replicates,
            "seed": seed,
            "level": LEVEL,
        },
        "metrics": metrics,
        **found,
        "notes": [*_notes_on_intervals(config, number, metrics, replicates), *notes],
    }


def _compare_scores(
    truth: datasets.Dataset, rows: npt.NDArray[np.intp], predicted: Scores, threshold: float
) -> tuple[Statistic, dict[str, Any], list[str]]:
    labels, scores = np.array(truth["labels"], np.int64), np.empty(len(rows))
    scores[rows] = predicted
    counts = np.bincount(2 * labels + (scores >= threshold), minlength=4).reshape(2, 2).tolist()
    matrix = {"unit": "tiles", "classes": list(CLASS_NAMES), "counts": counts}
    return class_statistic(labels, scores, threshold), {"threshold": threshold, "confusion_matrix": matrix}, []


def _compare_masks(
    truth: datasets.Dataset, rows: npt.NDArray[np.intp], predicted: Iterator[Mask]
) -> tuple[Statistic, dict[str, Any], list[str]]:
    counts = np.empty((len(rows), 7), np.int64)
    pairs = zip(rows.tolist(), predicted, strict=True)
    for row, mask in tqdm(pairs, "masks", len(rows), unit=" masks", disable=None, leave=False):
        counts[row] = count_pixels(decode_true_mask(truth[row]), mask)
    without_rock_glacier, without_boundary = count_tiles_left_out(counts)
    note = (
        f"Means over tiles leave out those where neither mask shows rock glacier, {without_rock_glacier} of "
        f"{count(len(counts), 'tile')}; boundary F1 those where neither has a boundary, {without_boundary}."
    )
    matrix = {"unit": "pixels", "classes": ["background", "rock glacier"], "counts": mask_confusion(counts).tolist()}
    found = {"boundary_tolerance": TOLERANCE, "confusion_matrix": matrix}
    return mask_statistic(counts), found, [note]


def _or_none(number: float) -> float | None:
    return None if math.isnan(number) else number


def _notes_on_intervals(
    config: str, grounds: int | None, metrics: Mapping[str, Mapping[str, Any]], replicates: int
) -> Iterator[str]:
    if grounds is None:
        yield (
            "The intervals are too narrow: without a grounds.csv each tile is drawn by itself, as if neighbours were "
            "independent. Give --grounds, the file that build_archives.py writes."
        )
    elif grounds == 1:
        yield "There are no intervals: all tiles are of one ground, which says nothing about another."
    elif grounds < FEW_GROUNDS:
        yield f"The intervals are unreliable: {grounds} grounds are few, and the intervals come out too narrow."
    undefined = [METRICS[config][key] for key, found in metrics.items() if found["value"] is None]
    if undefined:
        missing = "class in the truth" if config == CONFIG_NAMES[0] else "rock glacier in either mask"
        yield f"Not defined, for lack of a {missing}: {', '.join(undefined)}."
    left_out = [
        f"{METRICS[config][key]} in {found['undefined_replicates']}"
        for key, found in metrics.items()
        if found["value"] is not None and found["undefined_replicates"]
    ]
    if left_out:
        yield f"Not defined in some of {replicates} replicates, which the intervals leave out: {', '.join(left_out)}."
