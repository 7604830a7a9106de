"""Archives on the Hub: the real clients in their own processes, and the loopback Hub."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest
from factories import REPOSITORY, png, replace_member, write_zip
from loopback_hub import LoopbackHub, Repository, client_environment

from rock_glacier_dataset import EMPTY_MASK, ArchiveError, locate

REPO_ID = "alkzar90/rock-glacier-dataset"
DATA_DIR = f"hf://datasets/{REPO_ID}/data"
RUNS_SCRIPTS = int(datasets.__version__.split(".")[0]) < 4
MIB = 2**20

PRELUDE = """
import json
from pathlib import Path
import datasets
from factories import assert_holds, assert_holds_all
from rock_glacier.archives import local_folder
from rock_glacier_dataset import CONFIG_NAMES, ArchiveError, load_archives

def size_of(split="train", **arguments):
    return sum(1 for _ in load_archives(split=split, **arguments))

def fault_of(**arguments):
    try:
        load_archives(**arguments)
    except ArchiveError as error:
        return [error.fault.place, str(error)]
"""


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    with LoopbackHub() as running:
        yield running


def run_client(hub: LoopbackHub, home: Path, code: str, **environment: str) -> Any:
    """Run a user's code in another process, and return the value of its `result`."""
    home.mkdir(exist_ok=True)
    paths = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests")])
    program = f"{PRELUDE}{textwrap.dedent(code)}\nprint('RESULT' + json.dumps(result))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**client_environment(hub, home), "PYTHONPATH": paths, **environment},
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "hf_secret" not in done.stderr
    return json.loads(done.stdout.rpartition("RESULT")[2])


def files_in(folder: str, archives: Path) -> dict[str, bytes | Path]:
    return {f"{folder}/{file.name}": file for file in archives.iterdir()}


def publish(hub: LoopbackHub, archives: Path, **arguments: Any) -> Repository:
    """Add the dataset as it is published: the archives on the branch `script` only."""
    repository = hub.add_repository(REPO_ID, {"README.md": b"# Rock glaciers"}, **arguments)
    script = REPOSITORY / "rock_glacier_dataset.py"
    files = {**files_in("data", archives), "rock-glacier-dataset.py": script}
    repository.commit(files, branch="script")
    return repository


def test_release_is_on_the_branch_script(hub, sharded_sample, tmp_path):
    publish(hub, sharded_sample)
    code = f"""
    archives = Path({str(sharded_sample)!r})
    for name in CONFIG_NAMES:
        for streaming in (False, True):
            assert_holds_all(load_archives(name, streaming=streaming), archives)
    result = "done"
    """
    assert run_client(hub, tmp_path, code) == "done"


def test_any_repository_revision_and_folder(hub, sample, tmp_path):
    repository = hub.add_repository(REPO_ID, files_in("data/data_v01", sample))
    repository.create_branch("new/tiles")
    repository.create_branch("refs/pr/1")
    hub.add_repository("somebody/root", sample)
    places = [f"{REPO_ID}{end}/data/data_v01" for end in ("", "@new%2Ftiles", "@refs/pr/1")]
    code = f"""
    for place in {[*places, "somebody/root", "somebody/root@main/"]}:
        for streaming in (False, True):
            options = {{"data_dir": f"hf://datasets/{{place}}", "streaming": streaming}}
            assert_holds(load_archives(split="test", **options), Path({str(sample)!r}), "test")
    result = "done"
    """
    assert run_client(hub, tmp_path, code) == "done"
    assert hub.bytes_sent("train.zip") == 0


def test_a_tag_stays_and_a_branch_moves(hub, sample, sample_copy, tmp_path):
    repository = hub.add_repository(REPO_ID, files_in("data", sample))
    repository.create_tag("v1")
    replace_member(sample_copy / "train.zip", "train/cordillera/99.png", EMPTY_MASK)
    repository.commit(files_in("data", sample_copy))
    code = f"""
    data_dirs = [f"hf://datasets/{REPO_ID}@{{revision}}/data" for revision in ("v1", "main", "v1")]
    result = [size_of(data_dir=place, streaming=way) for place in data_dirs for way in (0, 1)]
    """
    assert run_client(hub, tmp_path, code) == [12, 12, 13, 13, 12, 12]


def test_without_a_network_cached_archives_are_used(sample, sample_copy, tmp_path):
    """A branch is as it was at the last download, and a commit is exactly that commit."""
    with LoopbackHub() as hub:
        repository = hub.add_repository(REPO_ID, files_in("data", sample))
        first = repository.find("main").sha
        code = f"""result = [size_of(data_dir={DATA_DIR!r})]"""
        assert run_client(hub, tmp_path, code) == [12]
        replace_member(sample_copy / "train.zip", "train/cordillera/99.png", EMPTY_MASK)
        repository.commit(files_in("data", sample_copy))
        code = f"""
        folder = local_folder({DATA_DIR!r})
        result = [size_of(data_dir={DATA_DIR!r}), sorted(file.name for file in folder.iterdir())]
        """
        files = sorted(file.name for file in sample.iterdir() if file.suffix != ".md")
        assert run_client(hub, tmp_path, code) == [13, files]
        second = repository.find("main").sha
    code = f"""
    import logging
    messages = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    datasets.utils.logging.get_logger("rock_glacier_dataset").addHandler(handler)
    commit = "hf://datasets/{REPO_ID}@{first}/data"
    result = [
        size_of(data_dir=commit),
        len(messages),
        size_of(data_dir={DATA_DIR!r}),
        "".join(messages),
        fault_of(split="train", data_dir="hf://datasets/{REPO_ID}@v2/data"),
        len(list(local_folder({DATA_DIR!r}).glob("*.zip"))),
    ]
    """
    for offline in ("0", "1"):
        of_commit, messages, of_branch, message, fault, archives = run_client(
            hub, tmp_path, code, HF_HUB_OFFLINE=offline
        )
        assert (of_commit, messages, of_branch, archives) == (12, 0, 13, 3)
        assert second in message
        assert fault[0] == f"hf://datasets/{REPO_ID}@v2/data"


