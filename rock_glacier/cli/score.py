"""Score predictions: print each metric with its interval."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rock_glacier import output
from rock_glacier.cli.options import (
    CONFIG_NAMES,
    SPLIT_NAMES,
    UsageError,
    fraction,
    input_file,
    output_file,
)

HELP = "Score predictions: metrics with intervals"

_EPILOG = """\
PREDICTIONS for image-classification: a CSV or Parquet file with the columns
  path    path of the tile, such as test/glaciar/012.png
  score   probability of glaciar, from 0 to 1
PREDICTIONS for image-segmentation: a folder of PNG files with the paths of the
tiles, such as PREDICTIONS/test/glaciar/012.png. A mask is grey, with the values
0 and 1 or 0 and 255, or black and white as in the dataset.
Every tile of the split needs exactly one prediction, in any order.

Intervals come from a bootstrap that draws sites if the split has at least 30,
and blocks of sites otherwise, because tiles that share ground are not
independent. Sites and blocks are read from the tile index.

With --against, both models are scored on the same replicates. A difference
above 0 means that PREDICTIONS scores higher (for brier_score, worse)."""


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
        help="score from which a tile is predicted as glaciar (default: %(default)s)",
    )
    parser.add_argument(
        "--json", metavar="FILE", type=output_file, help="also write the scores as JSON"
    )
    parser.add_argument(
        "--model-card",
        action="store_true",
        help="print results for the metadata of a model card (YAML) instead of the table",
    )


def run(options: argparse.Namespace) -> None:
    """Score predictions."""
    if options.model_card and options.against:
        raise UsageError("--model-card is about one model: omit --against")

    from rock_glacier.score.evaluation import evaluate
    from rock_glacier.score.predictions import read_masks, read_scores
    from rock_glacier.score.report import table_lines, to_json, to_model_card
    from rock_glacier.score.truth import load_truth

    read = read_scores if options.name == CONFIG_NAMES[0] else read_masks
    # Read predictions first: the truth may be a long download.
    predictions = read(options.predictions)
    against = read(options.against) if options.against else None
    truth = load_truth(
        options.name,
        options.split,
        data_dir=options.data_dir,
        revision=options.revision,
        index=options.index,
    )
    evaluation = evaluate(predictions, truth, against=against, threshold=options.threshold)
    if options.model_card:
        output.text(to_model_card(evaluation, options.predictions.stem).rstrip("\n"))
        for note in evaluation.notes:
            output.message(f"Note: {note}")
    else:
        for line in table_lines(evaluation):
            output.text(line)
    if options.json:
        text = json.dumps(to_json(evaluation), indent=2, allow_nan=False)
        output.write_file(options.json, text + "\n")
        output.message(f"Wrote {options.json}")
