"""Tests of the loopback Hub, through the real `huggingface_hub` in processes of its own."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub.client import REPO_ID, TOKEN, run_client
from hub.server import EXPANDED_TREE_PAGE, LFS_SIZE, TREE_PAGE, HubServer, Repository, client_environment, fail

CARD = b"---\nlicense: mit\n---\n# Rock glaciers\n"
ARCHIVE = bytes(range(256)) * 4000
FILES = {"README.md": CARD, "data/train.zip": ARCHIVE, "data/test.zip": b"PK"}


@pytest.fixture
def server() -> Iterator[HubServer]:
    with HubServer() as running:
        yield running


@pytest.fixture
def repository(server: HubServer) -> Repository:
    return server.add_repository(REPO_ID, FILES)


def get(server: HubServer, path: str, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    """Send a request that no client of the Hub sends."""
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"))
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    result = answer.status, answer.read(), {name.lower(): value for name, value in answer.getheaders()}
    connection.close()
    return result


def test_dataset_info_holds_the_commit_the_card_and_the_files(
    server: HubServer, repository: Repository, tmp_path: Path
) -> None:
    result = run_client(
        server,
        tmp_path,
        """
info = api.dataset_info(repo_id, files_metadata=True)
lfs = {file.rfilename: file.lfs and file.lfs["size"] for file in info.siblings}
result = [info.id, info.sha, info.private, info.card_data["license"], lfs]
""",
    )

    lfs = {"README.md": None, "data/test.zip": 2, "data/train.zip": len(ARCHIVE)}
    assert result == [REPO_ID, repository.find("main").sha, False, "mit", lfs]


def test_the_same_commits_have_the_same_sha() -> None:
    shas = []
    for _ in range(2):
        repository = Repository(REPO_ID)
        shas.append([repository.commit(FILES), repository.commit({"more": b""}), repository.commit({"more": b"1"})])

    assert shas[0] == shas[1]
    assert len(set(shas[0])) == 3


def test_a_commit_adds_replaces_and_deletes() -> None:
    repository = Repository(REPO_ID)
    first = repository.commit({"a": b"1", "b": b"1", "c": b"1"})
    repository.commit({"b": b"2", "d": b"2"}, delete=["a"])

    assert sorted(repository.find("main").tree) == ["b", "c", "d"]
    assert repository.find("main").tree["b"].content == b"2"
    assert sorted(repository.find(first).tree) == ["a", "b", "c"]


def test_branches_tags_shas_and_quoted_references_are_revisions(
    server: HubServer, repository: Repository, tmp_path: Path
) -> None:
    old = repository.find("main").sha
    repository.create_tag("v1")
    repository.create_branch("script")
    repository.commit({"new.txt": b"new"})
    repository.commit({"default/train/0000.parquet": b"PAR1"}, branch="refs/convert/parquet")

    revisions = ["main", "v1", "script", old, "refs/convert/parquet"]
    result = run_client(
        server,
        tmp_path,
        f"""
files = [api.list_repo_files(repo_id, repo_type="dataset", revision=revision) for revision in {revisions}]
refs = api.list_repo_refs(repo_id, repo_type="dataset")
names = [[ref.name for ref in kind] for kind in (refs.branches, refs.tags, refs.converts)]
path = hf_hub_download(repo_id, "default/train/0000.parquet", repo_type="dataset", revision="refs/convert/parquet")
result = [files, names, open(path).read()]
""",
    )

    files = sorted(FILES)
    assert result[0] == [[*files, "new.txt"], files, files, files, ["default/train/0000.parquet"]]
    assert result[1:] == [[["main", "script"], ["v1"], ["parquet"]], "PAR1"]


def test_snapshot_download_moves_only_the_files_that_match(
    server: HubServer, repository: Repository, tmp_path: Path
) -> None:
    result = run_client(
        server,
        tmp_path,
        'result = snapshot_download(repo_id, repo_type="dataset", allow_patterns=["*.md", "data/train*"])',
    )

    assert Path(result, "data/train.zip").read_bytes() == ARCHIVE
    assert server.bytes_sent("README.md") == len(CARD)
    assert server.bytes_sent("train.zip") == len(ARCHIVE)
    assert server.bytes_sent("test.zip") == 0


def test_a_file_in_the_cache_is_not_sent_again(server: HubServer, repository: Repository, tmp_path: Path) -> None:
    download = 'result = hf_hub_download(repo_id, "data/train.zip", repo_type="dataset")'

    assert run_client(server, tmp_path, download) == run_client(server, tmp_path, download)
    assert server.bytes_sent("train.zip") == len(ARCHIVE)


def test_a_range_moves_only_the_bytes_asked_for(server: HubServer, repository: Repository, tmp_path: Path) -> None:
    result = run_client(
        server,
        tmp_path,
        """
