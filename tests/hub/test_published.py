"""The published dataset, read by its clients, each in a separate process.

These tests also run with old versions of `datasets`; see the fixture `staged`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap

import datasets
import factories
import pytest
from loopback_hub import LoopbackHub, client_environment
from loopback_hub.server import files_of

from rock_glacier_dataset import CONFIG_NAMES, REPO_ID, SPLIT_NAMES, class_of

PYTHONPATH = os.pathsep.join([str(factories.REPOSITORY), str(factories.REPOSITORY / "tests")])
RUNS_SCRIPTS = int(datasets.__version__.split(".")[0]) < 4

PRELUDE = """
import json, os
from pathlib import Path
import datasets
from factories import assert_holds_all

REPO_ID = "alkzar90/rock-glacier-dataset"

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
            env={**client_environment(published, tmp_path), "PYTHONPATH": PYTHONPATH},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.rpartition("RESULT")[2])

    return run


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


@pytest.mark.parametrize(
    "options",
    [
        "",
        pytest.param(
            "revision='script', trust_remote_code=True",
            marks=pytest.mark.skipif(not RUNS_SCRIPTS, reason="datasets 4 runs no scripts"),
        ),
    ],
    ids=["main", "script"],
)
@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("config", CONFIG_NAMES)
def test_branches_load_byte_for_byte(client, staged, config, streaming, options):
    code = f"""
    loaded = datasets.load_dataset(REPO_ID, {config!r}, streaming={streaming}, {options})
    assert_holds_all(loaded, Path({str(staged / "script/data")!r}))
    finish("loaded")
    """
    assert client(code) == "loaded"


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
def test_other_clients_read_the_parquet_files(client, staged, code):
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
