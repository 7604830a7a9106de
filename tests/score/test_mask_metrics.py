"""The metrics of masks are those of their definitions; `test_evaluate` compares them with scikit-learn's."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import numpy as np
import pytest

from rock_glacier.scoring.mask_metrics import MASK_METRICS, count_pixels, count_tiles_left_out, mask_statistic

MEANS = ["iou_tiles", "dice_tiles", "boundary_f1"]  # over tiles


def rectangle(top, bottom, left, right):
    mask = np.zeros((128, 128), np.uint8)
    mask[top:bottom, left:right] = 1
    return mask


EMPTY = rectangle(0, 0, 0, 0)
FULL = rectangle(0, 128, 0, 128)
SQUARE = rectangle(20, 40, 20, 40)


def values_of(*pairs):
    counts = np.array([count_pixels(truth, predicted) for truth, predicted in pairs])
    values = mask_statistic(counts)(np.ones((1, len(counts))))[0]
    return dict(zip(MASK_METRICS, values.tolist(), strict=True))


def test_replicates_count_a_tile_as_often_as_it_was_drawn():
    pairs = [(SQUARE, SQUARE), (SQUARE, rectangle(20, 40, 30, 50)), (EMPTY, SQUARE), (EMPTY, EMPTY)]
    drawn = np.array([[1, 1, 1, 1], [0, 2, 1, 1], [3, 0, 0, 1]])
    found = mask_statistic(np.array([count_pixels(*pair) for pair in pairs]))(drawn.astype(np.float64))
    for values, times in zip(found, drawn, strict=True):
        expected = values_of(*(pair for pair, number in zip(pairs, times, strict=True) for _ in range(number)))
        np.testing.assert_allclose(values, list(expected.values()))


def test_tiles_where_neither_mask_shows_rock_glacier_are_left_out_of_means_over_tiles():
    pair = (SQUARE, rectangle(20, 40, 30, 50))
    with_others, alone = values_of(pair, *[(EMPTY, EMPTY)] * 3), values_of(pair)
    assert {key: with_others[key] for key in MEANS} == {key: alone[key] for key in MEANS}
    pairs = [(SQUARE, EMPTY), (EMPTY, SQUARE), (FULL, FULL), *[(EMPTY, EMPTY)] * 3]
    counts = np.array([count_pixels(*pair) for pair in pairs])
    assert count_tiles_left_out(counts) == (3, 4)  # a full tile has no boundary


def test_a_missed_or_an_invented_rock_glacier_scores_nothing():
    missed, invented, empty = (values_of(pair) for pair in ((SQUARE, EMPTY), (EMPTY, SQUARE), (EMPTY, EMPTY)))
    of_rock_glacier = ["iou", "dice", *MEANS]
    assert {found[key] for found in (missed, invented) for key in of_rock_glacier} == {0.0}
    assert missed["accuracy"] == invented["accuracy"] == 1 - 20**2 / 128**2
    assert (missed["recall"], invented["precision"]) == (0, 0)
    undefined = [{key for key, value in found.items() if np.isnan(value)} for found in (missed, invented, empty)]
    assert undefined == [{"precision"}, {"recall"}, {"precision", "recall", "mean_iou", *of_rock_glacier}]


def test_a_boundary_is_where_rock_glacier_meets_background_within_the_tile():
    columns = count_pixels(SQUARE, rectangle(0, 10, 0, 128))[3:]
    assert (columns[0], columns[2]) == (4 * 19, 128)
    found = values_of((FULL, FULL))
    assert found["iou"] == 1
    assert np.isnan(found["boundary_f1"])


@pytest.mark.parametrize(("shift", "expected"), [(0, 1), (1, 1), (2, 1), (3, 0)])
def test_a_boundary_may_be_two_pixels_off(shift, expected):
    truth, predicted = rectangle(0, 60, 0, 128), rectangle(0, 60 + shift, 0, 128)
    assert values_of((truth, predicted))["boundary_f1"] == expected


def test_the_distance_of_boundaries_is_euclidean():
    dot, other = rectangle(50, 51, 50, 51), rectangle(52, 53, 51, 52)  # 2 down, 1 to the right
    assert values_of((dot, other))["boundary_f1"] == 0


def test_boundary_f1_is_the_mean_over_tiles_of_harmonic_means():
    truth = rectangle(0, 60, 0, 128)
    predicted = truth.copy()
    predicted[90:100, :] = 1  # a second rock glacier: two more boundaries of 128 pixels, none of them true
    precision, recall = 128 / (3 * 128), 1.0
    found = values_of((truth, predicted), (truth, truth))["boundary_f1"]
    assert found == pytest.approx((2 * precision * recall / (precision + recall) + 1) / 2)
