"""Folds of a cross-validation that share no ground."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from rock_glacier.archives.grounds_file import GroundRow
from rock_glacier.console import count
from rock_glacier_dataset import CLASS_NAMES


def block_folds(grounds: Mapping[str, GroundRow], n: int, seed: int = 0) -> dict[str, int]:
    """Assign tiles to folds by blocks: each block goes whole to one fold, so that no two folds share ground.

    The folds have about the same number of tiles of each class, as far as the blocks allow (scikit-learn's
    `StratifiedGroupKFold`).

    Args:
        grounds: rows of a `grounds.csv` by path, as `read_grounds` returns them; those of one split, or of several.
        n: number of folds, at least 2.
        seed: seed of the order in which blocks of equal counts are assigned.

    Returns:
        the number of each tile's fold, from 0, by path.

    Raises:
        ValueError: there are no tiles, a path is no tile's, the tiles of a class lie in too few blocks for so many
            folds, or `n` is below 2.

    Example:
        >>> names = [f"train/{name}/{number}.png" for number in range(3) for name in CLASS_NAMES]
        >>> rows = {name: GroundRow(name, number // 2, number % 2, 0, 0, 0, name) for number, name in enumerate(names)}
        >>> sorted(block_folds(rows, 3).values())
        [0, 0, 1, 1, 2, 2]
    """
    if n < 2:
        raise ValueError(f"{count(n, 'fold')} asked for; make at least 2")
    if not grounds:
        raise ValueError(f"there are no tiles to assign to {n} folds; give rows of grounds.csv")
    for path in grounds:
        if PurePosixPath(path).parent.name not in CLASS_NAMES:
            raise ValueError(
                f"{path}: is no tile's path; give rows of grounds.csv by path, such as train/glaciar/000.png"
            )
    labels = np.array([CLASS_NAMES.index(PurePosixPath(path).parent.name) for path in grounds])
    places = np.array([(row.ground, row.block) for row in grounds.values()], np.int64).reshape(-1, 2)
    blocks = np.unique(places, axis=0, return_inverse=True)[1].ravel()
    for label, name in enumerate(CLASS_NAMES):
        number = len(np.unique(blocks[labels == label]))
        if 0 < number < n:
            remedy = "make fewer folds" if number > 1 else "a class of one block cannot be held out"
            raise ValueError(f"the {name} tiles lie in {count(number, 'block')}, too few for {n} folds; {remedy}")
    splitter = StratifiedGroupKFold(n, shuffle=True, random_state=seed)
    folds = np.empty(len(labels), np.int64)
    for fold, (_, held_out) in enumerate(splitter.split(labels, labels, blocks)):
        folds[held_out] = fold
    return dict(zip(grounds, folds.tolist(), strict=True))
