"""Archives on the Hub: the real clients, in processes of their own, against a Hub on the loopback interface."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from archive_contents import Members, rewrite, tile_paths
from conftest import REPOSITORY, SAMPLE_SIZES
from hub.server import HubServer, Repository, client_environment, fail
from test_loading_script import RUNS_SCRIPTS, SCRIPT

from rock_glacier_dataset import SPLIT_NAMES

REPO_ID = "alkzar90/rock-glacier-dataset"
PRELUDE = """
import hashlib, json
import datasets
from rock_glacier_dataset import load_archives

def digests(loaded):
    '''What a client got: path, image and mask of each example, as digests of bytes.'''
    found = {}
    for split, examples in loaded.items():
        for column, feature in dict(examples.features).items():
            if isinstance(feature, datasets.Image):
                examples = examples.cast_column(column, datasets.Image(decode=False))
        found[split] = [
            [example["path"]]
            + [hashlib.sha256(example[c]["bytes"]).hexdigest() for c in ("image", "masks") if c in example]
            for example in examples
        ]
    return found

def tell(result):
    print("RESULT" + json.dumps(result))
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


def run(hub: HubServer, home: Path, code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    home.mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(code)],
        env={**client_environment(hub, home), "PYTHONPATH": str(REPOSITORY), **environment},
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )


def client(hub: HubServer, home: Path, code: str, **environment: str) -> Any:
    """Run code that ends in tell(result) as a user would, and return the result."""
    done = run(hub, home, code, **environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.rpartition("RESULT")[2])


def test_default_location_is_the_branch_script(hub, sharded_sample, tmp_path):
    publish(hub, sharded_sample)
    there, here = client(
        hub,
        tmp_path,
        f"""
        ways = [(name, s) for name in ("image-classification", "image-segmentation") for s in (False, True)]
        folder = {str(sharded_sample)!r}
        there = [digests(load_archives(name, streaming=streaming)) for name, streaming in ways]
        here = [digests(load_archives(name, data_dir=folder, streaming=streaming)) for name, streaming in ways]
        tell([there, here])
        """,
    )
    assert len(there) == 4
    assert there == here
    for found in there:
        for split in SPLIT_NAMES:
            assert [example[0] for example in found[split]] == tile_paths(sharded_sample, split)


def test_curators_folder_is_a_data_dir_among_older_files(hub, real_archives, tmp_path):
    older = {"data/train.zip": b"older", "data/validation.zip": b"older", "data/glaciar_masks_trainset.zip": b"older"}
    hub.add_repository(REPO_ID, {"rock-glacier-dataset.py": b"", **older, **below("data/data_v01", real_archives)})
    code = """
    data_dir = "hf://datasets/alkzar90/rock-glacier-dataset/data/data_v01"
    tell([digests(load_archives("image-segmentation", data_dir=data_dir, streaming=s)) for s in (False, True)])
    """
    whole, stream = client(hub, tmp_path, code)
    assert whole == stream
    for split in SPLIT_NAMES:
        assert [example[0] for example in whole[split]] == tile_paths(real_archives, split)


def test_folder_of_any_repository_and_revision_is_a_data_dir(hub, sample, tmp_path):
    repository = hub.add_repository("somebody/else", below("data", sample))
    repository.create_branch("new/tiles")
    repository.create_branch("refs/pr/1")
    hub.add_repository("somebody/plain", sample)
    code = """
    folders = ["else/data", "else@main/data/", "else@new%2Ftiles/data", "else@refs/pr/1/data", "plain", "plain@main/"]
    tell([
        digests(load_archives("image-segmentation", data_dir=f"hf://datasets/somebody/{folder}", streaming=s))
        for folder in folders for s in (False, True)
    ])
    """
    first, *others = client(hub, tmp_path, code)
    assert [example[0] for example in first["train"]] == tile_paths(sample, "train")
    assert all(other == first for other in others)


def test_revision_is_loaded_as_it_was_and_a_branch_as_it_is_now(hub, sample, sample_copy, tmp_path):
    repository = hub.add_repository(REPO_ID, below("data", sample))
    repository.create_tag("v1")
    code = f"""
    def sizes(revision, **arguments):
        loaded = load_archives(data_dir=f"hf://datasets/{REPO_ID}@{{revision}}/data", **arguments)
        return {{split: len(list(examples)) for split, examples in loaded.items()}}

    tell([sizes("main"), sizes("v1"), sizes("v1", streaming=True)])
    """
    assert client(hub, tmp_path, code) == [SAMPLE_SIZES] * 3
    rewrite(sample_copy / "train.zip", lambda members: [m for m in members if "cordillera/002" not in m[0].filename])
    repository.commit(below("data", sample_copy), delete=["data/manifest.json"])
    fewer = SAMPLE_SIZES | {"train": SAMPLE_SIZES["train"] - 1}
    assert client(hub, tmp_path, code) == [fewer, SAMPLE_SIZES, SAMPLE_SIZES]


