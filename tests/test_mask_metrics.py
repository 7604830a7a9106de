"""The metrics of masks are those of their definitions, and of scikit-learn where it has them."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import numpy as np
import pytest
from mask_metrics import MASK_METRICS, boundary, confusion_matrix, replicated_metrics, tile_counts, tiles_left_out
from sklearn import metrics


def rectangle(top, bottom, left, right):
    mask = np.zeros((128, 128), np.uint8)
    mask[top:bottom, left:right] = 1
    return mask


EMPTY = rectangle(0, 0, 0, 0)
FULL = rectangle(0, 128, 0, 128)
SQUARE = rectangle(20, 40, 20, 40)


def of_masks(*pairs, tolerance=2.0):
    counts = np.array([tile_counts(truth, predicted, tolerance) for truth, predicted in pairs])
    values = replicated_metrics(counts)(np.ones((1, len(counts))))[0]
    return dict(zip((metric.key for metric in MASK_METRICS), values.tolist(), strict=True))


def test_over_pixels_large_rock_glaciers_count_most_and_over_tiles_all_the_same():
    found = of_masks((SQUARE, SQUARE), (rectangle(0, 100, 0, 100), rectangle(0, 100, 0, 50)))
    assert found["iou"] == pytest.approx((400 + 5000) / (400 + 10000))
    assert found["dice"] == pytest.approx(2 * (400 + 5000) / (400 + 400 + 10000 + 5000))
    assert found["iou_tiles"] == pytest.approx((1 + 1 / 2) / 2)
    assert found["dice_tiles"] == pytest.approx((1 + 2 / 3) / 2)


def test_over_pixels_the_metrics_are_those_of_scikit_learn():
    generator = np.random.default_rng(0)
    truth, predicted = generator.integers(0, 2, (2, 4, 128, 128), np.uint8)
    found = of_masks(*zip(truth, predicted, strict=True))
    assert found["iou"] == pytest.approx(metrics.jaccard_score(truth.ravel(), predicted.ravel()))
    assert found["dice"] == pytest.approx(metrics.f1_score(truth.ravel(), predicted.ravel()))
    for key, score in (("iou_tiles", metrics.jaccard_score), ("dice_tiles", metrics.f1_score)):
        of_tiles = [score(mask.ravel(), other.ravel()) for mask, other in zip(truth, predicted, strict=True)]
        assert found[key] == pytest.approx(np.mean(of_tiles))
    counts = np.array([tile_counts(*pair) for pair in zip(truth, predicted, strict=True)])
    expected = metrics.confusion_matrix(truth.ravel(), predicted.ravel())
    assert confusion_matrix(counts, truth.size).tolist() == expected.tolist()


def test_replicates_count_a_tile_as_often_as_it_was_drawn():
    pairs = [(SQUARE, SQUARE), (SQUARE, rectangle(20, 40, 30, 50)), (EMPTY, SQUARE), (EMPTY, EMPTY)]
    drawn = np.array([[1, 1, 1, 1], [0, 2, 1, 1], [3, 0, 0, 1]])
    found = replicated_metrics(np.array([tile_counts(*pair) for pair in pairs]))(drawn.astype(np.float64))
    for values, times in zip(found, drawn, strict=True):
        expected = of_masks(*(pair for pair, number in zip(pairs, times, strict=True) for _ in range(number)))
        np.testing.assert_allclose(values, list(expected.values()))


def test_tiles_where_neither_mask_shows_rock_glacier_are_left_out_of_means_over_tiles():
    with_them = of_masks((SQUARE, rectangle(20, 40, 30, 50)), *[(EMPTY, EMPTY)] * 3)
    assert with_them == of_masks((SQUARE, rectangle(20, 40, 30, 50)))
    assert tiles_left_out(np.array([tile_counts(SQUARE, EMPTY), *[tile_counts(EMPTY, EMPTY)] * 3])) == (3, 3)


def test_finding_nothing_or_something_where_nothing_is_scores_nothing():
    assert set(of_masks((SQUARE, EMPTY), (EMPTY, EMPTY)).values()) == {0.0}
    assert set(of_masks((EMPTY, SQUARE)).values()) == {0.0}
    assert all(np.isnan(list(of_masks((EMPTY, EMPTY)).values())))


def test_a_boundary_is_where_rock_glacier_meets_background_within_the_tile():
    assert boundary(SQUARE).sum() == 4 * 19
    assert (boundary(SQUARE) & (SQUARE == 0)).sum() == 0
    assert boundary(rectangle(0, 10, 0, 128)).nonzero()[0].tolist() == [9] * 128
    assert not boundary(FULL).any()
    found = of_masks((FULL, FULL))
    assert found["iou"] == 1
    assert np.isnan(found["boundary_f1"])
    assert tiles_left_out(np.array([tile_counts(FULL, FULL)])) == (0, 1)


@pytest.mark.parametrize(("shift", "expected"), [(0, 1), (1, 1), (2, 1), (3, 0)])
def test_a_boundary_may_be_as_far_off_as_the_tolerance(shift, expected):
    truth, predicted = rectangle(0, 60, 0, 128), rectangle(0, 60 + shift, 0, 128)
    assert of_masks((truth, predicted))["boundary_f1"] == expected
    assert of_masks((truth, predicted), tolerance=shift)["boundary_f1"] == 1


def test_the_distance_of_boundaries_is_euclidean():
    dot, other = rectangle(50, 51, 50, 51), rectangle(52, 53, 51, 52)  # 2 down, 1 to the right
    assert of_masks((dot, other), tolerance=2.0)["boundary_f1"] == 0
    assert of_masks((dot, other), tolerance=np.sqrt(5))["boundary_f1"] == 1


def test_boundary_f1_is_the_mean_over_tiles_of_harmonic_means():
    truth = rectangle(0, 60, 0, 128)
    predicted = truth.copy()
    predicted[90:100, :] = 1  # a second rock glacier: two more boundaries of 128 pixels, none of them true
    precision, recall = 128 / (3 * 128), 1.0
    found = of_masks((truth, predicted), (truth, truth))["boundary_f1"]
    assert found == pytest.approx((2 * precision * recall / (precision + recall) + 1) / 2)
