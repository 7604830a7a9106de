"""Work in several processes: on this machine, or on a Dask cluster.

A worker of a cluster needs this package, `rock_glacier_dataset`, and the folders that the command
reads, under the same paths. Scratch files go to the folder for temporary files (`TMPDIR`), which
must then be on storage that all workers share.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tqdm import tqdm

from rock_glacier.faults import InputError

_Result = TypeVar("_Result")
_CLUSTER_PARTS = 64  # tasks per step on a cluster, whose number of workers is not known


def count_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cut_ranges(number: int, parts: int) -> list[tuple[int, int]]:
    """Cut the numbers from 0 to `number` - 1 into ranges of about equal size.

    Example:
        >>> cut_ranges(10, 3)
        [(0, 4), (4, 8), (8, 10)]
    """
    size = max(1, -(-number // parts))
    return [(first, min(first + size, number)) for first in range(0, number, size)]


@dataclass(frozen=True)
class Workers:
    """Processes that share the work.

    Attributes:
        num_proc: Number of processes on this machine.
        dask: Address of a Dask scheduler whose workers are used instead, such as
            `tcp://10.0.0.1:8786`.
    """

    num_proc: int = field(default_factory=count_cores)
    dask: str | None = None

    @property
    def parts(self) -> int:
        """Number of parts to cut work into, to keep all processes busy."""
        return _CLUSTER_PARTS if self.dask else 8 * self.num_proc

    def map(
        self,
        function: Callable[..., _Result],
        tasks: Sequence[tuple[Any, ...]],
        description: str,
    ) -> Iterator[_Result]:
        """Call a function with each task's arguments.

        Args:
            function: A module-level function, because it is sent to other processes by name.
            tasks: Positional arguments of each call.
            description: Label of the progress bar, which is shown if stderr is a terminal.

        Yields:
            The results, in the order of the tasks.

        Raises:
            InputError: If the cluster cannot be reached, or a worker process was killed.
        """
        with tqdm(total=len(tasks), desc=description, unit=" parts", disable=None) as bar:
            for result in self._run(function, tasks):
                bar.update()
                yield result

    def _run(
        self, function: Callable[..., _Result], tasks: Sequence[tuple[Any, ...]]
    ) -> Iterator[_Result]:
        processes = min(self.num_proc, len(tasks))
        if processes <= 1 and not self.dask:
            for task in tasks:
                yield function(*task)
            return
        import joblib

        calls = (joblib.delayed(function)(*task) for task in tasks)
        try:
            with self._backend():
                yield from joblib.Parallel(n_jobs=processes, return_as="generator")(calls)
        except BrokenProcessPool:
            raise InputError(
                "A worker process could not start, or was killed. "
                "If memory ran out, use fewer processes (--num-proc)."
            ) from None

    @contextlib.contextmanager
    def _backend(self) -> Iterator[None]:
        if not self.dask:
            yield
            return
        import joblib

        try:
            from distributed import Client
        except ImportError:
            raise InputError("--dask needs a package. Run: pip install distributed") from None
        try:
            client = Client(self.dask, timeout=10)  # type: ignore[no-untyped-call]
        except (OSError, ValueError) as error:
            raise InputError(
                f"--dask {self.dask}: no scheduler answers ({error}). Check the address."
            ) from None
        with client, joblib.parallel_config(backend="dask"):
            yield
