"""What was published, read by every client, each in a process of its own, from a Hub on the loopback interface."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import datasets
import pytest
from archive_contents import contents
from card_blocks import OF_SCRIPT
from conftest import REPOSITORY, SAMPLE_SIZES
from hub.faults import RecordedRequest
from hub.server import HubServer, client_environment
from huggingface_hub import DatasetCard
from stage_hub_repo import stage
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from test_loading_script import RUNS_SCRIPTS
from test_rock_glacier_dataset import CONFIGS, assert_holds
from test_smoke_load import expected_lines

from rock_glacier_dataset import REPO_ID, SPLIT_NAMES

pytestmark = pytest.mark.xdist_group("published")  # so that one worker publishes, not each

SHARDED_ID = "somebody/glaciers"
SHARDS = 3

PRELUDE = """
import json
import os

def tell(result):
    print("\\n" + json.dumps(result, default=bytes.hex))
"""

LOADING = (
    PRELUDE
    + """
import datasets

def told(loaded):
    '''The features and the rows of each split; images as the bytes that they are.'''
    result = {}
    for split, examples in loaded.items():
        features = examples.features
        images = [column for column, feature in features.items() if isinstance(feature, datasets.Image)]
        for column in images:
            examples = examples.cast_column(column, datasets.Image(decode=False))
        rows = [{c: example[c]["bytes"] if c in images else example[c] for c in features} for example in examples]
        result[split] = {"features": features.to_dict(), "rows": rows}
    return result

def load_both(repo_id, **arguments):
    '''Both configs, whole and streaming.'''
    return [
        [name, told(datasets.load_dataset(repo_id, name=name, streaming=streaming, **arguments))]
        for name in ("image-classification", "image-segmentation")
        for streaming in (False, True)
    ]
