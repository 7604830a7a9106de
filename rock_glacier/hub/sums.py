"""`SHA256SUMS` of a staged folder: the files of each branch of the Hub repository, with their checksums."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from rock_glacier.console import PrintableError
from rock_glacier.parallel import Workers
from rock_glacier_dataset import sha256_of_file

SUMS_NAME = "SHA256SUMS"
MAIN = "main"
SCRIPT = "script"
CARD_NAME = "README.md"

_LINE = re.compile(rf"([0-9a-f]{{64}})  ({MAIN}|{SCRIPT})/(.+)")
_REMEDY = "stage again into a new folder"


class StagedError(PrintableError, ValueError):
    """A fault in a staged folder: names the file, what is wrong and the remedy."""


class StagedFile(NamedTuple):
    """A file of a staged folder, and its checksum in `SHA256SUMS`."""

    file: Path
    sha256: str


def write_sums(folder: Path, workers: Workers | None = None) -> None:
    """Write `SHA256SUMS` of the files of each branch, in the form of `sha256sum`."""
    files = sorted(file for branch in (MAIN, SCRIPT) for file in (folder / branch).rglob("*") if file.is_file())
    sums = (workers or Workers(1)).map("Hashing", sha256_of_file, [(file,) for file in files], "files")
    lines = [f"{sha256}  {file.relative_to(folder).as_posix()}\n" for file, sha256 in zip(files, sums, strict=True)]
    (folder / SUMS_NAME).write_text("".join(lines), encoding="utf-8", newline="\n")


def replaceable_files(folder: Path) -> list[str]:
    """Return the paths of the files that `stage` wrote into a folder, by its `SHA256SUMS`.

    Raises:
        StagedError: `SHA256SUMS` is damaged.
    """
    staged = read_staged(folder, verify=False) if (folder / SUMS_NAME).is_file() else {}
    return [SUMS_NAME, *(f"{branch}/{path}" for branch, files in staged.items() for path in files)]


def read_staged(folder: Path, *, verify: bool = True) -> dict[str, dict[str, StagedFile]]:
    """List the files of a staged folder.

    Args:
        folder: a folder that `stage` wrote. Files and folders whose names begin with a dot are ignored.
        verify: whether to check that the folder holds just the files of `SHA256SUMS`, unchanged.

    Returns:
        for each branch its files, by path in the repository.

    Raises:
        StagedError: at the first fault.
        OSError: a file cannot be read.
    """
    if not (folder / SUMS_NAME).is_file():
        raise StagedError(f"{folder}: holds no {SUMS_NAME}; give a folder that stage_hub_repo.py wrote")
    branches: dict[str, dict[str, StagedFile]] = {MAIN: {}, SCRIPT: {}}
    for line in (folder / SUMS_NAME).read_text(encoding="utf-8", errors="replace").splitlines():
        if not (match := _LINE.fullmatch(line)):
            raise StagedError(f"{folder / SUMS_NAME}: the line {line!r} is damaged; {_REMEDY}")
        sha256, branch, path = match.groups()
        branches[branch][path] = StagedFile(folder / branch / path, sha256)
    for branch, files in branches.items():
        if CARD_NAME not in files:
            raise StagedError(f"{folder / SUMS_NAME}: lacks {branch}/{CARD_NAME}; {_REMEDY}")
        for path in sorted((folder / branch).rglob("*")) if verify else ():
            name = path.relative_to(folder / branch).as_posix()
            if not (path.is_dir() or name in files or f"/{name}".count("/.")):
                raise StagedError(f"{path}: is not in {SUMS_NAME}; remove it, or {_REMEDY}")
    everything = [staged for files in branches.values() for staged in files.values()] if verify else []
    for path, sha256 in tqdm(everything, desc="Checking", unit=" files", leave=False, disable=None):
        if not path.is_file():
            raise StagedError(f"{path}: is missing; {_REMEDY}")
        if sha256_of_file(path) != sha256:
            raise StagedError(f"{path}: has another SHA-256 than in {SUMS_NAME}; {_REMEDY}")
    return branches
