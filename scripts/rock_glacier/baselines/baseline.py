"""Train plain models on train, and write their predictions in the form that `evaluate.py` scores.

All train on train alone. Validation chooses the threshold of masks and nothing else. The labels and masks of test are
never read. The same archives, seed and versions give the same predictions, whatever the number of processes.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rock_glacier.arrays import to_arrays
from rock_glacier.baselines.classifiers import fit, predict
from rock_glacier.baselines.features import PIXEL_FEATURE_NAMES, TILE_FEATURE_NAMES, describe_tiles
from rock_glacier.baselines.pixel_classifier import LEVELS, PixelClassifier
from rock_glacier.files import new_output_folder
from rock_glacier.parallel import Workers, count_cores
from rock_glacier.scoring.predictions import write_masks, write_scores
from rock_glacier_dataset import CLASS_NAMES, CONFIG_NAMES, SPLIT_NAMES, load_archives

RECORD_NAME = "baseline.json"
"""File of seed, versions, features and times, beside the predictions."""

_TRAIN, _VALIDATION, _ = SPLIT_NAMES


def train_baselines(
    data_dir: str,
    out: Path,
    config: str,
    *,
    splits: Sequence[str],
    models: Sequence[str],
    seed: int = 0,
    num_proc: int | None = None,
    dask: str | None = None,
    progress: bool = False,
) -> list[tuple[str, str, Path]]:
    """Train models on train and write their predictions.

    Args:
        data_dir: folder of archives, or URL of one.
        out: folder to write; it may exist when it is empty. It appears when it is complete, or not at all.
        config: name of the config.
        splits: the splits to predict.
        models: some of the config's `MODELS`.
        seed: seed of the models, from 0.
        num_proc: number of processes and threads; default: one for each core.
        dask: address of a Dask scheduler whose workers to use.
        progress: whether to show progress bars on standard error, where that is a terminal.

    Returns:
        model, split and file of each set of predictions.

    Raises:
        ArchiveError: the archives have a fault.
        ValueError: train lacks a class, or rock glacier.
        FileExistsError: `out` exists and is not an empty folder; it stays as it was.
        OSError: the predictions cannot be written.
        WorkerError: a worker cannot be reached, or was killed.
    """
    workers = Workers(num_proc, dask, progress)
    predicted = [split for split in SPLIT_NAMES if split in splits]
    needed = {_TRAIN, *predicted} | ({_VALIDATION} if config == CONFIG_NAMES[1] else set())
    with new_output_folder(out) as folder:
        arrays = {
            split: to_arrays(load_archives(config, data_dir=data_dir, split=split), num_workers=num_proc)
            for split in SPLIT_NAMES
            if split in needed
        }
        records: dict[str, Any] = {}
        if config == CONFIG_NAMES[0]:
            for label, name in enumerate(CLASS_NAMES):
                if not (arrays[_TRAIN]["labels"] == label).any():
                    raise ValueError(f"train: has no {name} tiles, so there is nothing to learn; add some")
            features = {
                split: describe_tiles(f"Describing {split}", of["image"], workers) for split, of in arrays.items()
            }
        for model in models:
            start = time.perf_counter()
            if model == "pixels":
                train, validation = ((arrays[one]["image"], arrays[one]["masks"]) for one in (_TRAIN, _VALIDATION))
                pixels = PixelClassifier(train, validation, seed, workers)
                for split in predicted:
                    masks = zip(arrays[split]["path"].tolist(), pixels.predict(arrays[split]["image"]), strict=True)
                    write_masks(folder / f"{model}-{split}.parquet", masks)
                records[model] = {
                    "features": PIXEL_FEATURE_NAMES,
                    "validation": "chose the threshold of masks",
                    "threshold": pixels.threshold / LEVELS,
                    "validation_iou": round(pixels.fit, 4),
                }
            else:
                classifier = fit(model, features[_TRAIN], arrays[_TRAIN]["labels"], seed, num_proc or count_cores())
                for split in predicted:
                    scores = predict(classifier, features[split])
                    write_scores(folder / f"{model}-{split}.parquet", arrays[split]["path"].tolist(), scores)
                records[model] = {"features": TILE_FEATURE_NAMES, "validation": "not used"}
            records[model]["seconds"] = round(time.perf_counter() - start, 2)
        record = {
            "config": config,
            "seed": seed,
            "tiles": {split: len(of["path"]) for split, of in arrays.items()},
            "versions": {"python": platform.python_version()}
            | {name: version(name) for name in ("numpy", "scikit-image", "scikit-learn")},
            "models": records,
        }
        (folder / RECORD_NAME).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8", newline="\n")
    return [(model, split, Path(out) / f"{model}-{split}.parquet") for model in records for split in predicted]
