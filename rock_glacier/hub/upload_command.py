"""Command line of the upload."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rock_glacier.console import add_options, repo_id, run, say


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(
        description="Publish a staged folder on the Hub. One commit makes the branch main hold just the files of "
        "STAGED/main: others are removed, except .gitattributes; if someone else has committed meanwhile, nothing "
        "is committed. Both configs are then loaded from that commit into a new cache and compared with STAGED row by "
        "row. Finally the branch script is made to hold STAGED/script, and the commit is tagged.",
        epilog="After a failure the same command goes on from there. The token is that of `hf auth login`, or in "
        "HF_TOKEN. Prints a line for each step. Exit status: 0 when all is done, 1 when something failed, 2 for "
        "wrong usage.",
    )
    parser.add_argument("staged", metavar="STAGED", type=Path, help="folder that stage_hub_repo.py wrote")
    parser.add_argument("--repo-id", metavar="ID", type=repo_id, required=True, help="the Hub dataset; made if need be")
    add_options(parser, "--revision")
    parser.add_argument("--create-pr", action="store_true", help="propose the commit to main in a pull request instead")
    parser.add_argument("--tag", metavar="TAG", help="tag the commit, such as v2.0.0; a tag is never moved")
    parser.add_argument("--private", action="store_true", help="make the dataset private, if it is made")
    what = "publish a synthetic sample under the dataset's own name, which is refused otherwise"
    parser.add_argument("--allow-sample", action="store_true", help=what)
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--dry-run", action="store_true", help="change nothing; print what would change")
    only.add_argument("--check", action="store_true", help="change nothing; compare what the Hub gives with STAGED")
    options = parser.parse_args(arguments)
    if "" in (options.revision, options.tag):
        parser.error("--revision or --tag is empty; give a name, or leave it out")
    if options.create_pr and (options.revision or options.tag):
        parser.error("--create-pr proposes a commit to main; it goes with neither --revision nor --tag")
    if options.revision == "script":
        parser.error("--revision is the branch of the loading script, which is published with main")

    def work() -> None:
        from rock_glacier.publication.hub import prepare_client
        from rock_glacier.publication.upload import check, preview, upload

        prepare_client()
        place = {"folder": options.staged, "repo_id": options.repo_id, "revision": options.revision or "main"}
        if options.check:
            lines = check(**place)
        elif options.dry_run:
            lines = preview(**place, tag=options.tag, allow_sample=options.allow_sample)
        else:
            names = ("create_pr", "tag", "private", "allow_sample")
            lines = upload(**place, **{name: getattr(options, name) for name in names})
        for line in lines:
            say(line)

    return run(
        parser.prog,
        work,
        if_interrupted="interrupted; run the same command again to go on",
        extra="publish",
    )
