#!/usr/bin/env python
"""Publish a staged folder on the Hub, whole or not at all, and see that every row can be loaded from there.

    python scripts/upload.py staged --repo-id alkzar90/rock-glacier-dataset --dry-run
    python scripts/upload.py staged --repo-id alkzar90/rock-glacier-dataset --script-branch --tag v1.0.0

One commit makes the repository hold just what is in the folder: files are added and changed, and others are removed. It
is made on top of the state that was compared; where someone else has committed meanwhile, it is refused. Then both
configs are loaded from that commit and compared with the folder, row by row; only then are the branch of the loading
script and the tag made. After a failure the same command goes on where it ended.

The token is the one that the Hub's client finds: of `hf auth login`, or in HF_TOKEN.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from dataset_card import card_of_script
from hub_branch import Branch, Published, is_tagged, look_at, publish
from hub_changes import Change, find_changes
from hub_errors import LOG_IN, HubError, check_token, hub_step
from huggingface_hub import HfApi, constants, get_token
from read_back import run_in_fresh_cache
from staged_folder import (
    ARCHIVES_FOLDER,
    ASSETS_FOLDER,
    CARD_FILE,
    MODULE_FILE,
    StagedError,
    StagedFolder,
    read_staged,
    repo_id_option,
)

from rock_glacier.console import run, say
from rock_glacier_dataset import RELEASE_SIZES, REPO_ID

MAIN = "main"

SCRIPT_BRANCH = "script"

_BESIDE_SCRIPT = (CARD_FILE, "LICENSE", "CITATION.cff", "CONTRIBUTING.md", "CHANGELOG.md")


def script_files(staged: StagedFolder, repo_id: str, folder: Path) -> dict[str, Path]:
    """Say what the branch of the loading script holds.

    Args:
        staged: the staged folder, with the archives.
        repo_id: the Hub dataset, after whose name `datasets` < 4 looks for the script.
        folder: where the card of that branch is written.

    Returns:
        path in the repository to file.

    Raises:
        StagedError: the archives were left out when the folder was staged.
    """
    archives = {path: file for path, file in staged.files.items() if path.startswith(f"{ARCHIVES_FOLDER}/")}
    if not archives:
        raise StagedError(
            f"{staged.folder}: holds no archives, which the loading script reads; stage it without --no-archives"
        )
    card = folder / CARD_FILE
    card.write_text(card_of_script(staged.card), encoding="utf-8", newline="\n")
    beside = {
        name: path
        for name, path in staged.files.items()
        if name in _BESIDE_SCRIPT or name.startswith(f"{ASSETS_FOLDER}/")
    }
    script = f"{repo_id.partition('/')[2]}.py"
    return {**archives, **beside, CARD_FILE: card, script: staged.files[MODULE_FILE]}


def upload(options: argparse.Namespace) -> None:
    """Do what the command line asks for, a line on standard output for each thing that is done.

    Raises:
        StagedError: the staged folder has a fault.
        HubError: a step failed.
        OSError: a file cannot be read.
    """
    staged = read_staged(options.staged)
    if staged.sizes != RELEASE_SIZES and not options.allow_size_mismatch:
        raise StagedError(
            f"{staged.folder}: holds {_sizes(staged.sizes)} tiles, and the card speaks of {_sizes(RELEASE_SIZES)}; "
            "stage the release's archives, or give --allow-size-mismatch to publish these"
        )
    if f'load_dataset("{options.repo_id}"' not in staged.card:
        message = f"the card's calls load another dataset; stage with --repo-id {options.repo_id} to name this one"
        print(f"{staged.folder}: {message}", file=sys.stderr)
    check_token()
    if get_token() is None and not options.dry_run:
        raise HubError(f"no token; {LOG_IN}")
    api = HfApi()
    with tempfile.TemporaryDirectory(prefix="rock-glacier-") as temporary:
        script = script_files(staged, options.repo_id, Path(temporary)) if options.script_branch else None
        if options.dry_run:
            _print_changes(api, options, staged.files, script)
        else:
            _upload(api, options, staged, script)


def _upload(api: HfApi, options: argparse.Namespace, staged: StagedFolder, script: Mapping[str, Path] | None) -> None:
    repo_id = options.repo_id
    main = _open_branch(api, repo_id, options.revision, options.private)
    tagged = bool(options.tag) and is_tagged(api, main, options.tag, staged.files)
    message = f"Publish {_sizes(staged.sizes)} tiles"
    published = publish(api, main, staged.files, message, create_pr=options.create_pr)
    _print_published(options.revision, published)
    _read_back(api, staged, repo_id, published.commit)
    if script is not None:
        branch = look_at(api, repo_id, SCRIPT_BRANCH)
        if branch is None:
            raise HubError(f"{repo_id}: cannot be seen any more; look at it on the Hub, then run again")
        _print_published(SCRIPT_BRANCH, publish(api, branch, script, f"{message} for the loading script"))
    if options.tag and not tagged:
        with hub_step(repo_id, f"create the tag {options.tag}"):
            api.create_tag(repo_id, tag=options.tag, revision=published.commit, repo_type="dataset")
    if options.tag:
        say(f"{options.tag}: {published.commit}")


def _open_branch(api: HfApi, repo_id: str, branch: str, private: bool) -> Branch:
    """Look at a branch, after making the repository where there is none."""
    found = look_at(api, repo_id, branch)
    if found is None:
        with hub_step(repo_id, "create the repository"):
            api.create_repo(repo_id, repo_type="dataset", private=private or None, exist_ok=True)
        found = look_at(api, repo_id, branch)
    elif private:
        _refuse_public(api, repo_id)
    if found is None:
        raise HubError(f"{repo_id}: exists, but the token may not see it; {LOG_IN}")
    return found


def _refuse_public(api: HfApi, repo_id: str) -> None:
    with hub_step(repo_id, "look at the repository"):
        if not api.dataset_info(repo_id).private:
            raise HubError(
                f"{repo_id}: is public, and --private is for a repository that is made; make it private in its "
                "settings on the Hub, or leave --private out"
            )


def _read_back(api: HfApi, staged: StagedFolder, repo_id: str, commit: str) -> None:
    """Compare what the Hub gives with what was staged, once for each commit.

    That a commit was found to be the same is remembered beside the Hub client's cache: it holds the same files, which
    the Hub knows by their checksums, for ever.
    """
    key = hashlib.sha256(f"{api.endpoint} {repo_id} {commit}".encode()).hexdigest()
    seen = Path(constants.HF_HOME) / "rock-glacier-dataset" / "read-back" / key
    if seen.exists():
        say(f"{commit}: was loaded back before, as staged")
        return
    if not run_in_fresh_cache(staged.folder, repo_id, commit):
        raise HubError(
            f"{repo_id}: {commit} is committed, but could not be loaded back as it was staged; run the same command "
            "again to compare again, or restore the commit before it on the Hub"
        )
    with contextlib.suppress(OSError):  # then the next upload of the same compares again
        seen.parent.mkdir(parents=True, exist_ok=True)
        seen.touch()


def _print_changes(
    api: HfApi, options: argparse.Namespace, files: Mapping[str, Path], script: Mapping[str, Path] | None
) -> None:
    for name, wanted in {options.revision: files, SCRIPT_BRANCH: script}.items():
        if wanted is None:
            continue
        branch = look_at(api, options.repo_id, name)
        if branch is not None and options.private:
            _refuse_public(api, options.repo_id)
        changes = find_changes(wanted, branch.files if branch else [])
        for change in changes:
            say(f"{name}: {change}")
        if options.create_pr and changes:
            print(f"{name}: a pull request would propose this", file=sys.stderr)
        say(f"{name}: {_summary(changes)}")
        if branch is None:
            print(f"{name}: {options.repo_id} would be created, or the token may not see it", file=sys.stderr)
        elif not branch.exists:
            print(f"{name}: the branch would be created, from {branch.commit}", file=sys.stderr)
        if options.tag and name == options.revision:
            tagged = branch is not None and is_tagged(api, branch, options.tag, wanted)
            say(f"{options.tag}: {'is there' if tagged else 'would be created'}")


def _summary(changes: Sequence[Change]) -> str:
    counts = {kind: [change for change in changes if change.kind == kind] for kind in ("add", "change", "remove")}
    told = ", ".join(f"{len(found)} to {kind}" for kind, found in counts.items())
    return f"{told}; {sum(change.size for change in changes if change.kind != 'remove')} bytes to send at most"


def _print_published(branch: str, published: Published) -> None:
    what = f"{published.changed} files changed in one commit" if published.changed else "nothing changed"
    say(f"{branch}: {what}, {published.url}")


def _sizes(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{size} {split}" for split, size in sizes.items())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="""\
Publish a staged folder on the Hub, whole or not at all.

  1. One commit makes the repository hold just what is in the folder. Whatever
     else is there is removed by that commit, except .gitattributes. Where
     someone else has committed meanwhile, nothing is committed.
  2. Both configs are loaded back from that commit as a user would, into a new
     cache, and compared with the folder row by row.
  3. Then come the branch of the loading script and the tag, if asked for.

