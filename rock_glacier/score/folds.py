"""Folds for a cross-validation that share no ground."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from rock_glacier_dataset import CLASS_NAMES


def block_folds(index: pd.DataFrame, n: int, seed: int = 0) -> pd.Series[int]:
    """Assign tiles to folds by blocks: no two folds share ground.

    Each fold has tiles of both classes, and the folds have about the same number of tiles of each
    class if the blocks allow it. scikit-learn's `StratifiedGroupKFold` makes the folds.
    If a fold lacks a class, blocks are assigned in another way.

    Args:
        index: Rows of the tile index, for example of one split, with the columns `path`, `label`,
            `site` and, optionally, `block`.
        n: Number of folds, at least 2.
        seed: Seed for the order of similar blocks.

    Returns:
        The fold of each tile, from 0 to n - 1; the index of the series is `path`.

    Raises:
        ValueError: If `n` is less than 2, if a column is missing, or if a class has fewer than `n`
            blocks.

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
    tiles = pd.crosstab(blocks, labels)[list(CLASS_NAMES)].to_numpy()
    if not pd.crosstab(folds, labels).reindex(range(n), fill_value=0).all(axis=None):
        folds = _cover_classes(tiles, n)[blocks]
    return pd.Series(folds, index=pd.Index(index["path"], name="path"), name="fold")


def _cover_classes(tiles: npt.NDArray[np.int64], n: int) -> npt.NDArray[np.int64]:
    """Assign blocks to folds; each fold gets both classes.

    First, each fold gets one block that has both classes, or else one block of each class. Then the
    other blocks, the largest first, go to the fold that makes the numbers of tiles most equal.

    Args:
        tiles: int64 of shape (blocks, 2): number of tiles of each class. Each class is in at least
            `n` blocks.
        n: Number of folds.

    Returns:
        int64 of shape (blocks,): the fold of each block.
    """
    order = np.argsort(-tiles.sum(axis=1), kind="stable")
    has_class = tiles[order] > 0
    both = order[has_class.all(axis=1)]
    single = [order[has_class[:, 0] & ~has_class[:, 1]], order[has_class[:, 1] & ~has_class[:, 0]]]
    folds = np.full(len(tiles), -1)
    folds[both[:n]] = range(len(both[:n]))
    missing = n - len(both[:n])
    for blocks in single:
        folds[blocks[:missing]] = range(n - missing, n)
    sums = np.array([tiles[folds == fold].sum(axis=0) for fold in range(n)])
    for block in order[folds[order] == -1]:
        # The sum of squares grows least in the fold that lacks these tiles most.
        growth = ((sums + tiles[block]) ** 2 - sums**2) / tiles.sum(axis=0) ** 2
        fold = int(growth.sum(axis=1).argmin())
        folds[block] = fold
        sums[fold] += tiles[block]
    return folds