path = f"datasets/{repo_id}/data/train.zip"
files = HfFileSystem()
with files.open(path, block_size=1000, cache_type="none") as archive:
    archive.seek(500_000)
    part = archive.read(300)
result = [files.ls(f"datasets/{repo_id}", detail=False), files.info(path)["size"], part.hex()]
""",
    )

    listing = [f"datasets/{REPO_ID}/README.md", f"datasets/{REPO_ID}/data"]
    assert result == [listing, len(ARCHIVE), ARCHIVE[500_000:500_300].hex()]
    assert [request.range for request in server.requests if "train.zip" in request.path] == ["bytes=500000-500299"]
    assert server.bytes_sent("train.zip") == 300


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [("bytes=-7", 1_023_993, 1_023_999), ("bytes=1023990-", 1_023_990, 1_023_999), ("bytes=5-5", 5, 5)],
)
def test_open_and_suffix_ranges_are_sent(
    server: HubServer, repository: Repository, asked: str, first: int, last: int
) -> None:
    status, body, headers = get(server, f"/datasets/{REPO_ID}/resolve/main/data/train.zip", Range=asked)

    assert (status, body) == (206, ARCHIVE[first : last + 1])
    assert headers["content-range"] == f"bytes {first}-{last}/1024000"
    assert server.requests[-1].bytes_sent == last + 1 - first


def test_a_range_past_the_end_is_refused(server: HubServer, repository: Repository) -> None:
    status, _, headers = get(server, f"/datasets/{REPO_ID}/resolve/main/README.md", Range="bytes=999-")

    assert (status, headers["content-range"]) == (416, f"bytes */{len(CARD)}")


def test_a_folder_is_served_from_disk(server: HubServer, tmp_path: Path) -> None:
    folder = tmp_path / "staged"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "big").write_bytes(ARCHIVE)
    server.lfs_size = 1000
    repository = server.add_repository(REPO_ID, folder)

    result = run_client(
        server,
        tmp_path / "home",
        """
with open(hf_hub_download(repo_id, "data/big", repo_type="dataset"), "rb") as file:
    content = file.read()
(info,) = api.get_paths_info(repo_id, "data/big", repo_type="dataset")
result = [content.hex(), info.lfs.sha256]
""",
    )

    blob = repository.find("main").tree["data/big"]
    assert blob.lfs
    assert result == [ARCHIVE.hex(), blob.sha256]


def test_files_are_lfs_files_by_their_name_or_size(tmp_path: Path) -> None:
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(LFS_SIZE)
    repository = Repository(REPO_ID)
    repository.commit({"README.md": CARD, "a.parquet": b"PAR1", "large.csv": large})

    assert {path: blob.lfs for path, blob in repository.find("main").tree.items()} == {
        "README.md": False,
        "a.parquet": True,
        "large.csv": True,
    }


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ('api.dataset_info, "alkzar90/none"', "RepositoryNotFoundError"),
        ('api.dataset_info, repo_id, revision="none"', "RevisionNotFoundError"),
        ('hf_hub_download, repo_id, "none", repo_type="dataset"', "EntryNotFoundError"),
    ],
)
def test_what_is_missing_raises_as_on_the_hub(
    server: HubServer, repository: Repository, tmp_path: Path, call: str, error: str
) -> None:
    assert error in run_client(server, tmp_path, f"result = name_of_fault({call})")


def test_a_private_repository_opens_to_its_token_alone(server: HubServer, tmp_path: Path) -> None:
    server.add_repository("someone/public", {}, token="hf_someone")
    server.add_repository(REPO_ID, FILES, private=True, token=TOKEN)

    result = run_client(
        server,
        tmp_path,
        f"""
