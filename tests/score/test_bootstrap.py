"""Intervals equal the results of a plain loop and of theory."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from rock_glacier.score.bootstrap import Clusters, find_interval, replicate, wilson_interval

CLUSTERS = Clusters("site", np.array([0, 1, 1, 2, 2, 2, 3]))


def mean_of(values):
    """Return the statistic that computes the weighted mean."""
    return lambda weights: {"mean": weights @ values / weights.sum(axis=1)}


def test_replicates_and_interval_equal_those_of_a_plain_loop():
    values = np.arange(7.0) ** 2
    generator = np.random.default_rng(5)
    expected = []
    for _ in range(300):
        tiles = []
        for cluster, times in enumerate(generator.multinomial(4, [0.25] * 4)):
            tiles += [*values[CLUSTERS.ids == cluster]] * times
        expected.append(np.mean(tiles))
    means = replicate(mean_of(values), CLUSTERS, replicates=300, seed=5)["mean"].to_numpy()
    np.testing.assert_allclose(means, expected)
    tail = stats.norm.cdf(-np.sqrt(4 / 3) * stats.t.ppf(0.975, 3))
    interval = find_interval(means, CLUSTERS)
    assert (interval.low, interval.high) == pytest.approx(np.quantile(expected, [tail, 1 - tail]))


def test_the_interval_of_a_mean_agrees_with_theory():
    values = np.random.default_rng(0).normal(size=400)
    clusters = Clusters("tile", np.arange(400))
    interval = find_interval(replicate(mean_of(values), clusters)["mean"].to_numpy(), clusters)
    half = 1.96 * values.std() / 20
    assert interval.low == pytest.approx(values.mean() - half, abs=half / 15)
    assert interval.high == pytest.approx(values.mean() + half, abs=half / 15)


def test_intervals_over_clusters_cover_the_truth():
    """Intervals over single tiles, which are too narrow, cover it much less often."""
    generator = np.random.default_rng(1)
    units = {"site": np.repeat(np.arange(30), 5), "tile": np.arange(150)}
    covered = dict.fromkeys(units, 0)
    for _ in range(200):
        values = np.repeat(generator.normal(size=30), 5) + generator.normal(size=150) / 2
        for unit, ids in units.items():
            clusters = Clusters(unit, ids)
            means = replicate(mean_of(values), clusters, replicates=400)["mean"].to_numpy()
            interval = find_interval(means, clusters)
            covered[unit] += interval.low <= 0 <= interval.high
    assert 180 <= covered["site"] <= 200
    assert covered["tile"] < 140


def test_memory_does_not_grow_with_the_number_of_replicates():
    sizes = []

    def statistic(weights):
        sizes.append(weights.size)
        return {"first": weights[:, 0]}

    replicate(statistic, Clusters("tile", np.arange(20_000)), replicates=100)
    assert sum(sizes) == 20_000 * 100
    assert max(sizes) <= 2**20


@pytest.mark.parametrize(("undefined", "has_interval"), [(200, True), (201, False)])
def test_undefined_replicates_are_ignored_up_to_a_fifth(undefined, has_interval):
    values = np.ones(1000)
    values[:undefined] = np.nan
    interval = find_interval(values, CLUSTERS)
    expected = [1, 1] if has_interval else [np.nan, np.nan]
    np.testing.assert_array_equal([interval.low, interval.high], expected)


def test_one_cluster_has_no_interval():
    interval = find_interval(np.ones(100), Clusters("site", np.zeros(5, int)))
    np.testing.assert_array_equal([interval.low, interval.high], [np.nan, np.nan])


def test_clusters_of_different_sizes_count_less():
    assert CLUSTERS.number == 4
    assert CLUSTERS.effective == pytest.approx(49 / 15)


def test_sizes_decide_how_much_clusters_count():
    clusters = Clusters("rock glacier", np.arange(3), np.array([4.0, 1, 1]))
    assert clusters.effective == pytest.approx(36 / 18)


def test_no_clusters_give_no_intervals():
    clusters = Clusters("rock glacier", np.arange(0), np.zeros(0))
    assert (clusters.number, clusters.effective) == (0, 0)
    values = replicate(lambda weights: {"sum": weights.sum(axis=1)}, clusters, replicates=10)["sum"]
    assert values.tolist() == [0] * 10
    assert np.isnan(find_interval(values.to_numpy(), clusters).low)


@pytest.mark.parametrize(("hits", "number"), [(0, 5), (3, 5), (2741, 3015)])
def test_wilson_intervals_solve_the_equation_of_the_score_test(hits, number):
    interval = wilson_interval(hits, number)
    for end in (interval.low, interval.high):
        deviation = (hits / number - end) ** 2
        assert deviation == pytest.approx(
            1.959964**2 * end * (1 - end) / number, rel=1e-5, abs=1e-12
        )


def test_wilson_interval_of_a_published_precision():
    """90.9 % of 3,015 outlines: 89.8 to 91.9 % (Xu et al. 2026)."""
    interval = wilson_interval(2741, 3015)
    assert (round(interval.low, 3), round(interval.high, 3)) == (0.898, 0.919)
    assert np.isnan(wilson_interval(0, 0).low)
