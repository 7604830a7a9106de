"""Upload a staged folder: one commit for each branch, verified afterwards."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import (
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from rock_glacier.archives import find_manifest_faults, is_sample
from rock_glacier.faults import InputError, raise_faults
from rock_glacier.hub.parquet import find_difference, list_tiles, plan_files
from rock_glacier.hub.staging import MAIN, SCRIPT, read_repo_id
from rock_glacier.index import INDEX_NAME, check_index, read_index
from rock_glacier.output import count
from rock_glacier_dataset import CLASS_NAMES, CONFIG_NAMES, REPO_ID, SPLIT_NAMES, class_of

# The Hub adds this file to a new repository; it says which files are stored with LFS.
_HUB_FILES = {".gitattributes"}

_CONFLICT = "Someone else has just committed. Nothing was overwritten. Run the command again."

# Fixes by HTTP status of the Hub's answer.
_FIXES = {
    400: "Check the tag and the card's metadata.",
    401: "Log in with `hf auth login`, or set HF_TOKEN to a token with write access.",
    403: "Use a token with write access to this repository.",
    404: "Check --repo-id, and that the token may read the repository.",
    409: _CONFLICT,
    412: _CONFLICT,
    429: "Wait for a few minutes, then run the command again.",
}


@dataclass(frozen=True)
class UploadOptions:
    """Options of an upload.

    Attributes:
        tag: Tag for the commit on `main`, such as `v3.0.0`.
        dry_run: Only list what would change.
        create_pr: Propose the commit on `main` in a pull request; `script` stays as it is.
        allow_synthetic: Accept a synthetic sample for the repository of the dataset.
    """

    tag: str | None = None
    dry_run: bool = False
    create_pr: bool = False
    allow_synthetic: bool = False


@dataclass(frozen=True)
class Changes:
    """Difference between a branch and a staged folder, as paths of files."""

    added: list[str]
    changed: list[str]
    removed: list[str]

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)

    def __str__(self) -> str:
        files = count(len(self.added), "file")
        return f"{files} added, {len(self.changed):,} changed, {len(self.removed):,} removed"


def upload(
    staged: Path,
    repo_id: str | None = None,
    *,
    options: UploadOptions | None = None,
    api: HfApi | None = None,
) -> Iterator[str]:
    """Upload a staged folder, after comparing its Parquet files with its archives.

    A branch is either unchanged or complete, and the tag comes last. If an upload fails, the next
    one does the rest.

    Args:
        staged: A folder that `stage` wrote.
        repo_id: Repository on the Hub, created if necessary. Default: the one it was staged for.
        options: Tag, dry run, pull request, and whether a synthetic sample is accepted.
        api: Client of the Hub. Default: the one with the user's token.

    Yields:
        A line for each step.

    Raises:
        InputError: If the folder has an error, or the Hub refuses a step.
        ArchiveError: If an archive cannot be read.
    """
    options = options or UploadOptions()
    api = api or HfApi()
    repo_id = _check_repo_id(staged, repo_id, options)
    yield check_staged(staged)
    heads = {}
    for branch in (MAIN, SCRIPT):
        if branch == SCRIPT and options.create_pr:
            continue
        with _explain_errors(f"{repo_id}, branch {branch}"):
            heads[branch] = yield from _upload_branch(api, staged, repo_id, branch, options)
    commit = heads[MAIN]
    if options.tag and commit and not options.dry_run:
        with _explain_errors(f"{repo_id}, tag {options.tag}"):
            _create_tag(api, repo_id, options.tag, commit)
        yield f"{options.tag}: {commit}"


def _check_repo_id(staged: Path, repo_id: str | None, options: UploadOptions) -> str:
    staged_for = read_repo_id(staged)
    if repo_id not in (None, staged_for):
        fix = f"Stage it with --repo-id {repo_id}."
        raise InputError(f"{staged}: was staged for {staged_for}, not for {repo_id}. {fix}")
    is_refused = staged_for == REPO_ID and not options.allow_synthetic
    if is_refused and is_sample(staged / SCRIPT / "data"):
        fix = "Stage it with another --repo-id, or pass --allow-synthetic."
        raise InputError(f"{staged}: is a synthetic sample, but {REPO_ID} is the dataset. {fix}")
    return staged_for


def check_staged(staged: Path) -> str:
    """Compare manifest, tile index and all rows of the Parquet files with the staged archives.

    Returns:
        A line with the number of rows.

    Raises:
        ArchiveError: If the manifest or the index differs.
        InputError: If a Parquet file differs.
        FileNotFoundError: If there is no index.
    """
    data = staged / SCRIPT / "data"
    tiles = list_tiles(data)
    counts = {split: dict.fromkeys(CLASS_NAMES, 0) for split in SPLIT_NAMES}
    for path, split in zip(tiles["path"], tiles["split"], strict=True):
        counts[split][class_of(path)] += 1
    raise_faults(find_manifest_faults(data, counts))
    raise_faults(check_index(read_index(staged / MAIN / INDEX_NAME), tiles["path"]))
    files = plan_files(tiles)
    for config in CONFIG_NAMES:
        folder = staged / MAIN / config
        names = {file.name for file in folder.glob("*")}
        if names != files.keys():
            name = min(names.symmetric_difference(files))
            raise InputError(f"{folder / name}: is missing or not expected. Stage again.")
        for name, rows in files.items():
            difference = find_difference(folder / name, config, data, rows)
            if difference:
                raise InputError(f"{folder / name}: {difference}. Stage again.")
    return f"{count(len(tiles), 'tile')}: both configs agree with the archives"


def _upload_branch(
    api: HfApi, staged: Path, repo_id: str, branch: str, options: UploadOptions
) -> Generator[str, None, str | None]:
    """Yield a line for each step, and return the last commit, or None without a branch."""
    folder = staged / branch
    if not options.dry_run:
        _create_branch(api, repo_id, branch)
    head = _find_head(api, repo_id, branch)
    if head is None:
        yield f"{branch}: would be created"
        return None
    changes = find_changes(api, repo_id, head, folder)
    if not changes:
        yield f"{branch}: nothing to change"
    elif options.dry_run:
        for action in ("added", "changed", "removed"):
            for path in getattr(changes, action):
                yield f"{branch}: {path} would be {action}"
    else:
        added = [*changes.added, *changes.changed]
        commit = api.create_commit(
            repo_id,
            [
                *(CommitOperationAdd(path, folder / path) for path in added),
                *(CommitOperationDelete(path) for path in changes.removed),
            ],
            commit_message="Publish the dataset",
            repo_type="dataset",
            revision=branch,
            parent_commit=head,  # refused if someone else has committed since
            create_pr=options.create_pr,
        )
        head = commit.oid
        difference = find_changes(api, repo_id, head, folder)
        if difference:
            raise InputError(
                f"{repo_id}: the commit {head} on {branch} differs from {folder} ({difference}). "
                "Run the command again."
            )
        yield f"{branch}: {changes}, {commit.pr_url or commit.commit_url}"
    return head


def _create_branch(api: HfApi, repo_id: str, branch: str) -> None:
    api.create_repo(repo_id, repo_type="dataset", exist_ok=True)
    if branch != MAIN:
        api.create_branch(repo_id, branch=branch, repo_type="dataset", exist_ok=True)


def _create_tag(api: HfApi, repo_id: str, tag: str, commit: str) -> None:
    """Tag a commit, unless an earlier upload did. A tag is never moved."""
    try:
        api.create_tag(repo_id, tag=tag, revision=commit, repo_type="dataset", exist_ok=False)
    except HfHubHTTPError as error:
        if error.response.status_code != 409:
            raise
        tagged = api.dataset_info(repo_id, revision=tag).sha
        if tagged != commit:
            raise InputError(
                f"{repo_id}: the tag {tag} is on the commit {tagged} already, not on {commit}. "
                "Choose another --tag."
            ) from error


def _find_head(api: HfApi, repo_id: str, branch: str) -> str | None:
    """Return the last commit of a branch, or None if there is no such branch or repository."""
    try:
        return api.dataset_info(repo_id, revision=branch).sha
    except (RepositoryNotFoundError, RevisionNotFoundError):
        return None


def find_changes(api: HfApi, repo_id: str, commit: str, folder: Path) -> Changes:
    """Compare a commit with a folder, by checksums."""
    found = api.verify_repo_checksums(
        repo_id, repo_type="dataset", revision=commit, local_dir=folder
    )
    return Changes(
        added=found.extra_paths,
        changed=[mismatch["path"] for mismatch in found.mismatches],
        removed=[path for path in found.missing_paths if path not in _HUB_FILES],
    )


@contextlib.contextmanager
def _explain_errors(place: str) -> Iterator[None]:
    """Turn an error of the Hub into an InputError with a fix."""
    try:
        yield
    except HfHubHTTPError as error:
        status = error.response.status_code
        fix = _FIXES.get(status, "Run the command again.")
        said = error.server_message or "no message"
        raise InputError(f"{place}: the Hub answered {status} ({said}). {fix}") from error
