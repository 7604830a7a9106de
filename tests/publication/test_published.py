"""The two commands from the Hub as it is today to a dataset that loads by name: every client in its own process."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import pytest
from card_blocks import OF_SCRIPT
from conftest import REPOSITORY, SAMPLE_SIZES
from hub.server import HubServer, Repository, client_environment
from upload_runs import (
    TOKEN,
    User,
    as_curators_publish,
    as_hub_looks_today,
    commits_of,
    digests_of,
    expected_rows,
    tree_of,
)

from rock_glacier.console import REPO_ID
from rock_glacier_dataset import CONFIG_NAMES, SPLIT_NAMES, features_of

pytestmark = pytest.mark.xdist_group("published")  # so that one worker publishes, not each

RUNS_SCRIPTS = int(datasets.__version__.split(".")[0]) < 4
SOURCE = f"hf://datasets/{REPO_ID}/data/data_v01"

PRELUDE = """
import hashlib, json, os
import datasets

def digest(png):
    return hashlib.sha256(png).hexdigest()

def rows_of(loaded):
    '''The features and the rows of each split; images as the digests of their bytes.'''
    result = {}
    for split, examples in loaded.items():
        features = examples.features
        images = [column for column, feature in features.items() if isinstance(feature, datasets.Image)]
        for column in images:
            examples = examples.cast_column(column, datasets.Image(decode=False))
        rows = [[digest(row[c]["bytes"]) if c in images else row[c] for c in features] for row in examples]
        result[split] = [features.to_dict(), rows]
    return result

def load_both(load=datasets.load_dataset, *place, **arguments):
    '''Both configs, whole and streaming.'''
    return [
        rows_of(load(*place, name=name, streaming=streaming, **arguments))
        for name in ("image-classification", "image-segmentation")
        for streaming in (False, True)
    ]

def tell(result):
    print("RESULT" + json.dumps(result), flush=True)
    os._exit(0)  # Arrow may abort the process as Python ends, while a thread of it reads ahead of a stream
"""


class Published(NamedTuple):
    """A Hub on which the dataset was published, the archives that it had, and the commit before."""

    hub: HubServer
    repository: Repository
    archives: Path
    before: str
    staged: Path


def publish(server: HubServer, archives: Path, folder: Path) -> Published:
    """Run the README's two commands on a Hub that looks as today."""
    repository = server.add_repository(REPO_ID, as_hub_looks_today(archives), token=TOKEN)
    before = repository.find("main").sha
    user = User(server, folder, folder / "staged")
    for command in (
        ["stage_hub_repo.py", SOURCE, "staged"],
        ["upload.py", "staged", "--repo-id", REPO_ID, "--tag", "v2"],
    ):
        ended = user.finish(user.start(*command))
        assert (ended.status, ended.messages) == (0, []), ended
    return Published(server, repository, archives, before, user.staged)


@pytest.fixture(scope="module")
def published(sample, tmp_path_factory) -> Iterator[Published]:
    """The sample, published from the curators' layout."""
    archives = as_curators_publish(sample, tmp_path_factory.mktemp("curators") / "data_v01")
    with HubServer() as server:
        yield publish(server, archives, tmp_path_factory.mktemp("publisher"))


def client(hub: HubServer, home: Path, code: str, **environment: str) -> Any:
    """Run code that ends in tell(result), in a folder without the project's files, and return the result."""
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(code)],
        env=client_environment(hub, home) | environment,
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.rpartition("RESULT")[2])


def assert_both(found: list[dict[str, Any]], archives: Path, **order: bool) -> None:
    """Assert that a client got both configs, whole and streaming, byte for byte."""
    assert len(found) == 4
    for config, splits in zip([config for config in CONFIG_NAMES for _ in range(2)], found, strict=True):
        assert list(splits) == list(SPLIT_NAMES)
        for split, (features, rows) in splits.items():
            expected = json.loads(json.dumps(features_of(config).to_dict()))
            assert list(features.items()) == list(expected.items())
            assert rows == expected_rows(archives, config, split, **order)


def test_one_commit_of_each_branch_holds_what_was_staged_and_nothing_that_is_out_of_date(published):
    repository, staged = published.repository, published.staged
    assert tree_of(repository) == tree_of(repository, "v2") == digests_of(staged / "main")
    assert tree_of(repository, "script") == digests_of(staged / "script")
    assert commits_of(repository)[1:] == [published.before]
    assert commits_of(repository, "script")[1:] == commits_of(repository)
    assert not [path for path in tree_of(repository) if path.endswith((".zip", ".py"))]
    archives = {f"data/{name}": digest for name, digest in digests_of(published.archives).items()}
    del archives["data/zeros.png"]
    assert archives.items() <= tree_of(repository, "script").items()


def test_datasets_loads_both_configs_by_name_byte_for_byte(published, tmp_path):
    assert_both(client(published.hub, tmp_path, f"tell(load_both(datasets.load_dataset, {REPO_ID!r}))"), published[2])


@pytest.mark.skipif(not RUNS_SCRIPTS, reason="datasets runs no scripts from 4 on")
def test_the_branch_script_loads_as_a_script_below_4(published, tmp_path):
    code = f"tell(load_both(datasets.load_dataset, {REPO_ID!r}, revision='script', trust_remote_code=True))"
    assert_both(client(published.hub, tmp_path, code), published.archives, in_archive_order=True)


@pytest.mark.skipif(not RUNS_SCRIPTS, reason="datasets runs no scripts from 4 on")
def test_the_readmes_call_of_the_loading_script_runs_below_4(published, tmp_path):
    (block,) = OF_SCRIPT
    code = f"from datasets import load_dataset\n{block.code}tell(tiles[0]['path'])"
    first = expected_rows(published.archives, CONFIG_NAMES[1], "train", in_archive_order=True)[0][-1]
    assert client(published.hub, tmp_path, code) == first


def test_the_module_loads_the_archives_of_the_branch_script_where_it_is_given_no_folder(published, tmp_path):
    code = "from rock_glacier_dataset import load_archives\ntell(load_both(load_archives))"
    found = client(published.hub, tmp_path, code, PYTHONPATH=str(REPOSITORY))
    assert_both(found, published.archives, in_archive_order=True)


def test_the_card_tells_datasets_configs_splits_features_and_sizes_without_loading(published, tmp_path):
    code = f"""
    names = datasets.get_dataset_config_names({REPO_ID!r})
    infos = {{name: datasets.load_dataset_builder({REPO_ID!r}, name).info for name in names}}
    tell([
        names,
        datasets.load_dataset_builder({REPO_ID!r}).config.name,
        {{name: {{split: found.num_examples for split, found in info.splits.items()}} for name, info in infos.items()}},
        {{name: info.download_size for name, info in infos.items()}},
    ])
    """
    published.hub.requests.clear()
    names, default, splits, sizes = client(published.hub, tmp_path, code)
    assert names == list(CONFIG_NAMES)
    assert default == "image-classification"
    assert splits == dict.fromkeys(CONFIG_NAMES, SAMPLE_SIZES)
    for config, size in sizes.items():
        assert size == sum(file.stat().st_size for file in (published.staged / "main" / config).iterdir())
    assert published.hub.bytes_sent(".parquet") == 0
