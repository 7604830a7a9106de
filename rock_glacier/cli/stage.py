"""The command `stage`: write the folders of the Hub repository."""

from __future__ import annotations

import argparse

from rock_glacier.cli.options import (
    REPO_ID,
    add_data_dir,
    add_num_proc,
    add_out,
    add_repo_id,
    input_file,
)

HELP = "Write the folders of the Hub repository, one per branch"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add arguments and options."""
    add_data_dir(parser)
    add_out(parser)
    add_repo_id(parser)
    parser.add_argument(
        "--index",
        metavar="FILE",
        type=input_file,
        help="tile index of the archives (default: DATA_DIR/tiles.parquet; if it does not exist, "
        "the archives are searched for sites)",
    )
    add_num_proc(parser)


def run(options: argparse.Namespace) -> int | None:
    """Stage the archives."""
    from rock_glacier import output
    from rock_glacier.archives import is_sample
    from rock_glacier.hub.staging import SCRIPT, stage
    from rock_glacier.parallel import Workers

    infos = stage(
        options.data_dir,
        options.out,
        repo_id=options.repo_id,
        index_file=options.index,
        workers=Workers(options.num_proc) if options.num_proc else None,
    )
    for config, info in infos.items():
        for split, part in info.splits.items():
            output.text(f"{config} {split}: {output.count(part.num_examples, 'example')}")
    if options.repo_id == REPO_ID and is_sample(options.out / SCRIPT / "data"):
        output.message(f"{options.out}: is a synthetic sample; upload refuses it for {REPO_ID}.")
    return None
