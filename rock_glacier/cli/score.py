"""Score predictions: print each metric with its interval."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from rock_glacier import output
from rock_glacier.cli.options import (
    CONFIG_NAMES,
    SPLIT_NAMES,
    UsageError,
    fraction,
    input_file,
    output_file,
)

if TYPE_CHECKING:
    from rock_glacier.score.evaluation import Evaluation

HELP = "Score predictions: metrics with intervals, over tiles and over rock glaciers, and maps"

# Extensions of maps.
_MAPS = (".gpkg", ".parquet", ".geojson", ".tif")

_EPILOG = """\
PREDICTIONS for image-classification: a CSV or Parquet file with the columns
  path    path of the tile, such as test/glaciar/012.png
  score   probability of glaciar, from 0 to 1
PREDICTIONS for image-segmentation: a folder of PNG files with the paths of the
tiles, such as PREDICTIONS/test/glaciar/012.png. Files are grey. If all files hold
only 0 and 1, or only 0 and 255, they are masks; otherwise they are scores times
255. Every tile of the split needs exactly one prediction, in any order.

The tile index states which tiles show the same ground. Metrics that start with
ground_ count each place once. To find true and predicted rock glaciers, the tiles
of each site are merged. docs/scoring.md defines all metrics.

Intervals of landform recall and precision are Wilson intervals. All others come
from a bootstrap. It draws blocks of sites, because tiles that share ground are not
independent, or sites if there are no blocks or at least 30 sites of similar size.
For metrics of rock glaciers, it draws rock glaciers.

With --against, both models are scored on the same replicates. A difference
above 0 means that PREDICTIONS has the higher value. Higher is better, except for
brier_score and boundary_distance_m."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add arguments and options."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument(
        "predictions", metavar="PREDICTIONS", type=Path, help="file or folder of predictions"
    )
    parser.add_argument(
        "--name",
        metavar="CONFIG",
        choices=CONFIG_NAMES,
        required=True,
        help=" or ".join(CONFIG_NAMES),
    )
    truth = parser.add_mutually_exclusive_group()
    truth.add_argument(
        "--data-dir",
        metavar="DATA_DIR",
        help="read the truth from this folder of archives (default: the dataset on the Hub)",
    )
    truth.add_argument(
        "--revision", metavar="REV", help="branch, tag or commit of the dataset on the Hub"
    )
    parser.add_argument(
        "--index",
        metavar="FILE",
        type=input_file,
        help="tile index (default: tiles.parquet next to the data, if it exists)",
    )
    parser.add_argument(
        "--split", choices=SPLIT_NAMES, default="test", help="split to score (default: %(default)s)"
    )
    parser.add_argument(
        "--against",
        metavar="PREDICTIONS",
        type=Path,
        help="predictions of another model to compare with",
    )
    parser.add_argument(
        "--threshold",
        metavar="P",
        type=fraction,
        default=0.5,
        help="score from which a tile is predicted as glaciar, or a pixel as rock glacier "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--outlines",
        metavar="PATH",
        type=Path,
        help="file or folder of outlines to use as true rock glaciers; needs located tiles",
    )
    parser.add_argument(
        "--json", metavar="FILE", type=output_file, help="also write the scores as JSON"
    )
    parser.add_argument(
        "--html",
        metavar="FILE",
        type=output_file,
        help="also write a web page with a picture of each rock glacier",
    )
    parser.add_argument(
        "--map",
        metavar="FILE",
        type=_map_file,
        help="also write the predicted rock glaciers (.gpkg, .parquet, .geojson) or the scores "
        "(.tif) as a map; needs located tiles",
    )
    parser.add_argument(
        "--model-card",
        action="store_true",
        help="print results for the metadata of a model card (YAML) instead of the table",
    )


def run(options: argparse.Namespace) -> None:
    """Score predictions."""
    _check_usage(options)

    from rock_glacier.score.evaluation import evaluate
    from rock_glacier.score.predictions import read_masks, read_scores
    from rock_glacier.score.report import table_lines, to_model_card
    from rock_glacier.score.truth import load_truth

    read = read_scores if options.name == CONFIG_NAMES[0] else read_masks
    # Read predictions first: the truth may be a long download.
    predictions = read(options.predictions)
    against = read(options.against) if options.against else None
    outlines = None
    if options.outlines:
        from rock_glacier.places.outlines import read_outlines

        outlines = read_outlines(options.outlines)
    truth = load_truth(
        options.name,
        options.split,
        data_dir=options.data_dir,
        revision=options.revision,
        index=options.index,
        images=options.html is not None,
    )
    if options.map:
        truth.check_locations("--map")
    evaluation = evaluate(
        predictions, truth, against=against, threshold=options.threshold, outlines=outlines
    )
    if options.model_card:
        output.text(to_model_card(evaluation, options.predictions.stem).rstrip("\n"))
        for note in evaluation.notes:
            output.message(f"Note: {note}")
    else:
        for line in table_lines(evaluation):
            output.text(line)
    _write_files(options, evaluation)


def _write_files(options: argparse.Namespace, evaluation: Evaluation) -> None:
    from rock_glacier.score.report import to_json

    if options.json:
        text = json.dumps(to_json(evaluation), indent=2, allow_nan=False)
        output.write_file(options.json, text + "\n")
    if options.html:
        from rock_glacier.score.page import render_page

        output.write_file(options.html, render_page(evaluation))
    if options.map:
        from rock_glacier.score.maps import write_map

        write_map(evaluation, options.map)
    for file in (options.json, options.html, options.map):
        if file:
            output.message(f"Wrote {file}")


def _check_usage(options: argparse.Namespace) -> None:
    """Raise an error if options do not go together."""
    if options.model_card and options.against:
        raise UsageError("--model-card cannot be combined with --against")
    if options.name == CONFIG_NAMES[0]:
        for name in ("outlines", "html", "map"):
            if getattr(options, name):
                raise UsageError(f"--{name} needs --name {CONFIG_NAMES[1]}")


def _map_file(text: str) -> Path:
    """Read the name of a map to write from the command line."""
    file = output_file(text)
    if file.suffix.lower() not in _MAPS:
        raise argparse.ArgumentTypeError(f"{text!r} does not end in {', '.join(_MAPS)}")
    return file
