"""Compare predictions with the truth: metrics with intervals, the confusion matrix, and notes on both."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from rock_glacier.archives.manifest import is_sample
from rock_glacier.console import count
from rock_glacier.scoring import REPLICATES, THRESHOLD
from rock_glacier.scoring.bootstrap import (
    FEW_CLUSTERS,
    LEVEL,
    MOST_UNDEFINED,
    Statistic,
    Weights,
    bootstrap,
    effective_number,
)
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
from rock_glacier.scoring.truth import decode_true_mask, find_snapshot, load_truth, read_clusters
from rock_glacier_dataset import CLASS_NAMES, CONFIG_NAMES

METRICS = dict(zip(CONFIG_NAMES, (CLASS_METRICS, MASK_METRICS), strict=True))
"""The metrics of each config: their keys, and their names."""


def evaluate(
    predictions: Path,
    config: str,
    split: str,
    against: Path | None = None,
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
        against: file or folder of another model's predictions, to compare with.
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
        each predicted one, `notes` what limits the numbers, a sentence each. With `against`, the entry of this name
        holds `predictions`, `metrics` and `confusion_matrix` of the other model, and as `difference` each metric less
        that of the other, with the interval of the differences in the same replicates.

    Raises:
        PredictionError: the predictions do not fit.
        ArchiveError: the archives or the grounds have a fault.
        Exception: whatever else loading the dataset raises.
    """
    files = [predictions] if against is None else [predictions, against]
    # Faults of the predictions are found first, because loading takes longer.
    read: Callable[[Path], tuple[list[str], Any]] = read_scores if config == CONFIG_NAMES[0] else read_masks
    contents = [read(file) for file in files]
    folder = data_dir
    if folder is None:
        folder = str(find_snapshot(repo_id, revision))
        revision = Path(folder).name
    truth = load_truth(config, split, data_dir, repo_id, revision)
    paths = list(truth["path"])
    rows = [match_tiles(file, names, paths, split) for file, (names, _) in zip(files, contents, strict=True)]
    clusters = read_clusters(grounds, folder, paths)
    compared = [
        _compare_scores(truth, of_file, predicted, threshold)
        if config == CONFIG_NAMES[0]
        else _compare_masks(truth, of_file, predicted)
        for of_file, (_, predicted) in zip(rows, contents, strict=True)
    ]
    found, *others = _with_intervals(config, [one.statistic for one in compared], clusters.numbers, replicates, seed)
    source = {"repo_id": repo_id, "revision": revision, "data_dir": data_dir}
    number = int(clusters.numbers.max()) + 1
    report: dict[str, Any] = {
        "config": config,
        "split": split,
        "dataset": {name: value for name, value in source.items() if value is not None},
        "predictions": str(predictions),
        "tiles": len(paths),
        "grounds": clusters.grounds,
        "bootstrap": {
            "over": clusters.over,
            "clusters": number,
            "effective_clusters": round(effective_number(clusters.numbers), 2),
            "replicates": replicates,
            "seed": seed,
            "level": LEVEL,
        },
        "metrics": found,
        **compared[0].settings,
        "confusion_matrix": compared[0].matrix,
    }
    notes = [*compared[0].notes, *_notes_on_metrics(config, replicates, found)]
    if against is not None:
        report["against"] = {
            "predictions": str(against),
            "metrics": others[0],
            "difference": others[1],
            "confusion_matrix": compared[1].matrix,
        }
        notes = [f"{predictions.name}: {note}" for note in notes]
        of_other = [*compared[1].notes, *_notes_on_metrics(config, replicates, others[0])]
        notes += [f"{against.name}: {note}" for note in of_other]
        notes += [f"Difference: {note}" for note in _notes_on_metrics(config, replicates, others[1])]
    if data_dir is not None and is_sample(data_dir):
        notes.insert(0, f"{data_dir} is a synthetic sample: the scores say nothing of the dataset.")
    return {**report, "notes": [*_notes_on_clusters(report["bootstrap"]), *notes]}


