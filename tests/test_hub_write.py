"""Tests of what the loopback Hub lets clients write, through the real `huggingface_hub`."""

from __future__ import annotations

import hashlib
import http.client
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub.client import OWNER, REPO_ID, TOKEN, finish_client, run_client, start_client
from hub.faults import ARRIVED, pause
from hub.read import COMMITS_PAGE
from hub.server import HubServer, Repository

CARD = b"---\nlicense: mit\n---\n# Rock glaciers\n"
ARCHIVE = bytes(range(256)) * 4000
OTHER_TOKEN = "hf_someone"


@pytest.fixture
def server() -> Iterator[HubServer]:
    with HubServer(tokens={TOKEN: OWNER, OTHER_TOKEN: "someone"}) as running:
        yield running


@pytest.fixture
def repository(server: HubServer) -> Repository:
    return server.add_repository(REPO_ID, {"README.md": CARD, "data/old.zip": b"PK", "data/old.csv": b"1"})


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "train.zip"
    path.write_bytes(ARCHIVE)
    return path


def content_of(repository: Repository, revision: str = "main") -> dict[str, bytes]:
    """Read every file."""
    tree = repository.find(revision).tree
    return {path: b"".join(blob.read(range(blob.size))) for path, blob in tree.items()}


def test_a_repository_is_created_once(server: HubServer, tmp_path: Path) -> None:
    result = run_client(
        server,
        tmp_path,
        """
urls = [api.create_repo(**dataset), api.create_repo(**dataset, exist_ok=True)]
ids = [[url.repo_id, url.repo_type] for url in urls]
result = [ids, fault_of(api.create_repo, **dataset), api.list_repo_files(**dataset)]
""",
        HF_TOKEN=TOKEN,
    )

    ids, fault, files = result
    assert ids == [[REPO_ID, "dataset"]] * 2
    assert (fault["status"], files) == (409, [".gitattributes"])
    assert f"You already created this dataset repo: {REPO_ID}" in fault["text"]
    assert list(server.repositories) == [REPO_ID]
    assert not server.repositories[REPO_ID].private


def test_a_repository_without_a_namespace_is_the_users(server: HubServer, tmp_path: Path) -> None:
    create = 'result = api.create_repo("tiles", repo_type="dataset").repo_id'

    assert run_client(server, tmp_path, create, HF_TOKEN=OTHER_TOKEN) == "someone/tiles"


def test_a_private_repository_opens_to_its_creator_alone(server: HubServer, tmp_path: Path) -> None:
    result = run_client(
        server,
        tmp_path,
        f"""
api.create_repo(**dataset, private=True)
commit(Add("README.md", b"private"))
faults = [fault_of(api.dataset_info, repo_id, token=token)["status"] for token in (False, "{OTHER_TOKEN}")]
result = [api.dataset_info(repo_id).private, faults]
""",
        HF_TOKEN=TOKEN,
    )

    assert result == [True, [401, 404]]


def test_a_commit_adds_replaces_copies_and_deletes(
    server: HubServer, repository: Repository, archive: Path, tmp_path: Path
) -> None:
    repository.commit({"gone/a.csv": b"1", "gone/b/c.zip": b"2"})
    first = repository.find("main").sha

    result = run_client(
        server,
        tmp_path,
        f"""
info = commit(
    Add("README.md", b"# New"), Add("empty.zip", b""), Add("data/train.zip", {str(archive)!r}), Delete("data/old.csv"),
    Copy("data/old.zip", "data/copy.zip"), Delete("gone/"), commit_description="why",
)
history = [[entry.commit_id, entry.title, entry.message, entry.authors] for entry in api.list_repo_commits(**dataset)]
result = [info.oid, info.repo_url.repo_id, history[:2]]
""",
        HF_TOKEN=TOKEN,
    )

    commit = repository.find("main")
    assert content_of(repository) == {
        "README.md": b"# New",
        "empty.zip": b"",
        "data/train.zip": ARCHIVE,
        "data/old.zip": b"PK",
        "data/copy.zip": b"PK",
    }
    assert [path for path, blob in sorted(commit.tree.items()) if blob.lfs] == [
        "data/copy.zip",
        "data/old.zip",
        "data/train.zip",
    ]
    history = [[commit.sha, "upload", "why", [OWNER]], [first, "Upload files", "", [OWNER]]]
    assert result == [commit.sha, REPO_ID, history]


