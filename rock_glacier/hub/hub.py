"""The Hub dataset to publish to: branches, changes, commits, and errors that name the remedy."""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import re
from collections.abc import Iterable, Iterator, Mapping
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import NamedTuple

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, constants, get_token
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.hf_api import RepoFile

from rock_glacier.console import PrintableError, causes, one_line, printable
from rock_glacier.publication.sums import StagedFile
from rock_glacier_dataset import ArchiveError, sha256_of_file

LOG_IN = "log in with `hf auth login`, or set HF_TOKEN to a token with write access"

SECONDS_TO_LIST = 300
"""Within which the Hub has to give its list of a branch's files; the client waits for ever for one that goes on."""

_KEPT = {".gitattributes"}  # the Hub's own file, which says what is stored by LFS
_AGAIN = "run the same command again"
_CONFLICT = "someone else has changed it meanwhile; nothing was overwritten: look with --dry-run, then run again"
_REMEDIES = {
    401: LOG_IN,
    403: "use a token that may write to this repository",
    404: "check --repo-id and --revision, and that the token may read the repository",
    409: _CONFLICT,
    412: _CONFLICT,
}


class HubError(PrintableError, RuntimeError):
    """A step that failed on the Hub: names the repository, the step, what is wrong and the remedy."""


@contextlib.contextmanager
def hub_step(place: str, step: str) -> Iterator[None]:
    """Turn an exception of the Hub's client into a HubError that names the place and the step."""
    try:
        yield
    except (HubError, ArchiveError):
        raise
    except Exception as error:  # its type depends on the version of the client
        raise HubError(f"{place}: {step}: {_explain(error)}") from error


def _explain(error: BaseException) -> str:
    """Say in one line what an exception of the Hub's client means, without the token."""
    *_, first = causes(error)
    answer = next((found for one in causes(error) if (found := getattr(one, "response", None)) is not None), None)
    if answer is None:
        said = without_token(" ".join(dict.fromkeys((one_line(error), one_line(first)))))
        if isinstance(first, OSError) and first.filename is not None:
            return f"{said}; make the file readable"
        return f"{said} ({type(first).__name__}, at {constants.ENDPOINT}); {_AGAIN}"
    message = next((one.server_message for one in causes(error) if isinstance(one, HfHubHTTPError)), None)
    said = f" ({without_token(' '.join(message.split()))})" if message else ""
    status, seconds = answer.status_code, answer.headers.get("Retry-After", "")
    remedy = _REMEDIES.get(status, _AGAIN if status >= 500 else "check --revision, --tag and the card's metadata")
    if status == 429:
        remedy = f"wait {f'{seconds} seconds' if seconds.isdigit() else 'a while'}, then {_AGAIN}"
    return f"the Hub answers {status}{said}; {remedy}"


def prepare_client() -> None:
    """Raise a HubError for a token with characters that no token has: the client would quote it in its message."""
    if (token := get_token()) is not None and not re.fullmatch(r"[A-Za-z0-9_.-]+", token):
        raise HubError(f"the token has characters that no token has; {LOG_IN}")


def without_token(text: str) -> str:
    """Remove the token from a message."""
    token = get_token()
    return text.replace(token, "***") if token else text


class Branch(NamedTuple):
    """A branch of a Hub dataset: whether it exists, its last commit (main's if it does not exist), and the files."""

    name: str
    exists: bool
    commit: str
    files: list[RepoFile]


def list_files(api: HfApi, repo_id: str, commit: str, folder: str | None = None) -> list[RepoFile]:
    """List the files of a commit, or those that lie directly in a folder of it.

    Raises:
        TimeoutError: the list does not end within `SECONDS_TO_LIST`.
        ValueError: an entry of it is none of a file.
        Exception: whatever the client raises.
    """

    def ask() -> list[RepoFile]:
        entries = api.list_repo_tree(repo_id, folder, recursive=folder is None, revision=commit, repo_type="dataset")
        return [entry for entry in entries if isinstance(entry, RepoFile)]

    with ThreadPool(1) as pool:
        try:
            files = pool.apply_async(ask).get(SECONDS_TO_LIST)
        except multiprocessing.TimeoutError:
            raise TimeoutError(f"the list of files does not end within {SECONDS_TO_LIST} seconds") from None
    for file in files:
        if not (isinstance(file.path, str) and isinstance(file.size, int)):
            raise ValueError(f"the list of files has {file.path!r} of {file.size!r} bytes in it")
    return files


