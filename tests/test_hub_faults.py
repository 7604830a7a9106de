"""Tests of the faults of the loopback Hub, through the real `huggingface_hub`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub.client import OWNER, REPO_ID, TOKEN, finish_client, run_client, start_client
from hub.faults import ARRIVED, DONE, Moment, drop, fail, first_of, pause, received, sent
from hub.server import HubServer, Repository

# More than the buffers of a connection hold: what they hold arrives even from a client that was killed.
ARCHIVE = bytes(range(256)) * 80_000
OID = hashlib.sha256(ARCHIVE).hexdigest()
UPLOAD = 'result = [commit(Add("data/new.zip", bytes(range(256)) * 80_000)).oid, waits]'


@pytest.fixture
def server() -> Iterator[HubServer]:
    with HubServer(tokens={TOKEN: OWNER}) as running:
        yield running


@pytest.fixture
def repository(server: HubServer) -> Repository:
    return server.add_repository(REPO_ID, {"data/train.zip": ARCHIVE[::-1]})


def statuses(server: HubServer, path_part: str) -> list[int]:
    """List how the requests for a path were answered."""
    return [request.status for request in server.requests if path_part in request.path]


def test_an_error_comes_with_its_headers(server: HubServer, repository: Repository, tmp_path: Path) -> None:
    server.intercept = fail(429, path_part="/commit/", headers={"Retry-After": "7"})

    fault = run_client(server, tmp_path, 'result = fault_of(commit, Add("a.txt", b""))', HF_TOKEN=TOKEN)

    assert (fault["kinds"][0], fault["status"]) == ("HfHubHTTPError", 429)
    assert {name.lower(): value for name, value in fault["headers"].items()}["retry-after"] == "7"


def test_an_error_skips_and_ends(server: HubServer, repository: Repository, tmp_path: Path) -> None:
    server.intercept = fail(503, path_part="/tag/", method="POST", skip=1, times=2)

    result = run_client(
        server,
        tmp_path,
        """
api.create_tag(**dataset, tag="v1")
api.delete_tag(**dataset, tag="v1")
result = [name_of_fault(api.create_tag, **dataset, tag="v2") is None for _ in range(3)]
""",
        HF_TOKEN=TOKEN,
    )

    assert result == [False, False, True]
    assert statuses(server, "/tag/") == [200, 200, 503, 503, 200]


def test_an_upload_that_failed_is_sent_again(server: HubServer, repository: Repository, tmp_path: Path) -> None:
    server.intercept = fail(503, method="PUT")

    sha, waits = run_client(server, tmp_path, UPLOAD, HF_TOKEN=TOKEN)

    assert (sha, waits) == (repository.find("main").sha, [1])
    assert statuses(server, "lfs-storage") == [503, 200]
    assert server.bytes_received("lfs-storage") == 2 * len(ARCHIVE)


def test_an_upload_that_breaks_is_not_stored_and_is_sent_again(
    server: HubServer, repository: Repository, tmp_path: Path
) -> None:
    server.intercept = first_of(
        drop(received(1_000_000), method="PUT"), waiting := pause(ARRIVED, path_part="/commit/")
    )

    client = start_client(server, tmp_path, UPLOAD, HF_TOKEN=TOKEN)
    waiting.wait()
    broken, whole = [request for request in server.requests if request.method == "PUT"]
    assert [path.name for path in server.storage.iterdir()] == [OID]
    waiting.resume()
    sha, _ = finish_client(client)

    assert (broken.status, whole.status) == (0, 200)
    assert 1_000_000 <= broken.bytes_received < len(ARCHIVE)
    assert whole.bytes_received == len(ARCHIVE)
    assert sha == repository.find("main").sha


def test_a_download_that_breaks_is_taken_up_again(server: HubServer, repository: Repository, tmp_path: Path) -> None:
    server.intercept = drop(sent(3_000_000), path_part="train.zip", method="GET")

    # `huggingface_hub` 1 tries again by itself, and 0 leaves it to the caller.
    result = run_client(
        server,
        tmp_path,
        """
name_of_fault(hf_hub_download, **dataset, filename="data/train.zip")
result = hf_hub_download(**dataset, filename="data/train.zip")
""",
    )

    assert Path(result).read_bytes() == ARCHIVE[::-1]
    broken, whole = [request for request in server.requests if request.method == "GET"]
    assert broken.bytes_sent == 3_000_000
    assert whole.status in (200, 206)


def test_a_download_may_break_for_good(server: HubServer, repository: Repository, tmp_path: Path) -> None:
    server.intercept = drop(sent(1000), path_part="train.zip", method="GET")

    result = run_client(
        server,
        tmp_path,
        """
