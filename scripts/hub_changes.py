"""What a commit has to do so that a Hub repository holds just the files of a folder."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub import CommitOperationAdd, CommitOperationDelete
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils.sha import git_hash
from tqdm import tqdm

from rock_glacier_dataset import sha256_of_file

KEPT = frozenset({".gitattributes"})
"""The Hub's own file, which says what is stored by LFS."""


class Change(NamedTuple):
    """One file that a commit adds, changes or removes.

    Attributes:
        kind: "add", "change" or "remove".
        path: path in the repository.
        size: size in bytes of the file that comes, or of the one that goes.
    """

    kind: str
    path: str
    size: int

    def __str__(self) -> str:
        return f"{self.kind} {self.path}: {self.size} bytes"


def find_changes(files: Mapping[str, Path], there: Iterable[RepoFile]) -> list[Change]:
    """Compare the files of a folder with those of a repository, by what the Hub knows of each without sending it.

    Args:
        files: path in the repository to file.
        there: the repository's files.

    Returns:
        the changes in the order of their paths; none where the repository holds just these files.
    """
    known = {file.path: file for file in there}
    changes = []
    for path, file in tqdm(files.items(), desc="Comparing", unit=" files", leave=False):
        if path not in known:
            changes.append(Change("add", path, file.stat().st_size))
        elif not _is_same(file, known[path]):
            changes.append(Change("change", path, file.stat().st_size))
    gone = known.keys() - files.keys() - KEPT
    changes += [Change("remove", path, known[path].size) for path in gone]
    return sorted(changes, key=lambda change: change.path)


def operations(changes: Iterable[Change], files: Mapping[str, Path]) -> list[Any]:
    """Turn changes into what `huggingface_hub.HfApi.create_commit` asks for."""
    return [
        CommitOperationDelete(change.path)
        if change.kind == "remove"
        else CommitOperationAdd(change.path, files[change.path])
        for change in changes
    ]


def _is_same(file: Path, known: RepoFile) -> bool:
    status = file.stat()
    if status.st_size != known.size:
        return False
    if known.lfs is not None:
        return _sha256(file, status.st_mtime_ns) == known.lfs.sha256
    return git_hash(file.read_bytes()) == known.blob_id


@functools.cache
def _sha256(file: Path, state: int) -> str:
    """Hash a file once for each state that it is in."""
    return sha256_of_file(file)
