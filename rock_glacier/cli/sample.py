"""The command `sample`: make synthetic tiles and masks in archives."""

from __future__ import annotations

import argparse

from rock_glacier import output
from rock_glacier.cli import options as shared_options

HELP = "Make synthetic tiles and masks in archives, for tests, benchmarks and examples"

# Tiles of each split, the same as in rock_glacier.synthetic. A test compares them.
DEFAULT_SIZES = {"train": 70, "validation": 10, "test": 24}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add arguments and options."""
    parser.epilog = (
        "Writes archives and manifest.json, the outlines of the rock glaciers (outlines.geojson), "
        "and the true tile index with coordinates (true_tiles.parquet). The tiles and their places "
        "are synthetic. The same options give the same bytes."
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
        help="share of the tiles, 0 to 1, that are cut from scenes that all splits share: at "
        "random places, on several dates, in random orientations (default: 0)",
    )
    shared_options.add_seed(parser)


def run(options: argparse.Namespace) -> None:
    """Write the sample, complete or not at all."""
    # If one of these is missing, fail now, not after the first scene was drawn.
    import geopandas  # noqa: F401
    import rasterio  # noqa: F401

    from rock_glacier.synthetic import make_sample

    truth = make_sample(
        options.out,
        train=options.train,
        validation=options.validation,
        test=options.test,
        overlap=options.overlap,
        seed=options.seed,
        outlines=True,
    )
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
