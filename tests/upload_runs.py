"""Runs of `upload.py` and `read_back.py` as a user makes them: in processes of their own, against the loopback Hub."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from conftest import REPOSITORY
from hub.client import REPO_ID
from hub.server import HubServer, Repository, client_environment

SCRIPTS = REPOSITORY / "scripts"

SECRET = "s3cr3t"
"""Found in whatever form the token is written."""

TOKEN = f"hf_'{SECRET}\"%2F\\"

FOREIGN_FILES: dict[str, bytes | Path] = {
    ".gitattributes": b"*.zip filter=lfs\n",
    "README.md": b"# Somebody's rock glaciers\n",
    "data/train-00000-of-00002.zip": b"PK",
    "image-classification/train-00000-of-00002.parquet": b"PAR1",
    "notes/ideas.txt": b"more tiles",
}
"""What is in a repository before an upload, of which one path is staged too."""

# The clients wait up to 23 seconds before they give a request up. What they do then is what the tests are about.
_NO_WAITS = "import time\n\ntime.sleep = lambda seconds: None\n"


class Ended(NamedTuple):
    """How a run ended.

    Attributes:
        status: exit status; negative for the signal that ended it.
        lines: what it printed.
        messages: what the scripts said on standard error. Progress bars and what the clients say are left out.
    """

    status: int
    lines: list[str]
    messages: list[str]


@dataclass
class User:
    """Someone with a staged folder, a cache and a token.

    Attributes:
        server: the Hub.
        folder: where the cache and temporary files go.
        staged: the staged folder.
    """

    server: HubServer
    folder: Path
    staged: Path

    @property
    def home(self) -> Path:
        """The folder that `HF_HOME` names."""
        return self.folder / "home"

    def start(self, *arguments: str, script: str = "upload.py", **environment: str) -> subprocess.Popen[str]:
        """Start a script on the staged folder; where no HF_TOKEN is wanted, it is given as empty."""
        options = ["--repo-id", REPO_ID, *(["--allow-size-mismatch"] if script == "upload.py" else [])]
        hooks, temporary = self.folder / "hooks", self.folder / "temporary"
        for made in (self.home, hooks, temporary):
            made.mkdir(exist_ok=True)
        (hooks / "sitecustomize.py").write_text(_NO_WAITS)
        ours = {
            "HF_TOKEN": TOKEN,
            "PYTHONPATH": os.pathsep.join([str(hooks), str(REPOSITORY)]),
            "TMPDIR": str(temporary),
        }
        return subprocess.Popen(
            [sys.executable, str(SCRIPTS / script), str(self.staged), *options, *arguments],
            env=client_environment(self.server, self.home) | ours | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def finish(self, process: subprocess.Popen[str]) -> Ended:
        """Wait for what `start` has started; however it ends, it leaves neither a token nor a traceback anywhere."""
        output, errors = process.communicate()
        assert SECRET not in output + errors, output + errors
        assert "Traceback" not in errors, errors
        for path in self.folder.rglob("*"):
            assert not path.is_file() or path.name == "token" or SECRET.encode() not in path.read_bytes(), path
        assert not any(SECRET.encode() in path.read_bytes() for path in files_of(self.staged).values())
        messages = [line for line in errors.splitlines() if line.startswith(("upload.py:", "read_back.py:"))]
        if process.returncode < 0:
            shutil.rmtree(self.folder / "temporary")
        else:
            assert list((self.folder / "temporary").iterdir()) == []
            assert errors.count("upload.py: ") + errors.count("read_back.py: ") == len(messages), errors
        return Ended(process.returncode, output.splitlines(), messages)

    def run(self, *arguments: str, script: str = "upload.py", **environment: str) -> Ended:
        """Run a script on the staged folder."""
        return self.finish(self.start(*arguments, script=script, **environment))


def interrupt(process: subprocess.Popen[str]) -> None:
    """Do what a terminal does for Ctrl-C."""
    os.killpg(process.pid, signal.SIGINT)


def kill(process: subprocess.Popen[str]) -> None:
    """End a script, and what it has started, without warning."""
    os.killpg(process.pid, signal.SIGKILL)


def files_of(folder: Path) -> dict[str, Path]:
    """List the files of a folder by their paths in it."""
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}


def digests_of(folder: Path) -> dict[str, str]:
    """Hash every file of a folder."""
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files_of(folder).items()}


def tree_of(repository: Repository, revision: str = "main") -> dict[str, str]:
    """Hash every file of a revision, but the Hub's own .gitattributes."""
    return {
        path: hashlib.sha256(b"".join(blob.read(range(blob.size)))).hexdigest()
        for path, blob in repository.find(revision).tree.items()
        if path != ".gitattributes"
    }


def arrived_objects(server: HubServer, repository: Repository | None) -> dict[str, int]:
    """Tell of each LFS object that has arrived how many bytes have been received for it."""
    return {oid: server.bytes_received(oid) for oid in (repository.lfs_objects if repository else ())}


def asked(server: HubServer, path_part: str = "", method: str | None = None) -> list[str]:
    """List the requests for a path, except those that were meant for other hosts."""
    return [
        f"{request.method} {request.path}"
        for request in server.requests
        if path_part in request.path and method in (None, request.method) and not request.foreign
    ]