faults = [name_of_fault(api.dataset_info, repo_id, token=token)[0] for token in (None, "hf_unknown", "hf_someone")]
result = [faults, api.dataset_info(repo_id, token="{TOKEN}").private, api.whoami(token="{TOKEN}")["name"]]
""",
    )

    assert result == [["RepositoryNotFoundError", "HfHubHTTPError", "RepositoryNotFoundError"], True, "alkzar90"]
    assert [(request.status, request.authorized) for request in server.requests] == [
        (401, False),
        (401, True),
        (404, True),
        (200, True),
        (200, True),
    ]


def test_the_token_of_the_environment_is_sent(server: HubServer, tmp_path: Path) -> None:
    server.add_repository(REPO_ID, FILES, private=True, token=TOKEN)

    run_client(server, tmp_path, 'result = hf_hub_download(repo_id, "README.md", repo_type="dataset")', HF_TOKEN=TOKEN)

    assert all(request.authorized for request in server.requests)
    assert server.bytes_sent("README.md") == len(CARD)


def test_a_tree_longer_than_a_page_is_listed_whole(server: HubServer, tmp_path: Path) -> None:
    server.add_repository(REPO_ID, {f"{number // 100}/{number}.txt": b"" for number in range(TREE_PAGE)})

    result = run_client(
        server,
        tmp_path,
        """
whole = list(api.list_repo_tree(repo_id, repo_type="dataset", recursive=True))
folder = list(api.list_repo_tree(repo_id, "3", repo_type="dataset", expand=True))
result = [len(whole), len(folder), folder[0].last_commit.title]
""",
    )

    assert result == [TREE_PAGE + TREE_PAGE // 100, 100, "initial commit"]
    assert len([request for request in server.requests if "/tree/" in request.path]) == 2 + 100 // EXPANDED_TREE_PAGE


def test_an_expanded_tree_names_the_commit_of_the_last_change(
    server: HubServer, repository: Repository, tmp_path: Path
) -> None:
    repository.commit({"data/new.txt": b""}, message="add")
    repository.commit({"LICENSE": b""}, message="license")

    result = run_client(
        server,
        tmp_path,
        """
tree = api.list_repo_tree(repo_id, repo_type="dataset", recursive=True, expand=True)
result = {entry.path: entry.last_commit.title for entry in tree}
""",
    )

    first = "initial commit"
    archives = {"data": "add", "data/new.txt": "add", "data/test.zip": first, "data/train.zip": first}
    assert result == {"LICENSE": "license", "README.md": first, **archives}


def test_an_intercepted_request_is_answered_instead(server: HubServer, repository: Repository, tmp_path: Path) -> None:
    server.intercept = fail(503, path_part="/revision/", times=1)

    result = run_client(
        server,
        tmp_path,
        'result = [name_of_fault(api.dataset_info, repo_id, revision="main") is None for _ in range(2)]',
    )

    assert result == [False, True]
    assert [request.status for request in server.requests] == [503, 200]


def test_an_unknown_path_is_answered_404_and_recorded(server: HubServer) -> None:
    assert get(server, "/api/models/bert?a=b")[0] == 404

    (request,) = server.requests
    assert (request.method, request.path, request.query, request.status) == ("GET", "/api/models/bert", "a=b", 404)
    assert not request.authorized


def test_requests_for_other_hosts_come_here(server: HubServer, tmp_path: Path) -> None:
    result = run_client(
        server,
        tmp_path,
        """
viewer = constants.ENDPOINT.replace("://", "://datasets-server.") + "/info"
fault = name_of_fault(get_session().get, "https://huggingface.co/api")
result = [get_session().get(viewer).status_code, "ProxyError" in fault]
""",
    )

    assert result == [404, True]
    viewer = server.url.replace("://", "://datasets-server.") + "/info"
    assert {request.path for request in server.requests} == {viewer, "huggingface.co:443"}
    assert all(request.foreign for request in server.requests)


def test_nothing_of_the_users_environment_reaches_a_client(
    server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "HUGGING_FACE_HUB_TOKEN", "all_proxy"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("https_proxy", "http://proxy.example")

    environment = client_environment(server, tmp_path)

    assert not {"HF_TOKEN", "HF_HUB_OFFLINE", "HUGGING_FACE_HUB_TOKEN", "all_proxy"} & environment.keys()
    assert environment["https_proxy"] == environment["HF_ENDPOINT"] == server.url


def test_a_server_that_has_stopped_listens_no_more() -> None:
    with HubServer() as server:
        assert get(server, "/")[0] == 404

    with pytest.raises(ConnectionRefusedError):
        get(server, "/")
