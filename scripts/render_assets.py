#!/usr/bin/env python
"""Make the pictures that the dataset card shows, from a folder of archives.

    python scripts/render_assets.py data

portrait.webp is a mosaic of tiles of both classes with their masks' outlines, tile_and_mask.webp explains a tile and
its mask, splits.png gives the share of the classes and the mask coverage of each split, and overlap.webp shows two
tiles that were cut over the same ground. The archives are read by the builder, which checks them, and audited for
overlaps.

Those in `assets` now are of a synthetic sample, and say so. These commands made them:

    python scripts/make_sample_archives.py sample --train 400 --validation 60 --test 140 --overlap 0.3 --seed 6
    python scripts/render_assets.py sample

A sample is known by the version in its manifest, which is below that of any release; where there is no manifest, the
tiles are taken for the dataset's. The same archives give the same bytes, with the same versions of matplotlib and
Pillow.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import os
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import card_pictures
from archive_audit import audit
from archive_survey import Survey, read_tiles, survey
from card_pictures import PORTRAIT_COLUMNS, PORTRAIT_ROWS
from matplotlib.figure import Figure
from picture_panel import MOST_BYTES, PictureError, encoded_picture, own_settings
from staged_folder import ASSETS_FOLDER
from tile_choice import draw_tiles, plainest_masks, plainest_pairs, tonal_range

from rock_glacier.console import run, say
from rock_glacier.parallel import BackendError, Workers
from rock_glacier_dataset import CLASS_NAMES, MANIFEST_NAME, ArchiveError

ASSETS = Path(__file__).resolve().parent.parent / ASSETS_FOLDER
"""The folder of pictures that goes to the Hub with the card."""

PORTRAIT, TILE_AND_MASK, SPLITS, OVERLAP = "portrait.webp", "tile_and_mask.webp", "splits.png", "overlap.webp"
PICTURES = (PORTRAIT, TILE_AND_MASK, SPLITS, OVERLAP)


class Drawn(NamedTuple):
    """What was drawn of a folder of archives.

    Attributes:
        figures: each picture, by its file name, in the order of `PICTURES`.
        left_out: why a picture was not drawn, by its file name.
        surveyed: what the folder holds.
    """

    figures: dict[str, Figure]
    left_out: dict[str, str]
    surveyed: Survey


def draw_pictures(
    data_dir: str | os.PathLike[str], workers: Workers | None = None, *, seed: int = 0, progress: bool = False
) -> Drawn:
    """Draw the pictures of the card.

    Args:
        data_dir: folder of archives.
        workers: who looks for overlaps; by default every core of this machine.
        seed: seed of the draw of the portrait's tiles.
        progress: whether to show a progress bar on standard error while the archives are read.

    Returns:
        the pictures.

    Raises:
        ArchiveError: the archives have a fault.
        BackendError: the workers cannot be reached.
    """
    surveyed = survey(data_dir, progress=progress)
    audited = audit(surveyed.data_dir, workers)
    number = PORTRAIT_ROWS * PORTRAIT_COLUMNS
    drawn = {name: draw_tiles(surveyed, name, number, audited.groups, seed) for name in CLASS_NAMES}
    masked = plainest_masks(surveyed.shapes)
    pairs = plainest_pairs(audited.overlaps)
    wanted = {*masked, *(path for paths in drawn.values() for path in paths)}
    wanted |= {path for pair in pairs for path in (pair["a"], pair["b"])}
    tiles = read_tiles(surveyed, wanted)
    shades = {path: tonal_range(tile.rgb) for path, tile in tiles.items()}
    synthetic = surveyed.is_synthetic
    portrait_tiles = {name: [tiles[path] for path in paths] for name, paths in drawn.items()}
    coverages = surveyed.coverages() if surveyed.has_masks else None
    figures = {
        PORTRAIT: card_pictures.portrait(portrait_tiles, synthetic=synthetic),
        SPLITS: card_pictures.splits(surveyed.counts(), coverages, synthetic=synthetic),
    }
    left_out = {}
    if masked:
        plain = max(masked, key=lambda path: shades[path])
        figures[TILE_AND_MASK] = card_pictures.tile_and_mask(tiles[plain], synthetic=synthetic)
    else:
        left_out[TILE_AND_MASK] = "there are no masks that show a rock glacier"
    if pairs:
        pair = max(pairs, key=lambda pair: min(shades[pair["a"]], shades[pair["b"]]))
        figures[OVERLAP] = card_pictures.overlap(pair, tiles[pair["a"]], tiles[pair["b"]], synthetic=synthetic)
    else:
        left_out[OVERLAP] = "no two tiles share ground"
    return Drawn({name: figures[name] for name in PICTURES if name in figures}, left_out, surveyed)


def write_pictures(files: Mapping[str, bytes], stale: Collection[str], out: Path) -> list[str]:
    """Write pictures into a folder, each under another name that is changed when all are whole.

    Args:
        files: the pictures' files, by name.
        stale: names of pictures that are not of these archives if there are any.
        out: the folder; it is made if need be, and what else is in it stays.

    Returns:
        names of the stale pictures that were there, and are no longer.

    Raises:
        OSError: the folder or a file cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    beside = {name: out / f".{name}.tmp" for name in files}
    try:
        for name, file in files.items():
            beside[name].write_bytes(file)
        for name, path in beside.items():
            path.replace(out / name)
    finally:
        for path in beside.values():
            path.unlink(missing_ok=True)
    found = [name for name in stale if (out / name).exists()]
    for name in found:
        (out / name).unlink()
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=f"""\
Make the pictures that the dataset card shows: a mosaic of tiles of both
classes, a plate that explains a tile and its mask, the classes and the mask
coverage of each split, and two tiles that share ground. Each is a file of
{MOST_BYTES // 1024} KiB at most. The archives are checked as they are read; the first
fault ends the run.""",
        epilog="""\
Pictures of a sample say that it is synthetic. A sample is known by the
version in its manifest.json. Those in assets/ were made by

  python scripts/make_sample_archives.py sample --train 400 --validation 60 \\
      --test 140 --overlap 0.3 --seed 6
  python scripts/render_assets.py sample

Without masks there is no tile_and_mask.webp, without tiles that share ground
no overlap.webp; one from an earlier run is removed. Prints a line for each
picture. Exit status: 0 when they are written, 1 when something failed (each
picture is whole, or as it was before), 2 for wrong usage.""",
    )
    parser.add_argument("data_dir", metavar="DATA_DIR", help="local folder of archives: train.zip and so on")
    parser.add_argument(
        "--out", metavar="OUT", type=Path, default=ASSETS, help="folder to write into (default: the project's assets/)"
    )
    parser.add_argument(
        "--seed", metavar="S", type=int, default=0, help="another seed draws other tiles for the mosaic (default: 0)"
    )
    parser.add_argument(
        "--num-proc", metavar="N", type=int, help="processes that look for overlaps (default: one for each core)"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.num_proc is not None and options.num_proc < 1:
        parser.error(f"--num-proc is {options.num_proc}; it is 1 at least")
    if options.seed < 0:
        parser.error(f"--seed is {options.seed}; it is 0 at least")
    nearest = next(folder for folder in (options.out, *options.out.absolute().parents) if folder.exists())
    if not nearest.is_dir():
        parser.error(f"--out is {options.out}, but {nearest} is a file; name a folder")

    def render() -> None:
        with own_settings():
            workers = Workers(options.num_proc, progress=True)
            drawn = draw_pictures(options.data_dir, workers, seed=options.seed, progress=True)
            files = {name: encoded_picture(name, figure) for name, figure in drawn.figures.items()}
        if not drawn.surveyed.has_manifest:
            message = f"has no {MANIFEST_NAME}, which would tell a sample; its tiles are taken for the dataset's"
            print(f"{options.data_dir}: {message}", file=sys.stderr)
        removed = write_pictures(files, drawn.left_out, options.out)
        for name, file in files.items():
            kind = "of a synthetic sample" if drawn.surveyed.is_synthetic else "of the dataset"
            say(f"{options.out / name}: {len(file)} bytes, {kind}")
        for name, reason in drawn.left_out.items():
            gone = "; the one of an earlier run was removed" if name in removed else ""
            print(f"{name}: left out, {reason}{gone}", file=sys.stderr)

    return run(
        parser.prog,
        render,
        (ArchiveError, PictureError, BackendError, OSError, concurrent.futures.BrokenExecutor),
        if_interrupted="interrupted; each picture is whole, or as it was before",
    )


if __name__ == "__main__":
    sys.exit(main())
