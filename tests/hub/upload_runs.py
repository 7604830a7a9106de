"""Runs of the commands as a user makes them, against the loopback Hub."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from archive_contents import contents, tile_paths
from conftest import REPOSITORY
from hub.server import HubServer, Repository, client_environment
from PIL import Image
from script_runs import SCRIPTS, client_of, run_script

from rock_glacier.archives.writer import mask_path
from rock_glacier.console import REPO_ID
from rock_glacier_dataset import CLASS_NAMES, EMPTY_MASK

SECRET = "s3cr3t"
TOKEN = f"hf_{SECRET}"

# The clients wait up to 23 seconds before they give a request up. What they do then is what the tests are about.
_NO_WAITS = "import time\n\ntime.sleep = lambda seconds: None\n"


class Ended(NamedTuple):
    """How a run ended: its status, negative for a signal, what it printed, and the commands' own messages."""

    status: int
    lines: list[str]
    messages: list[str]


@dataclass
class User:
    """Someone with a token, a staged folder, and a folder for caches and temporary files.

    The folder holds a trap as well: a folder that is called as the repository is.
    """

    server: HubServer
    folder: Path
    staged: Path
    captured: pytest.CaptureFixture[str] | None = None

    def __post_init__(self) -> None:
        self.temporary, self.hooks = self.folder / "temporary", self.folder / "hooks"
        for made in (self.hooks, self.temporary, self.folder / "home", self.folder / REPO_ID):
            made.mkdir(exist_ok=True, parents=True)
        (self.hooks / "sitecustomize.py").write_text(_NO_WAITS)

    def run(self, script: str, *arguments: object, **environment: str) -> Ended:
        """Run a command in this process."""
        assert self.captured is not None
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tempfile, "tempdir", str(self.temporary))
            patch.setattr(time, "sleep", lambda seconds: None)
            patch.syspath_prepend(self.hooks)  # for the process that loads back
            variables = {"HF_TOKEN": TOKEN, "TMPDIR": str(self.temporary)} | environment
            with client_of(self.server, self.folder / "home", **variables):
                status = run_script(script, *arguments, folder=self.folder)
        return self._ended(status, *self.captured.readouterr())

    def upload(self, *arguments: object, **environment: str) -> Ended:
        """Upload the staged folder, a sample, in this process."""
        return self.run("upload.py", self.staged, "--repo-id", REPO_ID, "--allow-sample", *arguments, **environment)

    def start(self, script: str, *arguments: object) -> subprocess.Popen[str]:
        """Start a command in a process of its own."""
        ours = {
            "HF_TOKEN": TOKEN,
            "PYTHONPATH": os.pathsep.join([str(self.hooks), str(REPOSITORY), str(SCRIPTS)]),
            "TMPDIR": str(self.temporary),
        }
        return subprocess.Popen(
            [sys.executable, str(SCRIPTS / script), *map(str, arguments)],
            env=client_environment(self.server, self.folder / "home") | ours,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def start_upload(self, *arguments: object) -> subprocess.Popen[str]:
        """Start the upload of the staged folder, a sample, in a process of its own."""
        return self.start("upload.py", self.staged, "--repo-id", REPO_ID, "--allow-sample", *arguments)

    def finish(self, process: subprocess.Popen[str]) -> Ended:
        """Wait for what was started."""
        output, errors = process.communicate()
        if process.returncode < 0:  # nobody was left to clear away
            shutil.rmtree(self.temporary)
            self.temporary.mkdir()
        return self._ended(process.returncode, output, errors)

    def _ended(self, status: int, output: str, errors: str) -> Ended:
        """Assert that a run, however it ended, has left neither a token, a traceback nor a temporary file anywhere."""
        assert SECRET not in output + errors, output + errors
        assert "Traceback" not in errors, errors
        for path in self.folder.rglob("*"):
            assert not path.is_file() or path.name == "token" or SECRET.encode() not in path.read_bytes(), path
        assert list(self.temporary.iterdir()) == []
        return Ended(status, output.splitlines(), [line for line in errors.splitlines() if ".py: " in line])


def end(process: subprocess.Popen[str], number: int = signal.SIGKILL) -> None:
    """Send a command, and what it has started, a signal; SIGINT is what a terminal sends for Ctrl-C."""
    os.killpg(process.pid, number)


def as_curators_publish(data_dir: Path, folder: Path) -> Path:
    """Lay archives out as the curators do: val.zip, deflated, one class after the other, and zeros.png beside them."""
    folder.mkdir(parents=True)
    for split, first in {"train": "train", "validation": "val", "test": "test"}.items():
        with (
            zipfile.ZipFile(data_dir / f"{split}.zip") as source,
            zipfile.ZipFile(folder / f"{first}.zip", "w", zipfile.ZIP_DEFLATED) as target,
        ):
            for name in sorted(source.namelist()):
                target.writestr(name.replace(split, first, 1), source.read(name))
    Image.new("RGBA", (128, 128)).save(folder / "zeros.png")
    return folder


def as_hub_looks_today(data_v01: Path) -> dict[str, bytes | Path]:
    """Lay out a repository as the dataset's is before it is published: a script, the archives, and older files."""
    old = ("data/train.zip", "data/validation.zip", "data/glaciar_masks_trainset.zip")
    return {
        ".gitattributes": b"*.zip filter=lfs diff=lfs merge=lfs -text\n",
        "README.md": b"---\nlicense: mit\n---\n# Rock glaciers\n",
        "rock-glacier-dataset.py": b"import datasets\n",
        **{f"data/data_v01/{path.name}": path for path in sorted(data_v01.iterdir())},
        **{path: b"PK\5\6" + bytes(18) for path in old},
    }


def digests_of(folder: Path) -> dict[str, str]:
    """Hash every file of a folder."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}


def tree_of(repository: Repository, revision: str = "main") -> dict[str, str]:
    """Hash every file of a revision, but the Hub's own .gitattributes."""
    tree = repository.find(revision).tree
    contents = {path: b"".join(blob.read(range(blob.size))) for path, blob in tree.items() if path != ".gitattributes"}
    return {path: hashlib.sha256(content).hexdigest() for path, content in contents.items()}


def commits_of(repository: Repository, revision: str = "main") -> list[str]:
    """List a revision's commits, the latest first."""
    return [commit.sha for commit in repository.find(revision).history()]


def expected_rows(archives: Path, config: str, split: str, *, in_archive_order: bool = False) -> list[list[Any]]:
    """Return a split's rows as the archives have them, images as digests, in the order of their paths' SHA-256."""
    members, tiles = contents(archives, split), tile_paths(archives, split)
    if not in_archive_order:
        tiles.sort(key=lambda path: hashlib.sha256(path.encode()).digest())
    rows = []
    for path in tiles:
        name = path.split("/")[1]
        mask = members[mask_path(path)] if name == "glaciar" else EMPTY_MASK
        target = hashlib.sha256(mask).hexdigest() if "segm" in config else CLASS_NAMES.index(name)
        rows.append([hashlib.sha256(members[path]).hexdigest(), target, path])
    return rows
