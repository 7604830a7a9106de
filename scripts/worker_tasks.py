"""Pieces of work side by side: on this machine's cores, or on a cluster through joblib's backends.

What a worker of a cluster needs: this project's folder with `scripts` on its PYTHONPATH, the same versions of the
packages, and the folders that are named on the command line under the same paths.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from concurrent.futures import BrokenExecutor
from typing import Any
from typing import TypeVar

import joblib
from tqdm import tqdm

_Result = TypeVar("_Result")

BACKENDS = ("loky", "dask", "ray", "spark")
"""joblib's own backend, and the clusters that it reaches through others' packages."""


def call(function: Callable[..., _Result], *arguments: Any) -> _Result:
    """Call a function: for `Workers.run`, where the pieces of work are of several kinds."""
    return function(*arguments)


class BackendError(Exception):
    """The workers cannot be had: says what is missing."""


class Workers:
    """Who does the pieces of work.

    Args:
        num_proc: number of processes of this machine; by default one for each core. A cluster has its own number.
        backend: one of `BACKENDS`.
        progress: whether to show progress bars on standard error.
    """

    def __init__(self, num_proc: int | None = None, backend: str = "loky", progress: bool = False) -> None:
        self._num_proc = num_proc or len(_usable_cores())
        self._backend = backend
        self._progress = progress

    def run(self, name: str, function: Callable[..., _Result], arguments: Sequence[tuple[Any, ...]]) -> list[_Result]:
        """Call a function of a module's own with each of the arguments.

        Args:
            name: what is being done, for the progress bar.
            function: what to call.
            arguments: positional arguments of each call.

        Returns:
            the results, in the order of the arguments.

        Raises:
            BackendError: the cluster cannot be reached, or a process was killed.
            Exception: the first that a call raises.
        """
        if not arguments:
            return []
        bar = tqdm(total=len(arguments), desc=name, unit=" parts", disable=not self._progress, leave=False)
        with bar, _connected(self._backend) as n_jobs:
            n_jobs = n_jobs or min(self._num_proc, len(arguments))
            if self._backend == "loky" and n_jobs == 1:
                return [_advance(bar, function(*one)) for one in arguments]
            calls = (joblib.delayed(function)(*one) for one in arguments)
            # Only joblib's own backend hands results over one by one on every version.
            kind = "generator" if self._backend == "loky" else "list"
            try:
                return [_advance(bar, result) for result in joblib.Parallel(n_jobs, return_as=kind)(calls)]
            except BrokenExecutor:
                raise BackendError(
                    "a worker process has ended, perhaps for lack of memory; give fewer of them with --num-proc"
                ) from None


def _advance(bar: tqdm[Any], result: _Result) -> _Result:
    bar.update()
    return result


def _usable_cores() -> Sequence[int]:
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)


@contextlib.contextmanager
def _connected(backend: str) -> Iterator[int | None]:
    """Make joblib use a backend, and yield its number of jobs; None where that is not the cluster's to say."""
    try:
        with contextlib.ExitStack() as stack:
            if backend == "dask":
                _connect_to_dask(stack)
            elif backend == "ray":
                from ray.util.joblib import register_ray

                register_ray()
            elif backend == "spark":
                from joblibspark import register_spark

                register_spark()
            stack.enter_context(joblib.parallel_config(backend=backend))
            yield None if backend == "loky" else -1
    except ImportError as error:
        packages = {"dask": "distributed", "ray": "ray", "spark": "joblibspark"}
        raise BackendError(
            f"--backend {backend} asks for a package that is not here ({error}); pip install {packages.get(backend)}"
        ) from None


def _connect_to_dask(stack: contextlib.ExitStack) -> None:
    """Connect to the scheduler that DASK_SCHEDULER_ADDRESS names, unless the program is connected already."""
    from distributed import Client
    from distributed import get_client

    with contextlib.suppress(ValueError):
        get_client()
        return
    address = os.environ.get("DASK_SCHEDULER_ADDRESS")
    if address is None:
        raise BackendError("--backend dask: no scheduler is named; set DASK_SCHEDULER_ADDRESS to its address")
    try:
        stack.enter_context(Client(address, timeout=10))  # type: ignore[no-untyped-call]
    except OSError as error:
        raise BackendError(f"--backend dask: no scheduler answers at {address} ({error}); start it there") from None
