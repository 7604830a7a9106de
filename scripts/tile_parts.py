"""Work on many tiles part by part, side by side, so that memory does not grow with their number."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import joblib
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from rock_glacier.parallel import Workers

_Result = TypeVar("_Result")

PART = 32
"""Tiles of a part; 1.5 MiB of colours."""

_PARTS_AHEAD = 4  # for each process, whose results wait until it is their turn


def map_parts(
    name: str,
    function: Callable[..., _Result],
    arrays: tuple[npt.NDArray[Any], ...],
    others: tuple[Any, ...] = (),
    num_proc: int | None = None,
) -> Iterator[_Result]:
    """Call a function with parts of arrays, in processes, and show how far it is on standard error.

    Args:
        name: what is being done, for the progress bar.
        function: a module's own function, called as `function(*parts, *others)`.
        arrays: of as many tiles each, mapped from files where they are large.
        others: further arguments.
        num_proc: number of processes; by default one for each core.

    Yields:
        the results, in the order of the tiles.

    Raises:
        BackendError: a process was killed.
        Exception: the first that a call raises.
    """
    count = len(arrays[0])
    num_proc = num_proc or joblib.cpu_count()
    workers = Workers(num_proc)
    starts = iter(range(0, count, PART))
    with tqdm(total=count, desc=name, unit=" tiles", leave=False) as bar:
        while several := list(itertools.islice(starts, _PARTS_AHEAD * num_proc)):
            parts = [(*(array[start : start + PART] for array in arrays), *others) for start in several]
            for start, result in zip(several, workers.run(name, function, parts), strict=True):
                yield result
                bar.update(min(PART, count - start))


def concatenated(results: Iterator[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Put results for parts together."""
    return np.concatenate(list(results))