"""
)


@pytest.fixture(scope="module")
def server() -> Iterator[HubServer]:
    with HubServer() as running:
        running.tokens |= {"hf_owner": "alkzar90", "hf_somebody": "somebody"}
        yield running


@pytest.fixture(scope="module")
def published(server, staged, tmp_path_factory) -> HubServer:
    """The Hub with the sample on it."""
    upload(server, staged, REPO_ID, "hf_owner", tmp_path_factory.mktemp("publisher"))
    return server


@pytest.fixture(scope="module")
def published_shards(server, sharded_sample, tmp_path_factory) -> HubServer:
    """The Hub with the sample in shards on it."""
    folder = tmp_path_factory.mktemp("staged") / "shards"
    stage(sharded_sample, folder, repo_id=SHARDED_ID)
    upload(server, folder, SHARDED_ID, "hf_somebody", tmp_path_factory.mktemp("publisher"))
    return server


def upload(hub: HubServer, folder: Path, repo_id: str, token: str, home: Path) -> None:
    options = ["--script-branch", "--allow-size-mismatch", "--tag", "v0"]
    done = run_script(hub, home, "upload.py", str(folder), "--repo-id", repo_id, *options, HF_TOKEN=token)
    assert done.returncode == 0, done.stderr


def run_script(
    hub: HubServer, home: Path, script: str, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(REPOSITORY / "scripts" / script), *arguments],
        env={**client_environment(hub, home), "PYTHONPATH": str(REPOSITORY), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def client(hub: HubServer, home: Path, prelude: str, code: str) -> Any:
    """Run code that ends in tell(result), in a folder without the project's files, and return the result."""
    done = subprocess.run(
        [sys.executable, "-c", prelude + textwrap.dedent(code)],
        env=client_environment(hub, home),
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def assert_gives(found: dict[str, Any], config: str, data_dir: Path) -> None:
    """Assert that a client got the features of a config, and what the archives hold, byte for byte and in order."""
    features = datasets.Features(CONFIGS[config])
    assert list(found) == list(SPLIT_NAMES)
    for split, examples in found.items():
        assert list(examples["features"].items()) == list(json.loads(json.dumps(features.to_dict())).items())
        assert_rows(examples["rows"], config, data_dir, split)


def assert_rows(rows: list[dict[str, Any]], config: str, data_dir: Path, split: str) -> None:
    assert [list(row) for row in rows] == [list(CONFIGS[config])] * SAMPLE_SIZES[split]
    images = {"image", "masks"}
    with_bytes = [
        {column: {"bytes": bytes.fromhex(value), "path": None} if column in images else value for column, value in row}
        for row in (row.items() for row in rows)
    ]
    assert_holds(datasets.Dataset.from_list(with_bytes, datasets.Features(CONFIGS[config])), data_dir, split)


def assert_gives_both(found: list[Any], data_dir: Path) -> None:
    assert [config for config, _ in found] == [config for config in CONFIGS for _ in ("whole", "streaming")]
    for config, splits in found:
        assert_gives(splits, config, data_dir)


def test_datasets_gives_both_configs_as_the_archives_have_them(published, sample, tmp_path):
    assert_gives_both(client(published, tmp_path, LOADING, f"tell(load_both({REPO_ID!r}))"), sample)


def test_without_a_name_it_is_classification(published, sample, tmp_path):
    code = f"tell([told(datasets.load_dataset({REPO_ID!r}, streaming=streaming)) for streaming in (False, True)])"
    for found in client(published, tmp_path, LOADING, code):
        assert_gives(found, "image-classification", sample)


def test_a_tag_gives_what_was_published_when_main_has_moved_on(published, sample, tmp_path, monkeypatch):
    references = published.repositories[REPO_ID].refs
    assert references["refs/tags/v0"] == references["refs/heads/main"]
    monkeypatch.setitem(references, "refs/heads/main", references["refs/heads/script"])
    assert_gives_both(client(published, tmp_path, LOADING, f"tell(load_both({REPO_ID!r}, revision='v0'))"), sample)


def test_shards_of_archives_come_as_shards_of_parquet_one_to_one(published_shards, sharded_sample, tmp_path):
    code = f"""
    import pyarrow.parquet as pq
    from huggingface_hub import snapshot_download

    folder = snapshot_download({SHARDED_ID!r}, repo_type="dataset", allow_patterns="*.parquet")
    files = sorted(os.path.relpath(os.path.join(root, name), folder) for root, _, names in os.walk(folder)
                   for name in names)
    tell([load_both({SHARDED_ID!r}), {{
        file: pq.read_table(os.path.join(folder, file), columns=["path"])["path"].to_pylist() for file in files
    }}])
    """
    found, files = client(published_shards, tmp_path, LOADING, code)
    assert_gives_both(found, sharded_sample)
    assert files == {
        f"{config}/{split}-{shard:05d}-of-{SHARDS:05d}.parquet": list(
            contents(sharded_sample, f"{split}-{shard:05d}-of-{SHARDS:05d}")
        )
        for config in CONFIGS
        for split in sorted(SPLIT_NAMES)
        for shard in range(SHARDS)
    }


@pytest.mark.skipif(not RUNS_SCRIPTS, reason="datasets runs no scripts from 4 on; test_hub.py sees it refuse them")
def test_the_readmes_call_of_the_loading_script_prints_what_it_shows(published, tmp_path):
    names = "from datasets import load_dataset\n"
    (block,) = OF_SCRIPT
    environment = client_environment(published, tmp_path)
    command = [sys.executable, "-c", names + block.code]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout == block.output


@pytest.mark.skipif(not RUNS_SCRIPTS, reason="datasets runs no scripts from 4 on; test_hub.py sees it refuse them")
def test_the_branch_of_the_loading_script_gives_the_same(published, sample, tmp_path):
    code = f"tell(load_both({REPO_ID!r}, revision='script', trust_remote_code=True))"
    assert_gives_both(client(published, tmp_path, LOADING, code), sample)


READERS = {
    # hf:// URLs are opened by fsspec, and so by huggingface_hub; newer versions of pyarrow ask a function of fsspec for
    # that which the one that datasets 2.14 brings has not.
    "pandas": """
        import fsspec
        import pandas as pd

        def read(file):
            url = f"hf://datasets/{repo_id}/{file}"
            if hasattr(fsspec, "url_to_fs"):
                return pd.read_parquet(url).to_dict("records")
            with fsspec.open(url) as opened:
                return pd.read_parquet(opened).to_dict("records")
        """,
    # Polars reads hf:// URLs by itself, from huggingface.co alone; these are the addresses that it turns them into.
    "polars": """
        import polars as pl

        def read(file):
            url = f"{os.environ['HF_ENDPOINT']}/datasets/{repo_id}/resolve/main/{file}"
            return pl.scan_parquet(url).collect().to_dicts()
        """,
    # DuckDB's own hf:// URLs are of huggingface.co alone too, by an extension that it fetches from the network; the
    # file system of huggingface_hub can be put in the place of that.
    "duckdb": """
        import duckdb
        from huggingface_hub import HfFileSystem

        duckdb.register_filesystem(HfFileSystem())

        def read(file):
            found = duckdb.sql(f"SELECT * FROM 'hf://datasets/{repo_id}/{file}'")
            return [dict(zip(found.columns, row)) for row in found.fetchall()]
        """,
}


@pytest.mark.parametrize("reader", READERS)
def test_other_clients_read_the_parquet(reader, published, sample, tmp_path):
    pytest.importorskip(reader)
    code = f"""
    repo_id = {REPO_ID!r}
    found = {{}}
    for config in {list(CONFIGS)}:
        for split in {list(SPLIT_NAMES)}:
            rows = read(f"{{config}}/{{split}}-00000-of-00001.parquet")
            found.setdefault(config, {{}})[split] = [
                {{column: value["bytes"] if isinstance(value, dict) else value for column, value in row.items()}}
                for row in rows
            ]
    tell(found)
    """
    found = client(published, tmp_path, PRELUDE + textwrap.dedent(READERS[reader]), code)
    assert list(found) == list(CONFIGS)
    for config, splits in found.items():
        assert list(splits) == list(SPLIT_NAMES)
        for split, rows in splits.items():
            assert_rows(rows, config, sample, split)


def test_the_card_tells_the_configs_the_default_and_the_sizes(published, staged, tmp_path):
    published.intercept = validator = CardValidator()
    code = f"""
    from huggingface_hub import DatasetCard, repocard

    # Older clients ask huggingface.co, whatever HF_ENDPOINT says.
    session = repocard.get_session()
    post = session.post
    session.post = lambda url, *a, **k: post(url.replace("https://huggingface.co", os.environ["HF_ENDPOINT"]), *a, **k)

    def is_valid(card):
        try:
            card.validate()
        except ValueError as error:
            return str(error)
        return True

    card = DatasetCard.load({REPO_ID!r})
    data = card.data.to_dict()
    told = [data, is_valid(card)]
    card.data["size_categories"] = ["some"]
    tell([*told, is_valid(card)])
    """
    try:
        card, is_valid, is_valid_with_a_fault = client(published, tmp_path, PRELUDE, code)
    finally:
        published.intercept = None
    assert is_valid is True
    assert is_valid_with_a_fault == "size_categories: some"
    assert validator.repository_kinds == ["dataset", "dataset"]
    assert card == json.loads(json.dumps(DatasetCard.load(staged / "README.md").data.to_dict()))
    assert [config["config_name"] for config in card["configs"]] == list(CONFIGS)
    assert [config.get("default", False) for config in card["configs"]] == [True, False]
    assert [info["config_name"] for info in card["dataset_info"]] == list(CONFIGS)
    assert card["size_categories"] == ["n<1K"]


class CardValidator:
    """The Hub's check of a card's metadata, as far as the words that it knows for a field go.

    The words are those of https://github.com/huggingface/hub-docs/blob/main/datasetcard.md, of each field a few.
    """

    WORDS = {  # noqa: RUF012
        "annotations_creators": {"crowdsourced", "found", "expert-generated", "machine-generated", "other"},
        "license": {"apache-2.0", "cc-by-4.0", "cc-by-sa-4.0", "cc0-1.0", "mit", "other", "unknown"},
        "size_categories": {"n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M"},
        "source_datasets": {"original"},
        "task_categories": {"image-classification", "image-segmentation", "object-detection"},
    }

    def __init__(self) -> None:
        self.repository_kinds: list[str] = []

    def __call__(self, request: RecordedRequest) -> Any:
        return (lambda application: self._answer) if request.path == "/api/validate-yaml" else None

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        if request.headers["content-type"] == "application/json":
            asked = await request.json()
        else:  # before version 1 the client sends a form
            asked = dict(parse_qsl((await request.body()).decode()))
        self.repository_kinds.append(asked["repoType"])
        faults = self._faults(DatasetCard(asked["content"]).data.to_dict())
        await PlainTextResponse("; ".join(faults), 400 if faults else 200)(scope, receive, send)

    def _faults(self, metadata: dict[str, Any]) -> list[str]:
        found = {field: metadata.get(field) for field in self.WORDS}
        values = {field: value if isinstance(value, list) else [value] for field, value in found.items()}
        return [
            f"{field}: {word}" for field, known in self.WORDS.items() for word in values[field] if word not in known
        ]


def test_datasets_tells_configs_splits_features_and_sizes_without_loading(published, staged, tmp_path):
    code = f"""
    import datasets

    def describe(name):
        info = datasets.load_dataset_builder({REPO_ID!r}, name).info
        return {{
            "features": info.features.to_dict(),
            "examples": {{split: found.num_examples for split, found in info.splits.items()}},
            "bytes": sum(found.num_bytes for found in info.splits.values()),
            "dataset_size": info.dataset_size,
            "download_size": info.download_size,
        }}

    names = datasets.get_dataset_config_names({REPO_ID!r})
    tell([
        names,
        {{name: datasets.get_dataset_split_names({REPO_ID!r}, name) for name in names}},
        {{name: describe(name) for name in names}},
        datasets.load_dataset_builder({REPO_ID!r}).config.name,
    ])
    """
    published.requests.clear()
    names, splits, infos, default = client(published, tmp_path, PRELUDE, code)
    assert names == list(CONFIGS)
    assert splits == {config: list(SPLIT_NAMES) for config in CONFIGS}
    assert default == "image-classification"
    for config, info in infos.items():
        features = datasets.Features(CONFIGS[config]).to_dict()
        assert list(info["features"].items()) == list(json.loads(json.dumps(features)).items())
        assert info["examples"] == SAMPLE_SIZES
        assert info["dataset_size"] == info["bytes"] > 0
        assert info["download_size"] == sum(file.stat().st_size for file in (staged / config).iterdir())
    assert published.bytes_sent(".parquet") == published.bytes_sent(".zip") == 0


def test_a_name_like_the_modules_would_make_datasets_look_for_a_script_and_is_refused(published, staged, tmp_path):
    folder = shutil.copytree(staged, tmp_path / "rock_glacier_dataset")
    published.add_repository("somebody/rock_glacier_dataset", staged)
    names = [str(folder), "somebody/rock_glacier_dataset"]
    trust = {"trust_remote_code": True} if RUNS_SCRIPTS else {}
    code = f"""
    import datasets

    def builder(name, **arguments):
        try:
            return [kind.__name__ for kind in type(datasets.load_dataset_builder(name, **arguments)).__mro__]
        except RuntimeError as error:
            return str(error)

    tell([builder({str(staged)!r}), *(builder(name, **{trust}) for name in {names})])
    """
    safe, *found = client(published, tmp_path, PRELUDE, code)
    assert "Parquet" in safe
    expected = "RockGlacierDataset" if RUNS_SCRIPTS else "scripts are no longer supported"
    assert [expected in name_or_message for name_or_message in found] == [True, True]
    for script, arguments in {
        "stage_hub_repo.py": [str(staged / "data"), str(tmp_path / "new" / "rock_glacier_dataset")],
        "upload.py": [str(staged), "--repo-id", "somebody/rock_glacier_dataset"],
    }.items():
        done = run_script(published, tmp_path, script, *arguments)
        assert (done.returncode, "choose another name" in done.stderr) == (2, True), done.stderr


def test_the_smoke_load_passes_on_what_is_published(published_shards, tmp_path):
    done = run_script(published_shards, tmp_path, "smoke_load.py", "--repo-id", SHARDED_ID)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == expected_lines(SAMPLE_SIZES)


def test_the_smoke_load_passes_on_the_branch_of_the_loading_script_or_says_why_not(published_shards, tmp_path):
    options = ["--repo-id", SHARDED_ID, "--revision", "script", "--trust-remote-code"]
    done = run_script(published_shards, tmp_path, "smoke_load.py", *options)
    if RUNS_SCRIPTS:
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == expected_lines(SAMPLE_SIZES)
    else:
        assert (done.returncode, done.stdout) == (1, "")
        assert "scripts are no longer supported" in done.stderr.splitlines()[-1]
