"""Metrics equal those of scikit-learn with weights; undefined ones are NaN."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from rock_glacier.score.metrics import (
    class_statistic,
    count_pixels,
    mask_statistic,
    site_statistic,
)

ALL_ONCE = np.ones((1, 5))


def undefined(values):
    return {name for name, value in values.items() if np.isnan(value[0])}


@pytest.mark.parametrize("decimals", [1, 2, 15])  # many ties, or few
def test_class_metrics_equal_those_of_scikit_learn(decimals):
    generator = np.random.default_rng(decimals)
    labels = generator.integers(0, 2, 300)
    scores = np.clip(generator.normal(0.35 + 0.3 * labels, 0.3), 0, 1).round(decimals)
    weights = generator.multinomial(300, np.full(300, 1 / 300), size=20)
    result = class_statistic(labels, scores, 0.4)(weights.astype(np.float64))
    predicted = scores >= 0.4
    expected = {
        "accuracy": (metrics.accuracy_score, predicted),
        "balanced_accuracy": (metrics.balanced_accuracy_score, predicted),
        "precision": (metrics.precision_score, predicted),
        "recall": (metrics.recall_score, predicted),
        "f1": (metrics.f1_score, predicted),
        "roc_auc": (metrics.roc_auc_score, scores),
        "average_precision": (metrics.average_precision_score, scores),
        "brier_score": (metrics.brier_score_loss, scores),
    }
    assert list(result) == list(expected)
    for name, (score, values) in expected.items():
        by_weights = [score(labels, values, sample_weight=weight) for weight in weights]
        np.testing.assert_allclose(result[name], by_weights, atol=1e-12)


@pytest.mark.parametrize(
    ("label", "score", "names"),
    [
        (
            0,
            0.2,
            {"balanced_accuracy", "precision", "recall", "f1", "roc_auc", "average_precision"},
        ),
        (0, 0.7, {"balanced_accuracy", "recall", "roc_auc", "average_precision"}),
        (1, 0.7, {"balanced_accuracy", "roc_auc"}),
    ],
)
def test_class_metrics_of_one_class_are_undefined(label, score, names):
    result = class_statistic(np.full(5, label), np.full(5, score), 0.5)(ALL_ONCE)
    assert undefined(result) == names


def test_weights_of_one_class_give_undefined_metrics():
    """Sums of weights such as 1 / 3 have rounding errors, which must not look like a class."""
    generator = np.random.default_rng(0)
    weights = generator.random((200, 301)) * generator.integers(0, 3, (200, 301))
    scores = generator.random(301)
    for label in (0, 1):
        result = class_statistic(np.full(301, label), scores, 0.5)(weights)
        assert np.isnan(result["balanced_accuracy"]).all()
        assert np.isnan(result["roc_auc"]).all()


def test_site_recall_equals_that_of_a_plain_loop():
    """In a replicate, a site counts as often as its tiles on average."""
    generator = np.random.default_rng(3)
    labels = generator.integers(0, 2, 60)
    sites = generator.integers(0, 12, 60)
    scores = generator.random(60)
    weights = generator.integers(0, 3, (20, 60))
    weights[0] = 1
    result = site_statistic(labels, scores, sites, 0.5)(weights.astype(float))["site_recall"]
    for row, times in enumerate(weights):
        found = total = 0.0
        for site in np.unique(sites[labels == 1]):
            of_site = (sites == site) & (labels == 1)
            if times[of_site].sum():
                share = times[of_site].mean()
                total += share
                found += share * (np.average(scores[of_site], weights=times[of_site]) >= 0.5)
        assert result[row] == pytest.approx(found / total)


def test_a_mean_score_equal_to_the_threshold_is_found():
    """In floating-point numbers, the mean of six times 0.1 is less than 0.1."""
    arrays = (np.ones(6, int), np.full(6, 0.1), np.zeros(6, int))
    assert site_statistic(*arrays, 0.1)(np.ones((1, 6)))["site_recall"] == 1


def test_site_recall_without_glaciar_tiles_is_undefined():
    arrays = (np.zeros(5, int), np.ones(5), np.arange(5))
    assert undefined(site_statistic(*arrays, 0.5)(ALL_ONCE)) == {"site_recall"}


def count_all(truth, predicted):
    """Count the pixels of each tile."""
    pixels = np.ones((128, 128))
    return pd.DataFrame(
        [count_pixels(*pair, pixels) for pair in zip(truth == 1, predicted == 1, strict=True)]
    )


def test_mask_metrics_equal_those_of_scikit_learn():
    generator = np.random.default_rng(0)
    truth, predicted = generator.integers(0, 2, (2, 5, 128, 128), np.uint8)
    predicted[2] = 0
    truth[3] = 0
    weights = np.array([[1, 1, 1, 1, 1], [0, 2, 1, 1, 1], [3, 0, 0, 1, 1]])
    result = mask_statistic(count_all(truth, predicted))(weights.astype(np.float64))
    for row, times in enumerate(weights):
        pair = [np.repeat(masks, times, axis=0).ravel() for masks in (truth, predicted)]
        expected = {
            "iou": metrics.jaccard_score(*pair),
            "miou": metrics.jaccard_score(*pair, average="macro"),
            "precision": metrics.precision_score(*pair),
            "recall": metrics.recall_score(*pair),
            "f1": metrics.f1_score(*pair),
        }
        assert {name: values[row] for name, values in result.items()} == pytest.approx(expected)


@pytest.mark.parametrize(
    ("truth", "predicted", "names"),
    [
        (0, 0, {"iou", "miou", "precision", "recall", "f1"}),
        (1, 0, {"precision"}),
        (0, 1, {"recall"}),
        (1, 1, {"miou"}),
    ],
)
def test_mask_metrics_without_a_class_are_undefined(truth, predicted, names):
    masks = [np.full((5, 128, 128), value, np.uint8) for value in (truth, predicted)]
    assert undefined(mask_statistic(count_all(*masks))(ALL_ONCE)) == names
