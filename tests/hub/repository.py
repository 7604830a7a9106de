"""The dataset repositories of the loopback Hub: blobs, commits, and the references that point to commits."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

Content = bytes | Path

# The Hub stores these as LFS files whatever their size (the .gitattributes of a new dataset repository), and any
# other file from this size on.
LFS_SUFFIXES = frozenset({".arrow", ".bin", ".gz", ".jpg", ".npy", ".parquet", ".png", ".tar", ".zip"})
LFS_SIZE = 10 * 2**20

FIRST_COMMIT_DATE = datetime(2022, 10, 1, tzinfo=timezone.utc)
CHUNK = 2**16


@dataclass(frozen=True)
class Blob:
    """One version of a file.

    Attributes:
        content: The bytes, or the file on disk that holds them and must not change while it is served.
        size: Number of bytes.
        oid: The id of the object that git holds: the bytes themselves or the LFS pointer to them.
        sha256: What LFS calls the object id of these bytes.
        lfs: Whether the repository holds a pointer to the bytes in place of the bytes.
    """

    content: Content
    size: int
    oid: str
    sha256: str
    lfs: bool

    @classmethod
    def of(cls, content: Content, *, lfs: bool) -> Blob:
        """Hash `content`."""
        size = _size(content)
        sha1, sha256 = hashlib.sha1(b"blob %d\0" % size), hashlib.sha256()
        for chunk in _read(content, range(size)):
            sha1.update(chunk)
            sha256.update(chunk)
        if lfs:
            return cls.hashed(content, size, sha256.hexdigest())
        return cls(content, size, sha1.hexdigest(), sha256.hexdigest(), lfs=False)

    @classmethod
    def hashed(cls, content: Content, size: int, sha256: str) -> Blob:
        """Take `content` for an LFS object, with the hash that it is known to have."""
        return cls(content, size, cls.of(_pointer(size, sha256), lfs=False).oid, sha256, lfs=True)

    @property
    def pointer(self) -> bytes:
        """The LFS pointer file."""
        return _pointer(self.size, self.sha256)

    @property
    def file_id(self) -> str:
        """What clients know the file by: the hash of its bytes that belongs to its kind."""
        return self.sha256 if self.lfs else self.oid

    def read(self, span: range) -> Iterator[bytes]:
        """Yield the bytes of `span`, a chunk at a time."""
        return _read(self.content, span)


@dataclass(frozen=True)
class Commit:
    """A state of a repository: every file in it, by path."""

    sha: str
    parent: Commit | None
    title: str
    description: str
    author: str
    date: datetime
    tree: Mapping[str, Blob]

    def last_change(self, path: str) -> Commit:
        """Find the commit that made the file or folder at `path` what it is in this one."""
        now, commit = folder_oid(self.tree, path), self
        while commit.parent is not None and folder_oid(commit.parent.tree, path) == now:
            commit = commit.parent
        return commit

    def history(self) -> Iterator[Commit]:
        """Yield this commit and those before it, the latest first."""
        commit: Commit | None = self
        while commit is not None:
            yield commit
            commit = commit.parent


class Repository:
    """A dataset repository: commits, and the branches and tags that point to them.

    Attributes:
        repo_id: `namespace/name`.
        private: Whether it answers only to `token`.
        token: The token that may read it.
        lfs_size: Files of this many bytes or more are LFS files, whatever their name.
        commits: Every commit by its sha.
        refs: The sha that each full reference name (`refs/heads/main`, `refs/tags/v1`, ...) points to.
        lfs_objects: The LFS objects that were uploaded to it or committed, by their sha256.
        lock: Held while a reference is compared and moved.
    """

    def __init__(
        self, repo_id: str, *, private: bool = False, token: str | None = None, lfs_size: int = LFS_SIZE
    ) -> None:
        self.repo_id = repo_id
        self.private = private
        self.token = token
        self.lfs_size = lfs_size
        self.commits: dict[str, Commit] = {}
        self.refs: dict[str, str] = {}
        self.lfs_objects: dict[str, Blob] = {}
        self.lock = threading.RLock()

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
        """Add a commit to a branch, which begins with it if it does not exist.

        Args:
            files: Path in the repository to content; they join or replace what the branch holds.
            delete: Paths to leave out.
            branch: A branch name or a full reference name (`refs/convert/parquet`).
            message: The commit's title.

        Returns:
            The commit's sha: a hash of the files, the message and the parent, so the same in every run.
        """
        reference = full_reference(branch)
        blobs = {path: Blob.of(content, lfs=self.is_lfs(path, _size(content))) for path, content in files.items()}
        gone = set(delete)
        with self.lock:
            parent = self.commits.get(self.refs.get(reference, ""))
            tree = {path: blob for path, blob in (parent.tree if parent else {}).items() if path not in gone}
            return self.add_commit(reference, parent, tree | blobs, title=message).sha

    def add_commit(
        self,
        reference: str,
        parent: Commit | None,
        tree: Mapping[str, Blob],
        *,
        title: str,
        description: str = "",
        author: str = "",
    ) -> Commit:
        """Add a commit of a whole tree, and point the full name `reference` to it."""
        lines = [parent.sha if parent else "", title, *(f"{tree[path].oid} {path}" for path in sorted(tree))]
        sha = hashlib.sha1("\n".join(lines).encode()).hexdigest()
        date = parent.date + timedelta(seconds=1) if parent else FIRST_COMMIT_DATE
        commit = Commit(sha, parent, title, description, author or self.owner, date, tree)
        self.commits[sha] = commit
        self.lfs_objects |= {blob.sha256: blob for blob in tree.values() if blob.lfs}
        self.refs[reference] = sha
        return commit

    def create_branch(self, branch: str, *, revision: str = "main") -> None:
        """Point a new branch (or a full reference name) at `revision`."""
        self.refs[full_reference(branch)] = self.find(revision).sha

    def create_tag(self, tag: str, *, revision: str = "main") -> None:
        """Point a new tag at `revision`."""
        self.refs[f"refs/tags/{tag}"] = self.find(revision).sha

    def find(self, revision: str) -> Commit:
        """Find the commit that a branch, a tag, a full reference name or a full sha names.

        Raises:
            KeyError: If there is none.
        """
        for reference in (revision, f"refs/heads/{revision}", f"refs/tags/{revision}"):
            if reference in self.refs:
                return self.commits[self.refs[reference]]
        return self.commits[revision]

    def is_lfs(self, path: str, size: int) -> bool:
        """Say whether a file of this name and size is to be an LFS file."""
        return Path(path).suffix in LFS_SUFFIXES or size >= self.lfs_size


def full_reference(branch: str) -> str:
    """Complete the name of a branch to that of its reference."""
    return branch if branch.startswith("refs/") else f"refs/heads/{branch}"


def below(tree: Mapping[str, Blob], folder: str) -> dict[str, Blob]:
    """Select the files in a folder and in its sub-folders; the root is ''."""
    return {path: blob for path, blob in tree.items() if not folder or path.startswith(f"{folder}/")}


def folder_oid(tree: Mapping[str, Blob], path: str) -> str:
    """Hash a file or a folder; what is not there has a hash of its own."""
    if path in tree:
        return tree[path].oid
    lines = [f"{blob.oid} {name}" for name, blob in sorted(below(tree, path).items())]
    return hashlib.sha1("\n".join(lines).encode()).hexdigest()


def folders(tree: Mapping[str, Blob]) -> set[str]:
    """List every folder, without the root, that holds a file."""
    return {parent.as_posix() for path in tree for parent in Path(path).parents} - {"."}


def _pointer(size: int, sha256: str) -> bytes:
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


def _size(content: Content) -> int:
    return content.stat().st_size if isinstance(content, Path) else len(content)


def _read(content: Content, span: range) -> Iterator[bytes]:
    if isinstance(content, bytes):
        for start in range(span.start, span.stop, CHUNK):
            yield content[start : min(start + CHUNK, span.stop)]
        return
    with content.open("rb") as file:
        file.seek(span.start)
        for start in range(span.start, span.stop, CHUNK):
            yield file.read(min(CHUNK, span.stop - start))
