"""Publish a staged folder on the Hub: a commit for each branch, and every row loaded back."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from huggingface_hub import HfApi, get_token

from rock_glacier.archives.manifest import is_sample
from rock_glacier.console import REPO_ID, count, megabytes
from rock_glacier.publication.hub import LOG_IN, HubError, commit_changes, find_changes, hub_step, look_at
from rock_glacier.publication.read_back import read_back_in_new_cache
from rock_glacier.publication.sums import CARD_NAME, MAIN, SCRIPT, StagedError, StagedFile, read_staged


def upload(
    folder: Path,
    repo_id: str,
    *,
    revision: str = MAIN,
    create_pr: bool = False,
    tag: str | None = None,
    private: bool = False,
    allow_sample: bool = False,
) -> Iterator[str]:
    """Publish a staged folder, whole or not at all, and load it back.

    Args:
        folder: what `stage` wrote.
        repo_id: the Hub dataset; created if need be.
        revision: the branch for what is in `main`; created if need be. The branch `script` changes only with `main`.
        create_pr: whether to propose the commit to main in a pull request, and to change nothing else.
        tag: tag for the commit; a tag is never moved.
        private: whether a dataset that is created is private; one that exists and is public is refused.
        allow_sample: whether a sample may be published under the dataset's own name.

    Yields:
        a line for each step. The rows are compared in another process, which prints a line for each split itself.

    Raises:
        StagedError: the staged folder has a fault; nothing was sent.
        HubError: a step failed. A branch is as it was or as it was staged, and the same command goes on from there.
        OSError: a file cannot be read.
    """
    staged = read_staged(folder)
    _check_name(folder, staged, repo_id, allow_sample)
    if get_token() is None:
        raise HubError(f"no token; {LOG_IN}")
    api = HfApi()
    for name, files in _branches(staged, revision, with_script=not create_pr):
        branch = look_at(api, repo_id, name)
        if branch is None:
            with hub_step(repo_id, "create the repository"):
                api.create_repo(repo_id, repo_type="dataset", private=private or None, exist_ok=True)
            branch = look_at(api, repo_id, name)
        if branch is None:
            raise HubError(f"{repo_id}: exists, but the token may not see it; {LOG_IN}")
        with hub_step(repo_id, "look at the repository"):
            if private and not api.dataset_info(repo_id).private:
                raise HubError(f"{repo_id}: is public; make it private in its settings, or leave --private out")
        there = _commit_of_tag(api, repo_id, tag) if name == revision else None
        if there is not None and (there != branch.commit or find_changes(files, branch.files)):
            raise HubError(f"{repo_id}: the tag {tag} is at {there}, which is not what is staged; choose another tag")
        commit, url, changed = commit_changes(api, repo_id, branch, files, create_pr=create_pr)
        what = f"{count(changed, 'file')} changed in one commit" if changed else "nothing to change"
        yield f"{name}: {what}, {url}"
        if name == revision:
            before = branch.commit if changed else "the commit before it"
            way_back = "close the pull request" if create_pr else _way_back(api, repo_id, name, before, commit)
            read_back_in_new_cache(folder, repo_id, commit, f"run the same command again, or {way_back}")
            published, tagged = commit, there
    if tag is not None:
        if tagged is None:
            with hub_step(repo_id, f"create the tag {tag}"):
                api.create_tag(repo_id, tag=tag, revision=published, repo_type="dataset")
        yield f"{tag}: {published}"


def preview(
    folder: Path, repo_id: str, *, revision: str = MAIN, tag: str | None = None, allow_sample: bool = False
) -> Iterator[str]:
    """List what `upload` would change, and change nothing.

    Yields:
        a line for each file that would be added, changed or removed, and a summary for each branch and the tag.

    Raises:
        StagedError: the staged folder is a sample that is refused, or has a fault, which is raised after the last line.
        HubError: the Hub cannot be reached.
    """
    api, staged = HfApi(), read_staged(folder, verify=False)
    _check_name(folder, staged, repo_id, allow_sample)
    for name, files in _branches(staged, revision):
        branch = look_at(api, repo_id, name)
        changes = find_changes(files, branch.files if branch and branch.exists else [])
        yield from (f"{name}: {change}" for change in changes)
        kinds = [change.kind for change in changes]
        size = sum(change.size for change in changes if change.kind != "remove")
        summary = ", ".join(f"{kinds.count(kind)} to {kind}" for kind in ("add", "change", "remove"))
        yield f"{name}: {summary}; at most {megabytes(size)} to send"
        if branch is None:
            yield f"{name}: {repo_id} would be made; or the token may not see it"
        elif not branch.exists:
            yield f"{name}: the branch would be made"
        if tag is not None and name == revision:
            there = _commit_of_tag(api, repo_id, tag) if branch else None
            yield f"{tag}: {f'is at {there} and would stay there' if there else 'would be made'}"
    read_staged(folder)


def check(folder: Path, repo_id: str, *, revision: str = MAIN) -> Iterator[str]:
    """Compare the files on the Hub, and the rows loaded from it, with a staged folder; change nothing.

    Args:
        folder: what `stage` wrote.
        repo_id: the Hub dataset.
        revision: branch, tag or commit for what is in `main`; with `main`, the branch `script` is compared too.

    Yields:
        a line for each branch that is the same.

    Raises:
        StagedError: the staged folder has a fault.
        HubError: at the first difference.
    """
    api, staged = HfApi(), read_staged(folder)
    for name, files in _branches(staged, revision):
        branch = look_at(api, repo_id, name)
        if branch is None or not branch.exists:
            raise HubError(f"{repo_id}: has no {name}, or the token may not see it; check --repo-id and --revision")
        if changes := find_changes(files, branch.files):
            raise HubError(f"{repo_id}: {name} is not what is staged, which would {changes[0]}; upload it again")
        yield f"{name}: {count(len(files), 'file')}, as staged"
        if name == revision:
            read_back_in_new_cache(folder, repo_id, branch.commit, "upload it again")


def _way_back(api: HfApi, repo_id: str, branch: str, before: str, commit: str) -> str:
    """Say how a branch gets the files back that it had before a commit."""
    clone = f"GIT_LFS_SKIP_SMUDGE=1 git clone -b {shlex.quote(branch)} {api.endpoint}/datasets/{repo_id} back"
    return f"go back to {before}: {clone} && git -C back revert --no-edit {commit} && git -C back push"


def _branches(
    staged: dict[str, dict[str, StagedFile]], revision: str, *, with_script: bool = True
) -> list[tuple[str, dict[str, StagedFile]]]:
    script = [(SCRIPT, staged[SCRIPT])] if with_script and revision == MAIN else []
    return [(revision, staged[MAIN]), *script]


def _check_name(folder: Path, staged: dict[str, dict[str, StagedFile]], repo_id: str, allow_sample: bool) -> None:
    card = staged[SCRIPT][CARD_NAME].file.read_text(encoding="utf-8")
    if f'"{repo_id}"' not in card:
        raise StagedError(f"{folder}: was staged for another dataset; stage it with --repo-id {repo_id}")
    if repo_id == REPO_ID and not allow_sample and is_sample(folder / SCRIPT / "data"):
        remedy = "stage and upload it with a --repo-id of your own, or give --allow-sample"
        raise StagedError(f"{folder}: is a synthetic sample, and {repo_id} is the dataset's own name; {remedy}")


def _commit_of_tag(api: HfApi, repo_id: str, tag: str | None) -> str | None:
    with hub_step(repo_id, "list the tags"):
        tags = api.list_repo_refs(repo_id, repo_type="dataset").tags if tag is not None else []
    return next((found.target_commit for found in tags if found.name == tag), None)