def test_a_folder_that_was_uploaded_can_be_downloaded(server: HubServer, archive: Path, tmp_path: Path) -> None:
    result = run_client(
        server,
        tmp_path / "home",
        f"""
api.create_repo(**dataset)
api.upload_folder(**dataset, folder_path={str(archive.parent)!r}, path_in_repo="data", allow_patterns="*.zip")
result = snapshot_download(repo_id, repo_type="dataset")
""",
        HF_TOKEN=TOKEN,
    )

    assert Path(result, "data/train.zip").read_bytes() == ARCHIVE


def test_a_file_that_has_not_changed_is_not_committed(
    server: HubServer, repository: Repository, tmp_path: Path
) -> None:
    before = repository.find("main").sha

    commit = 'result = commit(Add("data/old.zip", b"PK"), Add("data/old.csv", b"1")).oid'

    assert run_client(server, tmp_path, commit, HF_TOKEN=TOKEN) == before
    assert not [request for request in server.requests if "/commit/" in request.path]


def test_an_lfs_object_is_sent_once(server: HubServer, repository: Repository, tmp_path: Path) -> None:
    result = run_client(
        server,
        tmp_path,
        """
archive = bytes(range(256)) * 4000
for path in ("data/train.zip", "data/again.zip"):
    commit(Add(path, archive))
result = None
""",
        HF_TOKEN=TOKEN,
    )

    assert result is None
    oid = hashlib.sha256(ARCHIVE).hexdigest()
    assert server.bytes_received(oid) == len(ARCHIVE)
    assert content_of(repository)["data/again.zip"] == ARCHIVE
    assert [path.name for path in server.storage.iterdir()] == [oid]


def test_an_lfs_object_of_another_repository_is_sent(server: HubServer, repository: Repository, tmp_path: Path) -> None:
    server.add_repository(f"{OWNER}/other", {"data/train.zip": ARCHIVE})

    run_client(server, tmp_path, 'result = commit(Add("data/train.zip", bytes(range(256)) * 4000)).oid', HF_TOKEN=TOKEN)

    assert server.bytes_received("lfs-storage") == len(ARCHIVE)


def test_a_large_lfs_object_is_sent_in_parts(server: HubServer, repository: Repository, tmp_path: Path) -> None:
    server.lfs_part_size = 100_000

    run_client(server, tmp_path, 'result = commit(Add("data/train.zip", bytes(range(256)) * 4000)).oid', HF_TOKEN=TOKEN)

    assert content_of(repository)["data/train.zip"] == ARCHIVE
    parts = [request.bytes_received for request in server.requests if request.method == "PUT"]
    assert parts == [100_000] * 10 + [24_000]


def test_an_lfs_object_of_wrong_bytes_is_refused(server: HubServer, repository: Repository, tmp_path: Path) -> None:
    batch = """
from huggingface_hub.lfs import UploadInfo, post_lfs_batch_info
upload = UploadInfo.from_bytes(b"right")
(entry,), _, _ = post_lfs_batch_info(upload_infos=[upload], token=None, repo_id=repo_id, repo_type="dataset")
result = entry["actions"]["upload"]["href"]
"""
    address = run_client(server, tmp_path, batch, HF_TOKEN=TOKEN).removeprefix(server.url)
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"))
    statuses = []
    for url, body in ((address, b"wrong"), (address, b"righ"), (address.partition("?")[0], b"right")):
        connection.request("PUT", url, body)
        answer = connection.getresponse()
        answer.read()
        statuses.append(answer.status)
    connection.close()

    assert statuses == [400, 400, 403]
    assert hashlib.sha256(b"right").hexdigest() not in repository.lfs_objects
    assert not list(server.storage.iterdir())


def test_a_commit_of_an_lfs_object_that_was_not_uploaded_is_refused(
    server: HubServer, repository: Repository, tmp_path: Path
) -> None:
    before = repository.find("main")

    fault = run_client(
        server,
        tmp_path,
        """
missing = Add("data/train.zip", b"never sent")
missing._upload_mode, missing._is_uploaded = "lfs", True
result = fault_of(commit, Add("other.txt", b""), missing)
""",
        HF_TOKEN=TOKEN,
    )

    assert (fault["kinds"][0], fault["status"]) == ("BadRequestError", 400)
    assert "an LFS pointer pointed to a file that does not exist" in fault["text"]
    assert repository.find("main") == before


def test_a_commit_that_deletes_what_is_not_there_is_refused_whole(
    server: HubServer, repository: Repository, tmp_path: Path
) -> None:
    before = repository.find("main")

    fault = run_client(
        server, tmp_path, 'result = fault_of(commit, Add("a.txt", b""), Delete("none.txt"))', HF_TOKEN=TOKEN
    )

    assert "EntryNotFoundError" in fault["kinds"]
    assert fault["status"] == 404
    assert repository.find("main") == before


