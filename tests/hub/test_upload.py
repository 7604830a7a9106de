"""Publishing a staged folder with the real clients, against the loopback Hub."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import SAMPLE_SIZES
from hub.faults import Intercept, Middleware, RecordedRequest, fail
from hub.repository import Blob
from hub.server import HubServer, Repository
from huggingface_hub import DatasetCard
from upload_runs import SECRET, TOKEN, User, commits_of, digests_of, tree_of

from rock_glacier.console import REPO_ID, megabytes
from rock_glacier.publication import upload_command
from rock_glacier.publication.read_back import DifferenceError, read_back
from rock_glacier.publication.sums import StagedError, read_staged
from rock_glacier_dataset import CONFIG_NAMES, SPLIT_NAMES

TRAIN = "train-00000-of-00001.parquet"
COMPARED = [
    f"{config} {split}: {SAMPLE_SIZES[split]} examples, as staged" for config in CONFIG_NAMES for split in SPLIT_NAMES
]
FOREIGN_FILES: dict[str, bytes | Path] = {
    ".gitattributes": b"*.zip filter=lfs\n",
    "README.md": b"# Somebody's rock glaciers\n",
    "data/train-00000-of-00002.zip": b"PK",
    "image-classification/train-00000-of-00002.parquet": b"PAR1",
    "notes/ideas.txt": b"more tiles",
}


@pytest.fixture
def server():
    with HubServer(tokens={TOKEN: "alkzar90"}) as running:
        yield running


@pytest.fixture
def user(server, staged, tmp_path, capfd) -> User:
    return User(server, tmp_path, staged, capfd)


@pytest.fixture
def foreign(server) -> Repository:
    """A repository with other files."""
    return server.add_repository(REPO_ID, FOREIGN_FILES, token=TOKEN)


def is_unwritten(server: HubServer) -> bool:
    """Return whether no client has written anything."""
    return {request.method for request in server.requests} <= {"GET", "HEAD"} and server.bytes_received() == 0


def rewritten(change: Callable[[pa.Table], pa.Table]) -> Callable[[bytes], bytes]:
    """Turn a change of a table into a change of a Parquet file."""

    def rewrite(content: bytes) -> bytes:
        buffer = io.BytesIO()
        pq.write_table(change(pq.read_table(io.BytesIO(content))), buffer)
        return buffer.getvalue()

    return rewrite


def with_other(column: str, value: object) -> Callable[[bytes], bytes]:
    """Change one value in the last row of a Parquet file."""

    def change(table: pa.Table) -> pa.Table:
        rows = table.to_pylist()
        rows[-1][column] = value
        return pa.Table.from_pylist(rows, schema=table.schema)

    return rewritten(change)


def test_a_new_repository_holds_both_folders_by_a_commit_each_that_was_loaded_back(server, user):
    done = user.upload("--tag", "v2.0.0")
    repository = server.repositories[REPO_ID]
    main, script = (repository.find(branch).sha for branch in ("main", "script"))
    main_files, script_files = (len(digests_of(user.staged / branch)) for branch in ("main", "script"))
    url = f"{server.url}/datasets/{REPO_ID}/commit"
    assert done.messages == []
    assert done.lines == [
        f"main: {main_files} files changed in one commit, {url}/{main}",
        *COMPARED,
        f"script: {script_files + main_files - 1} files changed in one commit, {url}/{script}",
        f"v2.0.0: {main}",
    ]
    assert done.status == 0
    assert len(commits_of(repository)) == 2
    assert commits_of(repository, "script")[1:] == commits_of(repository)
    assert tree_of(repository) == tree_of(repository, "v2.0.0") == digests_of(user.staged / "main")
    assert tree_of(repository, "script") == digests_of(user.staged / "script")

    server.requests.clear()
    references = dict(repository.refs)
    again = user.upload("--tag", "v2.0.0")
    assert (again.status, again.lines[1:-2], again.lines[-1]) == (0, COMPARED, f"v2.0.0: {main}")
    assert [line.partition(",")[0] for line in again.lines if "nothing" in line] == [
        "main: nothing to change",
        "script: nothing to change",
    ]
    assert is_unwritten(server)
    assert repository.refs == references

    checked = user.upload("--check", HF_TOKEN="")
    branches = [f"main: {main_files} files, as staged", f"script: {script_files} files, as staged"]
    assert (checked.status, checked.lines) == (0, [branches[0], *COMPARED, branches[1]])


def test_a_dry_run_lists_each_file_to_add_change_or_remove_whatever_else_would_be_refused(server, user, foreign):
    parent = foreign.find("main")
    foreign.create_tag("v1")
    shown = user.upload("--dry-run", "--tag", "v1", HF_TOKEN="")
    assert (shown.status, shown.messages) == (0, [])
    assert is_unwritten(server)
    sizes = {name: (user.staged / "main" / name).stat().st_size for name in digests_of(user.staged / "main")}
    lines = {f"main: {'change' if name in FOREIGN_FILES else 'add'} {name}: {n} bytes" for name, n in sizes.items()}
    gone = FOREIGN_FILES.keys() - sizes.keys() - {".gitattributes"}
    lines |= {f"main: remove {name}: {parent.tree[name].size} bytes" for name in gone}
    place = len(lines)
    assert shown.lines[:place] == sorted(lines, key=lambda line: line.split()[2])
    assert shown.lines[place : place + 2] == [
        f"main: {len(sizes) - 1} to add, 1 to change, 3 to remove; at most {megabytes(sum(sizes.values()))} to send",
        f"v1: is at {parent.sha} and would stay there",
    ]
    assert shown.lines[-1] == "script: the branch would be made"
    assert {f"script: add {name}" for name in digests_of(user.staged / "script")} <= {
        line.rpartition(":")[0] for line in shown.lines
    }


def test_a_dry_run_needs_no_repository_and_prints_even_for_a_broken_folder(server, staged_copy, tmp_path, capfd):
    careless = User(server, tmp_path, staged_copy, capfd)
    (staged_copy / "main" / "LICENSE").write_text("Other")
    add_listed(b"x\x1b[31m.py")(staged_copy)
    shown = careless.upload("--dry-run", HF_TOKEN="")
    assert "main: add x\\x1b[31m.py: 0 bytes" in shown.lines
    assert sum(line.startswith("main: add ") for line in shown.lines) == len(digests_of(staged_copy / "main"))
    assert sum(line.startswith("script: add ") for line in shown.lines) == len(digests_of(staged_copy / "script"))
    assert f"main: {REPO_ID} would be made; or the token may not see it" in shown.lines
    assert shown.status == 1
    assert "LICENSE: has another SHA-256" in shown.messages[0]
    assert server.repositories == {}
    assert is_unwritten(server)


def test_a_repository_is_made_private_and_a_public_one_is_refused(server, user, foreign):
    refused = user.upload("--private")
    assert (refused.status, len(refused.messages)) == (1, 1)
    assert f"{REPO_ID}: is public" in refused.messages[0]
    assert is_unwritten(server)
    server.repositories.clear()
    assert user.upload("--private").status == 0
    assert server.repositories[REPO_ID].private


def test_another_branch_and_a_pull_request_leave_main_and_script_as_they_are(server, user, foreign):
    before = foreign.find("main").sha
    foreign.private = True  # so that the process that loads back needs the token of the log-in as well
    (user.folder / "home" / "token").write_text(TOKEN)
    done = user.upload("--revision", "release/1", "--tag", "v1", HF_TOKEN="")
    assert (done.status, done.lines[1:-1]) == (0, COMPARED)
    assert commits_of(foreign, "release/1")[1:] == [before]
    assert tree_of(foreign, "release/1") == tree_of(foreign, "v1") == digests_of(user.staged / "main")

    done = user.upload("--create-pr")
    assert (done.status, done.lines[1:]) == (0, COMPARED)
    assert done.lines[0].endswith(f"{server.url}/datasets/{REPO_ID}/discussions/1")
    assert tree_of(foreign, "refs/pr/1") == digests_of(user.staged / "main")
    assert foreign.refs.keys() == {"refs/heads/main", "refs/heads/release/1", "refs/tags/v1", "refs/pr/1"}
    assert foreign.find("main").sha == before


def test_a_tag_that_is_elsewhere_is_refused_before_anything_is_sent(server, user, foreign):
    foreign.create_tag("v1")
    for _ in range(2):
        done = user.upload("--tag", "v1")
        assert (done.status, len(done.messages)) == (1, 1)
        assert f"{REPO_ID}: the tag v1 is at {foreign.find('v1').sha}" in done.messages[0]
        assert "choose another tag" in done.messages[0]
        assert is_unwritten(server)
        staged = {name: user.staged / "main" / name for name in digests_of(user.staged / "main")}
        foreign.commit(staged, delete=[name for name in FOREIGN_FILES if name not in staged])  # main is as staged


def test_a_commit_that_loads_back_otherwise_is_a_failure_and_the_check_finds_it_too(server, user, foreign):
    path = f"image-segmentation/{TRAIN}"
    content = (user.staged / "main" / path).read_bytes()
    tile = pq.read_table(io.BytesIO(content))["path"][-1].as_py()
    position = content.rfind(b"IEND")  # of the last mask: one bit of it is another
    other = Blob.of(content[:position] + b"H" + content[position + 1 :], lfs=True)

    def swap(request: RecordedRequest) -> Middleware | None:
        """Let the repository hold other bytes as soon as a file is read, though its tree was as staged."""
        for sha, commit in foreign.commits.items() if "/resolve/" in request.path else ():
            if path in commit.tree:
                foreign.commits[sha] = replace(commit, tree={**commit.tree, path: other})
        return None

    server.intercept = swap
    before = foreign.find("main").sha
    done = user.upload("--tag", "v1")
    commit = foreign.find("main")
    assert done.status == 1
    difference, failure = done.messages
    assert difference.endswith(f"error: image-segmentation train: row 11 ({tile}): masks is another than was staged")
    assert failure.startswith(f"upload.py: error: {REPO_ID}: {commit.sha} is there, but could not be loaded back")
    clone = f"git clone -b main {server.url}/datasets/{REPO_ID} back && git -C back revert --no-edit {commit.sha}"
    assert f"or go back to {before}: GIT_LFS_SKIP_SMUDGE=1 {clone} && git -C back push" in failure
    assert foreign.refs.keys() == {"refs/heads/main"}

    server.intercept = None
    checked = user.upload("--check")
    assert checked.status == 1
    assert f"{REPO_ID}: main is not what is staged, which would change {path}" in checked.messages[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_other("labels", None), r"train: row 11 \(train/\w+/\d+\.png\): labels is another"),
        (with_other("path", "train/cordillera/99.png"), r"train: row 11 \(train/\w+/\d+\.png\): path is another"),
        (with_other("image", {"bytes": b"x", "path": None}), r"train: row 11 \(train/\w+/\d+\.png\): image is another"),
        (rewritten(lambda table: table.slice(0, 3)), "train: 3 examples; staged are 12"),
        (
            rewritten(lambda table: table.rename_columns(["a", "b", "c"]).replace_schema_metadata(None)),
            "train: is missing, or has other columns than image, labels, path",
        ),
        (lambda content: content[:1000], ": cannot be loaded: .*[Pp]arquet"),
    ],
    ids=["label", "path", "image", "fewer rows", "other columns", "cut off"],
)
def test_a_row_that_is_not_what_the_archives_hold_is_named(staged_copy, tmp_path, monkeypatch, change, message):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")  # new, as that of the command
    card = DatasetCard.load(staged_copy / "main" / "README.md")
    card.data.pop("dataset_info")  # by which datasets itself would refuse some of these
    card.save(staged_copy / "main" / "README.md")
    for path in (staged_copy / "main" / "image-classification").iterdir():
        path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DifferenceError, match=f"^image-classification ?{message}"):
        list(read_back(staged_copy, str(staged_copy / "main"), "main"))


def flip(name: str) -> Callable[[Path], object]:
    """Flip one bit in the middle of a staged file."""

    def change(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / name).write_bytes(content)

    return change


def add_listed(name: bytes) -> Callable[[Path], object]:
    """Add an empty file, and its checksum."""

    def change(folder: Path) -> None:
        (folder / "main" / os.fsdecode(name)).touch()
        with (folder / "SHA256SUMS").open("ab") as sums:
            sums.write(f"{hashlib.sha256().hexdigest()}  main/".encode() + name + b"\n")

    return change


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "Parquet": (flip(f"main/image-classification/{TRAIN}"), f"{TRAIN}: has another SHA-256"),
    "a checksum": (flip("SHA256SUMS"), "is damaged|has another SHA-256|is missing|is not in SHA256SUMS"),
    "a missing file": (lambda folder: (folder / "main" / "LICENSE").unlink(), "LICENSE: is missing"),
    "an empty folder": (lambda folder: (folder / "SHA256SUMS").unlink(), "holds no SHA256SUMS"),
    "another file": (lambda folder: (folder / "main" / "x.py").touch(), r"x\.py: is not in SHA256SUMS"),
    "a name that is not UTF-8": (
        lambda folder: (folder / "main" / os.fsdecode(b"x\xff\n.py")).touch(),
        r"x\\udcff\\n\.py: is not in SHA256SUMS",
    ),
    "a name that is not UTF-8, in the sums": (add_listed(b"x\xff\x1b.py"), r"x\\udcff\\x1b\.py: is not in SHA256SUMS"),
    "no sums of main": (
        lambda folder: (folder / "SHA256SUMS").write_text(
            re.sub(".*  main/.*\n", "", (folder / "SHA256SUMS").read_text())
        ),
        "lacks main/README.md",
    ),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_staged_folder_that_was_changed_is_refused_with_the_place(staged_copy, broken):
    spoil, message = BROKEN[broken]
    spoil(staged_copy)
    with pytest.raises(StagedError, match=message) as error:
        read_staged(staged_copy)
    assert "stage" in str(error.value).partition(";")[2]


def test_hidden_files_in_a_staged_folder_are_ignored(staged_copy):
    before = read_staged(staged_copy)
    for name in (".DS_Store", "main/.DS_Store", "main/.git/config", "script/data/.train.zip.swp"):
        (staged_copy / name).parent.mkdir(exist_ok=True)
        (staged_copy / name).touch()
    assert read_staged(staged_copy) == before


def test_a_folder_that_was_changed_or_staged_for_another_dataset_is_not_sent(server, user, staged_copy, capfd):
    flip("script/data/test.zip")(staged_copy)
    done = User(server, user.folder, staged_copy, capfd).upload()
    assert (done.status, len(done.messages)) == (1, 1)
    assert "test.zip: has another SHA-256" in done.messages[0]
    done = user.run("upload.py", user.staged, "--repo-id", "alkzar90/other")
    assert done.status == 1
    assert "stage it with --repo-id alkzar90/other" in done.messages[0]
    assert server.requests == []


def test_a_sample_is_not_sent_under_the_datasets_own_name(server, user):
    for options in ([], ["--dry-run"]):
        done = user.run("upload.py", user.staged, "--repo-id", REPO_ID, *options)
        assert (done.status, len(done.messages)) == (1, 1)
        assert f"{user.staged}: is a synthetic sample, and {REPO_ID} is the dataset's own name; " in done.messages[0]
        assert "--allow-sample" in done.messages[0]
        assert is_unwritten(server)


@pytest.mark.parametrize("token", ["", f"hf_\v{SECRET}ñ"], ids=["none", "cannot be sent"])
def test_without_a_token_that_can_be_used_nothing_is_sent_and_the_log_in_is_named(server, user, token):
    done = user.upload(HF_TOKEN=token)
    assert (done.status, len(done.messages)) == (1, 1)
    assert "hf auth login" in done.messages[0]
    assert server.requests == []


def test_a_token_that_the_hub_repeats_is_not_printed(server, user, foreign):
    interceptors: list[Intercept] = [
        fail(401, path_part=part, times=100, headers={"X-Error-Message": f"{TOKEN} is not known"})
        for part in ("/revision/", "/resolve/")
    ]
    for intercept in interceptors:  # by the upload, then by its process that loads back
        server.intercept = intercept
        done = user.upload()
        assert done.status == 1
        assert "is not known" in " ".join(done.messages) or "could not be loaded back" in done.messages[-1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--repo-id", "rock-glacier-dataset"], "<user or organization>/<name>"),
        (["--repo-id", "a/b/c"], "<user or organization>/<name>"),
        (["--repo-id", REPO_ID, "--tag", ""], "is empty"),
        (["--repo-id", REPO_ID, "--create-pr", "--tag", "v1"], "--create-pr"),
        (["--repo-id", REPO_ID, "--create-pr", "--revision", "b"], "--create-pr"),
        (["--repo-id", REPO_ID, "--revision", "script"], "the branch of the loading script"),
        (["--repo-id", REPO_ID, "--dry-run", "--check"], "not allowed with"),
        (["--repo-id", REPO_ID, "--token", "hf_x"], "unrecognized arguments: --token"),
        ([], "--repo-id"),
    ],
)
def test_wrong_usage_has_status_2_and_says_why(staged, arguments, message, capsys):
    with pytest.raises(SystemExit) as caught:
        upload_command.main([str(staged), *arguments])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err
