"""Merged tiles, and metrics that count each place once, equal those of a plain computation."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from rock_glacier.score.metrics import ground_statistic
from rock_glacier.score.mosaics import Grid, count_ground, ground_weights, make_mosaics

# Site, x, y and orientation of each tile; the tiles of the first site overlap, the last two do not.
ROWS = [(0, 0, 0, 3), (0, 60, 20, 6), (0, 60, 70, 0), (0, 150, 90, 5), (1, 0, 0, 1), (1, 0, 128, 7)]


@pytest.fixture
def scored(cut):
    """Return the truth and the predicted scores of noisy tiles of two sites."""
    generator = np.random.default_rng(0)
    scenes = generator.random((2, 256, 278)) < 0.4
    tiles = cut(*ROWS)
    scores = tiles.tiles(*(60 * scenes + 95.0)) + generator.integers(-60, 60, (6, 128, 128))
    return tiles.truth(*scenes), scores.astype(np.uint8), scenes


def stack_scores(scores, site):
    """Return the scores of the tiles of a site in their places, NaN elsewhere."""
    layers = []
    for (number, x, y, orientation), tile in zip(ROWS, scores, strict=True):
        if number == site:
            layer = np.full((256, 278), np.nan)
            square = np.rot90(tile, orientation % 4)
            layer[y : y + 128, x : x + 128] = square.T if orientation >= 4 else square
            layers.append(layer)
    return np.stack(layers)


@pytest.mark.parametrize("threshold", [0.4, 0.5, 0.6])
@pytest.mark.filterwarnings("ignore:Mean of empty slice")
def test_mosaics_are_means_of_all_tiles(scored, threshold):
    truth, scores, scenes = scored
    mosaics = list(make_mosaics(truth, scores, threshold))
    assert [mosaic.site for mosaic in mosaics] == [0, 1]
    for mosaic in mosaics:
        height, width = mosaic.coverage.shape
        layers = stack_scores(scores, mosaic.site)[:, :height, :width]
        is_covered = np.isfinite(layers).any(0)
        means = np.nanmean(layers, axis=0)
        np.testing.assert_array_equal(mosaic.coverage, np.isfinite(layers).sum(0))
        np.testing.assert_array_equal(
            mosaic.truth, is_covered & scenes[mosaic.site][:height, :width]
        )
        np.testing.assert_array_equal(mosaic.predicted, means >= 255 * threshold)
        np.testing.assert_allclose(mosaic.scores, means / 255, rtol=1e-6)


@pytest.mark.filterwarnings("ignore:Mean of empty slice")
def test_ground_metrics_equal_those_of_scikit_learn(scored):
    """Also if the bootstrap draws the second site twice."""
    truth, scores, scenes = scored
    counts: dict[int, Any] = {}
    true = []
    predicted = []
    agrees = []
    for mosaic in make_mosaics(truth, scores, 0.5):
        counts.update(count_ground(mosaic))
        layers = stack_scores(scores, mosaic.site)
        is_covered = np.isfinite(layers).any(0)
        true.append(scenes[mosaic.site][is_covered])
        predicted.append(np.nanmean(layers, axis=0)[is_covered] >= 127.5)
        votes = (layers >= 127.5).sum(0)
        number = np.isfinite(layers).sum(0)
        agrees.append(((votes == 0) | (votes == number))[number > 1])
    statistic = ground_statistic(pd.DataFrame.from_dict(counts, orient="index"))
    for times in (1, 2):
        result = statistic(np.array([[1, 1, 1, 1, times, times]], float))
        pair = [np.concatenate([parts[0], *[parts[1]] * times]) for parts in (true, predicted)]
        expected = {
            "ground_iou": metrics.jaccard_score(*pair),
            "ground_miou": metrics.jaccard_score(*pair, average="macro"),
            "ground_precision": metrics.precision_score(*pair),
            "ground_recall": metrics.recall_score(*pair),
            "ground_f1": metrics.f1_score(*pair),
            "agreement": agrees[0].mean(),  # no tiles of the second site overlap
        }
        assert {name: values[0] for name, values in result.items()} == pytest.approx(expected)


def test_the_truth_of_conflicting_masks_is_that_of_most(cut):
    tiles = cut((0, 0, 0, 0), (0, 0, 0, 0), (0, 0, 0, 0))
    truth = tiles.truth(np.zeros((128, 128)))
    truth.values[0, 0, :2] = 1
    truth.values[1, 0, 0] = 1
    [mosaic] = make_mosaics(truth, 255 * truth.values, 0.5)
    assert np.argwhere(mosaic.truth).tolist() == np.argwhere(mosaic.predicted).tolist() == [[0, 0]]
    assert not mosaic.agrees[0, :2].any()
    assert mosaic.agrees[0, 2:].all()


def test_weights_of_tiles_count_each_place_once(scored):
    truth, scores, _ = scored
    weights = ground_weights(truth)
    expected = []
    for (site, x, y, _), _ in zip(ROWS, scores, strict=True):
        number = np.isfinite(stack_scores(scores, site)).sum(0)
        expected.append((1 / number[y : y + 128, x : x + 128]).mean())
    np.testing.assert_allclose(weights, expected)
    assert weights[4:].tolist() == [1, 1]


def test_positions_are_relative_to_the_site(cut):
    scene = np.zeros((200, 200))
    scene[70:90, 70:90] = 1
    near = cut((0, 0, 0, 0), (0, 60, 50, 2))
    truth = near.truth(scene)
    far = near.places.assign(x=near.places["x"] - 700, y=near.places["y"] + 900)
    [mosaic] = make_mosaics(dataclasses.replace(truth, index=far), 255 * truth.values, 0.5)
    np.testing.assert_array_equal(np.argwhere(mosaic.truth), np.argwhere(scene))


@pytest.mark.parametrize("located", [[0, 1], [1]])
def test_the_place_of_a_site_comes_from_its_located_tiles(cut, located):
    tiles = cut((0, -30, 5, 0), (0, 20, -45, 4), epsg=pd.NA, easting=pd.NA, northing=pd.NA)
    places = tiles.places.astype({"epsg": "Int32", "easting": "Float64", "northing": "Float64"})
    for row, easting, northing in ((0, 400_000, 6_300_000), (1, 400_500, 6_300_500)):
        if row in located:
            places.loc[row, ["epsg", "easting", "northing"]] = [32719, easting, northing]
    truth = dataclasses.replace(cut(*[(0, 0, 0, 0)] * 2).truth(np.zeros((128, 128))), index=places)
    [mosaic] = make_mosaics(truth, truth.values, 0.5)
    assert mosaic.grid == Grid(32719, 400_000, 6_300_500)


def test_without_an_index_each_tile_is_a_site(cut):
    truth = cut((0, 0, 0, 3), (0, 9, 9, 0)).truth(np.ones((140, 140)))
    mosaics = list(make_mosaics(dataclasses.replace(truth, index=None), truth.values, 0.5))
    assert [mosaic.coverage.shape for mosaic in mosaics] == [(128, 128)] * 2
    assert all(mosaic.grid is None for mosaic in mosaics)