A failure leaves a branch as it was or as it was staged (a new branch: as main
is); the same command goes on from there, and sends nothing again that has
arrived. With --create-pr, each run that commits makes a pull request.""",
        epilog=f"""\
The whole way, from a folder of archives called data:

  hf auth login
  python scripts/stage_hub_repo.py data staged
  python scripts/upload.py staged --repo-id {REPO_ID} --dry-run
  python scripts/upload.py staged --repo-id {REPO_ID} \\
      --script-branch --tag v1.0.0

The token is never given here:
{LOG_IN}.

Prints a line for each thing that is done. Exit status: 0 when all is done, 1
when something is not, 2 for wrong usage.""",
    )
    parser.add_argument("staged", metavar="STAGED", type=Path, help="folder that stage_hub_repo.py wrote")
    parser.add_argument(
        "--repo-id",
        metavar="ID",
        type=repo_id_option,
        required=True,
        help=f"the Hub dataset, such as {REPO_ID}; made if need be",
    )
    parser.add_argument("--private", action="store_true", help="make the repository private, if it is made")
    parser.add_argument(
        "--revision", metavar="BRANCH", default=MAIN, help="commit to this branch; made if need be (default: main)"
    )
    parser.add_argument(
        "--create-pr", action="store_true", help="propose the commit as a pull request to main, rather than make it"
    )
    parser.add_argument("--tag", metavar="TAG", help="then tag the commit, such as v1.0.0; a tag is never moved")
    parser.add_argument(
        "--script-branch",
        action="store_true",
        help=f"then keep the branch {SCRIPT_BRANCH}: the loading script, for datasets < 4, and the archives",
    )
    parser.add_argument(
        "--allow-size-mismatch",
        action="store_true",
        help=f"publish another number of tiles than the card speaks of, which is {_sizes(RELEASE_SIZES)}",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="change nothing; print what would be added, changed and removed"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.tag == "" or not options.revision:
        parser.error(f"{'--tag' if options.tag == '' else '--revision'} is empty; name one, or leave the option out")
    if options.create_pr and (options.revision != MAIN or options.tag or options.script_branch):
        parser.error("--create-pr proposes a commit to main: it goes with no --revision, --tag or --script-branch")
    if options.revision == SCRIPT_BRANCH:
        parser.error(f"--revision is {SCRIPT_BRANCH}, the branch of the loading script; give --script-branch for it")
    return run(
        parser.prog,
        lambda: upload(options),
        (StagedError, HubError, OSError),
        if_interrupted="interrupted; run the same command again to go on",
    )


if __name__ == "__main__":
    sys.exit(main())
