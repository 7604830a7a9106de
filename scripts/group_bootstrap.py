"""Intervals of metrics, by bootstrap over groups of tiles.

Tiles that were cut over the same ground are no independent trials: a model that fails on one fails on the others too.
A bootstrap that draws single tiles counts each as news, and its intervals are too narrow. So whole groups are drawn,
with replacement, as many as there are, each with all of its tiles; then the intervals cover what they promise as long
as the groups are independent of one another.

Sources: A. C. Davison and D. V. Hinkley, Bootstrap Methods and their Application (Cambridge University Press, 1997),
3.8, of hierarchical data; C. A. Field and A. H. Welsh, "Bootstrapping clustered data", Journal of the Royal Statistical
Society B 69 (2007) 369-390, who find this way, their cluster bootstrap, consistent.

The ends of an interval are percentiles of the replicates (B. Efron and R. J. Tibshirani, An Introduction to the
Bootstrap, Chapman & Hall, 1993, chapter 13), which stay within a metric's range. They are set somewhat wider apart, as
T. C. Hesterberg advises ("What teachers should know about the bootstrap", The American Statistician 69 (2015) 371-386,
expanded percentile interval), for with few groups plain percentiles lie too close to one another. The adjusted interval
BCa, tried on simulated scores, covered the truth about as often; it is not defined where a metric is at its best value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special
from tqdm import tqdm

REPLICATES = 2000

LEVEL = 0.95

FEW_GROUPS = 30
"""Below as many groups, an interval is not to be relied on: on simulated scores, closely alike within a group, nominal
95 % came out as 88 to 95 % with 60 groups, 86 to 94 % with 30, 82 to 94 % with 20 and 78 to 94 % with 10, ROC AUC and
average precision having the least."""

Weights = npt.NDArray[np.float64]
"""Shape (replicates, tiles): how often each tile is in each replicate."""

Statistic = Callable[[Weights], npt.NDArray[np.float64]]
"""Gives the metrics of some replicates, shape (replicates, metrics); NaN where one is not defined."""

_WEIGHTS_AT_ONCE = 2**20  # 8 MiB


class Interval(NamedTuple):
    """Where a metric lies with the confidence `LEVEL`.

    Attributes:
        low: lower end; NaN where there is none.
        high: upper end; NaN where there is none.
        undefined: replicates that were left out, since the metric is not defined in them.
    """

    low: float
    high: float
    undefined: int


def group_numbers(groups: Sequence[Hashable]) -> npt.NDArray[np.intp]:
    """Number groups in the order in which they appear.

    Example:
        >>> group_numbers(["b", "a", "b"]).tolist()
        [0, 1, 0]
    """
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(group, len(numbers)) for group in groups], np.intp)


def resampled(groups: npt.NDArray[np.intp], replicates: int, seed: int) -> Iterator[Weights]:
    """Draw groups with replacement, as many as there are, for each replicate.

    Args:
        groups: shape (tiles,): number of each tile's group, from 0 on without a gap.
        replicates: number of replicates.
        seed: seed of the draws.

    Yields:
        the weights of some replicates at a time, so that memory does not grow with their number.
    """
    generator = np.random.default_rng(seed)
    number = int(groups.max()) + 1
    at_once = max(1, _WEIGHTS_AT_ONCE // groups.size)
    for first in range(0, replicates, at_once):
        draws = generator.multinomial(number, np.full(number, 1 / number), size=min(at_once, replicates - first))
        yield draws.astype(np.float64)[:, groups]


def bootstrap(
    statistic: Statistic,
    groups: npt.NDArray[np.intp],
    replicates: int = REPLICATES,
    seed: int = 0,
    progress: bool = False,
) -> list[Interval]:
    """Find the interval of each metric.

    Args:
        statistic: gives the metrics from the tiles' weights.
        groups: shape (tiles,): number of each tile's group, from 0 on without a gap.
        replicates: number of replicates.
        seed: seed of the draws; the same seed gives the same intervals.
        progress: whether to show a progress bar on standard error.

    Returns:
        an interval for each metric; without ends where there is one group alone, whose replicates are all the same.
    """
    values = []
    with tqdm(total=replicates, desc="bootstrap", unit="replicate", disable=not progress, leave=False) as bar:
        for weights in resampled(groups, replicates, seed):
            values.append(statistic(weights))
            bar.update(len(weights))
    return [_interval(of_metric, int(groups.max()) + 1) for of_metric in np.concatenate(values).T]


def _interval(values: npt.NDArray[np.float64], groups: int) -> Interval:
    defined = values[np.isfinite(values)]
    undefined = values.size - defined.size
    if groups == 1 or not defined.size:
        return Interval(np.nan, np.nan, undefined)
    tail = tail_of_interval(groups)
    low, high = np.quantile(defined, [tail, 1 - tail])
    return Interval(float(low), float(high), undefined)


def tail_of_interval(groups: int) -> float:
    """Return the share of replicates beyond each end of an interval, by Hesterberg (2015).

    The t distribution stands in for the normal one, and the variance of a sample, which divides by the number less 1,
    for that of the replicates, which divides by the number.

    Args:
        groups: number of groups, 2 at least.

    Example:
        >>> [round(tail_of_interval(groups), 4) for groups in (10, 100, 10_000)]
        [0.0086, 0.0231, 0.025]
    """
    return float(special.ndtr(-math.sqrt(groups / (groups - 1)) * special.stdtrit(groups - 1, (1 + LEVEL) / 2)))
