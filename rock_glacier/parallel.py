"""Work in several processes: on this machine's cores through joblib, or on a Dask cluster.

A worker of a cluster needs this package, `rock_glacier_dataset`, the same versions of what they depend on, and the
folders that are named on the command line, under the same paths.
"""

from __future__ import annotations

import contextlib
import os
import signal
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, CancelledError
from typing import Any, TypeVar

from tqdm import tqdm

_Result = TypeVar("_Result")
_LARGE = 2**16  # bytes of an argument that is sent to a cluster once, rather than with each call
_KILLED = "a worker process was killed, perhaps for lack of memory"


class WorkerError(RuntimeError):
    """The workers cannot be reached, or one was killed: says what to do."""


def count_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Workers:
    """A pool of processes, on this machine or on a cluster.

    Args:
        num_proc: number of processes on this machine; by default one for each core.
        dask: address of a Dask scheduler, such as `tcp://10.0.0.1:8786`, whose workers are used instead.
        progress: whether to show progress bars on standard error, where that is a terminal.
    """

    def __init__(self, num_proc: int | None = None, dask: str | None = None, progress: bool = False) -> None:
        self.num_proc = num_proc or count_cores()
        self.parts = 64 if dask else 8 * self.num_proc  # into which work is cut, so that all workers are busy
        self._dask = dask
        self._progress = progress

    def map(
        self, name: str, function: Callable[..., _Result], arguments: Sequence[tuple[Any, ...]], unit: str = "parts"
    ) -> Iterator[_Result]:
        """Call a function with each of the arguments.

        Args:
            name: label of the progress bar.
            function: a function of a module, so that it can be sent to another process.
            arguments: positional arguments of each call.
            unit: unit of the progress bar, in the plural.

        Yields:
            the results, in the order of the arguments.

        Raises:
            WorkerError: the cluster cannot be reached, or a process was killed.
            Exception: the first that a call raises.
        """
        with self.bar(len(arguments), name, unit) as bar:
            for result in self._results(function, arguments):
                bar.update()
                yield result

    def bar(self, total: int, name: str, unit: str) -> tqdm[Any]:
        """Return a progress bar, for work that this process does itself."""
        return tqdm(total=total, desc=name, unit=f" {unit}", disable=None if self._progress else True)

    def _results(self, function: Callable[..., _Result], arguments: Sequence[tuple[Any, ...]]) -> Iterator[_Result]:
        n_jobs = min(self.num_proc, len(arguments))
        if self._dask is not None:
            yield from _on_cluster(self._dask, function, arguments)
        elif n_jobs <= 1:
            yield from (function(*one) for one in arguments)
        else:
            import joblib

            calls = (joblib.delayed(function)(*one) for one in arguments)
            with _interruptions_blocked():
                results = joblib.Parallel(n_jobs, return_as="generator")(calls)
            try:
                for result in results:  # noqa: UP028 - which would close the results where they warn
                    yield result
            except BrokenExecutor:
                raise WorkerError(f"{_KILLED}; give fewer of them with --num-proc") from None
            finally:
                with warnings.catch_warnings():  # of results that nobody wants after a failure
                    warnings.simplefilter("ignore")
                    results.close()


@contextlib.contextmanager
def _interruptions_blocked() -> Iterator[None]:
    """Block Ctrl-C while processes are started, which inherit that: it is for this process to end them."""
    if not hasattr(signal, "pthread_sigmask"):  # on Windows
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # which joblib starts, too, and whose start lifts the block
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _on_cluster(
    address: str, function: Callable[..., _Result], arguments: Sequence[tuple[Any, ...]]
) -> Iterator[_Result]:
    """Call a function with each of the arguments on a Dask cluster.

    Not through joblib, whose backend for Dask waits for ever when a worker is killed (joblib 1.5, `_dask.py`).
    """
    try:
        import dask
        from dask.sizeof import sizeof
        from distributed import Client, KilledWorker
        from distributed import TimeoutError as NoAnswer
    except ImportError:
        raise WorkerError("--dask needs the package distributed; pip install distributed") from None
    timeout = dask.config.get("distributed.comm.timeouts.connect")  # 30 s, where Dask's configuration sets no other
    try:
        client = Client(address, timeout=timeout)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise WorkerError(
            f"--dask {address}: no scheduler answers there ({error}); start it, or mend the address"
        ) from None
    with client:
        sent: dict[int, Any] = {}  # large arguments, which calls share, by their identity

        def send(argument: Any) -> Any:
            if sizeof(argument) < _LARGE:
                return argument
            if id(argument) not in sent:
                sent[id(argument)] = client.scatter([argument], broadcast=True, hash=False)[0]  # type: ignore[no-untyped-call]
            return sent[id(argument)]

        try:
            client.wait_for_workers(1, timeout=timeout)
        except NoAnswer:
            raise WorkerError(f"--dask {address}: the scheduler has no workers; start some with dask worker") from None
        try:
            futures = deque(client.submit(function, *map(send, one), pure=False) for one in arguments)
            while futures:
                yield futures.popleft().result()
        except KilledWorker:
            raise WorkerError(f"{_KILLED}; give each more memory") from None
        except CancelledError:
            raise WorkerError(f"--dask {address}: the scheduler was lost; start it, and run again") from None