url = f"{constants.ENDPOINT}/datasets/{repo_id}/resolve/main/data/train.zip"
result = name_of_fault(get_session().get, url)
""",
    )

    assert {"RemoteProtocolError", "ChunkedEncodingError"} & set(result)
    assert server.bytes_sent("train.zip") == 1000


def test_a_connection_can_break_before_anything_is_done(
    server: HubServer, repository: Repository, tmp_path: Path
) -> None:
    server.intercept = drop(ARRIVED, path_part="/revision/", times=10)

    kinds = run_client(server, tmp_path, 'result = name_of_fault(api.dataset_info, repo_id, revision="main")')

    assert {"RemoteProtocolError", "ConnectionError"} & set(kinds)
    assert set(statuses(server, "/revision/")) == {0}


def test_a_download_that_was_held_goes_on(server: HubServer, repository: Repository, tmp_path: Path) -> None:
    server.intercept = waiting = pause(sent(1000), path_part="train.zip", method="GET")

    client = start_client(server, tmp_path, 'result = hf_hub_download(**dataset, filename="data/train.zip")')
    waiting.wait()
    assert server.bytes_sent("train.zip") == 1000
    waiting.resume()

    assert Path(finish_client(client)).read_bytes() == ARCHIVE[::-1]
    assert server.bytes_sent("train.zip") == len(ARCHIVE)


@pytest.mark.parametrize(("moment", "is_made"), [(ARRIVED, False), (received(1), False), (DONE, True)])
def test_a_commit_whose_answer_is_lost_may_have_been_made(
    server: HubServer, repository: Repository, tmp_path: Path, moment: Moment, is_made: bool
) -> None:
    server.intercept = drop(moment, path_part="/commit/")

    kinds = run_client(server, tmp_path, 'result = name_of_fault(commit, Add("a.txt", b""))', HF_TOKEN=TOKEN)

    assert {"NetworkError", "RemoteProtocolError", "ConnectionError"} & set(kinds)
    assert statuses(server, "/commit/") == [0]
    assert ("a.txt" in repository.find("main").tree) is is_made


@pytest.mark.parametrize(("moment", "is_made"), [(ARRIVED, False), (DONE, True)])
def test_a_client_can_be_killed_while_it_commits(
    server: HubServer, repository: Repository, tmp_path: Path, moment: Moment, is_made: bool
) -> None:
    server.intercept = waiting = pause(moment, path_part="/commit/")

    client = start_client(server, tmp_path, 'result = commit(Add("a.txt", b"")).oid', HF_TOKEN=TOKEN)
    waiting.wait()
    client.kill()
    client.communicate()
    waiting.resume()
    # Answered after the request that was held: the server does one thing at a time.
    files = run_client(server, tmp_path, "result = api.list_repo_files(**dataset)")

    assert ("a.txt" in files) is is_made


def test_a_client_can_be_killed_while_it_uploads(server: HubServer, repository: Repository, tmp_path: Path) -> None:
    server.intercept = waiting = pause(received(1_000_000), method="PUT")

    client = start_client(server, tmp_path, UPLOAD, HF_TOKEN=TOKEN)
    waiting.wait()
    client.kill()
    client.communicate()
    waiting.resume()
    sha, _ = run_client(server, tmp_path, UPLOAD, HF_TOKEN=TOKEN)

    assert sha == repository.find("main").sha
    assert statuses(server, "lfs-storage") == [499, 200]
    broken, whole = [request.bytes_received for request in server.requests if request.method == "PUT"]
    assert (1_000_000 <= broken < len(ARCHIVE), whole) == (True, len(ARCHIVE))
    assert [path.name for path in server.storage.iterdir()] == [OID]


def test_others_are_served_while_a_request_is_held(server: HubServer, repository: Repository, tmp_path: Path) -> None:
    server.intercept = waiting = pause(ARRIVED, path_part="/commit/")

    client = start_client(server, tmp_path, 'result = commit(Add("slow.txt", b"")).oid', HF_TOKEN=TOKEN)
    waiting.wait()
    quick = run_client(server, tmp_path, 'result = commit(Add("quick.txt", b"")).oid', HF_TOKEN=TOKEN)
    waiting.resume()

    assert finish_client(client) == repository.find("main").sha
    parent = repository.find("main").parent
    assert parent is not None
    assert parent.sha == quick
