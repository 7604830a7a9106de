"""Publishing a staged folder: `upload.py` and `read_back.py` with the real clients, against the loopback Hub."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import upload
from conftest import REPOSITORY, SAMPLE_SIZES
from hub.client import OWNER, REPO_ID
from hub.faults import ARRIVED, Intercept, Middleware, RecordedRequest, fail, pause
from hub.repository import Blob
from hub.server import HubServer, Repository, client_environment
from huggingface_hub import DatasetCard
from upload_runs import FOREIGN_FILES, SECRET, TOKEN, User, asked, digests_of, files_of, interrupt, tree_of

from rock_glacier_dataset import CONFIG_NAMES, SPLIT_NAMES

TRAIN_SHARD = "train-00000-of-00001.parquet"
COMPARED = [
    f"{config} {split}: {SAMPLE_SIZES[split]} examples, as staged" for config in CONFIG_NAMES for split in SPLIT_NAMES
]


@pytest.fixture
def server():
    with HubServer(tokens={TOKEN: OWNER}) as running:
        yield running


@pytest.fixture
def user(server, staged, tmp_path) -> User:
    return User(server, tmp_path, staged)


@pytest.fixture
def careless(server, staged_copy, tmp_path) -> User:
    """Someone whose staged folder may be changed."""
    return User(server, tmp_path, staged_copy)


@pytest.fixture
def foreign(server) -> Repository:
    """A repository with other files."""
    return server.add_repository(REPO_ID, FOREIGN_FILES, token=TOKEN)


def commits_of(repository: Repository, revision: str = "main") -> list[str]:
    return [commit.sha for commit in repository.find(revision).history()]


def is_unwritten(server: HubServer) -> bool:
    """Tell whether nobody has sent anything."""
    return {request.method for request in server.requests} <= {"GET", "HEAD"} and server.bytes_received() == 0


def rewritten(change: Callable[[pa.Table], pa.Table]) -> Callable[[bytes], bytes]:
    """Turn a change of a table into that of a Parquet file."""

    def rewrite(content: bytes) -> bytes:
        buffer = io.BytesIO()
        pq.write_table(change(pq.read_table(io.BytesIO(content))), buffer)
        return buffer.getvalue()

    return rewrite


def cut_off(content: bytes) -> bytes:
    return content[:1000]


def with_other(row: int, column: str, value: object) -> Callable[[bytes], bytes]:
    """Make the change of one value in a Parquet file."""

    def change(table: pa.Table) -> pa.Table:
        rows = table.to_pylist()
        rows[row][column] = value
        return pa.Table.from_pylist(rows, schema=table.schema)

    return rewritten(change)


def swap(repository: Repository, path: str, content: bytes) -> Intercept:
    """Make an `intercept` by which every commit holds something else at a path as soon as a file is read."""

    def intercept(request: RecordedRequest) -> Middleware | None:
        if "/resolve/" in request.path:
            for sha, commit in repository.commits.items():
                if path in commit.tree:
                    tree = {**commit.tree, path: Blob.of(content, lfs=True)}
                    repository.commits[sha] = replace(commit, tree=tree)
        return None

    return intercept


def test_a_new_repository_holds_the_staged_folder_by_one_commit_that_was_loaded_back(server, user, tmp_path):
    first = user.run("--tag", "v1.0.0")
    repository = server.repositories[REPO_ID]
    sha = repository.find("main").sha

    assert first.status == 0
    assert first.messages == []
    assert first.lines == [
        f"main: {len(files_of(user.staged))} files changed in one commit, {server.url}/datasets/{REPO_ID}/commit/{sha}",
        *COMPARED,
        f"v1.0.0: {sha}",
    ]
    assert len(commits_of(repository)) == 2
    assert tree_of(repository) == digests_of(user.staged)
    assert repository.find("v1.0.0").sha == sha
    assert not repository.private

    server.requests.clear()
    again = user.run("--tag", "v1.0.0")
    assert (again.status, again.lines[-1]) == (0, f"v1.0.0: {sha}")
    assert is_unwritten(server)
    assert server.bytes_sent() + server.bytes_received() < 100 * 1024
    assert asked(server, "/resolve/") == []
    assert repository.find("main").sha == sha

    (tmp_path / "elsewhere").mkdir()
    elsewhere = User(server, tmp_path / "elsewhere", user.staged).run()
    assert (elsewhere.status, elsewhere.lines[1:]) == (0, COMPARED)
    assert repository.find("main").sha == sha


def test_stale_and_foreign_files_go_in_the_same_commit_as_the_dry_run_says(server, user, foreign):
    parent = foreign.find("main")
    told = user.run("--dry-run", "--tag", "v2", HF_TOKEN="")

    assert told.status == 0
    assert is_unwritten(server)
    assert foreign.refs == {"refs/heads/main": parent.sha}
    sizes = {name: path.stat().st_size for name, path in files_of(user.staged).items()}
    expected = {
        f"main: {'change' if name in FOREIGN_FILES else 'add'} {name}: {size} bytes" for name, size in sizes.items()
    }
    gone = FOREIGN_FILES.keys() - sizes.keys() - {".gitattributes"}
    expected |= {f"main: remove {name}: {parent.tree[name].size} bytes" for name in gone}
    *changes, summary, tag = told.lines
    assert changes == sorted(expected, key=lambda line: line.split()[2])
    assert (
        summary
        == f"main: {len(sizes) - 1} to add, 1 to change, 3 to remove; {sum(sizes.values())} bytes to send at most"
    )
    assert tag == "v2: would be created"

    done = user.run()
    assert done.status == 0
    assert done.lines[0].startswith(f"main: {len(sizes) + 3} files changed in one commit")
    assert commits_of(foreign)[1:] == [parent.sha]
    assert tree_of(foreign) == digests_of(user.staged)
    assert foreign.find("main").tree[".gitattributes"] == parent.tree[".gitattributes"]


def test_a_dry_run_needs_neither_a_repository_nor_a_token(server, user):
    told = user.run("--dry-run", "--script-branch", HF_TOKEN="")
    assert told.status == 0
    assert sum(line.startswith("main: add ") for line in told.lines) == len(files_of(user.staged))
    assert "script: add rock-glacier-dataset.py" in "\n".join(told.lines)
    assert all("would be created" in message or message == "" for message in told.messages)
    assert server.repositories == {}
    assert is_unwritten(server)


def test_a_private_repository_is_made_and_loaded_back_with_the_token_of_a_log_in(server, user, tmp_path):
    user.home.mkdir()
    (user.home / "token").write_text(TOKEN)
    done = user.run("--private", HF_TOKEN="")
    assert done.status == 0, done.messages
    assert done.lines[1:] == COMPARED
    assert server.repositories[REPO_ID].private

    (tmp_path / "secrets").mkdir()
    path = (user.home / "token").rename(tmp_path / "secrets" / "token")
    again = user.run("--private", HF_TOKEN="", HF_TOKEN_PATH=str(path))
    assert again.status == 0, again.messages
    assert len(commits_of(server.repositories[REPO_ID])) == 2


def test_private_is_refused_for_a_public_repository(server, user, foreign):
    done = user.run("--private")
    assert done.status == 1
    assert len(done.messages) == 1
    assert f"{REPO_ID}: is public" in done.messages[0]
    assert is_unwritten(server)


def test_a_branch_is_made_and_main_stays(server, user, foreign):
    before = foreign.find("main").sha
    done = user.run("--revision", "release/1", "--tag", "v1")
    assert done.status == 0, done.messages
    assert done.lines[1:-1] == COMPARED
    assert commits_of(foreign, "release/1")[1:] == [before]
    assert tree_of(foreign, "release/1") == tree_of(foreign, "v1") == digests_of(user.staged)
    assert foreign.find("main").sha == before


def test_a_pull_request_proposes_and_main_stays(server, user, foreign):
    before = foreign.find("main").sha
    done = user.run("--create-pr")
    assert done.status == 0, done.messages
    assert done.lines[0].endswith(f"{server.url}/datasets/{REPO_ID}/discussions/1")
    assert done.lines[1:] == COMPARED
    assert tree_of(foreign, "refs/pr/1") == digests_of(user.staged)
    assert foreign.refs.keys() == {"refs/heads/main", "refs/pr/1"}
    assert foreign.find("main").sha == before


def test_a_tag_that_is_elsewhere_is_refused_before_anything_is_sent(server, user, foreign):
    foreign.create_tag("v1")
    done = user.run("--tag", "v1")
    assert done.status == 1
    assert len(done.messages) == 1
    assert f"{REPO_ID}: the tag v1 is at {foreign.find('v1').sha}" in done.messages[0]
    assert "choose another tag" in done.messages[0]
    assert is_unwritten(server)


def test_what_someone_else_commits_meanwhile_is_not_overwritten(server, user, foreign):
    server.intercept = waiting = pause(ARRIVED, path_part="/commit/")
    process = user.start()
    waiting.wait()
    theirs = foreign.commit({"theirs.txt": b"precious"})
    waiting.resume()
    done = user.finish(process)

    assert done.status == 1
    assert len(done.messages) == 1
    assert done.messages[0].startswith(f"upload.py: error: {REPO_ID}: commit to main: the Hub answers 412")
    assert "nothing was overwritten" in done.messages[0]
    assert foreign.find("main").sha == theirs


def test_a_commit_that_loads_back_otherwise_is_a_failure_until_it_does_not(server, user, foreign):
    path = f"image-segmentation/{TRAIN_SHARD}"
    change = with_other(2, "masks", {"bytes": b"other", "path": "2.png"})
    server.intercept = swap(foreign, path, change((user.staged / path).read_bytes()))
    done = user.run("--tag", "v1")
    commit = foreign.find("main")

    assert done.status == 1
    difference, failure = done.messages
    assert difference == (
        "read_back.py: error: image-segmentation train: row 2 (train/cordillera/2.png): masks is another than was "
        "staged"
    )
    assert failure.startswith(f"upload.py: error: {REPO_ID}: {commit.sha} is committed, but could not be loaded back")
    assert "v1" not in done.lines[-1]
    assert foreign.refs.keys() == {"refs/heads/main"}

    foreign.commits[commit.sha] = replace(commit, tree={**commit.tree, path: Blob.of(user.staged / path, lfs=True)})
    server.intercept = None
    again = user.run("--tag", "v1")
    assert (again.status, again.lines[1:-1]) == (0, COMPARED)
    assert foreign.find("v1").sha == foreign.find("main").sha == commit.sha


@pytest.mark.parametrize(
    ("path", "change", "said"),
    [
        (
            f"image-classification/{TRAIN_SHARD}",
            with_other(11, "labels", 0),
            ["image-classification train: row 11 (train/glaciar/", "labels is another"],
        ),
        (
            "image-segmentation/test-00000-of-00001.parquet",
            with_other(0, "path", "test/cordillera/99.png"),
            ["image-segmentation test: row 0 (test/cordillera/0.png): path is another"],
        ),
        (
            f"image-classification/{TRAIN_SHARD}",
            rewritten(lambda table: table.slice(0, 10)),
            ["image-classification", "train"],
        ),
        (
            f"image-classification/{TRAIN_SHARD}",
            rewritten(lambda table: table.rename_columns(["picture", "labels", "path"])),
            ["image-classification", "picture"],
        ),
        (f"image-classification/{TRAIN_SHARD}", cut_off, ["image-classification", "Parquet"]),
    ],
    ids=["label", "path", "fewer rows", "other columns", "cut off"],
)
def test_a_difference_is_told_with_its_place(server, user, path, change, said):
    repository = server.add_repository(REPO_ID, user.staged)
    repository.commit({path: change((user.staged / path).read_bytes())})
    done = user.run("--this-cache", script="read_back.py", HF_TOKEN="")
    assert done.status == 1
    assert len(done.messages) == 1
    assert [part for part in said if part not in done.messages[0]] == [], done.messages[0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda table: table.slice(0, 10), "10 examples; staged are 12"),
        (
            lambda table: table.select(["labels", "image", "path"]),
            "the columns are ['labels', 'image', 'path']; they should be ['image', 'labels', 'path']",
        ),
    ],
    ids=["fewer rows", "another order of columns"],
)
def test_a_difference_that_the_card_does_not_know_is_told(server, user, change, said):
    repository = server.add_repository(REPO_ID, user.staged)
    card = DatasetCard((user.staged / "README.md").read_text())
    card.data.pop("dataset_info")
    # The file would tell of the features too.
    changed = rewritten(lambda table: change(table).replace_schema_metadata(None))
    paths = [f"image-classification/{split}-00000-of-00001.parquet" for split in SPLIT_NAMES]
    shards = {path: changed((user.staged / path).read_bytes()) for path in paths}
    repository.commit({"README.md": str(card).encode(), **shards})
    done = user.run("--this-cache", script="read_back.py", HF_TOKEN="")
    assert done.status == 1
    assert done.messages == [f"read_back.py: error: image-classification train: {said}"]


def test_a_tag_can_be_read_back_by_itself(server, user):
    repository = server.add_repository(REPO_ID, user.staged)
    repository.create_tag("v1")
    repository.commit({"README.md": b"# Another"})
    done = user.run("--revision", "v1", script="read_back.py", HF_TOKEN="")
    assert (done.status, done.lines, done.messages) == (0, COMPARED, [])


def test_other_numbers_of_tiles_than_the_card_speaks_of_are_refused(server, user, capsys):
    assert upload.main([str(user.staged), "--repo-id", REPO_ID]) == 1
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "holds 12 train, 4 validation, 6 test tiles" in message
    assert "--allow-size-mismatch" in message


def test_the_script_branch_holds_the_script_its_archives_and_a_card_without_data_files(server, user):
    done = user.run("--script-branch", "--tag", "v1")
    assert done.status == 0, done.messages
    repository = server.repositories[REPO_ID]
    script = tree_of(repository, "script")
    staged = digests_of(user.staged)
    wanted = {name: digest for name, digest in staged.items() if name.startswith(("data/", "assets/"))}
    wanted |= {name: staged[name] for name in ("LICENSE", "CITATION.cff", "CONTRIBUTING.md", "CHANGELOG.md")}
    wanted["rock-glacier-dataset.py"] = digests_of(user.staged)["rock_glacier_dataset.py"]
    assert {name: digest for name, digest in script.items() if name != "README.md"} == wanted
    blob = repository.find("script").tree["README.md"]
    card = DatasetCard(b"".join(blob.read(range(blob.size))).decode())
    staged_card = DatasetCard((user.staged / "README.md").read_text())
    assert card.text == staged_card.text
    rest = {key: value for key, value in staged_card.data.to_dict().items() if key not in ("configs", "dataset_info")}
    assert card.data.to_dict() == rest
    assert tree_of(repository) == tree_of(repository, "v1") == digests_of(user.staged)

    server.requests.clear()
    refs = dict(repository.refs)
    again = user.run("--script-branch", "--tag", "v1")
    assert again.status == 0
    assert [line.partition(",")[0] for line in again.lines if "nothing changed" in line] == [
        "main: nothing changed",
        "script: nothing changed",
    ]
    assert repository.refs == refs
    assert is_unwritten(server)


def test_the_script_branch_is_refused_without_archives(server, careless):
    shutil.rmtree(careless.staged / "data")
    done = careless.run("--script-branch")
    assert done.status == 1
    assert len(done.messages) == 1
    assert "stage it without --no-archives" in done.messages[0]
    assert server.requests == []


def test_without_a_token_nothing_is_sent_and_the_log_in_is_named(server, user):
    done = user.run(HF_TOKEN="")
    assert done.status == 1
    assert len(done.messages) == 1
    assert "hf auth login" in done.messages[0]
    assert server.requests == []


@pytest.mark.parametrize(
    ("script", "token"),
    [("upload.py", f"hf_\v{SECRET}"), ("upload.py", f"hf_{SECRET}ñ"), ("read_back.py", f"hf_\v{SECRET}")],
    ids=["upload, not a header", "upload, not ASCII", "read back, not a header"],
)
def test_a_token_that_cannot_be_used_is_not_told(server, user, foreign, script, token):
    options = ["--this-cache"] if script == "read_back.py" else []
    done = user.run(*options, script=script, HF_TOKEN=token)
    assert done.status == 1
    assert len(done.messages) == 1
    assert foreign.refs.keys() == {"refs/heads/main"}


def test_a_token_that_the_hub_repeats_is_not_told_by_the_read_back(server, user, foreign):
    server.intercept = fail(401, times=100, headers={"X-Error-Message": f"{TOKEN} is not known"})
    done = user.run("--this-cache", script="read_back.py")
    assert (done.status, len(done.messages)) == (1, 1)


@pytest.mark.parametrize("lines", [0, 1])
def test_the_work_goes_on_though_its_reader_leaves_early(server, user, foreign, lines):
    process = user.start("--tag", "v1")
    assert process.stdout is not None
    for _ in range(lines):
        process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    process.stderr.read()
    is_all_compared = len(asked(server, "/resolve/", "GET")) > 2 * len(SPLIT_NAMES)
    is_done = is_all_compared and "refs/tags/v1" in foreign.refs
    assert process.wait() == 0
    assert is_done


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--repo-id", "rock-glacier-dataset"], "<user or organization>/<name>"),
        (["--repo-id", "/rock-glacier-dataset"], "<user or organization>/<name>"),
        (["--repo-id", "alkzar90/"], "<user or organization>/<name>"),
        (["--repo-id", "a/b/c"], "<user or organization>/<name>"),
        (["--repo-id", "x/a b"], "<user or organization>/<name>"),
        (["--repo-id", REPO_ID, "--tag", ""], "--tag is empty"),
        (["--repo-id", REPO_ID, "--revision", ""], "--revision is empty"),
        (["--repo-id", "x/rock_glacier_dataset"], "takes rock_glacier_dataset with the file"),
        (["--repo-id", REPO_ID, "--create-pr", "--tag", "v1"], "--create-pr"),
        (["--repo-id", REPO_ID, "--create-pr", "--revision", "b"], "--create-pr"),
        (["--repo-id", REPO_ID, "--create-pr", "--script-branch"], "--create-pr"),
        (["--repo-id", REPO_ID, "--revision", "script"], "--script-branch"),
        (["--repo-id", REPO_ID, "--token", "hf_x"], "unrecognized arguments: --token"),
        ([], "--repo-id"),
    ],
)
def test_wrong_usage_has_status_2_and_says_why(staged, arguments, said, capsys):
    with pytest.raises(SystemExit) as caught:
        upload.main([str(staged), *arguments])
    assert caught.value.code == 2
    err = capsys.readouterr().err
    assert "usage:" in err
    assert said in err


def lose_card(folder: Path) -> None:
    (folder / "README.md").unlink()


def cut_parquet(folder: Path) -> None:
    path = folder / "image-segmentation" / TRAIN_SHARD
    path.write_bytes(cut_off(path.read_bytes()))


def lose_shard(folder: Path) -> None:
    path = folder / "image-segmentation" / TRAIN_SHARD
    path.rename(path.with_name("train-00000-of-00002.parquet"))


def miscount_in_card(folder: Path) -> None:
    card = folder / "README.md"
    card.write_text(card.read_text().replace("num_examples: 12", "num_examples: 13"))


def drop_rows(folder: Path) -> None:
    path = folder / "image-segmentation" / TRAIN_SHARD
    path.write_bytes(rewritten(lambda table: table.slice(1))(path.read_bytes()))


@pytest.mark.parametrize(
    ("break_folder", "said"),
    [
        (lose_card, "holds no README.md"),
        (cut_parquet, f"image-segmentation/{TRAIN_SHARD}: is not a whole Parquet file"),
        (lose_shard, "image-segmentation: the Parquet files of train are not one whole set"),
        (miscount_in_card, "README.md: tells of"),
        (drop_rows, "README.md: tells of"),
    ],
)
def test_a_broken_folder_is_refused_before_anything_is_sent(server, careless, foreign, break_folder, said):
    break_folder(careless.staged)
    done = careless.run()
    assert done.status == 1
    assert len(done.messages) == 1
    assert said in done.messages[0]
    assert "stage" in done.messages[0].partition(said)[2]
    assert server.requests == []


def test_a_folder_of_the_repositorys_name_is_not_taken_for_it(server, user, tmp_path):
    (tmp_path / "alkzar90").mkdir()
    shutil.copytree(user.staged, tmp_path / REPO_ID)
    server.add_repository(REPO_ID, {"README.md": b"# Another"})
    command = [sys.executable, str(REPOSITORY / "scripts" / "read_back.py"), REPO_ID, "--repo-id", REPO_ID]
    environment = client_environment(server, tmp_path / "home")
    for options in ([], ["--this-cache"]):
        done = subprocess.run(
            [*command, *options], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        assert "as staged" not in done.stdout


def test_an_interrupted_reading_back_says_so_in_one_line(server, user):
    server.add_repository(REPO_ID, user.staged)
    held = pause(ARRIVED, path_part="/resolve/")
    server.intercept = held
    process = user.start(script="read_back.py", HF_TOKEN="")
    held.wait()
    interrupt(process)
    ended = user.finish(process)
    held.resume()
    assert (ended.status, ended.messages) == (1, ["read_back.py: interrupted"])


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM that a process could answer")
def test_a_terminated_upload_leaves_no_folder_behind(server, user):
    held = pause(ARRIVED, path_part="/resolve/")
    server.intercept = held
    process = user.start()
    held.wait()
    process.terminate()
    ended = user.finish(process)  # which looks for temporary folders
    held.resume()
    assert ended.status == 1


def test_a_home_that_cannot_be_written_does_not_undo_the_upload(server, user, foreign):
    done = user.run("--tag", "v1", HF_HOME="/dev/null/home")
    assert done.status == 0, done.messages
    assert "refs/tags/v1" in foreign.refs
