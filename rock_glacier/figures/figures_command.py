"""Command line that draws the card's pictures."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rock_glacier.console import add_options, megabytes, note, output_file, run, say


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="""\
Draw the pictures of the dataset card: tiles of both classes, a tile with its
mask, the classes and the mask coverage of each split, two tiles of two splits
that overlap, and the largest grounds with their blocks; and pictures.json with
their alternative texts and captions, from which stage_hub_repo.py --assets OUT
makes the card. The archives are audited first, as audit_archives.py does; a
fault ends the run.""",
        epilog="""\
DATA_DIR is a local folder or hf://datasets/<repo>[@<revision>]/<folder>.

Pictures of a synthetic sample say so. A sample has version 0.0.0 in its
manifest.json. The pictures in assets/ were made by

  python scripts/make_sample_archives.py sample --train 400 --validation 60 \\
      --test 140 --overlap 0.3 --seed 6
  python scripts/render_assets.py sample --out assets

A picture that the archives have nothing for is left out, and one of an
earlier run is removed. Exit status: 0 when the pictures are written, 1 for a
failure, 2 for wrong usage.""",
    )
    add_options(parser, "data_dir")
    parser.add_argument(
        "--out", metavar="OUT", type=Path, default=Path("pictures"), help="folder to write into (default: %(default)s)"
    )
    parser.add_argument("--html", metavar="FILE", type=output_file, help="write the audit's page to this file as well")
    add_options(parser, "--seed", "--num-proc", "--dask")
    options = parser.parse_args(arguments)

    def draw() -> None:
        from rock_glacier.archives.manifest import is_sample
        from rock_glacier.audit.checks import audit
        from rock_glacier.audit.page import report_page
        from rock_glacier.figures.render import WITHOUT, draw_pictures, write_pictures
        from rock_glacier.files import write_file
        from rock_glacier.parallel import Workers
        from rock_glacier.publication.hub import prepare_client
        from rock_glacier.publication.staging import local_folder

        prepare_client()
        workers = Workers(options.num_proc, options.dask, progress=True)
        audited = audit(local_folder(options.data_dir), workers)
        if options.html:  # first, so that it shows the faults that end the run
            write_file(options.html, report_page(audited))
            say(f"wrote {options.html}")
        pictures = draw_pictures(audited, seed=options.seed)
        what = "a synthetic sample" if is_sample(audited.listing.folder) else "the dataset"
        for name, size in write_pictures(audited, pictures, options.out).items():
            say(f"{options.out / name}: {megabytes(size)}, of {what}")
        for name, reason in WITHOUT.items():
            if name not in pictures:
                note(f"{name}: left out, {reason}")

    return run(parser.prog, draw, if_interrupted="interrupted; each picture is whole", extra="assets")
