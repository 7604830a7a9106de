"""Train plain models on train, and write their predictions in the form that `evaluate.py` scores.

All models train on train alone. Validation chooses the threshold of masks and nothing else. The labels and masks of
test are never read. The same archives, seed and versions give the same predictions, whatever the number of processes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy.typing as npt

from rock_glacier.archives.listing import check_folder
from rock_glacier.arrays import to_arrays
from rock_glacier.baselines.classifiers import fit, predict
from rock_glacier.baselines.features import PIXEL_FEATURE_NAMES, TILE_FEATURE_NAMES, describe_tiles
from rock_glacier.baselines.pixel_classifier import PixelClassifier
from rock_glacier.files import new_output_folder
from rock_glacier.parallel import Workers, count_cores
from rock_glacier.scoring.predictions import write_masks, write_scores
from rock_glacier_dataset import CLASS_NAMES, CONFIG_NAMES, SPLIT_NAMES, load_archives

RECORD_NAME = "baseline.json"
"""File of seed, versions and features, beside the predictions."""

_TRAIN, _VALIDATION, _ = SPLIT_NAMES
_MODELS, _PIXELS = ("linear", "forest"), "pixels"  # of tiles, and the one of masks

_Arrays = Mapping[str, Mapping[str, npt.NDArray[Any]]]  # by split and column


def train_baselines(
    data_dir: str,
    out: Path,
    config: str,
    splits: Sequence[str],
    seed: int = 0,
    num_proc: int | None = None,
    dask: str | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Train the models of a config on train and write their predictions.

    Args:
        data_dir: folder of archives, or URL of one.
        out: folder to write; it may exist when it is empty. It appears when it is complete, or not at all.
        config: name of the config.
        splits: the splits to predict.
        seed: seed of the models, from 0.
        num_proc: number of processes and threads; default: one for each core.
        dask: address of a Dask scheduler whose workers to use.
        overwrite: whether to replace `out` where it holds predictions and their record, and nothing else.

    Returns:
        the files of predictions.

    Raises:
        ArchiveError: the archives have a fault.
        ValueError: train lacks a class, or rock glacier.
        FileExistsError: `out` exists, and is neither empty nor to be replaced; it stays as it was.
        OSError: the predictions cannot be written.
        WorkerError: a worker cannot be reached, or was killed.
    """
    check_folder(data_dir)
    workers = Workers(num_proc, dask, progress=True)
    of_pixels = config == CONFIG_NAMES[1]
    needed = {_TRAIN, *splits, *([_VALIDATION] if of_pixels else [])}
    own = [f"{model}-{split}.parquet" for model in (*_MODELS, _PIXELS) for split in SPLIT_NAMES]
    with new_output_folder(out, (*own, RECORD_NAME) if overwrite else ()) as folder:
        arrays = {
            split: to_arrays(load_archives(config, data_dir=data_dir, split=split), num_workers=num_proc)
            for split in SPLIT_NAMES
            if split in needed
        }
        found: dict[str, Any]
        if of_pixels:
            found = _predict_masks(arrays, splits, folder, seed, workers)
        else:
            found = _predict_scores(arrays, splits, folder, seed, num_proc or count_cores(), workers)
        versions = {name: version(name) for name in ("numpy", "scikit-image", "scikit-learn")}
        record = {"config": config, "seed": seed, "versions": versions, **found}
        (folder / RECORD_NAME).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8", newline="\n")
        names = sorted(file.name for file in folder.glob("*.parquet"))
    return [out / name for name in names]


def _predict_scores(
    arrays: _Arrays, splits: Sequence[str], folder: Path, seed: int, num_proc: int, workers: Workers
) -> dict[str, Any]:
    labels = arrays[_TRAIN]["labels"]
    for label, name in enumerate(CLASS_NAMES):
        if not (labels == label).any():
            raise ValueError(f"train: has no {name} tiles, so there is nothing to learn; add some")
    features = {split: describe_tiles(f"Describing {split}", of["image"], workers) for split, of in arrays.items()}
    for model in _MODELS:
        classifier = fit(model, features[_TRAIN], labels, seed, num_proc)
        for split in splits:
            scores = predict(classifier, features[split])
            write_scores(folder / f"{model}-{split}.parquet", arrays[split]["path"].tolist(), scores)
    return {"features": TILE_FEATURE_NAMES}


def _predict_masks(arrays: _Arrays, splits: Sequence[str], folder: Path, seed: int, workers: Workers) -> dict[str, Any]:
    train, validation = ((arrays[one]["image"], arrays[one]["masks"]) for one in (_TRAIN, _VALIDATION))
    classifier = PixelClassifier(train, validation, seed, workers)
    for split in splits:
        masks = zip(arrays[split]["path"].tolist(), classifier.predict(arrays[split]["image"]), strict=True)
        write_masks(folder / f"{_PIXELS}-{split}.parquet", masks)
    fit_of_threshold = {"threshold": classifier.threshold, "validation_iou": round(classifier.fit, 4)}
    return {"features": PIXEL_FEATURE_NAMES, **fit_of_threshold}
