"""The dataset repositories of the loopback Hub: files, commits, and the references that point to commits."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

Content = bytes | Path

# The files that a new dataset repository on the Hub has as LFS files whatever their size; others are from LFS_SIZE on.
LFS_SUFFIXES = frozenset({".arrow", ".bin", ".gz", ".jpg", ".npy", ".parquet", ".png", ".tar", ".zip"})
LFS_SIZE = 10 * 2**20  # bytes

_CHUNK = 2**16  # bytes


@dataclass(frozen=True)
class Blob:
    """One version of a file."""

    content: Content  # or the file on disk that holds it
    size: int
    oid: str  # SHA-256 of an LFS file, SHA-1 of git's object of another
    lfs: bool

    @classmethod
    def of(cls, content: Content, *, lfs: bool) -> Blob:
        """Hash `content`."""
        size = _size_of(content)
        digest = hashlib.sha256() if lfs else hashlib.sha1(b"blob %d\0" % size)
        for chunk in _read(content, range(size)):
            digest.update(chunk)
        return cls(content, size, digest.hexdigest(), lfs)

    def read(self, span: range) -> Iterator[bytes]:
        """Yield the bytes of `span`, a chunk at a time."""
        return _read(self.content, span)


@dataclass(frozen=True)
class Commit:
    """A state of a repository: every file in it, by path."""

    sha: str
    parent: Commit | None
    title: str
    tree: Mapping[str, Blob]

    def history(self) -> Iterator[Commit]:
        """Yield this commit and those before it, the latest first."""
        commit: Commit | None = self
        while commit is not None:
            yield commit
            commit = commit.parent


class Repository:
    """A dataset repository; a private one answers only to `token`."""

    def __init__(self, repo_id: str, *, private: bool = False, token: str | None = None) -> None:
        self.repo_id, self.private, self.token = repo_id, private, token
        self.commits: dict[str, Commit] = {}  # by sha
        self.refs: dict[str, str] = {}  # sha by full reference name, such as refs/heads/main
        self.lfs_objects: dict[str, Blob] = {}  # uploaded or committed, by SHA-256

    @property
    def owner(self) -> str:
        """The namespace."""
        return self.repo_id.partition("/")[0]

    def commit(
        self,
        files: Mapping[str, Content],
        *,
        delete: Iterable[str] = (),
        branch: str = "main",
        message: str = "Upload files",
    ) -> str:
        """Add a commit to a branch or a full reference name, which is created if necessary; return its sha."""
        reference = full_reference(branch)
        parent = self.commits.get(self.refs.get(reference, ""))
        tree = {path: blob for path, blob in (parent.tree if parent else {}).items() if path not in set(delete)}
        for path, content in files.items():
            tree[path] = Blob.of(content, lfs=is_lfs(path, _size_of(content)))
        return self.add_commit(reference, parent, tree, title=message).sha

    def add_commit(self, reference: str, parent: Commit | None, tree: Mapping[str, Blob], *, title: str) -> Commit:
        """Add a commit of a whole tree, and point the full name `reference` to it."""
        lines = [parent.sha if parent else "", title, *(f"{tree[path].oid} {path}" for path in sorted(tree))]
        sha = hashlib.sha1("\n".join(lines).encode()).hexdigest()
        commit = self.commits[sha] = Commit(sha, parent, title, tree)
        self.lfs_objects |= {blob.oid: blob for blob in tree.values() if blob.lfs}
        self.refs[reference] = sha
        return commit

    def create_branch(self, branch: str) -> None:
        """Point a new branch, or a full reference name, at `main`."""
        self.refs[full_reference(branch)] = self.find("main").sha

    def create_tag(self, tag: str) -> None:
        """Point a new tag at `main`."""
        self.create_branch(f"refs/tags/{tag}")

    def find(self, revision: str) -> Commit:
        """Find the commit of a branch, a tag, a full reference name or a full sha, or raise KeyError."""
        names = (revision, f"refs/heads/{revision}", f"refs/tags/{revision}")
        return self.commits[next((self.refs[name] for name in names if name in self.refs), revision)]


def is_lfs(path: str, size: int) -> bool:
    """Say whether a file of this name and size is to be an LFS file."""
    return Path(path).suffix in LFS_SUFFIXES or size >= LFS_SIZE


def full_reference(branch: str) -> str:
    """Complete the name of a branch to that of its reference."""
    return branch if branch.startswith("refs/") else f"refs/heads/{branch}"


def _size_of(content: Content) -> int:
    return content.stat().st_size if isinstance(content, Path) else len(content)


def _read(content: Content, span: range) -> Iterator[bytes]:
    with content.open("rb") if isinstance(content, Path) else io.BytesIO(content) as file:
        file.seek(span.start)
        for start in range(span.start, span.stop, _CHUNK):
            yield file.read(min(_CHUNK, span.stop - start))
