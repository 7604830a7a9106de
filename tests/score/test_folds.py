"""Folds by blocks share no block, and have both classes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from rock_glacier.score.folds import block_folds


def index_of(blocks):
    """Return an index of blocks, each with a label, a site, a block number and a size."""
    rows = [
        {"path": f"{site}-{block}-{tile}", "label": label, "site": site, "block": block}
        for label, site, block, size in blocks
        for tile in range(size)
    ]
    return pd.DataFrame(rows)


SIZES = np.random.default_rng(0).integers(5, 12, 16)
MANY = index_of(
    [(("cordillera", "glaciar")[i % 2], i // 4, i % 4, size) for i, size in enumerate(SIZES)]
)


def test_each_block_is_in_one_fold_and_classes_are_balanced():
    folds = block_folds(MANY, 4)
    assert folds.index.tolist() == MANY["path"].tolist()
    assert (folds.groupby([MANY["site"].to_numpy(), MANY["block"].to_numpy()]).nunique() == 1).all()
    counts = pd.crosstab(folds.to_numpy(), MANY["label"].to_numpy())
    assert counts.shape == (4, 2)
    assert counts.to_numpy().max() < 2 * counts.to_numpy().min()


def test_without_blocks_each_site_is_in_one_fold():
    folds = block_folds(MANY.drop(columns="block"), 4)
    assert (folds.groupby(MANY["site"].to_numpy()).nunique() == 1).all()


def test_the_same_seed_gives_the_same_folds():
    labels = ("cordillera", "glaciar")
    index = index_of([(label, 0, block, 3) for block in range(12) for label in labels])
    assert block_folds(index, 3, seed=2).equals(block_folds(index, 3, seed=2))


def test_each_fold_has_both_classes_if_that_is_possible():
    """Small random cases; scikit-learn's folds lack a class in several of them."""
    generator = np.random.default_rng(0)
    for _ in range(60):
        blocks = []
        for block in range(generator.integers(6, 12)):
            labels = generator.permutation(["cordillera", "glaciar"])[: generator.integers(1, 3)]
            blocks += [(label, 0, block, generator.integers(1, 12)) for label in labels]
        index = index_of(blocks)
        n = index.groupby("label")["block"].nunique().min()
        folds = block_folds(index, n)
        assert (folds.groupby(index["block"].to_numpy()).nunique() == 1).all()
        counts = pd.crosstab(folds.to_numpy(), index["label"].to_numpy())
        assert counts.shape == (n, 2)
        assert (counts > 0).all(axis=None)


def test_too_few_blocks_of_a_class_are_an_error():
    index = index_of([("cordillera", 0, block, 9) for block in range(6)] + [("glaciar", 1, 0, 9)])
    with pytest.raises(ValueError, match=r"2 folds need 2 blocks with glaciar tiles, but .* 1"):
        block_folds(index, 2)


@pytest.mark.parametrize(
    ("index", "n", "named"), [(MANY, 1, "n is 1"), (MANY.drop(columns="site"), 2, "site")]
)
def test_wrong_arguments_are_errors(index, n, named):
    with pytest.raises(ValueError, match=named):
        block_folds(index, n)
