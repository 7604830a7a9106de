"""Show rock glaciers and their predictions as one static web page without script or network."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image, ImageFilter

from rock_glacier import audit
from rock_glacier.output import count
from rock_glacier.score.evaluation import Evaluation
from rock_glacier.score.landforms import FAIR, GOOD, area_km2, label_predicted, label_true
from rock_glacier.score.mosaics import Flags, Mosaic, Window
from rock_glacier.score.report import (
    count_landforms,
    method_lines,
    table_of_differences,
    table_of_metrics,
)
from rock_glacier.sites.orientations import oriented

# False predictions that are drawn, the largest first. The JSON report lists all.
_FALSE_PREDICTIONS = 50

_MARGIN = 20  # pixels of ground around a rock glacier
_WIDTH = 400  # about the larger side of a picture, in pixels
_MAX_SCALE = 4  # pixels of a picture per pixel of a tile
_QUALITY = 75  # of WebP; at this size, no loss is visible

# Both are visible on rock, snow and shadow, for all kinds of colour vision (Okabe and Ito, 2008).
_TRUE_COLOUR = (240, 228, 66)
_PREDICTED_COLOUR = (86, 180, 233)

_BACKGROUND = 128  # grey of ground that no tile shows


@dataclass(frozen=True)
class Picture:
    """A picture of a rock glacier or a prediction.

    Attributes:
        uri: The picture as a `data:` URI.
        width: Width in pixels.
        height: Height in pixels.
        caption: Text below the picture.
    """

    uri: str
    width: int
    height: int
    caption: str


def render_page(evaluation: Evaluation) -> str:
    """Return the page as HTML. Names that come from files are escaped.

    Args:
        evaluation: The evaluation of image-segmentation. If its truth has no images, boundaries are
            drawn on grey.
    """
    true = evaluation.rock_glaciers.sort_values(["iou", "pixels"], ascending=[True, False])
    predicted = evaluation.predicted
    false = predicted[predicted["iou"] < FAIR].nlargest(_FALSE_PREDICTIONS, "pixels")
    pictures = dict(_draw(evaluation, true, false))
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["count"] = count
    tables = {"Metrics": table_of_metrics(evaluation.metrics)}
    if evaluation.against is not None:
        other = Path(evaluation.against.predictions).name
        tables[f"Difference from {other}"] = table_of_differences(evaluation.against)
    css = Path(audit.__file__).with_name("page.css")
    return environment.get_template("page.html.jinja").render(
        name=Path(evaluation.predictions.source).name,
        notes=list(_notes(evaluation)),
        evaluation=evaluation,
        style=css.read_text(encoding="utf-8"),
        true_colour=_TRUE_COLOUR,
        predicted_colour=_PREDICTED_COLOUR,
        found=int((true["iou"] >= GOOD).sum()),
        landforms=count_landforms(evaluation),
        tables=tables,
        method=list(method_lines(evaluation)),
        rock_glaciers=[pictures["true", row] for row in true.index],
        false_predictions=[pictures["predicted", row] for row in false.index],
        false=int((predicted["iou"] < FAIR).sum()),
    )


def _notes(evaluation: Evaluation) -> Iterator[str]:
    """Yield the notes without folders, which readers of the page should not see."""
    files = [evaluation.predictions.source, evaluation.truth.source, evaluation.truth.index_file]
    if evaluation.against is not None:
        files.append(evaluation.against.predictions)
    for note in evaluation.notes:
        for file in files:
            note = note.replace(str(file), Path(str(file)).name)
        yield note


def _draw(
    evaluation: Evaluation, true: pd.DataFrame, false: pd.DataFrame
) -> Iterator[tuple[tuple[str, Any], Picture]]:
    """Yield the pictures of rows of `Evaluation.rock_glaciers` and `Evaluation.predicted`."""
    for mosaic in evaluation.mosaics():
        rows = {
            "true": true[true["site"] == mosaic.site],
            "predicted": false[false["site"] == mosaic.site],
        }
        if rows["true"].empty and rows["predicted"].empty:
            continue
        true_labels, _ = label_true(mosaic, evaluation.outlines)
        labels = {"true": true_labels, "predicted": label_predicted(mosaic)}
        ground = _paint(mosaic, evaluation.truth.images)
        for kind, table in rows.items():
            areas = table.assign(area_km2=area_km2(table))
            for row, landform in areas.iterrows():
                window = _around(labels[kind] == landform["label"])
                image = _draw_boundaries(
                    ground[window], true_labels[window] > 0, mosaic.predicted[window]
                )
                picture = Picture(_encode(image), *image.size, _describe(landform))
                yield (kind, row), picture


def _paint(mosaic: Mosaic, images: npt.NDArray[np.uint8] | None) -> npt.NDArray[np.uint8]:
    """Return the tiles of a site in their places, the last on top, as RGB."""
    ground = np.full((*mosaic.coverage.shape, 3), _BACKGROUND, np.uint8)
    if images is not None:
        for tile in mosaic.tiles:
            ground[tile.window] = oriented(images[tile.row], tile.orientation)
    return ground


def _around(area: Flags) -> Window:
    """Return the rows and columns of an area with some ground around it."""
    rows = np.flatnonzero(area.any(axis=1))
    columns = np.flatnonzero(area.any(axis=0))
    return (
        slice(max(0, rows[0] - _MARGIN), rows[-1] + 1 + _MARGIN),
        slice(max(0, columns[0] - _MARGIN), columns[-1] + 1 + _MARGIN),
    )


def _draw_boundaries(ground: npt.NDArray[np.uint8], true: Flags, predicted: Flags) -> Image.Image:
    """Draw the true and the predicted boundary on a part of a mosaic, enlarged if it is small."""
    height, width = true.shape
    scale = min(_MAX_SCALE, max(1, round(_WIDTH / max(height, width))))
    size = (scale * width, scale * height)
    image = Image.fromarray(ground).resize(size, Image.Resampling.BICUBIC)
    # The line of the truth is wider, so both are visible if they coincide.
    lines = ((true, _TRUE_COLOUR, 4), (predicted, _PREDICTED_COLOUR, 2))
    for area, colour, line_width in lines:
        shape = Image.fromarray(255 * area.astype(np.uint8)).resize(size, Image.Resampling.NEAREST)
        inside = np.asarray(shape.filter(ImageFilter.MinFilter(2 * line_width + 1)))
        outside = np.asarray(shape.filter(ImageFilter.MaxFilter(3)))
        # A black border makes the line visible on bright snow.
        image.paste((0, 0, 0), mask=Image.fromarray(outside - np.asarray(shape)))
        image.paste(colour, mask=Image.fromarray(np.asarray(shape) - inside))
    return image


def _encode(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "WEBP", quality=_QUALITY)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"


def _describe(landform: pd.Series[Any]) -> str:
    """Describe a true or predicted rock glacier in one line."""
    parts = [f"IoU {landform['iou']:.2f}", f"{landform['area_km2']:.4f} km²"]
    if landform["is_at_edge"]:
        parts.append("cut by the edge of the tiles")
    site = f"site {landform['site']}"
    name = landform.get("outline")
    return f"{f'{name}, ' if name else ''}{site}: {', '.join(parts)}"
