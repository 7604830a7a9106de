"""Archives on the Hub: the real clients, in processes of their own, against a Hub on the loopback interface."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from archive_contents import Members, rewrite, tile_paths
from conftest import REPOSITORY
from hub.server import HubServer, Repository, client_environment, fail
from test_loading_script import RUNS_SCRIPTS, SCRIPT

REPO_ID = "alkzar90/rock-glacier-dataset"
PRELUDE = """
import json, time
from pathlib import Path
import datasets
from archive_contents import assert_holds_all
from rock_glacier_dataset import CONFIG_NAMES, load_archives

time.sleep = lambda seconds: None  # between the attempts of a client

def load_both_ways(name="image-segmentation", **arguments):
    return [load_archives(name, streaming=streaming, **arguments) for streaming in (False, True)]

def error_of(**arguments):
    try:
        return load_archives(**arguments)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
"""


@pytest.fixture(scope="module")
def server() -> Iterator[HubServer]:
    with HubServer() as running:
        yield running


@pytest.fixture
def hub(server: HubServer) -> Iterator[HubServer]:
    """A Hub without repositories, requests or faults."""
    yield server
    server.repositories.clear()
    server.tokens.clear()
    server.requests.clear()
    server.intercept = None


def below(folder: str, archives: Path) -> dict[str, bytes | Path]:
    return {f"{folder}/{file.name}": file for file in archives.iterdir()}


def publish(hub: HubServer, archives: Path, **arguments: Any) -> Repository:
    """Add the dataset as it is published: the archives on the branch `script` alone."""
    repository = hub.add_repository(REPO_ID, {"README.md": b"# Rock glaciers"}, **arguments)
    repository.create_branch("script")
    repository.commit({**below("data", archives), "rock-glacier-dataset.py": SCRIPT}, branch="script")
    return repository


def client(hub: HubServer, home: Path, code: str, **environment: str) -> Any:
    """Run code that leaves a `result` as a user would, and return the result."""
    home.mkdir(exist_ok=True)
    paths = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests")])
    done = subprocess.run(
        [sys.executable, "-c", f"{PRELUDE}{textwrap.dedent(code)}\nprint('RESULT' + json.dumps(result))"],
        env={**client_environment(hub, home), "PYTHONPATH": paths, **environment},
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "hf_secret" not in done.stderr
    return json.loads(done.stdout.rpartition("RESULT")[2])


def test_default_location_is_the_branch_script(hub, sharded_sample, tmp_path):
    publish(hub, sharded_sample)
    code = f"""
    result = 0
    for name in CONFIG_NAMES:
        for loaded in load_both_ways(name):
            assert_holds_all(loaded, Path({str(sharded_sample)!r}))
            result += 1
    """
    assert client(hub, tmp_path, code) == 4


@pytest.mark.parametrize("folder", ["sample", "real_archives"])
def test_folder_of_any_repository_and_revision_is_a_data_dir(folder, hub, request, tmp_path):
    """Among them the curators' folder, which has older archives beside it."""
    archives = request.getfixturevalue(folder)
    older = {"data/train.zip": b"older", "data/validation.zip": b"older", "data/glaciar_masks_trainset.zip": b"older"}
    repository = hub.add_repository(REPO_ID, {**older, **below("data/data_v01", archives)})
    repository.create_branch("new/tiles")
    repository.create_branch("refs/pr/1")
    root = hub.add_repository("somebody/root", archives)
    revisions = ["", "@main", "@new%2Ftiles", "@refs/pr/1"] if folder == "sample" else [""]
    places = [*(f"{REPO_ID}{revision}/data/data_v01" for revision in revisions), "somebody/root", "somebody/root@main/"]
    code = f"""
    result = 0
    for place in {places}:
        for loaded in load_both_ways(data_dir=f"hf://datasets/{{place}}"):
            assert_holds_all(loaded, Path({str(archives)!r}))
            result += 1
    """
    assert client(hub, tmp_path, code) == 2 * len(places)
    asked = [request.path for request in hub.requests if request.path.endswith("train.zip")]
    commits = {repository.find("main").sha, root.find("main").sha}
    assert {path.partition("/resolve/")[2].partition("/")[0] for path in asked} == commits


def test_revision_is_loaded_as_it_was_and_a_branch_as_it_is_now(hub, sample, sample_copy, tmp_path):
    repository = hub.add_repository(REPO_ID, below("data", sample))
    repository.create_tag("v1")
    rewrite(sample_copy / "train.zip", lambda members: [m for m in members if "cordillera/002" not in m[0].filename])
    repository.commit(below("data", sample_copy), delete=["data/manifest.json"])
    code = f"""
    result = [
        sum(1 for _ in loaded["train"])
        for revision in ("v1", "main", "v1")
        for loaded in load_both_ways(data_dir=f"hf://datasets/{REPO_ID}@{{revision}}/data")
    ]
    """
    assert client(hub, tmp_path, code) == [12, 12, 11, 11, 12, 12]