def heading(found: Mapping[str, Any]) -> str:
    """Return the config, split, and numbers of tiles and clusters of what `evaluate` found, in one line."""
    over, clusters = found["bootstrap"]["over"], found["bootstrap"]["clusters"]
    places = {
        "tiles": ", grounds not known",
        "blocks": f" in {count(clusters, 'block')} of {count(found['grounds'] or 0, 'ground')}",
        "grounds": f" in {count(clusters, 'ground')}",
    }
    return f"{found['config']}, split {found['split']}: {count(found['tiles'], 'tile')}{places[over]}"


class _Compared(NamedTuple):
    """Predictions compared with the truth."""

    statistic: Statistic
    settings: dict[str, float]
    matrix: dict[str, Any]
    notes: list[str]


def _compare_scores(
    truth: datasets.Dataset, rows: npt.NDArray[np.intp], predicted: Scores, threshold: float
) -> _Compared:
    labels, scores = np.array(truth["labels"], np.int64), np.empty(len(rows))
    scores[rows] = predicted
    counts = np.bincount(2 * labels + (scores >= threshold), minlength=4).reshape(2, 2).tolist()
    matrix = {"unit": "tiles", "classes": list(CLASS_NAMES), "counts": counts}
    return _Compared(class_statistic(labels, scores, threshold), {"threshold": threshold}, matrix, [])


def _compare_masks(truth: datasets.Dataset, rows: npt.NDArray[np.intp], predicted: Iterator[Mask]) -> _Compared:
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
    notes = [note] if without_rock_glacier or without_boundary else []
    return _Compared(mask_statistic(counts), {"boundary_tolerance": TOLERANCE}, matrix, notes)


def _with_intervals(
    config: str, statistics: Sequence[Statistic], clusters: npt.NDArray[np.intp], replicates: int, seed: int
) -> list[dict[str, dict[str, Any]]]:
    """Return value and interval of each metric, for each model; then, of two models, those of the difference."""

    def statistic(weights: Weights) -> npt.NDArray[np.float64]:
        values = [of_model(weights) for of_model in statistics]
        differences = [values[0] - values[1]] if len(values) == 2 else []
        return np.concatenate([*values, *differences], axis=1)

    values = statistic(np.ones((1, clusters.size)))[0].tolist()
    metrics = [
        {
            "value": _or_none(value),
            "low": _or_none(interval.low),
            "high": _or_none(interval.high),
            "undefined_replicates": interval.undefined,
        }
        for value, interval in zip(values, bootstrap(statistic, clusters, replicates, seed), strict=True)
    ]
    keys = list(METRICS[config])
    parts = range(0, len(metrics), len(keys))
    return [dict(zip(keys, metrics[start : start + len(keys)], strict=True)) for start in parts]


def _or_none(number: float) -> float | None:
    return None if math.isnan(number) else number


def _notes_on_clusters(bootstrap: Mapping[str, Any]) -> Iterator[str]:
    over, effective = bootstrap["over"], bootstrap["effective_clusters"]
    if over == "tiles":
        yield (
            "The intervals are too narrow: without a grounds.csv each tile is drawn by itself, as if neighbours were "
            "independent. Give --grounds, the file that build_archives.py writes."
        )
    if bootstrap["clusters"] == 1:
        yield f"There are no intervals: all tiles are of one {over[:-1]}, which says nothing about another."
    elif effective < FEW_CLUSTERS:
        yield (
            f"The intervals are unreliable and come out too narrow: {count(bootstrap['clusters'], over[:-1])} are "
            f"effectively {effective:.1f} by their sizes, fewer than {FEW_CLUSTERS}."
        )


def _notes_on_metrics(config: str, replicates: int, metrics: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    undefined = [METRICS[config][key] for key, found in metrics.items() if found["value"] is None]
    if undefined:
        yield f"Not defined, for lack of a class in the truth or the predictions: {', '.join(undefined)}."
    left_out = [
        f"{METRICS[config][key]} in {found['undefined_replicates']}"
        for key, found in metrics.items()
        if found["value"] is not None and found["undefined_replicates"]
    ]
    if left_out:
        some = f"some of {replicates} replicates, which the intervals leave out"
        some += f"; where these are more than {100 * MOST_UNDEFINED:g} % there is no interval"
        yield f"Not defined in {some}: {', '.join(left_out)}."
