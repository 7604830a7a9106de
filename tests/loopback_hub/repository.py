"""The dataset repositories of the loopback Hub: files, commits, branches and tags."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

# Suffixes of files that the Hub stores with LFS, whatever their size.
LFS_SUFFIXES = {".parquet", ".png", ".webp", ".zip"}


@dataclass(frozen=True)
class Blob:
    """One version of a file.

    Attributes:
        content: Bytes of the file.
        oid: SHA-256 of an LFS file, SHA-1 of the git object of any other file.
        lfs: Whether it is an LFS file.
    """

    content: bytes
    oid: str
    lfs: bool

    @classmethod
    def of(cls, path: str, content: bytes) -> Blob:
        """Return the blob of a file; its suffix decides whether it is an LFS file."""
        if is_lfs(path):
            return cls(content, hashlib.sha256(content).hexdigest(), True)
        git_object = b"blob %d\0" % len(content) + content
        return cls(content, hashlib.sha1(git_object).hexdigest(), False)


def is_lfs(path: str) -> bool:
    """Return whether a file of this name is stored with LFS."""
    return Path(path).suffix in LFS_SUFFIXES


@dataclass
class Commit:
    """A state of a repository: its files by path."""

    sha: str
    parent: str | None
    title: str
    tree: dict[str, Blob]


@dataclass
class Repository:
    """A dataset repository.

    Attributes:
        repo_id: `<owner>/<name>`.
        private: Whether only its token may read it.
        token: The token that may write to it.
        commits: All commits by their hash.
        refs: Hash of a commit by the full name of a branch or tag, such as `refs/heads/main`.
        lfs_objects: Uploaded LFS files by their SHA-256.
    """

    repo_id: str
    private: bool = False
    token: str | None = None
    commits: dict[str, Commit] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    lfs_objects: dict[str, Blob] = field(default_factory=dict)

    def commit(
        self,
        files: Mapping[str, bytes | Path],
        *,
        delete: Iterable[str] = (),
        branch: str = "main",
    ) -> str:
        """Add files to a branch, which is created if necessary; return the commit's hash."""
        head = self.refs.get(full_reference(branch))
        tree = dict(self.commits[head].tree) if head else {}
        for path in delete:
            del tree[path]
        for path, content in files.items():
            data = content.read_bytes() if isinstance(content, Path) else content
            tree[path] = Blob.of(path, data)
        return self.add_commit(full_reference(branch), head, tree, "Upload files")

    def add_commit(
        self, reference: str, parent: str | None, tree: dict[str, Blob], title: str
    ) -> str:
        """Add a commit, point a full reference name to it, and return its hash."""
        lines = [parent or "", title, *(f"{tree[path].oid} {path}" for path in sorted(tree))]
        sha = hashlib.sha1("\n".join(lines).encode()).hexdigest()
        self.commits[sha] = Commit(sha, parent, title, tree)
        self.lfs_objects.update({blob.oid: blob for blob in tree.values() if blob.lfs})
        self.refs[reference] = sha
        return sha

    def create_branch(self, branch: str) -> None:
        """Point a new branch, or a full reference name, at `main`."""
        self.refs[full_reference(branch)] = self.refs["refs/heads/main"]

    def create_tag(self, tag: str) -> None:
        """Point a new tag at `main`."""
        self.create_branch(f"refs/tags/{tag}")

    def find(self, revision: str) -> Commit:
        """Return the commit of a branch, a tag, a full reference name or a hash.

        Raises:
            KeyError: If there is no such revision.
        """
        for name in (revision, f"refs/heads/{revision}", f"refs/tags/{revision}"):
            if name in self.refs:
                return self.commits[self.refs[name]]
        return self.commits[revision]

    def files(self, revision: str = "main") -> dict[str, bytes]:
        """Return the files of a revision by path."""
        return {path: blob.content for path, blob in self.find(revision).tree.items()}

    def history(self, branch: str = "main") -> list[str]:
        """Return the hashes of a branch's commits, the latest first."""
        hashes: list[str] = []
        sha: str | None = self.find(branch).sha
        while sha is not None:
            hashes.append(sha)
            sha = self.commits[sha].parent
        return hashes


def full_reference(branch: str) -> str:
    """Return the full reference name of a branch."""
    return branch if branch.startswith("refs/") else f"refs/heads/{branch}"
