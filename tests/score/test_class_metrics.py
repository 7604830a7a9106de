"""The metrics of a classifier are those of scikit-learn."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from rock_glacier.scoring.class_metrics import CLASS_METRICS, class_statistic


@pytest.mark.parametrize("decimals", [1, 2, 15])
def test_replicates_have_the_values_of_scikit_learn_with_weights(decimals):
    generator = np.random.default_rng(decimals)
    labels = generator.integers(0, 2, 300)
    logits = generator.normal(0.35 + 0.3 * labels, 0.3)
    scores = np.array(np.clip(logits, 0, 1).round(decimals), np.float64)  # with many ties, or few
    weights = generator.multinomial(300, np.full(300, 1 / 300), size=20)
    found = class_statistic(labels, scores, 0.4)(weights.astype(np.float64))
    for values, of_tiles in zip(found, weights, strict=True):
        expected = [
            metrics.accuracy_score(labels, scores >= 0.4, sample_weight=of_tiles),
            metrics.balanced_accuracy_score(labels, scores >= 0.4, sample_weight=of_tiles),
            metrics.precision_score(labels, scores >= 0.4, sample_weight=of_tiles),
            metrics.recall_score(labels, scores >= 0.4, sample_weight=of_tiles),
            metrics.f1_score(labels, scores >= 0.4, sample_weight=of_tiles),
            metrics.average_precision_score(labels, scores, sample_weight=of_tiles),
            metrics.roc_auc_score(labels, scores, sample_weight=of_tiles),
            metrics.brier_score_loss(labels, scores, sample_weight=of_tiles),
        ]
        np.testing.assert_allclose(values, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("label", "score", "undefined"),
    [
        (0, 0.2, {"balanced_accuracy", "precision", "recall", "f1", "average_precision", "roc_auc"}),
        (0, 0.7, {"balanced_accuracy", "recall", "average_precision", "roc_auc"}),
        (1, 0.7, {"balanced_accuracy", "roc_auc"}),
    ],
)
@pytest.mark.filterwarnings("error")
def test_what_one_class_leaves_undefined_is_nan(label, score, undefined):
    (values,) = class_statistic(np.full(5, label), np.full(5, score), 0.5)(np.ones((1, 5)))
    assert {key for key, value in zip(CLASS_METRICS, values, strict=True) if np.isnan(value)} == undefined
