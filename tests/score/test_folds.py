"""Folds by blocks share no block, and have both classes."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from rock_glacier.archives.grounds_file import GroundRow
from rock_glacier.scoring.folds import block_folds


def rows_of(blocks):
    """Return rows of blocks, each a class, a ground, a block and a number of tiles."""
    rows: dict[str, GroundRow] = {}
    for name, ground, block, tiles in blocks:
        for _ in range(tiles):
            path = f"train/{name}/{len(rows):03d}.png"
            rows[path] = GroundRow(path, ground, block, 0, 0, 0, path)
    return rows


MANY = [
    (name, ground, block, int(np.random.default_rng(10 * ground + block).integers(5, 12)))
    for ground, name in enumerate(("cordillera", "cordillera", "glaciar", "glaciar"))
    for block in range(4)
]


def test_each_block_is_in_one_fold_and_each_fold_has_its_share_of_both_classes():
    rows = rows_of(MANY)
    folds = block_folds(rows, 4)
    assert list(folds) == list(rows)
    assert len({(row.ground, row.block, folds[path]) for path, row in rows.items()}) == len(MANY)
    assert len({row.ground for path, row in rows.items() if folds[path] == 0}) > 1
    counts = Counter((path.split("/")[1], fold) for path, fold in folds.items())
    assert len(counts) == 8
    assert max(counts.values()) < 2 * min(counts.values())


def test_the_seed_decides_among_blocks_that_are_alike():
    rows = rows_of([(name, 0, block, 3) for block, name in enumerate(("cordillera", "glaciar") * 6)])
    assert block_folds(rows, 3, seed=1) == block_folds(rows, 3, seed=1)
    assert len({tuple(block_folds(rows, 3, seed=seed).values()) for seed in range(4)}) > 1


def test_too_few_blocks_of_a_class_are_named():
    rows = rows_of([*MANY[:8], ("glaciar", 5, 0, 9), ("glaciar", 5, 1, 9)])
    with pytest.raises(ValueError, match="the glaciar tiles lie in 2 blocks, too few for 3 folds; make fewer folds"):
        block_folds(rows, 3)
    with pytest.raises(ValueError, match="1 fold asked for; make at least 2"):
        block_folds(rows, 1)
    with pytest.raises(ValueError, match="a class of one block cannot be held out"):
        block_folds(rows_of([*MANY[:8], ("glaciar", 5, 0, 9)]), 2)


@pytest.mark.parametrize("path", ["mask.png", "train/glacier/000.png"])
def test_path_that_is_no_tile_is_named(path):
    with pytest.raises(ValueError, match=f"{path}: is no tile's path"):
        block_folds({path: GroundRow(path, 0, 0, 0, 0, 0, path)}, 2)


def test_no_tiles_are_named():
    with pytest.raises(ValueError, match="there are no tiles to assign to 2 folds"):
        block_folds({}, 2)


def test_tiles_of_one_class_have_folds_as_well():
    assert set(block_folds(rows_of(MANY[8:]), 5).values()) == set(range(5))
