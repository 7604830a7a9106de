"""Upload with the real client of the Hub, against the loopback Hub."""

from __future__ import annotations

import subprocess
import sys

import factories
import numpy as np
import pyarrow.parquet as pq
import pytest
from loopback_hub import client_environment

from rock_glacier.faults import InputError
from rock_glacier.hub.parquet import write_parquet
from rock_glacier.hub.upload import UploadOptions, upload
from rock_glacier_dataset import REPO_ID, ArchiveError, features_of

# huggingface_hub uses deprecated arguments of its HTTP client.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

TOKEN = "hf_secret"
OLD_FILES = {
    ".gitattributes": b"*.zip filter=lfs",
    "README.md": b"# Rock glaciers",
    "data/train.zip": b"PK",
    "notes.txt": b"more tiles",
}


@pytest.fixture
def repository(hub):
    """A repository with other files."""
    return hub.add_repository(REPO_ID, OLD_FILES, token=TOKEN)


@pytest.fixture
def publish(api, staged):
    """A function that uploads the staged sample and returns the lines."""

    def run(folder=staged, repo_id=None, **options):
        chosen = UploadOptions(**{"allow_synthetic": True, **options})
        return list(upload(folder, repo_id, options=chosen, api=api))

    return run


def assert_published(repository, staged):
    for branch in ("main", "script"):
        files = repository.files(branch)
        files.pop(".gitattributes", None)
        assert files == factories.files_of(staged / branch)


def test_command_creates_the_repository(hub, staged, tmp_path):
    command = [sys.executable, str(factories.REPOSITORY / "scripts/upload.py"), str(staged)]
    done = subprocess.run(
        [*command, "--repo-id", REPO_ID, "--allow-synthetic", "--tag", "v1"],
        env={**client_environment(hub, tmp_path), "HF_TOKEN": TOKEN},
        capture_output=True,
        text=True,
        check=False,
    )
    repository = hub.repositories[REPO_ID]
    assert done.returncode == 0, done.stderr
    assert_published(repository, staged)
    assert repository.find("v1") == repository.find("main")
    assert len(done.stdout.splitlines()) == 4
    assert TOKEN not in done.stdout + done.stderr


def test_each_branch_gets_one_commit(repository, publish, staged):
    before = repository.find("main").sha
    publish()
    assert_published(repository, staged)
    assert repository.find("main").parent == before
    assert repository.find("script").parent == repository.find("main").sha
    assert ".gitattributes" in repository.files("main")


def test_a_second_upload_changes_nothing(repository, publish):
    publish()
    heads = dict(repository.refs)
    lines = publish()
    assert repository.refs == heads
    assert [line.partition(":")[0] for line in lines[1:]] == ["main", "script"]
    assert all("nothing to change" in line for line in lines[1:])


def test_dry_run_changes_nothing(hub, repository, publish):
    refs = dict(repository.refs)
    lines = publish(dry_run=True)
    assert repository.refs == refs
    assert "main: README.md would be changed" in lines
    assert "main: notes.txt would be removed" in lines
    assert "main: tiles.parquet would be added" in lines
    assert not any(".gitattributes" in line for line in lines)
    assert all(request.method == "GET" for request in hub.requests)


def test_dry_run_creates_no_repository(hub, publish):
    publish(dry_run=True)
    assert not hub.repositories


def test_pull_request_leaves_the_branches(repository, publish, staged):
    refs = dict(repository.refs)
    lines = publish(create_pr=True)
    assert repository.refs.keys() - refs.keys() == {"refs/pr/1"}
    assert repository.refs.items() >= refs.items()
    files = repository.files("refs/pr/1")
    assert files.keys() - factories.files_of(staged / "main").keys() == {".gitattributes"}
    assert "/discussions/1" in lines[-1]


def test_a_commit_of_someone_else_is_not_overwritten(hub, repository, publish):
    hub.before_commit = lambda repository: repository.commit({"notes.txt": b"new"})
    with pytest.raises(InputError, match="Someone else"):
        publish()
    assert repository.files("main") == {**OLD_FILES, "notes.txt": b"new"}


def test_a_commit_that_differs_is_reported(hub, repository, publish):
    def spoil(repository):
        tree = repository.find("main").tree
        tree["CITATION.cff"] = b"other"
        del tree["LICENSE"]

    hub.after_commit = spoil
    with pytest.raises(InputError, match=r"1 file added, 1 changed, 0 removed"):
        publish()


def test_a_tag_is_not_moved(repository, publish):
    repository.create_tag("v1")
    tagged = repository.find("v1").sha
    with pytest.raises(InputError, match=f"tag v1 .*{tagged}"):
        publish(tag="v1")
    assert repository.find("v1").sha == tagged


def test_an_upload_with_a_tag_is_resumed(hub, repository, publish, staged):
    hub.failures["/commit/script"] = 403
    with pytest.raises(InputError, match="branch script"):
        publish(tag="v1")
    hub.failures.clear()
    for _ in range(2):  # the tag exists the second time
        publish(tag="v1")
        assert_published(repository, staged)
        assert repository.find("v1") == repository.find("main")


@pytest.mark.parametrize(
    ("status", "fix"), [(401, "hf auth login"), (403, "write access"), (404, "--repo-id")]
)
def test_an_error_of_the_hub_is_explained(hub, repository, publish, status, fix):
    hub.failures["/preupload/"] = status
    with pytest.raises(InputError, match=f"{status}.*{fix}"):
        publish()


def test_a_sample_is_refused_under_the_name_of_the_dataset(hub, publish):
    with pytest.raises(InputError, match="--allow-synthetic"):
        publish(allow_synthetic=False)
    assert not hub.requests


def test_a_repository_that_was_not_staged_for_is_refused(hub, publish):
    with pytest.raises(InputError, match="--repo-id"):
        publish(repo_id="alkzar90/other")
    assert not hub.requests


def test_a_folder_that_is_not_staged_is_refused(publish, tmp_path):
    with pytest.raises(InputError, match="staged"):
        publish(tmp_path)


def change_a_pixel(file):
    rows = pq.read_table(file).to_pylist()
    rows[2]["image"]["bytes"] = factories.png(np.zeros((128, 128, 4), np.uint8))
    write_parquet(file, features_of("image-classification"), rows)
    return rows[2]["path"]


def test_changed_parquet_is_not_uploaded(hub, publish, staged_copy):
    file = staged_copy / "main/image-classification/test-00000-of-00001.parquet"
    path = change_a_pixel(file)
    with pytest.raises(InputError, match=f"{file.name}: the row of {path}"):
        publish(staged_copy)
    assert not hub.requests


def test_missing_parquet_is_not_uploaded(hub, publish, staged_copy):
    file = staged_copy / "main/image-segmentation/train-00000-of-00001.parquet"
    file.unlink()
    with pytest.raises(InputError, match=str(file)):
        publish(staged_copy)
    assert not hub.requests


def test_a_changed_archive_is_not_uploaded(hub, publish, staged_copy):
    with (staged_copy / "script/data/train.zip").open("ab") as file:
        file.write(b"x")
    with pytest.raises(ArchiveError) as raised:
        publish(staged_copy)
    assert raised.value.fault.code == "manifest-mismatch"
    assert not hub.repositories


def test_a_missing_index_is_not_uploaded(hub, publish, staged_copy):
    (staged_copy / "main/tiles.parquet").unlink()
    with pytest.raises(FileNotFoundError):
        publish(staged_copy)
    assert not hub.repositories


def test_tag_and_pull_request_exclude_each_other(staged):
    assert factories.run_command("upload", staged, "--tag", "v1", "--create-pr") == 2
