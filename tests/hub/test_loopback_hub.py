"""The loopback Hub is as faithful as the tests that use it take it to be, and counts right."""

# mypy: allow-untyped-defs, allow-untyped-calls

from __future__ import annotations

import http.client
import json
import subprocess
import sys

import pytest

from hub.client import OWNER, REPO_ID, TOKEN
from hub.server import HubServer, client_environment

ARCHIVE = bytes(range(256)) * 4000
PRELUDE = f"""
import json
from huggingface_hub import CommitOperationAdd as Add, CommitOperationCopy as Copy, CommitOperationDelete as Delete
from huggingface_hub import HfApi, HfFileSystem, constants, hf_hub_download
from huggingface_hub.utils import get_session
api, dataset = HfApi(), {{"repo_id": {REPO_ID!r}, "repo_type": "dataset"}}

def commit(*operations, **options):
    return api.create_commit(operations=operations, commit_message="upload", **dataset, **options).oid

def error_of(call, *arguments, **options):
    try:
        return call(*arguments, **options)
    except Exception as error:
        return [type(error).__name__, getattr(getattr(error, "response", None), "status_code", None)]
"""


@pytest.fixture
def server():
    with HubServer(tokens={TOKEN: OWNER, "hf_someone": "someone"}) as running:
        running.add_repository(REPO_ID, {"README.md": b"---\nlicense: mit\n---\n", "data/train.zip": ARCHIVE})
        yield running


def client(server, home, code, token=TOKEN):
    """Run code in a process of its own, and return what it leaves in `result`."""
    command = [sys.executable, "-c", f"{PRELUDE}{code}\nprint(json.dumps(result))"]
    environment = client_environment(server, home) | {"HF_TOKEN": token}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_range_is_sent_and_counted_as_asked(server, tmp_path):
    code = f"""
with HfFileSystem().open("datasets/{REPO_ID}/data/train.zip", block_size=1000, cache_type="none") as archive:
    archive.seek(500_000)
    result = archive.read(300).hex()
"""
    assert client(server, tmp_path, code) == ARCHIVE[500_000:500_300].hex()
    assert [request.range for request in server.requests if "train.zip" in request.path] == ["bytes=500000-500299"]
    assert server.bytes_sent("train.zip") == 300


@pytest.mark.parametrize(
    ("asked", "status", "body"),
    [("bytes=-7", 206, ARCHIVE[-7:]), ("bytes=1023990-", 206, ARCHIVE[-10:]), ("bytes=1024000-", 416, None)],
)
def test_open_suffix_and_impossible_ranges_are_answered_by_rfc_9110(server, asked, status, body):
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"))
    connection.request("GET", f"/datasets/{REPO_ID}/resolve/main/data/train.zip", headers={"Range": asked})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    assert (answer.status, content) == (status, content if body is None else body)


def test_commits_copy_delete_move_no_object_twice_and_keep_to_their_parent(server, tmp_path):
    repository = server.repositories[REPO_ID]
    first = repository.find("main").sha
    code = """
archive = bytes(range(256)) * 5000
commit(Add("a.zip", archive), Copy("data/train.zip", "c.zip"), Delete("data/"))
parent = commit(Add("b.zip", archive))
result = [parent, error_of(commit, Add("x", b""), parent_commit=%r), error_of(commit, Delete("none")),
          commit(Add("a.zip", archive), parent_commit=parent)]
"""
    made, stale, missing, unchanged = client(server, tmp_path, code % first)
    assert made == unchanged == repository.find("main").sha
    assert sorted(repository.find("main").tree) == ["README.md", "a.zip", "b.zip", "c.zip"]
    assert (stale[1], missing[1]) == (412, 404)
    assert server.bytes_received("/lfs-storage/") == 1_280_000


def test_who_may_not_read_or_write_is_told_so_as_on_the_hub(server, tmp_path):
    server.add_repository(f"{OWNER}/private", {}, private=True, token=TOKEN)
    code = f"""
result = [error_of(api.dataset_info, "{OWNER}/private", token=token) for token in (False, "hf_someone", "hf_unknown")]
result += [error_of(commit, Add("a.txt", b""), token=token) for token in (False, "hf_someone")]
result += [error_of(api.dataset_info, {REPO_ID!r}, revision="none")]
"""
    hidden, unknown = "RepositoryNotFoundError", "HfHubHTTPError"
    reading = [[hidden, 401], [hidden, 404], [unknown, 401]]
    assert client(server, tmp_path, code) == [*reading, [hidden, 401], [unknown, 403], ["RevisionNotFoundError", 404]]


def test_no_request_leaves_the_machine_and_no_setting_of_the_user_gets_in(server, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HUGGING_FACE_HUB_TOKEN", "hf_mine")
    code = """
viewer = constants.ENDPOINT.replace("://", "://datasets-server.") + "/info"
result = [get_session().get(viewer).status_code, error_of(get_session().get, "https://huggingface.co/api")[0]]
"""
    assert client(server, tmp_path, code) == [404, "ProxyError"]
    assert [request.foreign for request in server.requests] == [True, True]
    assert not any("hf_mine" in value for value in client_environment(server, tmp_path).values())
