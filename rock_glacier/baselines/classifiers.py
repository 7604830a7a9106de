"""Classifiers of tiles by their features: scikit-learn's, seeded, and the same however many cores work."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from rock_glacier.baselines.features import Features
from rock_glacier.scoring.predictions import Scores

Labels = npt.NDArray[np.int64]
"""Shape (tiles,), values in {0, 1}: 1 is glaciar."""

CLASSIFIER_NAMES = ("linear", "forest", "nearest")
"""A logistic regression, a random forest and one nearest neighbour."""

_TREES = 200
_SHARE = 0.3  # of the features, considered at each branch; more than usual, because many of them are alike


def fit(name: str, features: Features, labels: Labels, seed: int, num_proc: int = 1) -> Any:
    """Train a classifier.

    Args:
        name: one of `CLASSIFIER_NAMES`.
        features: shape (tiles, features).
        labels: of both classes.
        seed: seed of the classifier.
        num_proc: threads that grow the forest; their number changes nothing in it.
    """
    if name == "forest":
        # Bootstrap samples and branches are seeded for each tree.
        classifier: Any = RandomForestClassifier(
            _TREES, max_features=_SHARE, class_weight="balanced", random_state=seed, n_jobs=num_proc
        )
    else:
        plain = LogisticRegression(class_weight="balanced", max_iter=5000)
        classifier = make_pipeline(StandardScaler(), plain if name == "linear" else KNeighborsClassifier(1))
    with threadpool_limits(1):  # the order of a sum of floats shows in its last bits
        classifier.fit(features, labels)
    if name == "forest":
        classifier.set_params(n_jobs=1)  # threads would add up the trees in the order in which they end
    return classifier


def predict(classifier: Any, features: Features) -> Scores:
    """Return each tile's probability of glaciar."""
    with threadpool_limits(1):
        scores: Scores = classifier.predict_proba(features)[:, 1]
    return scores.clip(0, 1)  # a mean of trees may exceed 1 by rounding
