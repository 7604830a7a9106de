"""The command `upload`: publish a staged folder on the Hub."""

from __future__ import annotations

import argparse
from pathlib import Path

from rock_glacier.cli.options import UsageError, add_repo_id

HELP = "Publish a staged folder on the Hub, one commit per branch, and verify it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add arguments and options."""
    parser.add_argument("staged", metavar="STAGED", type=Path, help="folder that `stage` wrote")
    add_repo_id(parser, default=None)
    parser.add_argument("--tag", metavar="TAG", help="tag for the commit, such as v3.0.0")
    parser.add_argument("--dry-run", action="store_true", help="only list what would change")
    parser.add_argument(
        "--create-pr",
        action="store_true",
        help="propose the commit on main in a pull request; the branch script is not changed",
    )
    parser.add_argument(
        "--allow-synthetic",
        action="store_true",
        help="publish a synthetic sample under the name of the dataset",
    )


def run(options: argparse.Namespace) -> int | None:
    """Upload the folder."""
    from rock_glacier import output
    from rock_glacier.hub.upload import UploadOptions, upload

    if options.tag is not None and options.create_pr:
        raise UsageError("--tag cannot be combined with --create-pr; tag the merged commit")
    if options.tag == "":
        raise UsageError("--tag is empty")
    upload_options = UploadOptions(
        options.tag, options.dry_run, options.create_pr, options.allow_synthetic
    )
    for line in upload(options.staged, options.repo_id, options=upload_options):
        output.text(line)
    return None
