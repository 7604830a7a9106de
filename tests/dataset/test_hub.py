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
from archive_contents import Members, contents, rewrite
from conftest import REPOSITORY, SAMPLE_SIZES
from hub.server import HubServer, Repository, client_environment, fail
from test_loading_script import RUNS_SCRIPTS, SCRIPT

from rock_glacier_dataset import SPLIT_NAMES

REPO_ID = "alkzar90/rock-glacier-dataset"
PRELUDE = """
import hashlib, json
import datasets
from rock_glacier_dataset import load_dataset

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


def on_hub(folder: Path) -> dict[str, bytes | Path]:
    """Lay out a folder of archives as a Hub repository has it."""
    return {"README.md": b"# Rock glaciers", ".gitattributes": b""} | {
        f"data/{file.name}": file for file in folder.iterdir()
    }


def publish(hub: HubServer, folder: Path, **arguments: Any) -> Repository:
    return hub.add_repository(REPO_ID, on_hub(folder), **arguments)


def run(hub: HubServer, home: Path, code: str, **environment: str) -> subprocess.CompletedProcess[str]:
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


def paths(folder: Path, split: str) -> list[str]:
    return list(contents(folder, split))


def test_both_configs_load_from_the_hub_as_from_the_folder(hub, sharded_sample, tmp_path):
    publish(hub, sharded_sample)
    there, here = client(
        hub,
        tmp_path,
        f"""
        ways = [(name, s) for name in ("image-classification", "image-segmentation") for s in (False, True)]
        folder = {str(sharded_sample)!r}
        there = [digests(load_dataset(name, streaming=streaming)) for name, streaming in ways]
        here = [digests(load_dataset(name, data_dir=folder, streaming=streaming)) for name, streaming in ways]
        tell([there, here])
        """,
    )
    assert len(there) == 4
    assert there == here
    for found in there:
        assert {split: [example[0] for example in found[split]] for split in found} == {
            split: paths(sharded_sample, split) for split in SPLIT_NAMES
        }


def test_classification_fetches_no_masks(hub, sample, tmp_path):
    publish(hub, sample)
    client(hub, tmp_path, "tell(digests(load_dataset('image-classification')))")
    assert hub.bytes_sent("/data/train.zip") >= (sample / "train.zip").stat().st_size
    assert hub.bytes_sent("_masks.zip") == 0


def test_a_stream_moves_only_what_it_yields(hub, sample_copy, tmp_path):
    def multiply(members: Members) -> Members:
        return [
            (zipfile.ZipInfo(f"train/cordillera/{number}.png"), members[0][1])
            for number in range(12 * 2**20 // len(members[0][1]))
        ]

    rewrite(sample_copy / "train.zip", multiply)
    size = (sample_copy / "train.zip").stat().st_size
    assert size > 11 * 2**20
    publish(hub, sample_copy)
    code = "tell([e['path'] for e in load_dataset(split='train', streaming=True).take({})])"
    assert client(hub, tmp_path, code.format(1)) == ["train/cordillera/0.png"]
    first = hub.bytes_sent("/data/")
    assert first < 1.5 * 2**20
    assert hub.bytes_sent("/data/test.zip") == hub.bytes_sent("/data/validation.zip") == 0
    hub.requests.clear()
    assert len(client(hub, tmp_path, code.format(150))) == 150
    assert first < hub.bytes_sent("/data/train.zip") < size * 0.7


def test_a_revision_is_loaded_as_it_was(hub, sample, sample_copy, tmp_path):
    repository = publish(hub, sample)
    repository.create_tag("v1")
    code = """
    def sizes(**arguments):
        return {split: len(list(examples)) for split, examples in load_dataset(**arguments).items()}

    tell([sizes(), sizes(revision="v1"), sizes(revision="v1", streaming=True)])
    """
    assert client(hub, tmp_path, code) == [SAMPLE_SIZES] * 3
    rewrite(sample_copy / "train.zip", lambda members: members[:-1])
    repository.commit(on_hub(sample_copy), delete=["data/manifest.json"])
    fewer = SAMPLE_SIZES | {"train": SAMPLE_SIZES["train"] - 1}
    assert client(hub, tmp_path, code) == [fewer, SAMPLE_SIZES, SAMPLE_SIZES]


def test_a_loaded_revision_loads_again_without_the_hub(hub, sample, tmp_path):
    publish(hub, sample)
    load = "tell({split: len(d) for split, d in load_dataset().items()})"
    assert client(hub, tmp_path, load) == SAMPLE_SIZES
    asked = len(hub.requests)
    assert client(hub, tmp_path, load, HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1") == SAMPLE_SIZES
    assert len(hub.requests) == asked


def test_without_the_hub_and_its_cache_the_remedy_is_named(hub, tmp_path):
    done = run(hub, tmp_path, "load_dataset()", HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1")
    assert done.returncode == 1
    message = done.stderr.strip().splitlines()[-1]
    assert message.startswith("ConnectionError: alkzar90/rock-glacier-dataset: the Hub cannot be reached")
    assert "give a folder of archives as data_dir" in message


def test_a_private_copy_loads_with_a_token_from_the_call_or_the_environment(hub, sample, tmp_path):
    publish(hub, sample, private=True, token="hf_secret")
    code = "tell([len(list(d)) for s in (False, True) for d in load_dataset(streaming=s, token=%r).values()])"
    sizes = [*SAMPLE_SIZES.values()] * 2
    for home in ("call", "environment", "none"):
        (tmp_path / home).mkdir()
    assert client(hub, tmp_path / "call", code % "hf_secret") == sizes
    assert client(hub, tmp_path / "environment", code % None, HF_TOKEN="hf_secret") == sizes
    done = run(hub, tmp_path / "none", code % None)
    assert done.returncode == 1
    assert "RepositoryNotFoundError" in done.stderr
    assert "hf_secret" not in done.stderr


def test_a_folder_of_another_hub_repository_is_a_data_dir(hub, sample, tmp_path):
    repository = hub.add_repository("somebody/else", on_hub(sample))
    repository.create_branch("new/tiles")
    repository.create_branch("refs/pr/1")
    hub.add_repository("somebody/plain", sample)
    code = """
    folders = ["else/data", "else@main/data/", "else@new%2Ftiles/data", "else@refs/pr/1/data", "plain", "plain@main/"]
    tell([
        digests(load_dataset("image-segmentation", data_dir=f"hf://datasets/somebody/{folder}", streaming=s))
        for folder in folders for s in (False, True)
    ])
    """
    first, *others = client(hub, tmp_path, code)
    assert [example[0] for example in first["train"]] == paths(sample, "train")
    assert all(other == first for other in others)


def test_a_web_server_that_lists_no_folders_is_a_data_dir(hub, sample, tmp_path):
    publish(hub, sample)
    # To a client of another endpoint these are plain URLs of files.
    data_dir = f"{hub.url}/datasets/{REPO_ID}/resolve/main/data"
    code = f"""
    tell([digests(load_dataset("image-segmentation", data_dir={data_dir!r}, streaming=s)) for s in (False, True)])
    """
    whole, stream = client(hub, tmp_path, code, HF_ENDPOINT="http://127.0.0.1:9")
    assert whole == stream
    assert [example[0] for example in whole["test"]] == paths(sample, "test")


def test_a_busy_hub_is_asked_again(hub, sample, tmp_path):
    publish(hub, sample)
    hub.intercept = fail(503, path_part="/data/train.zip", times=1)
    code = "tell(sum(1 for _ in load_dataset(split='train', streaming=True)))"
    assert client(hub, tmp_path, code) == SAMPLE_SIZES["train"]
    assert 503 in {request.status for request in hub.requests}


def test_the_loading_script_takes_the_archives_of_its_own_revision(hub, sample, sample_copy, tmp_path):
    rewrite(sample_copy / "train.zip", lambda members: members[:-1])
    repository = publish(hub, sample_copy)
    repository.create_branch("script")
    repository.commit({**on_hub(sample), "rock-glacier-dataset.py": SCRIPT}, branch="script")
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
