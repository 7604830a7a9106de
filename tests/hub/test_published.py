"""The published dataset, read by its clients, each in a process of its own.

These tests also run with old versions of `datasets`; see the fixture `staged`.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import textwrap

import datasets
import factories
import pytest
from loopback_hub import LoopbackHub, client_environment
from loopback_hub.server import files_of

from rock_glacier_dataset import CONFIG_NAMES, EMPTY_MASK, REPO_ID, SPLIT_NAMES, class_of, mask_path

RUNS_SCRIPTS = int(datasets.__version__.split(".")[0]) < 4

PRELUDE = """
import hashlib, json, os
import datasets

REPO_ID = "alkzar90/rock-glacier-dataset"

def describe(loaded):
    '''Return the rows of each split, with the SHA-256 of images.'''
    result = {}
    for split, examples in loaded.items():
        images = [
            name for name, feature in examples.features.items()
            if isinstance(feature, datasets.Image)
        ]
        for name in images:
            examples = examples.cast_column(name, datasets.Image(decode=False))
        rows = [dict(row) for row in examples]
        for row in rows:
            for name in images:
                row[name] = hashlib.sha256(row[name]["bytes"]).hexdigest()
        result[split] = rows
    return result

def finish(result):
    print("RESULT" + json.dumps(result), flush=True)
    os._exit(0)  # Arrow may abort the process at its end, while a thread still reads a stream
"""


@pytest.fixture(scope="module")
def published(staged):
    """A Hub with the staged repository."""
    with LoopbackHub() as hub:
        repository = hub.add_repository(REPO_ID, staged / "main")
        repository.commit(files_of(staged / "script"), branch="script")
        yield hub


@pytest.fixture
def client(published, tmp_path):
    """A function that runs code with `finish(result)` in a process, and returns the result."""

    def run(code):
        done = subprocess.run(
            [sys.executable, "-c", PRELUDE + textwrap.dedent(code)],
            env=client_environment(published, tmp_path),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.rpartition("RESULT")[2])

    return run


def hash_of(content):
    return hashlib.sha256(content).hexdigest()


def assert_rows(loaded, staged, config):
    """Assert that the rows are those of the staged archives, in any order."""
    assert list(loaded) == list(SPLIT_NAMES)
    members = factories.read_members(staged / "script/data")
    for split, rows in loaded.items():
        paths = factories.tile_paths(staged / "script/data", split)
        assert sorted(row["path"] for row in rows) == sorted(paths)
        for row in rows:
            path = row["path"]
            assert row["image"] == hash_of(members[path])
            if config == "image-classification":
                assert row["labels"] == (class_of(path) == "glaciar")
            elif class_of(path) == "glaciar":
                assert row["masks"] == hash_of(members[mask_path(path)])
            else:
                assert row["masks"] == hash_of(EMPTY_MASK)


def test_configs_and_sizes_are_read_from_the_card(client, published, staged):
    published.requests.clear()
    code = """
    names = datasets.get_dataset_config_names(REPO_ID)
    builders = [datasets.load_dataset_builder(REPO_ID, name) for name in names]
    sizes = [
        {name: split.num_examples for name, split in builder.info.splits.items()}
        for builder in builders
    ]
    finish([names, datasets.load_dataset_builder(REPO_ID).config.name, sizes])
    """
    names, default, sizes = client(code)
    assert names == list(CONFIG_NAMES)
    assert default == "image-classification"
    data = staged / "script/data"
    assert sizes == [{split: len(factories.tile_paths(data, split)) for split in SPLIT_NAMES}] * 2
    assert published.bytes_sent(".parquet") == 0


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("config", CONFIG_NAMES)
def test_main_loads_byte_for_byte(client, staged, config, streaming):
    arguments = f"REPO_ID, {config!r}, streaming={streaming}"
    loaded = client(f"finish(describe(datasets.load_dataset({arguments})))")
    assert_rows(loaded, staged, config)


@pytest.mark.skipif(not RUNS_SCRIPTS, reason="datasets runs no scripts from version 4 on")
@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("config", CONFIG_NAMES)
def test_script_loads_byte_for_byte(client, staged, config, streaming):
    arguments = f"REPO_ID, {config!r}, streaming={streaming}, revision='script'"
    loaded = client(f"finish(describe(datasets.load_dataset({arguments}, trust_remote_code=True)))")
    assert_rows(loaded, staged, config)


@pytest.mark.parametrize(
    "code",
    [
        """
        import huggingface_hub, pandas
        with huggingface_hub.HfFileSystem().open(URL) as file:
            table = pandas.read_parquet(file, columns=["path", "labels"])
        finish(table.sort_values("path").to_numpy().tolist())
        """,
        """
        import huggingface_hub, polars
        with huggingface_hub.HfFileSystem().open(URL) as file:
            table = polars.read_parquet(file, columns=["path", "labels"])
        finish([list(row) for row in table.sort("path").rows()])
        """,
        """
        import duckdb, huggingface_hub
        duckdb.register_filesystem(huggingface_hub.HfFileSystem())
        rows = duckdb.sql(f"SELECT path, labels FROM '{URL}' ORDER BY path").fetchall()
        finish([list(row) for row in rows])
        """,
    ],
    ids=["pandas", "polars", "duckdb"],
)
def test_other_clients_read_the_parquet(client, staged, code):
    url = f"hf://datasets/{REPO_ID}/image-classification/test-00000-of-00001.parquet"
    rows = client(f"URL = {url!r}\n{textwrap.dedent(code)}")
    paths = sorted(factories.tile_paths(staged / "script/data", "test"))
    assert rows == [[path, int(class_of(path) == "glaciar")] for path in paths]


def test_the_tile_index_is_read(client, staged):
    code = """
    import huggingface_hub, pandas
    with huggingface_hub.HfFileSystem().open(f"datasets/{REPO_ID}/tiles.parquet") as file:
        table = pandas.read_parquet(file, columns=["path", "site"])
    finish(table["path"].tolist())
    """
    assert sorted(client(code)) == sorted(factories.tile_paths(staged / "script/data"))