def test_endpoint_may_end_with_a_slash(hub, sample, tmp_path):
    """The loopback Hub accepts a path that starts with two slashes, the real one does not."""
    publish(hub, sample)
    code = """
    from rock_glacier_dataset import RockGlacierDataset
    endpoint = RockGlacierDataset().storage_options["hf"]["endpoint"]
    result = [endpoint, *[size_of(streaming=streaming) for streaming in (False, True)]]
    """
    assert run_client(hub, tmp_path, code, HF_ENDPOINT=f"{hub.url}/") == [hub.url, 12, 12]


def test_token_of_the_call_and_of_the_environment(hub, sample, tmp_path):
    publish(hub, sample, private=True, token="hf_secret")
    code = """
    result = [fault_of()] + [size_of(streaming=way, token='hf_secret') for way in (False, True)]
    """
    fault, *sizes = run_client(hub, tmp_path / "call", code)
    assert fault[0] == f"hf://datasets/{REPO_ID}@script/data"
    assert sizes == [12, 12]
    code = "result = [size_of(streaming=streaming) for streaming in (False, True)]"
    assert run_client(hub, tmp_path / "environment", code, HF_TOKEN="hf_secret") == [12, 12]


def test_missing_repository_or_folder_is_named(hub, sample, tmp_path):
    publish(hub, sample)
    places = [
        "hf://datasets/x",
        "hf://datasets/nobody/nothing/data",
        f"hf://datasets/{REPO_ID}@script/no",
    ]
    code = f"""
    ways = [(place, streaming) for place in {places} for streaming in (False, True)]
    result = [fault_of(data_dir=place, streaming=streaming)[0] for place, streaming in ways]
    """
    found = run_client(hub, tmp_path, code)
    assert found[:5] == [places[0], places[0], places[1], places[1], places[2]]
    # While streaming, a folder that does not exist looks like an empty one.
    assert found[5] == "train.zip"


@pytest.mark.parametrize(
    ("page", "address"),
    [
        ("/tree/main/data", "@main/data"),
        ("/tree/refs%2Fpr%2F1/data", "@refs%2Fpr%2F1/data"),
        ("/blob/main/data/data_v01/train.zip", "@main/data/data_v01"),
        ("/resolve/v1/train.zip?download=true", "@v1"),
    ],
)
def test_address_of_a_page_suggests_the_folder(page, address):
    with pytest.raises(ArchiveError) as caught:
        locate(f"https://huggingface.co/datasets/{REPO_ID}{page}")
    assert caught.value.fault.fix == f"Use hf://datasets/{REPO_ID}{address}"


def train_members(order: str, tiles: int) -> dict[str, bytes]:
    """Return members of a train archive, with the masks next to their tiles or last."""
    members = {}
    for number in range(tiles):
        members[f"train/glaciar/{number}.png"] = png(number % 4)
        members[f"train/masks/{number}.png"] = EMPTY_MASK
    paths = list(members)
    if order == "last":
        paths.sort(key=lambda path: "/masks/" in path)
    return {path: members[path] for path in paths}


def test_stream_downloads_little_more_than_it_yields(hub, tmp_path):
    orders = ["next", "last"]
    for order in orders:
        archive = write_zip(tmp_path / "train.zip", train_members(order, tiles=160))
        for folder in ("one", "tiles", "masks"):
            hub.add_repository(f"{order}/{folder}", {"train.zip": archive})
    size = archive.stat().st_size
    assert size > 8 * MIB
    code = f"""
    def load(data_dir, name):
        return load_archives(name, data_dir=data_dir, split="train", streaming=True)

    result = []
    for order in {orders}:
        root = f"hf://datasets/{{order}}"
        result.append(sum(1 for _ in load(f"{{root}}/one", CONFIG_NAMES[0]).take(1)))
        result.append(sum(1 for _ in load(f"{{root}}/tiles", CONFIG_NAMES[0])))
        result.append(sum(1 for _ in load(f"{{root}}/masks", CONFIG_NAMES[1])))
    """
    assert run_client(hub, tmp_path / "home", code) == [1, 160, 160] * 2
    for order in orders:
        assert hub.bytes_sent(f"{order}/one/resolve") < 3 * MIB
        assert hub.bytes_sent(f"{order}/tiles/resolve") < 1.02 * size
        assert hub.bytes_sent(f"{order}/masks/resolve") < 1.3 * size


@pytest.mark.skipif(not RUNS_SCRIPTS, reason="this version of datasets does not run scripts")
def test_script_takes_the_archives_of_its_revision(hub, sample, tmp_path):
    publish(hub, sample)
    code = f"""
    for streaming in (False, True):
        loaded = datasets.load_dataset(
            {REPO_ID!r},
            "image-segmentation",
            revision="script",
            streaming=streaming,
            trust_remote_code=True,
        )
        assert_holds_all(loaded, Path({str(sample)!r}))
    result = "done"
    """
    assert run_client(hub, tmp_path, code) == "done"