def test_a_commit_on_a_parent_that_is_no_longer_the_head_is_refused(
    server: HubServer, repository: Repository, tmp_path: Path
) -> None:
    old = repository.find("main").sha
    repository.commit({"new.txt": b"new"})

    fault, oid = run_client(
        server,
        tmp_path,
        f"""
fault = fault_of(commit, Add("a.txt", b"1"), parent_commit="{old}")
result = [fault, commit(Add("a.txt", b"2"), parent_commit="{repository.find("main").sha}").oid]
""",
        HF_TOKEN=TOKEN,
    )

    assert (fault["kinds"][0], fault["status"]) == ("HfHubHTTPError", 412)
    assert "A commit has happened since. Please refresh and try again." in fault["text"]
    assert oid == repository.find("main").sha
    assert content_of(repository)["a.txt"] == b"2"


def test_of_two_commits_at_once_on_one_parent_one_is_made(
    server: HubServer, repository: Repository, tmp_path: Path
) -> None:
    server.intercept = both = pause(ARRIVED, path_part="/commit/", times=2)
    head = repository.find("main").sha
    bodies = [f'result = fault_of(commit, Add("{name}", b""), parent_commit="{head}")' for name in ("a", "b")]

    clients = [start_client(server, tmp_path, body, HF_TOKEN=TOKEN) for body in bodies]
    both.wait(2)
    both.resume()
    faults = [finish_client(client) for client in clients]

    assert sorted(fault["status"] if fault else 200 for fault in faults) == [200, 412]
    assert len(repository.find("main").tree.keys() & {"a", "b"}) == 1


def test_a_pull_request_has_a_reference_of_its_own(server: HubServer, repository: Repository, tmp_path: Path) -> None:
    main = repository.find("main")

    result = run_client(
        server,
        tmp_path,
        f"""
opened = [commit(Add(name, b""), create_pr=True, token="{OTHER_TOKEN}") for name in ("a.txt", "b.txt")]
commit(Add("c.zip", b"PK 2"), revision="refs/pr/2")
refs = api.list_repo_refs(**dataset, include_pull_requests=True)
requests = [[info.pr_revision, info.pr_num, info.pr_url] for info in opened]
result = [requests, [ref.ref for ref in refs.pull_requests]]
""",
        HF_TOKEN=TOKEN,
    )

    url = f"{server.url}/datasets/{REPO_ID}/discussions"
    names = ["refs/pr/1", "refs/pr/2"]
    assert result == [[[names[0], 1, f"{url}/1"], [names[1], 2, f"{url}/2"]], names]
    assert repository.find("main") == main
    assert repository.find("refs/pr/1").parent == main
    assert content_of(repository, "refs/pr/2").keys() == {*main.tree, "b.txt", "c.zip"}


def test_a_pull_request_begins_at_its_parent_commit(server: HubServer, repository: Repository, tmp_path: Path) -> None:
    old = repository.find("main")
    repository.commit({"new.txt": b"new"})

    run_client(
        server,
        tmp_path,
        f'result = commit(Add("a.txt", b""), create_pr=True, parent_commit="{old.sha}").oid',
        HF_TOKEN=TOKEN,
    )

    assert repository.find("refs/pr/1").parent == old


def test_branches_are_created_and_deleted(server: HubServer, repository: Repository, tmp_path: Path) -> None:
    old = repository.find("main").sha
    repository.commit({"new.txt": b"new"})

    result = run_client(
        server,
        tmp_path,
        f"""
api.create_branch(**dataset, branch="script")
api.create_branch(**dataset, branch="script", exist_ok=True)
api.create_branch(**dataset, branch="feature/old", revision="{old}")
commit(Add("a.txt", b""), revision="feature/old")
api.create_branch(**dataset, branch="short")
api.delete_branch(**dataset, branch="short")
calls = [
    (api.create_branch, "script"), (api.create_branch, "refs/pr/9"), (api.delete_branch, "none"),
    (api.delete_branch, "main"),
]
faults = [fault_of(call, **dataset, branch=branch)["status"] for call, branch in calls]
result = [*faults, fault_of(api.create_branch, **dataset, branch="b", revision="none")["kinds"][0]]
""",
        HF_TOKEN=TOKEN,
    )

    assert result == [409, 400, 404, 403, "RevisionNotFoundError"]
    assert sorted(repository.refs) == ["refs/heads/feature/old", "refs/heads/main", "refs/heads/script"]
    assert repository.find("script") == repository.find("main")
    assert content_of(repository, "feature/old").keys() == {*repository.find(old).tree, "a.txt"}


