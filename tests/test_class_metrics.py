"""The metrics of a classifier are those of scikit-learn, and of their definitions."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import numpy as np
import pytest
from class_metrics import CLASS_METRICS, class_metrics, confusion_matrix, replicated_metrics
from sklearn import metrics

KEYS = [metric.key for metric in CLASS_METRICS]

# Four tiles of each class; from 0.5 up, three of glaciar and one of cordillera.
LABELS = np.array([1, 1, 1, 1, 0, 0, 0, 0])
SCORES = np.array([0.9, 0.8, 0.6, 0.2, 0.7, 0.4, 0.3, 0.1])


def by_scikit_learn(labels, scores, threshold, weights):
    return [
        metrics.balanced_accuracy_score(labels, scores >= threshold, sample_weight=weights),
        metrics.f1_score(labels, scores >= threshold, sample_weight=weights),
        metrics.average_precision_score(labels, scores, sample_weight=weights),
        metrics.roc_auc_score(labels, scores, sample_weight=weights),
        metrics.brier_score_loss(labels, scores, sample_weight=weights),
    ]


def test_the_metrics_are_those_worked_out_by_hand():
    found = dict(zip(KEYS, class_metrics(LABELS, SCORES, 0.5), strict=True))
    assert found["balanced_accuracy"] == pytest.approx((3 / 4 + 3 / 4) / 2)
    assert found["f1"] == pytest.approx(2 * 3 / (4 + 4))
    # glaciar comes first, second, fourth and seventh from the highest score down
    assert found["average_precision"] == pytest.approx((1 / 1 + 2 / 2 + 3 / 4 + 4 / 7) / 4)
    # pairs of glaciar and cordillera in the right order: 4, 4, 3 and 1 of 4 each
    assert found["roc_auc"] == pytest.approx((4 + 4 + 3 + 1) / 16)
    assert found["brier_score"] == pytest.approx((0.01 + 0.04 + 0.16 + 0.64 + 0.49 + 0.16 + 0.09 + 0.01) / 8)
    assert confusion_matrix(LABELS, SCORES, 0.5).tolist() == [[3, 1], [1, 3]]


def test_a_score_at_the_threshold_is_glaciar():
    assert confusion_matrix(LABELS, SCORES, 0.7).tolist() == [[3, 1], [2, 2]]
    assert confusion_matrix(LABELS, np.full(8, 0.5), 0.5).tolist() == [[0, 4], [0, 4]]


@pytest.mark.parametrize("decimals", [1, 2, 15])
def test_replicates_have_the_values_that_scikit_learn_gives_with_weights(decimals):
    generator = np.random.default_rng(decimals)
    labels = generator.integers(0, 2, 300)
    logits = generator.normal(0.35 + 0.3 * labels, 0.3)
    scores = np.array(np.clip(logits, 0, 1).round(decimals), np.float64)  # with many ties, or few
    weights = generator.multinomial(300, np.full(300, 1 / 300), size=20)
    found = replicated_metrics(labels, scores, 0.4)(weights.astype(np.float64))
    expected = [by_scikit_learn(labels, scores, 0.4, row) for row in weights]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    as_they_are = replicated_metrics(labels, scores, 0.4)(np.ones((1, 300)))[0]
    assert as_they_are.tolist() == pytest.approx(class_metrics(labels, scores, 0.4).tolist(), abs=1e-12)


@pytest.mark.parametrize(
    ("label", "score", "undefined"),
    [
        (0, 0.2, {"balanced_accuracy", "f1", "average_precision", "roc_auc"}),
        (0, 0.7, {"balanced_accuracy", "average_precision", "roc_auc"}),
        (1, 0.7, {"balanced_accuracy", "roc_auc"}),
    ],
)
@pytest.mark.filterwarnings("error")
def test_what_one_class_alone_leaves_undefined_is_said_to_be(label, score, undefined):
    labels, scores = np.full(5, label), np.full(5, score)
    found = class_metrics(labels, scores, 0.5)
    replicated = replicated_metrics(np.array([0, 1, label]), np.array([0.4, 0.6, score]), 0.5)
    alike = replicated(np.array([[0.0, 0.0, 5.0]]))[0]
    for values in (found, alike):
        assert {key for key, value in zip(KEYS, values, strict=True) if np.isnan(value)} == undefined
    np.testing.assert_allclose(found, alike, atol=1e-12)