def test_private_copy_loads_with_a_token_from_the_call_or_the_environment(hub, sample, tmp_path):
    publish(hub, sample, private=True, token="hf_secret")
    code = "tell([len(list(d)) for s in (False, True) for d in load_archives(streaming=s, token=%r).values()])"
    sizes = [*SAMPLE_SIZES.values()] * 2
    assert client(hub, tmp_path / "call", code % "hf_secret") == sizes
    assert client(hub, tmp_path / "environment", code % None, HF_TOKEN="hf_secret") == sizes
    done = run(hub, tmp_path / "none", code % None)
    assert done.returncode == 1
    assert "RepositoryNotFoundError" in done.stderr
    assert "hf_secret" not in done.stderr


@pytest.mark.parametrize(
    ("data_dir", "said"),
    [
        ("hf://datasets/x", "ArchiveError: hf://datasets/x: cannot be looked up"),
        ("hf://datasets/nobody/nothing/data", "nothing/data: cannot be looked up (RepositoryNotFoundError"),
        (f"hf://datasets/{REPO_ID}/no", f"ArchiveError: train.zip: not in hf://datasets/{REPO_ID}@"),
    ],
)
def test_what_is_not_on_the_hub_is_named(data_dir, said, hub, sample, tmp_path):
    publish(hub, sample)
    done = run(hub, tmp_path, f"load_archives(data_dir={data_dir!r})")
    assert done.returncode == 1
    assert said in done.stderr


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streaming"])
def test_archives_at_the_root_of_a_repository_are_read_at_the_commit_that_is_there(hub, sample, tmp_path, streaming):
    repository = hub.add_repository("me/mine", {file.name: file for file in sample.iterdir()})
    first = repository.find("main").sha
    code = f"""
    tell(list(digests(load_archives(data_dir='hf://datasets/me/mine', streaming={streaming}))))
    """
    assert client(hub, tmp_path, code) == list(SPLIT_NAMES)
    asked = [request.path for request in hub.requests if request.path.endswith("train.zip")]
    assert asked
    assert all(first in path for path in asked)


def test_busy_hub_is_asked_again(hub, sample, tmp_path):
    publish(hub, sample)
    hub.intercept = fail(503, path_part="/data/train.zip", times=1)
    code = "tell(sum(1 for _ in load_archives(split='train', streaming=True)))"
    assert client(hub, tmp_path, code) == SAMPLE_SIZES["train"]
    assert 503 in {request.status for request in hub.requests}


MIB = 2**20


@pytest.fixture(params=["masks first", "masks last", "masks beside their tiles"])
def large_sample(request, sample_copy):
    """A train archive of some 16 MiB."""

    def multiply(members: Members) -> Members:
        by_folder = {member.filename.split("/")[1]: content for member, content in members}
        numbers = range(16 * MIB // sum(map(len, by_folder.values())))
        copies = [(f"train/{folder}/{n:03d}.png", by_folder[folder]) for n in numbers for folder in by_folder]
        if request.param != "masks beside their tiles":
            copies.sort(key=lambda copy: ("/masks/" in copy[0]) == (request.param == "masks last"))
        return [(zipfile.ZipInfo(name), content) for name, content in copies]

    rewrite(sample_copy / "train.zip", multiply)
    return sample_copy


def test_stream_moves_what_it_yields_and_hardly_more(hub, large_sample, tmp_path):
    publish(hub, large_sample)
    size = (large_sample / "train.zip").stat().st_size
    code = "tell(sum(1 for _ in load_archives({!r}, split='train', streaming=True){}))"
    tiles = len(tile_paths(large_sample, "train"))

    assert client(hub, tmp_path, code.format("image-classification", ".take(1)")) == 1
    assert hub.bytes_sent("/data/train.zip") < 3 * MIB
    assert hub.bytes_sent("/data/test.zip") < MIB / 2
    hub.requests.clear()
    assert client(hub, tmp_path, code.format("image-classification", "")) == tiles
    assert hub.bytes_sent("/data/train.zip") <= size + 64  # the record at the end is asked for thrice
    hub.requests.clear()
    assert client(hub, tmp_path, code.format("image-segmentation", "")) == tiles
    assert hub.bytes_sent("/data/train.zip") < 1.5 * size


def test_loading_script_takes_the_archives_of_its_own_revision(hub, sample, tmp_path):
    publish(hub, sample)
    done = run(
        hub,
        tmp_path,
        f"""
        def sizes(streaming):
            loaded = datasets.load_dataset(
                {REPO_ID!r}, "image-segmentation", revision="script", streaming=streaming, trust_remote_code=True
            )
            return {{split: sum(1 for _ in examples) for split, examples in loaded.items()}}

        tell([sizes(False), sizes(True)])
        """,
    )
    if RUNS_SCRIPTS:
        assert done.returncode == 0, done.stderr[-3000:]
        assert json.loads(done.stdout.rpartition("RESULT")[2]) == [SAMPLE_SIZES] * 2
    else:
        assert "scripts are no longer supported" in done.stderr
