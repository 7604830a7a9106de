"""Work in several processes: on this machine's cores, or on a Dask cluster, through joblib.

A worker of a cluster needs this package, `rock_glacier_dataset`, the same versions of what they depend on, and the
folders that are named on the command line, under the same paths.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from typing import Any, TypeVar

from tqdm import tqdm

_Result = TypeVar("_Result")


class WorkerError(Exception):
    """The workers cannot be reached, or one was killed: says what to do."""


def count_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Workers:
    """Processes that share work.

    Args:
        num_proc: number of processes on this machine; by default one for each core.
        dask: address of a Dask scheduler, such as `tcp://10.0.0.1:8786`, whose workers are used instead.
        progress: whether to show progress bars on standard error, where that is a terminal.
    """

    def __init__(self, num_proc: int | None = None, dask: str | None = None, progress: bool = False) -> None:
        self._num_proc = num_proc or count_cores()
        self._dask = dask
        self._progress = progress

    def map(
        self, name: str, function: Callable[..., _Result], arguments: Sequence[tuple[Any, ...]], unit: str = "parts"
    ) -> Iterator[_Result]:
        """Call a function with each of the arguments.

        Args:
            name: what is being done, for the progress bar.
            function: a function of a module, so that it can be sent to another process.
            arguments: positional arguments of each call.
            unit: what a call does one of, for the progress bar.

        Yields:
            the results, in the order of the arguments.

        Raises:
            WorkerError: the cluster cannot be reached, or a process was killed.
            Exception: the first that a call raises.
        """
        n_jobs = min(self._num_proc, len(arguments))
        with tqdm(total=len(arguments), desc=name, unit=f" {unit}", disable=None if self._progress else True) as bar:
            for result in self._results(function, arguments, n_jobs):
                bar.update()
                yield result

    def _results(
        self, function: Callable[..., _Result], arguments: Sequence[tuple[Any, ...]], n_jobs: int
    ) -> Iterator[_Result]:
        if not arguments:
            return
        if self._dask is None and n_jobs == 1:
            yield from (function(*one) for one in arguments)
            return
        import joblib

        calls = (joblib.delayed(function)(*one) for one in arguments)
        try:
            with _connected(self._dask):
                if self._dask is None:
                    yield from joblib.Parallel(n_jobs, return_as="generator")(calls)
                else:
                    yield from joblib.Parallel(-1)(calls)
        except BrokenExecutor:
            raise WorkerError(
                "a worker process was killed, perhaps for lack of memory; give fewer of them with --num-proc"
            ) from None


@contextlib.contextmanager
def _connected(address: str | None) -> Iterator[None]:
    """Let joblib use a Dask cluster inside the block, where an address is given."""
    if address is None:
        yield
        return
    try:
        from distributed import Client
    except ImportError:
        raise WorkerError("--dask needs the package distributed; pip install distributed") from None
    import joblib

    try:
        client = Client(address, timeout=10)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise WorkerError(
            f"--dask {address}: no scheduler answers there ({error}); start it, or mend the address"
        ) from None
    with client, joblib.parallel_config(backend="dask"):
        yield
