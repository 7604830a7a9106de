"""Work in several processes: on this machine, and on a real Dask cluster of two worker processes."""

from __future__ import annotations

import gc
import importlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from joblib.externals.loky import get_reusable_executor

from rock_glacier.parallel import WorkerError, Workers
from rock_glacier.sample.sample_command import main

NUMBERS = [(number,) for number in range(20)]


def square(number: int) -> tuple[int, int]:
    """Return the square and the process that computed it; odd numbers take longer than even ones."""
    sum(range(500_000 * (number % 2)))
    return number**2, os.getpid()


def pick(content: list[bytes], number: int) -> bytes:
    return content[number]


def fail(number: int) -> int:
    if number == 7:
        raise ValueError("the tile 7 is damaged")
    return number


def be_killed(number: int) -> int:
    if number == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def wait(seconds: int) -> int:
    time.sleep(seconds)
    return seconds


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """The address of a cluster of two worker processes."""
    reason = "left out: pip install distributed for the tests of a cluster"
    distributed = pytest.importorskip("distributed", reason=reason)
    import dask

    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
    ):
        yield cluster.scheduler_address


@pytest.fixture(params=["one process", "two processes", "cluster"])
def workers(request: pytest.FixtureRequest) -> Workers:
    if request.param == "cluster":
        return Workers(dask=request.getfixturevalue("scheduler"))
    return Workers(num_proc=1 if request.param == "one process" else 2)


def test_results_come_in_the_order_of_the_arguments(workers: Workers, request: pytest.FixtureRequest) -> None:
    squares, processes = zip(*workers.map("Squaring", square, NUMBERS), strict=True)
    assert squares == tuple(number**2 for (number,) in NUMBERS)
    is_here = request.node.callspec.params["workers"] == "one process"
    assert (os.getpid() in processes) == is_here


def test_nothing_to_do_gives_nothing(workers: Workers) -> None:
    assert list(workers.map("Squaring", square, [])) == []


def test_large_argument_is_the_same_for_every_call(workers: Workers) -> None:
    content = [bytes([number]) * 100_000 for number in range(4)]
    assert list(workers.map("Picking", pick, [(content, number) for number in range(4)])) == content


def test_error_of_a_call_is_raised_as_it_is(workers: Workers) -> None:
    with pytest.raises(ValueError, match=r"^the tile 7 is damaged$"):
        list(workers.map("Failing", fail, NUMBERS))


def test_results_that_nobody_takes_are_no_warning(recwarn: pytest.WarningsRecorder) -> None:
    for result in Workers(2).map("Squaring", square, NUMBERS):
        assert result[0] == 0
        break
    gc.collect()
    assert [*recwarn] == []


def heeds_interruption(number: int) -> bool:
    return signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="Windows blocks no signals")
def test_interruption_from_the_terminal_reaches_the_first_process_alone() -> None:
    get_reusable_executor().shutdown(wait=True)  # so that processes are started
    assert [*Workers(2).map("Asking", heeds_interruption, NUMBERS[:4])] == [False] * 4
    assert heeds_interruption(0)


@pytest.mark.parametrize("workers", ["two processes", "cluster"], indirect=True)
def test_killed_process_is_one_clear_error(workers: Workers) -> None:
    with pytest.raises(WorkerError, match="a worker process was killed, perhaps for lack of memory") as raised:
        list(workers.map("Working", be_killed, NUMBERS[7:]))
    assert raised.value.__cause__ is None


def test_lost_scheduler_is_one_clear_error() -> None:
    distributed = pytest.importorskip("distributed", reason="left out: pip install distributed for this test")
    with distributed.LocalCluster(n_workers=1, processes=False, dashboard_address=":0") as cluster:
        results = Workers(dask=cluster.scheduler_address).map("Waiting", wait, [(0,), (60,)])
        assert next(results) == 0
        cluster.close()
        with pytest.raises(WorkerError, match=f"^--dask {cluster.scheduler_address}: the scheduler was lost; start it"):
            next(results)


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("sample.sample", "{out}"),
        ("audit.audit", "{sample}"),
        ("figures.figures", "{sample} --out {out}"),
        ("curation.build", "{sample} {out}"),
        ("publication.stage", "{sample} {out}"),
    ],
)
def test_every_command_says_in_one_line_that_a_process_was_killed(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    sample: Path,
    module: str,
    arguments: str,
) -> None:
    def killed(*arguments: object, **options: object) -> Iterator[None]:
        raise WorkerError("a worker process was killed")
        yield

    monkeypatch.setattr(Workers, "map", killed)
    command = importlib.import_module(f"rock_glacier.{module}_command")
    assert command.main(arguments.format(sample=sample, out=tmp_path / "out").split()) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(": error: a worker process was killed")
    assert not [*tmp_path.iterdir()]


def test_cluster_makes_the_same_sample(sample: Path, tmp_path: Path, scheduler: str) -> None:
    assert main([str(tmp_path / "there"), "--train=12", "--validation=4", "--test=6", "--dask", scheduler]) == 0
    for file in sample.iterdir():
        assert (tmp_path / "there" / file.name).read_bytes() == file.read_bytes()


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nowhere"])
def test_cluster_that_does_not_answer_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], address: str
) -> None:
    dask = pytest.importorskip("dask", reason="left out: pip install distributed for the tests of a cluster")
    with dask.config.set({"distributed.comm.timeouts.connect": "300ms"}):
        assert main([str(tmp_path / "out"), "--dask", address]) == 1
    message = capsys.readouterr().err
    assert f"--dask {address}: no scheduler answers there" in message
    assert message.count("\n") == 1
    assert not [*tmp_path.iterdir()]
