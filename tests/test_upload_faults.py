"""`upload.py` when the Hub, the network, the user or another user gets in its way: main is whole at every moment."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import hashlib
import signal
from dataclasses import dataclass
from typing import NamedTuple

import pytest
from hub.client import OWNER, REPO_ID
from hub.faults import ARRIVED, DONE, Intercept, Moment, drop, fail, first_of, pause, received, sent
from hub.server import HubServer, Repository
from hub_errors import LOG_IN
from upload_runs import FOREIGN_FILES, TOKEN, Ended, User, arrived_objects, asked, digests_of, interrupt, kill, tree_of

SMALL = b"small"

# More than the buffers of a connection hold.
LARGE = bytes(range(256)) * 80_000

# More often than any client tries.
FOR_EVER = 100

AGAIN = "run the same command again"


class Step(NamedTuple):
    """A step of an upload.

    Attributes:
        method: the method of its request.
        path_part: what the path of its request holds.
        name: what the error calls it.
        midway: the moment at which its connection drops.
    """

    method: str
    path_part: str
    name: str
    midway: Moment = ARRIVED


LOOK = Step("GET", "/revision/main", "look at main")
CREATE = Step("POST", "/repos/create", "create the repository")
PREUPLOAD = Step("POST", "/preupload/", "commit to main")
BATCH = Step("POST", "/objects/batch", "commit to main")
SEND = Step("PUT", hashlib.sha256(SMALL).hexdigest(), "commit to main")
SEND_LARGE = Step("PUT", hashlib.sha256(LARGE).hexdigest(), "commit to main", received(1_000_000))
COMMIT = Step("POST", "/commit/", "commit to main", received(1))
LEARN_OF_COMMIT = Step("POST", "/commit/", "commit to main", DONE)
READ_BACK = Step("GET", "/resolve/", "could not be loaded back", sent(1000))
TAG = Step("POST", "/tag/", "create the tag v1")

REMEDIES = {
    401: LOG_IN,
    403: "use a token that may write",
    404: "check --repo-id",
    409: "look with --dry-run",
    429: f"wait 7 seconds, then {AGAIN}",
    500: AGAIN,
    503: AGAIN,
    "drop": AGAIN,
}
"""For each fault what the error tells to do."""

TROUBLES = {
    "401, 403 and 429": [
        (401, LOOK),
        (403, CREATE),
        (429, CREATE),
        (401, PREUPLOAD),
        (429, BATCH),
        (403, SEND),
        (403, COMMIT),
        (429, COMMIT),
        (401, READ_BACK),
        (401, TAG),
        (429, TAG),
    ],
    "404 and 409": [
        *((404, step) for step in (PREUPLOAD, BATCH, COMMIT)),
        (409, COMMIT),
        (404, READ_BACK),
        (404, TAG),
        (409, TAG),
    ],
    "500 and 503": [
        (500, CREATE),
        (503, PREUPLOAD),
        (500, BATCH),
        (503, SEND),
        (500, COMMIT),
        (503, READ_BACK),
        (500, TAG),
    ],
    "drop": [
        ("drop", step) for step in (CREATE, PREUPLOAD, BATCH, SEND_LARGE, COMMIT, LEARN_OF_COMMIT, READ_BACK, TAG)
    ],
}
"""What befalls an upload, one fault a run; each run gets to the step of its fault."""


@pytest.fixture
def server():
    with HubServer(tokens={TOKEN: OWNER}) as running:
        yield running


@pytest.fixture
def user(server, staged_copy, tmp_path) -> User:
    return User(server, tmp_path, staged_copy)


def add_file(user: User, content: bytes) -> None:
    """Add a file to what is to be uploaded."""
    folder = user.staged / "assets"
    folder.mkdir(exist_ok=True)
    (folder / f"{len(content)}.bin").write_bytes(content)


@pytest.fixture
def foreign(server) -> Repository:
    """A repository with other files."""
    return server.add_repository(REPO_ID, FOREIGN_FILES, token=TOKEN)


def main_of(server: HubServer) -> dict[str, str]:
    """Hash every file on main; none where there is no repository."""
    return tree_of(server.repositories[REPO_ID]) if REPO_ID in server.repositories else {}


def make(fault: int | str, step: Step) -> Intercept:
    """Let a step fail as often as it is tried."""
    if fault == "drop":
        return drop(step.midway, path_part=step.path_part, method=step.method, times=FOR_EVER)
    assert isinstance(fault, int)
    # What the Hub says is told, and might hold the token.
    headers = {429: {"Retry-After": "7"}, 401: {"X-Error-Message": f"{TOKEN} is not known"}}.get(fault)
    return fail(fault, path_part=step.path_part, method=step.method, times=FOR_EVER, headers=headers)


@dataclass
class Witness:
    """Sees that each run leaves main as it was or as it is staged, and sends nothing that has arrived before."""

    user: User

    def __post_init__(self) -> None:
        self.before = main_of(self.user.server)
        self.staged = digests_of(self.user.staged)
        self.look()

    def look(self) -> None:
        server = self.user.server
        assert main_of(server) in (self.before, self.staged)
        self.arrived = arrived_objects(server, server.repositories.get(REPO_ID))

    def check(self) -> None:
        arrived = self.arrived
        self.look()
        assert arrived.items() <= self.arrived.items()

    def check_failure(self, ended: Ended, *said: str) -> None:
        """Check that a run has failed, and has said so in one line that holds these."""
        self.check()
        assert ended.status == 1
        own = [message for message in ended.messages if message.startswith("upload.py: ")]
        assert len(own) == 1, ended.messages
        assert [part for part in said if part not in own[0]] == [], own[0]

    def check_finish(self, *arguments: str) -> None:
        """Check that the same command now does all."""
        ended = self.user.run(*arguments)
        self.check()
        assert (ended.status, ended.messages) == (0, [])
        assert main_of(self.user.server) == self.staged


@pytest.mark.parametrize("troubles", TROUBLES.values(), ids=TROUBLES.keys())
def test_a_fault_at_any_step_is_told_and_the_same_command_goes_on(server, user, troubles):
    steps = [step for _, step in troubles]
    for step, content in ((SEND, SMALL), (SEND_LARGE, LARGE)):
        if step in steps:
            add_file(user, content)
    witness = Witness(user)
    for fault, step in troubles:
        server.intercept = make(fault, step)
        asked_before = len(asked(server, step.path_part, step.method))
        ended = user.run("--tag", "v1")
        assert len(asked(server, step.path_part, step.method)) > asked_before, (fault, step)
        remedy = AGAIN if step is READ_BACK else REMEDIES[fault]
        witness.check_failure(ended, f"upload.py: error: {REPO_ID}: ", step.name, remedy)
        assert (main_of(server) == witness.staged) == (step in (LEARN_OF_COMMIT, READ_BACK, TAG)), (fault, step)

    server.intercept = None
    witness.check_finish("--tag", "v1")
    repository = server.repositories[REPO_ID]
    assert repository.find("v1").sha == repository.find("main").sha
    assert len(list(repository.find("main").history())) == 2


def test_what_the_client_tries_again_gets_through(server, user, foreign):
    add_file(user, LARGE)
    witness = Witness(user)
    server.intercept = first_of(
        fail(503, path_part=PREUPLOAD.path_part),
        fail(429, path_part=BATCH.path_part, headers={"Retry-After": "7"}),
        drop(SEND_LARGE.midway, path_part=SEND_LARGE.path_part),
        drop(READ_BACK.midway, path_part=READ_BACK.path_part, method="GET", skip=3),
    )
    witness.check_finish("--tag", "v1")
    assert foreign.find("v1").sha == foreign.find("main").sha


def test_a_process_that_is_killed_leaves_main_whole_and_the_same_command_goes_on(server, user, foreign):
    add_file(user, LARGE)
    witness = Witness(user)
    moments = [
        (PREUPLOAD, ARRIVED),
        (SEND_LARGE, received(1_000_000)),
        (COMMIT, ARRIVED),
        (COMMIT, DONE),
        (READ_BACK, ARRIVED),
    ]
    pauses = []
    for step, moment in moments:
        server.intercept = held = pause(moment, path_part=step.path_part, method=step.method)
        pauses.append(held)
        process = user.start("--tag", "v1")
        held.wait()
        kill(process)
        assert user.finish(process).status == -signal.SIGKILL
        witness.check()
        assert (main_of(server) == witness.staged) == (step is READ_BACK or moment is DONE)

    server.intercept = None
    witness.check_finish("--tag", "v1")
    # What the clients that are gone had asked for comes late, if at all.
    for held in pauses:
        held.resume()
    assert main_of(server) == witness.staged
    assert foreign.find("v1").sha == foreign.find("main").sha


def test_an_interrupted_upload_says_so_in_one_line(server, user, foreign):
    add_file(user, LARGE)
    witness = Witness(user)
    for step, moment in ((SEND_LARGE, received(1_000_000)), (COMMIT, ARRIVED), (READ_BACK, ARRIVED)):
        server.intercept = held = pause(moment, path_part=step.path_part, method=step.method)
        process = user.start()
        held.wait()
        interrupt(process)
        # The clients end what is under way before they stop.
        if step is SEND_LARGE:
            held.resume()
        ended = user.finish(process)
        witness.check()
        assert ended.status == 1
        assert ended.messages == [f"upload.py: interrupted; {AGAIN} to go on"], step


@pytest.mark.parametrize("is_same", [True, False], ids=["the same folder", "two folders"])
def test_of_two_uploads_at_once_one_wins_whole_and_the_other_is_refused(server, user, staged, tmp_path, is_same):
    if not is_same:
        (user.staged / "LICENSE").write_text("Other\n")
    (tmp_path / "other").mkdir()
    users = [user, User(server, tmp_path / "other", staged)]
    # Both find no repository, and make it.
    creating = pause(ARRIVED, path_part=CREATE.path_part, times=2)
    committing = pause(ARRIVED, path_part=COMMIT.path_part, times=2)
    server.intercept = first_of(creating, committing)
    processes = [each.start() for each in users]
    creating.wait(2)
    creating.resume()
    committing.wait(2)
    committing.resume()
    ended = [each.finish(process) for each, process in zip(users, processes, strict=True)]

    assert sorted(each.status for each in ended) == [0, 1]
    winner = users[[each.status for each in ended].index(0)]
    (message,) = ended[[each.status for each in ended].index(1)].messages
    assert message.startswith(f"upload.py: error: {REPO_ID}: commit to main: ")
    assert "nothing was overwritten" in message
    assert main_of(server) == digests_of(winner.staged)
    assert len(list(server.repositories[REPO_ID].find("main").history())) == 2
