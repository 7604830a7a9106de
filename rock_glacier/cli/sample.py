"""The command `sample`: make synthetic tiles and masks in archives."""

from __future__ import annotations

import argparse

from rock_glacier import output
from rock_glacier.cli import options as shared_options

HELP = "Make synthetic tiles and masks in archives, for tests, benchmarks and examples"

# Tiles of each split, the same as in rock_glacier.synthetic. A test compares them.
DEFAULT_SIZES = {"train": 70, "validation": 10, "test": 24}

INDEX_NAME = "true_tiles.parquet"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add arguments and options."""
    parser.epilog = (
        f"Writes archives, manifest.json and {INDEX_NAME}, the true tile index. The tiles look "
        "real, but are synthetic. The same options give the same bytes."
    )
    shared_options.add_out(parser)
    for split, size in DEFAULT_SIZES.items():
        parser.add_argument(
            f"--{split}",
            metavar="N",
            type=shared_options.positive,
            default=size,
            help=f"number of tiles in the split {split} (default: %(default)s)",
        )
    parser.add_argument(
        "--overlap",
        metavar="FRACTION",
        type=shared_options.fraction,
        default=0.0,
        help="share of the tiles, 0 to 1, that are cut from scenes which the splits share: at "
        "random places, on several dates, in random orientations (default: 0)",
    )
    shared_options.add_seed(parser)


def run(options: argparse.Namespace) -> None:
    """Write the sample, complete or not at all."""
    import geopandas  # noqa: F401  # needed at the end: fail before the work if it is missing

    from rock_glacier.index import make_index, write_index
    from rock_glacier.synthetic import make_sample

    with output.new_folder(options.out) as folder:
        truth = make_sample(
            folder,
            train=options.train,
            validation=options.validation,
            test=options.test,
            overlap=options.overlap,
            seed=options.seed,
        )
        write_index(make_index(truth), folder / INDEX_NAME)
    for file in sorted(options.out.iterdir()):
        output.text(f"{file}: {_describe_size(file.stat().st_size)}")
    tiles = output.count(len(truth), "synthetic tile")
    sites = output.count(truth["site"].nunique(), "site")
    output.text(f"Made {tiles} of {sites}. They are not tiles of the dataset.")


def _describe_size(size: int) -> str:
    """Return a number of bytes in kB or MB."""
    if size < 1e6:
        return f"{size / 1e3:,.1f} kB"
    return f"{size / 1e6:,.1f} MB"
