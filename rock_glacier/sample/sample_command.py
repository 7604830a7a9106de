"""Command line of the sample generator."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from rock_glacier.console import add_options, count, megabytes, positive, run, say
from rock_glacier.sample import DEFAULT_SIZES


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(
        description="Make synthetic tiles and masks in archives of the dataset's layout, for tests, benchmarks and "
        "examples. The tiles look like those of the dataset, and are none of them.",
        epilog="The same seed and sizes give the same bytes. Exit status: 0 when all is written, 1 when something "
        "failed and nothing is written, 2 for wrong usage.",
    )
    add_options(parser, "out")
    for split, size in DEFAULT_SIZES.items():
        what = f"number of tiles in the {split} split (default: {size})"
        parser.add_argument(f"--{split}", metavar="N", type=positive, default=size, help=what)
    parser.add_argument("--shards", metavar="K", type=positive, default=1, help="shards of each split (default: 1)")
    parser.add_argument(
        "--overlap",
        metavar="FRACTION",
        type=float,
        default=0.0,
        help="share of the tiles, from 0 to 1, that are cut from scenes which the splits share: at random places, on "
        "several dates, turned at random; grounds.csv says where (default: 0)",
    )
    parser.add_argument(
        "--faults", action="store_true", help="plant one of each fault that the audit finds; loading the sample fails"
    )
    add_options(parser, "--overwrite", "--seed", "--num-proc", "--dask")
    options = vars(parser.parse_args(arguments))

    from rock_glacier.sample.generate import check_numbers, make_sample_archives

    numbers = {name: options[name] for name in ("shards", "seed", "overlap", "faults")}
    try:
        check_numbers({split: options[split] for split in DEFAULT_SIZES}, **numbers)
    except ValueError as error:
        parser.error(str(error))

    def make() -> None:
        sample = make_sample_archives(options.pop("out"), **options, progress=True)
        for archive in sample.archives:
            say(f"{archive.name}: {count(archive.tiles, 'tile')}, {megabytes(archive.bytes)}")
        for code, path in sample.faults.items():
            say(f"planted {code}: {path}")

    return run(parser.prog, make, if_interrupted="interrupted; nothing was written")
