"""The two commands, from the Hub as it is today to a dataset that loads by name, each client in its own process."""

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
from archive_contents import write_pictures_of
from card_blocks import OF_SCRIPT
from conftest import SAMPLE_SIZES
from hub.server import HubServer, client_environment
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
    """A Hub on which the dataset was published, the archives that it had, the commit before, and the staged folder."""

    hub: HubServer
    archives: Path
    before: str
    staged: Path


@pytest.fixture(scope="module")
def published(sample, tmp_path_factory) -> Iterator[Published]:
    """The sample, published from a Hub that looks as today by the README's two commands."""
    folder = tmp_path_factory.mktemp("publisher")
    archives = as_curators_publish(sample, folder / "data_v01")
    write_pictures_of(archives, folder / "pictures", of_sample=False)
    with HubServer() as server:
        repository = server.add_repository(REPO_ID, as_hub_looks_today(archives), token=TOKEN)
        before = repository.find("main").sha
        user = User(server, folder, folder / "staged")
        for command in (
            ["stage_hub_repo.py", SOURCE, "staged", "--assets", "pictures"],
            ["upload.py", "staged", "--repo-id", REPO_ID, "--tag", "v2"],
        ):
            ended = user.finish(user.start(*command))
            assert (ended.status, ended.messages) == (0, []), ended
        yield Published(server, archives, before, user.staged)


def client(hub: HubServer, home: Path, code: str) -> Any:
    """Run code that ends in tell(result), in a folder without the project's files, and return the result."""
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(code)],
        env=client_environment(hub, home),
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


def test_one_commit_of_each_branch_makes_a_dataset_that_loads_by_name_byte_for_byte(published, tmp_path):
    repository, staged = published.hub.repositories[REPO_ID], published.staged
    assert tree_of(repository) == tree_of(repository, "v2") == digests_of(staged / "main")
    assert tree_of(repository, "script") == digests_of(staged / "script")
    assert commits_of(repository)[1:] == [published.before]
    assert commits_of(repository, "script")[1:] == commits_of(repository)
    assert not [path for path in tree_of(repository) if path.endswith((".zip", ".py"))]
    archives = {f"data/{name}": digest for name, digest in digests_of(published.archives).items()}
    del archives["data/zeros.png"]
    assert archives.items() <= tree_of(repository, "script").items()

    published.hub.requests.clear()
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
    names, default, splits, sizes = client(published.hub, tmp_path, code)
    assert published.hub.bytes_sent(".parquet") == 0  # the card says it
    assert names == list(CONFIG_NAMES)
    assert default == "image-classification"
    assert splits == dict.fromkeys(CONFIG_NAMES, SAMPLE_SIZES)
    for config, size in sizes.items():
        assert size == sum(file.stat().st_size for file in (staged / "main" / config).iterdir())

    found = client(published.hub, tmp_path, f"tell(load_both(datasets.load_dataset, {REPO_ID!r}))")
    assert_both(found, published.archives)


@pytest.mark.skipif(not RUNS_SCRIPTS, reason="datasets runs no scripts from 4 on")
def test_the_branch_script_loads_as_a_script_below_4_as_the_readme_calls_it(published, tmp_path):
    (block,) = OF_SCRIPT
    code = f"""
    found = load_both(datasets.load_dataset, {REPO_ID!r}, revision='script', trust_remote_code=True)
    from datasets import load_dataset
    exec({block.code!r})
    tell([found, tiles[0]['path']])
    """
    found, first = client(published.hub, tmp_path, code)
    assert_both(found, published.archives, in_archive_order=True)
    assert first == expected_rows(published.archives, CONFIG_NAMES[1], "train", in_archive_order=True)[0][-1]
