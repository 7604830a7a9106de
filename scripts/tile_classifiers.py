"""The classifiers that tell from a tile's features whether it shows a rock glacier: plain ones, to be beaten.

All are scikit-learn's, seeded, and give the same scores however many cores work: what is added up is added up in one
thread, for the order of a sum of floats is seen in its last bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from rock_glacier_dataset import CLASS_NAMES

Labels = npt.NDArray[np.int64]
"""Shape (tiles,): numbers of classes."""

Scores = npt.NDArray[np.float64]
"""Shape (tiles,), values in [0, 1]: the probability of glaciar."""

TREES = 200

_SHARE = 0.3
"""Of the features, what each branch of a tree chooses from; more than the usual root, for many of them say the same."""

Classifier = Any  # scikit-learn has no types


def _linear(seed: int) -> Classifier:
    return make_pipeline(
        StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=5000, random_state=seed)
    )


def _forest(seed: int) -> Classifier:
    return RandomForestClassifier(TREES, max_features=_SHARE, class_weight="balanced", random_state=seed)


def _nearest(seed: int) -> Classifier:
    return make_pipeline(StandardScaler(), KNeighborsClassifier(1))


CLASSIFIERS: dict[str, Callable[[int], Classifier]] = {"linear": _linear, "forest": _forest, "nearest": _nearest}
"""What makes each classifier, from a seed: a logistic regression, a random forest and one nearest neighbour."""


def fitted(name: str, features: npt.NDArray[np.float32], labels: Labels, seed: int, num_proc: int = 1) -> Classifier:
    """Train a classifier.

    Args:
        name: one of `CLASSIFIERS`.
        features: shape (tiles, features).
        labels: shape (tiles,), of both classes.
        seed: of what the classifier draws at random.
        num_proc: threads that grow the forest; they change nothing in it.
    """
    classifier = CLASSIFIERS[name](seed)
    is_parallel = isinstance(classifier, RandomForestClassifier)
    if is_parallel:
        classifier.set_params(n_jobs=num_proc)
    with threadpool_limits(1):
        classifier.fit(features, labels)
    if is_parallel:
        classifier.set_params(n_jobs=1)  # predicting, its threads would add up the trees in the order they come
    return classifier


def scores_of(classifier: Classifier, features: npt.NDArray[np.float32]) -> Scores:
    """Give each tile its probability of glaciar.

    Args:
        classifier: what `fitted` gave.
        features: shape (tiles, features).
    """
    column = classifier.classes_.tolist().index(CLASS_NAMES.index("glaciar"))
    with threadpool_limits(1):
        probabilities: Scores = classifier.predict_proba(features)[:, column]
    return probabilities.clip(0, 1)  # a mean of trees may exceed 1 by rounding
