"""The dataset repositories of the loopback Hub: files, commits, branches and tags."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@functools.cache
def git_hash(content: bytes) -> str:
    """Return the hash that git gives to a file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass
class Commit:
    """A state of a repository: the content of its files by path."""

    sha: str
    parent: str | None
    tree: dict[str, bytes]


@dataclass
class Repository:
    """A dataset repository.

    Attributes:
        repo_id: `<owner>/<name>`.
        private: Whether only its token may read it.
        token: The token that may write to it.
        commits: All commits by their hash.
        refs: Hash of a commit by the full name of a branch or tag, such as `refs/heads/main`.
    """

    repo_id: str
    private: bool = False
    token: str | None = None
    commits: dict[str, Commit] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)

    def commit(
        self,
        files: Mapping[str, bytes | Path],
        *,
        delete: Iterable[str] = (),
        branch: str = "main",
    ) -> None:
        """Add files to a branch, which is created if necessary."""
        head = self.refs.get(full_reference(branch))
        tree = self.files(head) if head else {}
        for path in delete:
            del tree[path]
        for path, content in files.items():
            tree[path] = content.read_bytes() if isinstance(content, Path) else content
        self.add_commit(full_reference(branch), head, tree)

    def add_commit(self, reference: str, parent: str | None, tree: dict[str, bytes]) -> str:
        """Add a commit, point a full reference name to it, and return its hash."""
        lines = [parent or "", *(f"{git_hash(tree[path])} {path}" for path in sorted(tree))]
        sha = hashlib.sha1("\n".join(lines).encode()).hexdigest()
        self.commits[sha] = Commit(sha, parent, tree)
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
        return dict(self.find(revision).tree)


def full_reference(branch: str) -> str:
    """Return the full reference name of a branch."""
    return branch if branch.startswith("refs/") else f"refs/heads/{branch}"
