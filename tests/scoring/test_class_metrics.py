"""The metrics of a classifier are those of scikit-learn, and of their definitions."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from rock_glacier.scoring.class_metrics import CLASS_METRICS, class_statistic

KEYS = [metric.key for metric in CLASS_METRICS]

# Four tiles of each class; from 0.5 up, three of glaciar and one of cordillera.
LABELS = np.array([1, 1, 1, 1, 0, 0, 0, 0])
SCORES = np.array([0.9, 0.8, 0.6, 0.2, 0.7, 0.4, 0.3, 0.1])


def values_of(labels, scores, threshold=0.5):
    return dict(zip(KEYS, class_statistic(labels, scores, threshold)(np.ones((1, len(labels))))[0], strict=True))


def test_the_metrics_are_those_worked_out_by_hand():
    found = values_of(LABELS, SCORES)
    assert found["balanced_accuracy"] == pytest.approx((3 / 4 + 3 / 4) / 2)
    assert found["f1"] == pytest.approx(2 * 3 / (4 + 4))
    # glaciar comes first, second, fourth and seventh from the highest score down
    assert found["average_precision"] == pytest.approx((1 / 1 + 2 / 2 + 3 / 4 + 4 / 7) / 4)
    # pairs of glaciar and cordillera in the right order: 4, 4, 3 and 1 of 4 each
    assert found["roc_auc"] == pytest.approx((4 + 4 + 3 + 1) / 16)
    assert found["brier_score"] == pytest.approx((0.01 + 0.04 + 0.16 + 0.64 + 0.49 + 0.16 + 0.09 + 0.01) / 8)


def test_a_score_at_the_threshold_is_glaciar():
    assert values_of(LABELS, SCORES, 0.6)["f1"] == values_of(LABELS, SCORES, 0.5)["f1"]
    assert values_of(LABELS, SCORES, 0.7)["f1"] == pytest.approx(2 * 2 / (4 + 3))


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
            metrics.balanced_accuracy_score(labels, scores >= 0.4, sample_weight=of_tiles),
            metrics.f1_score(labels, scores >= 0.4, sample_weight=of_tiles),
            metrics.average_precision_score(labels, scores, sample_weight=of_tiles),
            metrics.roc_auc_score(labels, scores, sample_weight=of_tiles),
            metrics.brier_score_loss(labels, scores, sample_weight=of_tiles),
        ]
        np.testing.assert_allclose(values, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("label", "score", "undefined"),
    [
        (0, 0.2, {"balanced_accuracy", "f1", "average_precision", "roc_auc"}),
        (0, 0.7, {"balanced_accuracy", "average_precision", "roc_auc"}),
        (1, 0.7, {"balanced_accuracy", "roc_auc"}),
    ],
)
@pytest.mark.filterwarnings("error")
def test_what_one_class_leaves_undefined_is_nan(label, score, undefined):
    found = values_of(np.full(5, label), np.full(5, score))
    assert {key for key, value in found.items() if np.isnan(value)} == undefined