def test_tags_are_created_and_deleted(server: HubServer, repository: Repository, tmp_path: Path) -> None:
    old = repository.find("main").sha
    repository.commit({"new.txt": b"new"})

    result = run_client(
        server,
        tmp_path,
        f"""
api.create_tag(**dataset, tag="v1", revision="{old}")
api.create_tag(**dataset, tag="v1", exist_ok=True)
api.create_tag(**dataset, tag="v2", tag_message="The second")
api.create_tag(**dataset, tag="v3")
api.delete_tag(**dataset, tag="v3")
result = [
    fault_of(api.create_tag, **dataset, tag="v1")["status"],
    fault_of(api.create_tag, **dataset, tag="v4", revision="none")["kinds"][0],
    fault_of(api.delete_tag, **dataset, tag="none")["kinds"][0],
    fault_of(commit, Add("a.txt", b""), revision="v1")["kinds"][0],
]
""",
        HF_TOKEN=TOKEN,
    )

    assert result == [409, "RevisionNotFoundError", "RevisionNotFoundError", "BadRequestError"]
    assert repository.refs.keys() == {"refs/heads/main", "refs/tags/v1", "refs/tags/v2"}
    assert repository.refs["refs/tags/v1"] == old
    assert repository.find("v2") == repository.find("main")


def test_a_history_longer_than_a_page_is_listed_whole(
    server: HubServer, repository: Repository, tmp_path: Path
) -> None:
    for number in range(COMMITS_PAGE):
        repository.commit({"number": b"%d" % number}, message=str(number))

    titles = run_client(server, tmp_path, "result = [entry.title for entry in api.list_repo_commits(**dataset)]")

    assert titles == [*(str(number) for number in reversed(range(COMMITS_PAGE))), "initial commit"]
    assert len([request for request in server.requests if "/commits/" in request.path]) == 2


def test_a_card_of_faulty_yaml_is_refused(server: HubServer, repository: Repository, tmp_path: Path) -> None:
    before = repository.find("main")

    fault = run_client(
        server, tmp_path, 'result = fault_of(commit, Add("README.md", b"---\\na: [\\n---\\n"))', HF_TOKEN=TOKEN
    )

    assert fault["kinds"][0] == "ValueError"
    assert "Invalid metadata in README.md" in fault["text"]
    assert repository.find("main") == before


def test_what_was_uploaded_goes_with_the_server(tmp_path: Path) -> None:
    with HubServer(tokens={TOKEN: OWNER}) as server:
        server.add_repository(REPO_ID, {})
        run_client(server, tmp_path, 'result = commit(Add("a.zip", b"PK")).oid', HF_TOKEN=TOKEN)
        assert len(list(server.storage.iterdir())) == 1

    assert not server.storage.exists()


def test_to_write_takes_the_owners_token(server: HubServer, repository: Repository, tmp_path: Path) -> None:
    before = dict(repository.refs)

    result = run_client(
        server,
        tmp_path,
        f"""
from huggingface_hub.lfs import UploadInfo, post_lfs_batch_info
def batch(token):
    headers = api._build_hf_headers(token=token)
    uploads = [UploadInfo.from_bytes(b"object")]
    post_lfs_batch_info(uploads, token=token, repo_id=repo_id, repo_type="dataset", headers=headers)
def faults_of(token):
    return [
        fault_of(api.create_repo, "alkzar90/new", repo_type="dataset", token=token),
        fault_of(commit, Add("a.txt", b""), token=token),
        fault_of(batch, token),
        fault_of(api.create_branch, **dataset, branch="b", token=token),
        fault_of(api.create_tag, **dataset, tag="t", token=token),
    ]
result = [[[fault["status"], fault["kinds"][0]] for fault in faults_of(token)]
    for token in (False, "hf_unknown", "{OTHER_TOKEN}")]
result.append([fault["text"] for fault in faults_of("{OTHER_TOKEN}")])
""",
    )

    plain, missing = "HfHubHTTPError", "RepositoryNotFoundError"
    without, unknown, others, texts = result
    assert without == [[401, plain], [401, missing], [401, plain], [401, missing], [401, missing]]
    assert unknown == [[401, plain]] * 5
    assert others == [[403, plain]] * 5
    assert 'You don\'t have the rights to create a dataset under the namespace "alkzar90"' in texts[0]
    assert "pass `create_pr=1` as a query parameter to create a Pull Request" in texts[1]
    assert list(server.repositories) == [REPO_ID]
    assert repository.refs == before
