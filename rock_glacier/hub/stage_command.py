"""Command line of staging."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from rock_glacier.console import REPO_ID, add_options, count, megabytes, note, run, say


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(
        description="Write the folders of the Hub repository, one for each branch: OUT/main with the card and both "
        "configs as Parquet, OUT/script with the archives and the loading script, and OUT/SHA256SUMS. Archives are "
        "checked as they are read: tiles undecoded, masks for their two colours. The first fault ends the run; "
        "audit_archives.py checks the tiles' pixels, too.",
        epilog="Prints a line for each config and split. Exit status: 0 when all is written, 1 when something failed "
        "(OUT is whole, or as it was before), 2 for wrong usage.",
    )
    parser.add_argument(
        "data_dir",
        metavar="DATA_DIR",
        help="folder of archives: train.zip, val.zip, test.zip; local, or on the Hub: "
        "hf://datasets/<repo>[@<revision>]/<folder>",
    )
    add_options(parser, "out", "--repo-id")
    parser.add_argument(
        "--assets",
        metavar="DIR",
        type=Path,
        help="pictures that render_assets.py drew of DATA_DIR (default: those of a sample in the project's assets)",
    )
    add_options(parser, "--overwrite", "--num-proc", "--dask")
    options = parser.parse_args(arguments)

    def write() -> None:
        from rock_glacier.archives.grounds_file import GROUNDS_NAME
        from rock_glacier.archives.manifest import is_sample
        from rock_glacier.audit.record import audit_record
        from rock_glacier.parallel import Workers
        from rock_glacier.publication.hub import prepare_client
        from rock_glacier.publication.staging import ASSETS, stage

        prepare_client()
        workers, assets = Workers(options.num_proc, options.dask, progress=True), options.assets or ASSETS
        given = {"repo_id": options.repo_id, "assets": assets, "overwrite": options.overwrite}
        for config, info in stage(options.data_dir, options.out, **given, workers=workers).items():
            for split, found in info.splits.items():
                sizes = [file.stat().st_size for file in Path(options.out, "main", config).glob(f"{split}-*")]
                number = count(len(sizes), "Parquet file")
                say(f"{config} {split}: {count(found.num_examples, 'example')}, {number}, {megabytes(sum(sizes))}")
        data = os.path.join(options.out, "script", "data")
        if options.repo_id == REPO_ID and is_sample(data):
            note(f"{options.out}: is a synthetic sample; upload.py refuses it for {REPO_ID}")
        if not os.path.exists(os.path.join(data, GROUNDS_NAME)):
            narrow = f"holds no {GROUNDS_NAME}, without which intervals of scores are too narrow"
            note(f"{data}: {narrow}; build_archives.py --split keep writes it")
        note(audit_record(data))

    return run(parser.prog, write, if_interrupted="interrupted; nothing was written", extra="publish")
