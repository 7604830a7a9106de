"""Folds for a cross-validation that share no ground."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from rock_glacier_dataset import CLASS_NAMES


def block_folds(index: pd.DataFrame, n: int, seed: int = 0) -> pd.Series[int]:
    """Assign tiles to folds by blocks: no two folds share ground.

    The folds have about the same number of tiles of each class, if the blocks allow it
    (scikit-learn's `StratifiedGroupKFold`).

    Args:
        index: Rows of the tile index, for example of one split, with the columns `path`, `label`,
            `site` and, optionally, `block`.
        n: Number of folds, at least 2.
        seed: Seed for the order of similar blocks.

    Returns:
        The fold of each tile, from 0 to n - 1; the index of the series is `path`.

    Raises:
        ValueError: If `n` is less than 2, if a column is missing, or if a fold would lack a class
            because there are too few blocks.

    Example:
        >>> paths = [f"train/{label}/{tile}.png" for tile in range(4) for label in CLASS_NAMES]
        >>> index = pd.DataFrame({"path": paths, "label": [*CLASS_NAMES] * 4})
        >>> index["site"] = [0, 0, 0, 0, 1, 1, 1, 1]
        >>> block_folds(index, 2).value_counts().tolist()
        [4, 4]
    """
    if n < 2:
        raise ValueError(f"n is {n}, but a cross-validation needs at least 2 folds")
    for name in ("path", "label", "site"):
        if name not in index:
            raise ValueError(f"index has no column {name}")
    columns = ["site", "block"] if "block" in index else ["site"]
    blocks = index.groupby(columns).ngroup().to_numpy()
    labels = index["label"].to_numpy(str)
    for name in CLASS_NAMES:
        number = len(np.unique(blocks[labels == name]))
        if number < n:
            raise ValueError(
                f"{n} folds need {n} blocks with {name} tiles, but there are {number}. "
                "Make fewer folds."
            )
    splitter = StratifiedGroupKFold(n, shuffle=True, random_state=seed)
    folds = np.zeros(len(index), np.int64)
    for fold, (_, rows) in enumerate(splitter.split(labels, labels, blocks)):
        folds[rows] = fold
    for name in CLASS_NAMES:
        missing = sorted(set(range(n)) - set(folds[labels == name]))
        if missing:
            raise ValueError(
                f"fold {missing[0]} would have no {name} tiles. Make fewer folds, or try another "
                "seed."
            )
    return pd.Series(folds, index=pd.Index(index["path"], name="path"), name="fold")
