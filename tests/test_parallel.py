"""Work in several processes: on this machine, and on a real Dask cluster of two worker processes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from archive_contents import contents

from rock_glacier.parallel import WorkerError, Workers
from rock_glacier.sample.generate import make_sample_archives
from rock_glacier.sample.sample_command import main
from rock_glacier_dataset import SPLIT_NAMES

NUMBERS = [(number,) for number in range(20)]


def process_id(_: int) -> int:
    return os.getpid()


def square(number: int) -> int:
    sum(range(500_000 * (number % 2)))  # so that results come in another order than they are asked for
    return number**2


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


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a cluster whose workers have the project on their path."""
    pytest.importorskip("distributed", reason="left out: pip install distributed for the test of a cluster")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0",
    }
    folder = tmp_path_factory.mktemp("dask")
    processes: list[subprocess.Popen[str]] = []

    def start(*arguments: str, until: str) -> str:
        command = [sys.executable, "-m", *arguments, "--host", "127.0.0.1", "--no-dashboard"]
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, cwd=folder)
        processes.append(process)
        assert process.stderr is not None
        for line in process.stderr:
            if found := re.search(until, line):
                return found[0]
        raise AssertionError(f"ended without {until}")

    try:
        address = start("distributed.cli.dask_scheduler", "--port", "0", until=r"tcp://127\.0\.0\.1:\d+")
        for _ in range(2):
            start("distributed.cli.dask_worker", address, "--nthreads", "1", until="Starting established connection")
        yield address
    finally:
        for process in reversed(processes):
            process.terminate()
            process.communicate()


@pytest.fixture(params=["one process", "two processes", "cluster"])
def workers(request: pytest.FixtureRequest) -> Workers:
    if request.param == "cluster":
        return Workers(dask=request.getfixturevalue("scheduler"))
    return Workers(num_proc=1 if request.param == "one process" else 2)


def test_results_come_in_the_order_of_the_arguments(workers: Workers) -> None:
    assert list(workers.map("Squaring", square, NUMBERS)) == [number**2 for (number,) in NUMBERS]


def test_nothing_to_do_gives_nothing(workers: Workers) -> None:
    assert list(workers.map("Squaring", square, [])) == []


def test_large_argument_is_the_same_for_every_call(workers: Workers) -> None:
    content = [bytes([number]) * 100_000 for number in range(4)]
    assert list(workers.map("Picking", pick, [(content, number) for number in range(4)])) == content


def test_error_of_a_call_is_raised_as_it_is(workers: Workers) -> None:
    with pytest.raises(ValueError, match=r"^the tile 7 is damaged$"):
        list(workers.map("Failing", fail, NUMBERS))


@pytest.mark.parametrize("workers", ["two processes", "cluster"], indirect=True)
def test_other_processes_do_the_work(workers: Workers) -> None:
    ids = {*workers.map("Asking", process_id, NUMBERS)}
    assert ids
    assert os.getpid() not in ids


def test_killed_process_is_one_clear_error() -> None:
    with pytest.raises(WorkerError, match="a worker process was killed, perhaps for lack of memory") as raised:
        list(Workers(num_proc=2).map("Working", be_killed, NUMBERS))
    assert raised.value.__cause__ is None
    assert list(Workers(num_proc=2).map("Squaring", square, NUMBERS[:3])) == [0, 1, 4]


def test_killed_worker_of_a_cluster_is_one_clear_error(scheduler: str) -> None:
    with pytest.raises(WorkerError, match="a worker process was killed"):
        list(Workers(dask=scheduler).map("Working", be_killed, NUMBERS))


def test_cluster_makes_the_same_sample(tmp_path: Path, scheduler: str) -> None:
    make_sample_archives(tmp_path / "here", train=9, validation=1, test=1)
    command = [str(tmp_path / "there"), "--train=9", "--validation=1", "--test=1", "--dask", scheduler]
    assert main(command) == 0
    for split in SPLIT_NAMES:
        assert contents(tmp_path / "there", split) == contents(tmp_path / "here", split)


def test_cluster_that_does_not_answer_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("distributed", reason="left out: pip install distributed for the test of a cluster")
    assert main([str(tmp_path / "out"), "--dask", "tcp://127.0.0.1:1"]) == 1
    message = capsys.readouterr().err
    assert "--dask tcp://127.0.0.1:1: no scheduler answers there" in message
    assert message.count("\n") == 1
    assert not [*tmp_path.iterdir()]
