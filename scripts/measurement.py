"""How long a piece of work takes and how much memory, each time in a process of its own."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import datasets
import psutil


class Measurement(NamedTuple):
    """What one process measured.

    Attributes:
        seconds: wall time of the work, without imports.
        megabytes: the process's peak resident memory, in MiB; with `family`, that of all its processes together, where
            what they share counts once.
        examples: number of examples that were read, or 0.
    """

    seconds: float
    megabytes: float
    examples: int = 0


Work = Callable[[Path, Path], int]


def measure(work: Work, data: Path, scratch: Path, *, family: bool = False) -> Measurement:
    """Do the work in a process of its own.

    Args:
        work: a function of a module's own, for another process finds it by its name.
        data: folder of its input.
        scratch: folder for what it writes.
        family: whether the work starts processes, whose memory counts too; looked at twenty times a second.

    Raises:
        RuntimeError: if the process failed; its own traceback is on standard error.
    """
    if hasattr(os, "sync"):
        os.sync()  # what others wrote is on the disk, and does not slow down this one's writes
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_measure_here, args=(work, data, scratch, theirs))
    process.start()
    theirs.close()
    peak = 0.0
    try:
        while family and not ours.poll(0.05):
            peak = max(peak, _family_memory(process.pid))
        measured = Measurement(*ours.recv())
        return measured._replace(megabytes=max(peak, measured.megabytes)) if family else measured
    except EOFError:
        raise RuntimeError(f"{work.__name__} failed") from None
    finally:
        process.join()


def _measure_here(work: Work, data: Path, scratch: Path, answer: Connection) -> None:
    datasets.disable_progress_bar()
    start = time.perf_counter()
    examples = work(data, scratch)
    answer.send((time.perf_counter() - start, _peak_memory(), examples))


def _family_memory(pid: int | None) -> float:
    """Return the memory of a process and its descendants in MiB, each page divided by the processes that share it."""
    total = 0
    with contextlib.suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        for process in (parent, *parent.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                total += process.memory_full_info().pss
    return total / 2**20


def _peak_memory() -> float:
    """Return this process's peak resident memory in MiB.

    `getrusage` would count what the parent held when it forked; proc_pid_status(5) says what this program itself held.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # bytes on macOS
