"""Work is done in processes of this machine, or on a Dask cluster of two processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import numpy as np
import pytest

from rock_glacier.faults import InputError
from rock_glacier.parallel import Workers
from rock_glacier.tiles import TileSet

NUMBERS = [(number,) for number in range(20)]


def square(number: int) -> tuple[int, int]:
    """Return the square of a number, and the process that computed it."""
    return number**2, os.getpid()


def fail(number: int) -> int:
    if number == 7:
        raise KeyError("tile 7")
    return number


def kill_own_process(number: int) -> int:
    if number == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of the scheduler of a Dask cluster of two processes."""
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}
    with distributed.LocalCluster(**options) as local:
        yield local.scheduler_address


@pytest.mark.parametrize("processes", [1, 2])
def test_results_are_in_the_order_of_the_tasks(processes):
    results = list(Workers(processes).map(square, NUMBERS, "Squaring"))
    assert [result for result, _ in results] == [number**2 for number in range(20)]
    assert (os.getpid() in {process for _, process in results}) == (processes == 1)


@pytest.mark.parametrize("processes", [1, 2])
def test_an_error_of_a_task_is_raised(processes):
    with pytest.raises(KeyError):
        list(Workers(processes).map(fail, NUMBERS, "Failing"))


def test_a_killed_process_is_an_input_error():
    with pytest.raises(InputError):
        list(Workers(2).map(kill_own_process, NUMBERS, "Failing"))


def test_a_cluster_gives_the_same_results(cluster, sample):
    results = list(Workers(dask=cluster).map(square, NUMBERS, "Squaring"))
    assert [result for result, _ in results] == [number**2 for number in range(20)]
    assert os.getpid() not in {process for _, process in results}
    with (
        TileSet.read(sample, Workers(1)) as here,
        TileSet.read(sample, Workers(dask=cluster)) as there,
    ):
        assert np.array_equal(here.images, there.images)
        assert here.table.equals(there.table)


def test_an_address_without_scheduler_is_an_input_error():
    pytest.importorskip("distributed")
    with pytest.raises(InputError):
        list(Workers(dask="not an address").map(square, NUMBERS, "Squaring"))
