"""Intervals are those of theory, and whole grounds are drawn."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import numpy as np
import pytest

from rock_glacier.scoring.bootstrap import bootstrap

GROUNDS = np.array([0, 1, 1, 2, 2, 2, 3])


def test_each_replicate_draws_as_many_grounds_as_there_are_with_all_their_tiles():
    seen = []

    def statistic(weights):
        seen.append(weights)
        return weights[:, :1]

    bootstrap(statistic, GROUNDS, 500, seed=1)
    weights = np.concatenate(seen)
    of_grounds = weights[:, [0, 1, 3, 6]]
    assert weights.shape == (500, len(GROUNDS))
    assert (of_grounds[:, GROUNDS] == weights).all()
    assert (of_grounds.sum(axis=1) == 4).all()
    assert of_grounds.var() == pytest.approx(3 / 4, abs=0.05)  # of a binomial of 4 draws with the chance 1 / 4


def test_the_interval_of_a_mean_is_that_of_theory_and_of_its_seed():
    values = np.random.default_rng(0).normal(size=400)

    def mean(weights):
        return (weights @ values / 400)[:, None]

    (interval,) = bootstrap(mean, np.arange(400))
    half = 1.96 * values.std() / 20
    assert interval.low == pytest.approx(values.mean() - half, abs=half / 15)
    assert interval.high == pytest.approx(values.mean() + half, abs=half / 15)
    assert bootstrap(mean, np.arange(400)) == [interval]
    assert bootstrap(mean, np.arange(400), seed=1) != [interval]


def test_memory_does_not_grow_with_the_number_of_replicates():
    sizes = []

    def statistic(weights):
        sizes.append(weights.size)
        return weights[:, :1]

    bootstrap(statistic, np.arange(20_000), 100)
    assert sum(sizes) == 20_000 * 100
    assert max(sizes) <= 2**20


def test_replicates_in_which_a_metric_is_not_defined_are_left_out_and_counted():
    def statistic(weights):  # of what lies in two grounds of four, and in one
        in_two, in_one = weights[:, :1] + weights[:, 3:4] > 0, weights[:, :1] > 0
        return np.where(np.concatenate([in_two, in_one], axis=1), 1.0, np.nan)

    in_two, in_one = bootstrap(statistic, GROUNDS, 1000)
    assert (in_two.low, in_two.high) == (1, 1)
    assert in_two.undefined == pytest.approx(1000 * (2 / 4) ** 4, abs=40)
    assert (np.isnan(in_one.low), np.isnan(in_one.high)) == (True, True)
    assert in_one.undefined == pytest.approx(1000 * (3 / 4) ** 4, abs=50)


def test_one_ground_has_no_interval():
    (interval,) = bootstrap(lambda weights: weights[:, :1], np.zeros(5, int), 100)
    assert (np.isnan(interval.low), np.isnan(interval.high), interval.undefined) == (True, True, 0)


@pytest.mark.parametrize(("grounds", "tail"), [(10, 0.0086), (100, 0.0231)])
def test_few_grounds_widen_the_interval(grounds, tail):
    """By Hesterberg (2015), table 5 and its formula: the percentiles lie further out than 2.5 % and 97.5 %."""
    seen = []

    def first_less_last(weights):
        seen.append(weights @ np.linspace(-1, 1, grounds))
        return seen[-1][:, None]

    (interval,) = bootstrap(first_less_last, np.arange(grounds), 20_000)
    assert np.mean(np.concatenate(seen) < interval.low) == pytest.approx(tail, abs=0.001)
    assert np.mean(np.concatenate(seen) > interval.high) == pytest.approx(tail, abs=0.001)
