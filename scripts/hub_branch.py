"""A branch of a Hub dataset: what it holds, and the one commit by which it holds just the files of a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from hub_changes import find_changes, operations
from hub_errors import HubError, hub_step
from huggingface_hub import HfApi
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.hf_api import RepoFile


class Branch(NamedTuple):
    """A branch of a Hub dataset, as it was when it was looked at.

    Attributes:
        repo_id: the Hub dataset.
        name: name of the branch.
        exists: whether there is such a branch; if not, it can begin from the last commit of main.
        commit: its last commit, or the one that it can begin from.
        files: the files of that commit.
    """

    repo_id: str
    name: str
    exists: bool
    commit: str
    files: list[RepoFile]


class Published(NamedTuple):
    """What became of a branch.

    Attributes:
        commit: the commit that holds the files.
        url: where a person can look at it.
        changed: number of files that it changed; 0 where there was nothing to do, and no commit was made.
    """

    commit: str
    url: str
    changed: int


def look_at(api: HfApi, repo_id: str, branch: str) -> Branch | None:
    """Look at a branch of a Hub dataset; None where there is no such dataset, or where the token may not see it."""
    with hub_step(repo_id, f"look at {branch}"):
        try:
            exists, found = True, api.dataset_info(repo_id, revision=branch)
        except RevisionNotFoundError:
            exists, found = False, api.dataset_info(repo_id)
        except RepositoryNotFoundError:
            return None
        commit = str(found.sha)
        return Branch(repo_id, branch, exists, commit, _files_of(api, repo_id, commit))


def _files_of(api: HfApi, repo_id: str, commit: str) -> list[RepoFile]:
    entries = api.list_repo_tree(repo_id, recursive=True, revision=commit, repo_type="dataset")
    return [entry for entry in entries if isinstance(entry, RepoFile)]


def publish(
    api: HfApi, branch: Branch, files: Mapping[str, Path], message: str, *, create_pr: bool = False
) -> Published:
    """Make one commit by which a branch holds just these files.

    Args:
        api: the Hub's client.
        branch: the branch as it was looked at; where it has a newer commit by now, nothing is committed.
        files: path in the repository to file.
        message: the commit's title.
        create_pr: whether to propose the commit rather than to make it.

    Returns:
        what became of it.

    Raises:
        HubError: the branch is as it was.
    """
    repo_id = branch.repo_id
    if not branch.exists:
        with hub_step(repo_id, f"create the branch {branch.name}"):
            api.create_branch(repo_id, branch=branch.name, revision=branch.commit, repo_type="dataset", exist_ok=True)
    changes = find_changes(files, branch.files)
    if not changes:
        return Published(branch.commit, f"{api.endpoint}/datasets/{repo_id}/tree/{branch.name}", 0)
    with hub_step(repo_id, f"commit to {branch.name}"):
        commit = api.create_commit(
            repo_id,
            operations(changes, files),
            commit_message=message,
            repo_type="dataset",
            revision=branch.name,
            parent_commit=branch.commit,
            create_pr=create_pr,
        )
    with hub_step(repo_id, f"look at the commit {commit.oid}"):
        left = find_changes(files, _files_of(api, repo_id, commit.oid))
    if left:
        raise HubError(f"{repo_id}: the commit {commit.oid} does not hold what was sent: {left[0]}; run again")
    return Published(commit.oid, commit.pr_url or commit.commit_url, len(changes))


def is_tagged(api: HfApi, branch: Branch, tag: str, files: Mapping[str, Path]) -> bool:
    """Tell whether a branch that holds just these files has this tag already.

    Raises:
        HubError: the tag is elsewhere, and would have to be moved.
    """
    with hub_step(branch.repo_id, "list the tags"):
        tags = api.list_repo_refs(branch.repo_id, repo_type="dataset").tags
    commit = next((reference.target_commit for reference in tags if reference.name == tag), None)
    if commit is not None and (commit != branch.commit or find_changes(files, branch.files)):
        raise HubError(
            f"{branch.repo_id}: the tag {tag} is at {commit}, which is not what is staged; choose another tag"
        )
    return commit is not None
