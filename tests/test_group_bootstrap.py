"""Intervals cover what they promise where groups are drawn, and do not where tiles are drawn one by one."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import group_bootstrap
import numpy as np
import pytest
from group_bootstrap import bootstrap, group_numbers, resampled, tail_of_interval

GROUPS = np.array([0, 1, 1, 2, 2, 2, 3])


def simulated_tiles(generator, groups):
    """Labels, scores and groups: the tiles of a group are of one class more often than not, and scored alike."""
    sizes = generator.geometric(1 / 4, groups)
    group = np.repeat(np.arange(groups), sizes)
    labels = (generator.random(group.size) < generator.beta(0.5, 0.5, groups)[group]).astype(int)
    logits = 2.4 * labels - 1.2 + generator.normal(0, 1, groups)[group] + generator.normal(0, 0.7, group.size)
    return labels, 1 / (1 + np.exp(-logits)), group


def balanced_accuracy(labels, scores):
    of_classes = (
        np.stack([labels == 1, labels == 0, (labels == 1) & (scores >= 0.5), (labels == 0) & (scores < 0.5)]) * 1.0
    )

    def statistic(weights):
        glaciar, cordillera, found, spared = (weights @ of_classes.T).T
        return ((found / glaciar + spared / cordillera) / 2)[:, None]

    return statistic


def coverage(trials, drawn):
    """The share of intervals that hold the truth, when groups or tiles are drawn."""
    generator = np.random.default_rng(0)
    labels, scores, _ = simulated_tiles(generator, 100_000)
    truth = balanced_accuracy(labels, scores)(np.ones((1, labels.size)))[0, 0]
    covered = 0
    for trial in range(trials):
        labels, scores, groups = simulated_tiles(generator, 100)
        numbers = groups if drawn == "groups" else np.arange(groups.size)
        (interval,) = bootstrap(balanced_accuracy(labels, scores), numbers, 250, trial)
        covered += interval.low <= truth <= interval.high
    return covered / trials


def test_drawing_groups_covers_the_truth_and_drawing_tiles_does_not():
    assert 0.88 <= coverage(400, "groups") <= 0.98
    assert coverage(200, "tiles") <= 0.82


def test_each_replicate_draws_as_many_groups_as_there_are_with_all_their_tiles():
    weights = np.concatenate(list(resampled(GROUPS, 500, seed=1)))
    assert weights.shape == (500, len(GROUPS))
    of_groups = weights[:, [0, 1, 3, 6]]
    assert (of_groups[:, GROUPS] == weights).all()
    assert (of_groups.sum(axis=1) == 4).all()
    assert of_groups.mean() == pytest.approx(1)
    assert of_groups.var() == pytest.approx(3 / 4, abs=0.05)  # of a binomial of 4 draws with the chance 1 / 4


def test_intervals_do_not_depend_on_how_many_replicates_are_worked_on_at_once(monkeypatch):
    values = np.arange(7.0)

    def mean(weights):
        return (weights @ values / weights.sum(axis=1))[:, None]

    at_once = bootstrap(mean, GROUPS, 250, seed=3)
    monkeypatch.setattr(group_bootstrap, "_WEIGHTS_AT_ONCE", 7 * 11)
    assert bootstrap(mean, GROUPS, 250, seed=3) == at_once
    assert bootstrap(mean, GROUPS, 250, seed=4) != at_once


def test_the_interval_of_a_mean_is_that_of_theory():
    generator = np.random.default_rng(0)
    values = generator.normal(size=400)
    (interval,) = bootstrap(lambda weights: (weights @ values / 400)[:, None], np.arange(400))
    half = 1.96 * values.std() / 20
    assert interval.low == pytest.approx(values.mean() - half, abs=half / 15)
    assert interval.high == pytest.approx(values.mean() + half, abs=half / 15)


def test_replicates_in_which_a_metric_is_not_defined_are_left_out_and_counted():
    def first_tile(weights):
        return np.where(weights[:, :1] > 0, 1.0, np.nan)

    (interval,) = bootstrap(first_tile, GROUPS, 1000)
    assert (interval.low, interval.high) == (1, 1)
    assert interval.undefined == pytest.approx(1000 * (3 / 4) ** 4, abs=50)
    (never,) = bootstrap(lambda weights: np.full((len(weights), 1), np.nan), GROUPS, 1000)
    assert (np.isnan(never.low), np.isnan(never.high), never.undefined) == (True, True, 1000)


def test_one_group_has_no_interval():
    (interval,) = bootstrap(lambda weights: weights[:, :1], np.zeros(5, int), 100)
    assert (np.isnan(interval.low), np.isnan(interval.high), interval.undefined) == (True, True, 0)


def test_few_groups_widen_the_interval():
    tails = [tail_of_interval(groups) for groups in (2, 5, 20, 100, 10_000)]
    assert tails == sorted(tails)
    assert tails[-1] == pytest.approx(0.025, abs=1e-4)


def test_groups_are_numbered_without_gaps():
    assert group_numbers(["7", "1", "7", "3"]).tolist() == [0, 1, 0, 2]