def look_at(api: HfApi, repo_id: str, name: str) -> Branch | None:
    """Look up a branch, tag or commit; None if there is no such dataset, or the token may not read it."""
    with hub_step(repo_id, f"look at {name}"):
        try:
            exists, found = True, api.dataset_info(repo_id, revision=name)
        except RevisionNotFoundError:
            exists, found = False, api.dataset_info(repo_id)
        except RepositoryNotFoundError:
            return None
        return Branch(name, exists, str(found.sha), list_files(api, repo_id, str(found.sha)))


class Change(NamedTuple):
    """A file that a commit is to "add", "change" or "remove", and the bytes of the new file, or of the old one."""

    kind: str
    path: str
    size: int

    def __str__(self) -> str:
        return f"{self.kind} {printable(self.path)}: {self.size} bytes"


def is_same(file: Path, known: RepoFile, sha256: str | None = None) -> bool:
    """Compare a file, of this SHA-256 if it is known, with one on the Hub, by the checksum that the Hub gives."""
    if file.stat().st_size != known.size:
        return False
    if known.lfs is not None:
        return (sha256 or sha256_of_file(file)) == known.lfs.sha256
    content = file.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == known.blob_id  # noqa: S324 - git's


def find_changes(staged: Mapping[str, StagedFile], there: Iterable[RepoFile]) -> list[Change]:
    """List what a commit has to change so that a branch with the files `there` holds just the staged ones, by path."""
    known = {file.path: file for file in there}
    changes = [
        Change("change" if path in known else "add", path, file.stat().st_size)
        for path, (file, sha256) in staged.items()
        if path not in known or not is_same(file, known[path], sha256)
    ]
    changes += [Change("remove", path, known[path].size) for path in known.keys() - staged.keys() - _KEPT]
    return sorted(changes, key=lambda change: change.path)


def commit_changes(
    api: HfApi, repo_id: str, branch: Branch, staged: Mapping[str, StagedFile], *, create_pr: bool = False
) -> tuple[str, str, int]:
    """Make one commit after which a branch holds just the staged files.

    Not by `HfApi.upload_folder`, which commits in batches, at least every five minutes, and checks the parent of the
    first batch only (huggingface_hub 2.4, with hf_xet).

    Args:
        api: the Hub's client.
        repo_id: the Hub dataset.
        branch: the branch as `look_at` found it; if it has a newer commit by now, nothing is committed.
        staged: staged files by path in the repository.
        create_pr: whether to propose the commit in a pull request instead.

    Returns:
        the commit that holds the files, its address, and the number of files that it changes; 0 if none was needed.

    Raises:
        HubError: the commit failed, and the branch is as it was; or the commit does not hold what was sent.
    """
    changes = find_changes(staged, branch.files)
    if not branch.exists:
        with hub_step(repo_id, f"create the branch {branch.name}"):
            api.create_branch(repo_id, branch=branch.name, revision=branch.commit, repo_type="dataset", exist_ok=True)
    if not changes:
        return branch.commit, f"{api.endpoint}/datasets/{repo_id}/tree/{branch.name}", 0
    with hub_step(repo_id, f"commit to {branch.name}"):
        commit = api.create_commit(
            repo_id,
            [
                CommitOperationDelete(path) if kind == "remove" else CommitOperationAdd(path, staged[path].file)
                for kind, path, _ in changes
            ],
            commit_message="Publish the dataset",
            repo_type="dataset",
            revision=branch.name,
            parent_commit=branch.commit,
            create_pr=create_pr,
        )
    with hub_step(repo_id, f"look at the commit {commit.oid}"):
        if left := find_changes(staged, list_files(api, repo_id, commit.oid)):
            raise HubError(f"{repo_id}: the commit {commit.oid} does not hold what was sent ({left[0]}); {_AGAIN}")
    return commit.oid, commit.pr_url or commit.commit_url, len(changes)