def test_private_copy_loads_with_a_token_from_the_call_or_the_environment(hub, sample, tmp_path):
    publish(hub, sample, private=True, token="hf_secret")
    sizes = "[sum(1 for _ in loaded['train']) for loaded in load_both_ways({})]"
    code = f"""result = [error_of(), {sizes.format("token='hf_secret'")}]"""
    refused, loaded = client(hub, tmp_path / "call", code)
    assert "RepositoryNotFoundError" in refused
    assert loaded == [12, 12]
    assert client(hub, tmp_path / "environment", f"result = {sizes.format('')}", HF_TOKEN="hf_secret") == [12, 12]


def test_what_is_not_on_the_hub_is_named(hub, sample, tmp_path):
    publish(hub, sample)
    expected = {
        "hf://datasets/x": "ArchiveError: hf://datasets/x: cannot be looked up",
        "hf://datasets/nobody/nothing/data": "nothing/data: cannot be looked up (RepositoryNotFoundError",
        f"hf://datasets/{REPO_ID}/no": f"ArchiveError: train.zip: not in hf://datasets/{REPO_ID}@",
    }
    code = f"result = [error_of(data_dir=data_dir) for data_dir in {list(expected)}]"
    for message, said in zip(client(hub, tmp_path, code), expected.values(), strict=True):
        assert said in message


def test_busy_hub_is_asked_again(hub, sample, tmp_path):
    publish(hub, sample)
    hub.intercept = fail(503, path_part="/data/train.zip", times=1)
    code = "result = sum(1 for _ in load_archives(split='train', streaming=True))"
    assert client(hub, tmp_path, code) == 12
    assert 503 in {request.status for request in hub.requests}


MIB = 2**20


def in_order(order: str, size: int):
    """Multiply the members of a train archive up to a size, with the masks where `order` says."""

    def multiply(members: Members) -> Members:
        by_folder = {member.filename.split("/")[1]: content for member, content in members}
        numbers = range(size // sum(map(len, by_folder.values())))
        copies = [(f"train/{folder}/{n:03d}.png", by_folder[folder]) for n in numbers for folder in by_folder]
        if order != "masks beside their tiles":
            copies.sort(key=lambda copy: ("/masks/" in copy[0]) == (order == "masks last"))
        return [(zipfile.ZipInfo(name), content) for name, content in copies]

    return multiply


def test_stream_downloads_little_more_than_it_yields(hub, sample, tmp_path):
    orders = {order: tmp_path / order for order in ("masks first", "masks last", "masks beside their tiles")}
    files: dict[str, bytes | Path] = {}
    for order, folder in orders.items():
        shutil.copytree(sample, folder)
        rewrite(folder / "train.zip", in_order(order, 8 * MIB))
        for way in ("one", "tiles", "masks"):
            files |= below(f"{order}/{way}", folder)
    hub.add_repository(REPO_ID, files)
    code = f"""
    def count(way, name, number=None):
        stream = load_archives(name, data_dir=f"hf://datasets/{REPO_ID}/{{way}}", split="train", streaming=True)
        return sum(1 for _ in (stream.take(number) if number else stream))

    result = [
        [count(f"{{order}}/one", CONFIG_NAMES[0], 1)] + [count(f"{{order}}/tiles", CONFIG_NAMES[0]),
        count(f"{{order}}/masks", CONFIG_NAMES[1])]
        for order in {list(orders)}
    ]
    """
    counts = client(hub, tmp_path, code)
    for (order, folder), count in zip(orders.items(), counts, strict=True):
        tiles, size = len(tile_paths(folder, "train")), (folder / "train.zip").stat().st_size
        assert count == [1, tiles, tiles]
        assert hub.bytes_sent(f"{order}/one/train.zip") < 3 * MIB
        assert hub.bytes_sent(f"{order}/one/test.zip") < MIB / 2
        assert hub.bytes_sent(f"{order}/tiles/train.zip") <= size + 64  # the record at the end is asked for thrice
        assert hub.bytes_sent(f"{order}/masks/train.zip") < 1.5 * size


def test_loading_script_takes_the_archives_of_its_own_revision(hub, sample, tmp_path):
    publish(hub, sample)
    code = f"""
    try:
        for streaming in (False, True):
            loaded = datasets.load_dataset(
                {REPO_ID!r}, "image-segmentation", revision="script", streaming=streaming, trust_remote_code=True
            )
            assert_holds_all(loaded, Path({str(sample)!r}))
        result = "loaded"
    except RuntimeError as error:
        result = str(error)
    """
    assert ("loaded" if RUNS_SCRIPTS else "scripts are no longer supported") in client(hub, tmp_path, code)
