"""Uploads that the Hub, the network, a signal or another upload interrupts: main is whole at every moment."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import hashlib
import re
import signal
from typing import NamedTuple

import pytest
from hub.faults import ARRIVED, DONE, Intercept, Moment, drop, fail, first_of, pause, received, sent
from hub.server import HubServer
from starlette.responses import JSONResponse
from upload_runs import TOKEN, Ended, User, commits_of, digests_of, end, tree_of

from rock_glacier.console import REPO_ID
from rock_glacier.publication import hub
from rock_glacier.publication.sums import write_sums

LARGE = bytes(range(256)) * 16_000  # more than arrives before the moment at which its sending is stopped
FOR_EVER = 100  # more often than any client tries
AGAIN = "run the same command again"


class Step(NamedTuple):
    """A step of an upload: its request, what the error calls it, and the moment at which its connection drops."""

    method: str
    path_part: str
    name: str
    midway: Moment = ARRIVED


LOOK = Step("GET", "/revision/main", "look at main")
CREATE = Step("POST", "/repos/create", "create the repository")
PREUPLOAD = Step("POST", "/preupload/", "commit to main")
SEND = Step("PUT", hashlib.sha256(LARGE).hexdigest(), "commit to main", received(1_000_000))
COMMIT = Step("POST", "/commit/", "commit to main", received(1))
LEARN_OF_COMMIT = Step("POST", "/commit/", "commit to main", DONE)
READ_BACK = Step("GET", "/resolve/", "could not be loaded back", sent(1000))
BRANCH = Step("POST", "/branch/", "create the branch script")
TAG = Step("POST", "/tag/", "create the tag v1")

FAULTS: list[tuple[int | str, Step, str]] = [
    (401, LOOK, "hf auth login"),
    (403, CREATE, "use a token that may write"),
    (429, PREUPLOAD, f"wait 7 seconds, then {AGAIN}"),
    ("drop", SEND, AGAIN),
    (409, COMMIT, "look with --dry-run"),
    ("drop", LEARN_OF_COMMIT, AGAIN),
    (404, READ_BACK, AGAIN),
    (503, BRANCH, AGAIN),
    (500, TAG, AGAIN),
]
"""Faults of an upload, one a run, with the remedy that the message names; each run reaches the step of its fault."""


@pytest.fixture
def user(staged_copy, tmp_path, capfd):
    """A user whose staged folder has a large file as well."""
    (staged_copy / "main" / "large.bin").write_bytes(LARGE)
    write_sums(staged_copy)
    with HubServer(tokens={TOKEN: "alkzar90"}) as server:
        yield User(server, tmp_path, staged_copy, capfd)


def make(fault: int | str, step: Step) -> Intercept:
    """Make a step fail each time that it is tried."""
    if fault == "drop":
        return drop(step.midway, path_part=step.path_part, method=step.method, times=FOR_EVER)
    assert isinstance(fault, int)
    headers = {429: {"Retry-After": "7"}}.get(fault)
    return fail(fault, path_part=step.path_part, method=step.method, times=FOR_EVER, headers=headers)


def assert_main_is_whole(user: User) -> bool:
    """Assert that main is as it was, without files, or as staged; return whether it is as staged."""
    repository = user.server.repositories.get(REPO_ID)
    tree = tree_of(repository) if repository else {}
    assert tree in ({}, digests_of(user.staged / "main"))
    return bool(tree)


def assert_finishes(ended: Ended, user: User) -> None:
    """Assert that a run has done all that was left, and that main has had one commit since the first."""
    assert (ended.status, ended.messages) == (0, [])
    assert assert_main_is_whole(user)
    repository = user.server.repositories[REPO_ID]
    assert len(commits_of(repository)) == 2
    assert tree_of(repository, "script") == digests_of(user.staged / "script")
    assert repository.find("v1").sha == repository.find("main").sha


def test_a_fault_at_any_step_is_reported_with_its_remedy_and_the_same_command_goes_on(user):
    server = user.server
    for fault, step, remedy in FAULTS:
        server.intercept = make(fault, step)
        server.requests.clear()
        ended = user.upload("--tag", "v1")
        assert any(request.method == step.method and step.path_part in request.path for request in server.requests)
        assert ended.status == 1
        message = ended.messages[-1]
        assert re.match(f"upload.py: error: {REPO_ID}: .*{step.name}.*{re.escape(remedy)}", message), message
        assert assert_main_is_whole(user) == (step in (LEARN_OF_COMMIT, READ_BACK, BRANCH, TAG)), (fault, step)
    server.intercept = None
    server.requests.clear()
    assert_finishes(user.upload("--tag", "v1"), user)
    assert server.bytes_received(SEND.path_part) == 0  # what has arrived is not sent again


def test_a_list_of_files_that_is_none_or_never_ends_is_one_line(user, monkeypatch):
    user.server.add_repository(REPO_ID, {})
    for content, said in [
        ({"type": "file"}, ""),
        ([5], ""),
        ([{"type": "file", "path": 5, "oid": "0", "size": 1}], "the list of files has 5 of 1 bytes in it"),
        ([{"type": "file", "path": "a", "oid": "0", "size": None}], "the list of files has 'a' of None bytes in it"),
    ]:
        answer = JSONResponse(content)
        user.server.intercept = lambda request, answer=answer: (lambda _: answer) if "/tree/" in request.path else None
        shown = user.upload("--dry-run")
        assert (shown.status, len(shown.messages)) == (1, 1)
        assert f"{REPO_ID}: look at main: {said}" in shown.messages[0]
    monkeypatch.setattr(hub, "SECONDS_TO_LIST", 0.2)
    user.server.intercept = held = pause(sent(1), path_part="/tree/")
    shown = user.upload("--dry-run")
    held.resume()
    assert shown.status == 1
    assert "look at main: the list of files does not end within 0.2 seconds" in shown.messages[0]
    assert shown.messages[0].endswith(AGAIN)


def test_a_process_that_is_killed_leaves_main_whole_and_the_same_command_goes_on(user):
    pauses = []
    for step, moment in [(SEND, received(1_000_000)), (COMMIT, DONE)]:
        user.server.intercept = held = pause(moment, path_part=step.path_part, method=step.method)
        pauses.append(held)
        process = user.start_upload("--tag", "v1")
        held.wait()
        end(process, signal.SIGKILL)
        assert user.finish(process).status == -signal.SIGKILL
        assert assert_main_is_whole(user) == (step is COMMIT)
    user.server.intercept = None
    assert_finishes(user.upload("--tag", "v1"), user)
    for held in pauses:  # what the clients that are gone had asked for comes late, if at all
        held.resume()
    assert assert_main_is_whole(user)


@pytest.mark.parametrize(("number", "step"), [(signal.SIGTERM, COMMIT), (signal.SIGINT, READ_BACK)])
def test_an_interrupted_upload_says_so_in_one_line_and_leaves_no_folder_behind(user, number, step):
    user.server.intercept = held = pause(ARRIVED, path_part=step.path_part, method=step.method)
    process = user.start_upload()
    held.wait()
    end(process, number)
    ended = user.finish(process)  # which looks for temporary folders
    assert assert_main_is_whole(user) == (step is READ_BACK)
    held.resume()  # only now, for the commit that was held may be made yet
    assert (ended.status, ended.messages) == (1, [f"upload.py: interrupted; {AGAIN} to go on"])


def test_of_two_uploads_at_once_one_wins_whole_and_the_other_is_refused(user, staged, tmp_path):
    (tmp_path / "other").mkdir()
    users = [user, User(user.server, tmp_path / "other", staged)]
    creating = pause(ARRIVED, path_part=CREATE.path_part, times=2)  # both find no repository, and make it
    committing = pause(ARRIVED, path_part=COMMIT.path_part, times=2)
    user.server.intercept = first_of(creating, committing)
    processes = [each.start_upload() for each in users]
    for held in (creating, committing):
        held.wait(2)
        held.resume()
    ended = [each.finish(process) for each, process in zip(users, processes, strict=True)]
    assert sorted(each.status for each in ended) == [0, 1]
    winner = users[[each.status for each in ended].index(0)]
    (message,) = ended[[each.status for each in ended].index(1)].messages
    assert message.startswith(f"upload.py: error: {REPO_ID}: commit to main: the Hub answers 412")
    assert "nothing was overwritten" in message
    assert tree_of(user.server.repositories[REPO_ID]) == digests_of(winner.staged / "main")
