"""Processes that share a script's work, and end with it."""

from __future__ import annotations

import concurrent.futures
import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def worker_pool(num_proc: int) -> Iterator[concurrent.futures.ProcessPoolExecutor]:
    """Give `num_proc` processes to submit work to; what has not begun when the block ends is not done.

    Raises:
        concurrent.futures.BrokenExecutor: a process was killed.
    """
    pool = concurrent.futures.ProcessPoolExecutor(num_proc, initializer=_prepare_worker)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _prepare_worker() -> None:
    """Leave an interruption to the parent, and do not outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    parent = multiprocessing.parent_process()

    def follow_parent() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=follow_parent, daemon=True).start()
