"""Work on a cluster: a real one of Dask, of two worker processes on the loopback interface."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import audit_archives
import pytest
import stage_hub_repo
from conftest import REPOSITORY

from rock_glacier.parallel import BackendError, Workers

distributed = pytest.importorskip("distributed", reason="left out: pip install distributed for the test of a cluster")


def process_id(_: int) -> int:
    return os.getpid()


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory) -> Iterator[str]:
    """The address of a cluster whose workers have the project's scripts on their path."""
    path = os.pathsep.join(str(REPOSITORY / name) for name in ("", "scripts", "tests"))
    environment = {**os.environ, "PYTHONPATH": path, "DASK_DISTRIBUTED__DASHBOARD__LINK": ""}
    common = {"env": environment, "stderr": subprocess.PIPE, "text": True, "cwd": tmp_path_factory.mktemp("dask")}
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"]
    processes = [subprocess.Popen([*command, "--no-dashboard"], **common)]
    try:
        address = read_until(processes[0], r"(tcp://127\.0\.0\.1:\d+)")
        worker = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-dashboard"]
        for _ in range(2):
            processes.append(subprocess.Popen([*worker, "--host", "127.0.0.1"], **common))
            read_until(processes[-1], "(Starting established connection)")
        yield address
    finally:
        for process in reversed(processes):
            process.kill()
            process.wait()


def read_until(process: subprocess.Popen[str], pattern: str) -> str:
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(pattern, line):
            return found[1]
    raise AssertionError(f"ended without {pattern}")


@pytest.fixture
def on_cluster(scheduler, monkeypatch) -> str:
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", scheduler)
    return scheduler


def test_the_clusters_processes_do_the_work(on_cluster):
    ids = Workers(backend="dask").run("Asking", process_id, [(number,) for number in range(20)])
    assert os.getpid() not in ids


def test_the_audit_is_the_same_on_a_cluster(on_cluster, sharded_sample, tmp_path):
    for backend in ("loky", "dask"):
        arguments = [str(sharded_sample), "--backend", backend, "--json", str(tmp_path / backend)]
        assert audit_archives.main(arguments) == 0
    assert (tmp_path / "dask").read_bytes() == (tmp_path / "loky").read_bytes()


def test_staging_gives_the_same_bytes_on_a_cluster(on_cluster, sharded_sample, tmp_path):
    for backend in ("loky", "dask"):
        assert stage_hub_repo.main([str(sharded_sample), str(tmp_path / backend), "--backend", backend]) == 0
    here, there = (files_of(tmp_path / backend) for backend in ("loky", "dask"))
    assert len(here) > 18
    assert here == there


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_cluster_that_is_not_named_is_said(monkeypatch, sample, capsys):
    monkeypatch.delenv("DASK_SCHEDULER_ADDRESS", raising=False)
    assert audit_archives.main([str(sample), "--backend", "dask"]) == 1
    assert "set DASK_SCHEDULER_ADDRESS" in capsys.readouterr().err


@pytest.mark.parametrize(("backend", "package"), [("ray", "ray"), ("spark", "joblibspark")])
def test_a_package_that_is_not_here_is_named(backend, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(BackendError, match=f"pip install {package}"):
        Workers(backend=backend).run("Asking", process_id, [(1,), (2,)])
