"""Write predictions as maps: rock glaciers as polygons, or scores as a raster."""

from __future__ import annotations

import tempfile
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pyogrio  # type: ignore[import-untyped]
import rasterio
import rasterio.features
import shapely
import shapely.geometry
from rasterio import Affine
from rasterio.windows import Window

from rock_glacier.faults import InputError
from rock_glacier.output import new_file
from rock_glacier.places.outlines import PIXEL
from rock_glacier.score.evaluation import Evaluation
from rock_glacier.score.landforms import area_km2, label_predicted
from rock_glacier.score.mosaics import Grid, Mosaic

_WGS84 = 4326  # EPSG code
_LAYER = "predictions"

# A GeoPackage states when it was written. A fixed date gives the same bytes each time.
_DATE = "1980-01-01T00:00:00.000Z"


def write_map(evaluation: Evaluation, file: Path) -> None:
    """Write a map of the predictions at located sites.

    Args:
        evaluation: The evaluation of image-segmentation.
        file: The file to write; it is complete or absent. Its extension decides:

            - `.gpkg`, `.parquet`, `.geojson`: a MultiPolygon for each predicted rock glacier, with
              `site`, `score` (mean of its pixels), `area_km2`, `iou` (with the true rock glacier
              that it matches, or 0) and `overlap` (share of its area that is rock glacier).
              The CRS is the UTM zone, or WGS 84 in `.geojson` and if there are several zones.
            - `.tif`: the mean score of each pixel, as float32 on the grid of 10 m; NaN if no tile
              shows the pixel.

    Raises:
        InputError: If no site is located, or if a raster would be in several UTM zones.
        OSError: If the file cannot be written.
    """
    evaluation.truth.check_locations("--map")
    with (
        new_file(file) as unfinished,
        tempfile.TemporaryDirectory(prefix=".", dir=unfinished.parent) as folder,
    ):
        # GDAL warns about a temporary name with another extension.
        written = Path(folder, file.name)
        if file.suffix.lower() == ".tif":
            _write_raster(evaluation, written)
        else:
            _write_polygons(_trace_predictions(evaluation), written)
        written.replace(unfinished)


def _write_polygons(polygons: geopandas.GeoDataFrame, file: Path) -> None:
    if file.suffix.lower() == ".parquet":
        polygons.to_parquet(file, index=False, schema_version="1.1.0")
    elif file.suffix.lower() == ".geojson":
        located = polygons.to_crs(_WGS84)
        located.to_file(file, driver="GeoJSON", layer=_LAYER, RFC7946="YES")
    else:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": _DATE})
        polygons.to_file(file, driver="GPKG", layer=_LAYER, geometry_type="MultiPolygon")


def _trace_predictions(evaluation: Evaluation) -> geopandas.GeoDataFrame:
    """Return the predicted rock glaciers as polygons, in their UTM zone or in WGS 84."""
    tables = []
    for mosaic in evaluation.mosaics():
        if mosaic.grid is None:
            continue
        predicted = evaluation.predicted[evaluation.predicted["site"] == mosaic.site]
        columns = {
            "site": predicted["site"],
            "score": predicted["score"],
            "area_km2": area_km2(predicted),
            "iou": predicted["iou"],
            "overlap": predicted["right_pixels"] / predicted["pixels"],
        }
        geometry = _trace(label_predicted(mosaic), mosaic.grid.transform)
        tables.append(geopandas.GeoDataFrame(columns, geometry=geometry, crs=mosaic.grid.epsg))
    if len({table.crs for table in tables}) > 1:
        tables = [table.to_crs(_WGS84) for table in tables]
    filled = [table for table in tables if len(table)]
    return pd.concat(filled or tables[:1], ignore_index=True)


def _trace(labels: np.ndarray, transform: Affine) -> list[shapely.MultiPolygon]:
    """Return the area of each label from 1, in order."""
    parts: dict[int, list[shapely.Polygon]] = {}
    # Parts that touch at a corner are polygons of their own: as one, they would not be valid.
    for shape, label in rasterio.features.shapes(labels, labels > 0, 4, transform):
        parts.setdefault(int(label), []).append(shapely.geometry.shape(shape))
    return [shapely.MultiPolygon(parts[label]) for label in sorted(parts)]


def _write_raster(evaluation: Evaluation, file: Path) -> None:
    """Write the scores of all located sites as a GeoTIFF; pixels without a tile take no space."""
    places = [(mosaic.grid, mosaic.coverage.shape) for mosaic in evaluation.mosaics()]
    located = [(grid, shape) for grid, shape in places if grid is not None]
    if len({grid.epsg for grid, _ in located}) > 1:
        raise InputError(f"{file.name}: the sites are in several UTM zones. Write a .gpkg file.")
    west = min(grid.easting for grid, _ in located)
    north = max(grid.northing for grid, _ in located)
    east = max(grid.easting + PIXEL * width for grid, (_, width) in located)
    south = min(grid.northing - PIXEL * height for grid, (height, _) in located)
    corner = Grid(located[0][0].epsg, west, north)
    with rasterio.open(
        file,
        "w+",
        driver="GTiff",
        width=round((east - west) / PIXEL),
        height=round((north - south) / PIXEL),
        count=1,
        dtype="float32",
        nodata=np.nan,
        crs=corner.epsg,
        transform=corner.transform,
        tiled=True,
        compress="deflate",
        sparse_ok=True,
        bigtiff="if_safer",
    ) as raster:
        for mosaic in evaluation.mosaics():
            if mosaic.grid is not None:
                _add_scores(raster, mosaic, corner)


def _add_scores(raster: rasterio.io.DatasetWriter, mosaic: Mosaic, corner: Grid) -> None:
    """Add the scores of a site to a raster whose upper left corner is given."""
    assert mosaic.grid is not None
    column = round((mosaic.grid.easting - corner.easting) / PIXEL)
    row = round((corner.northing - mosaic.grid.northing) / PIXEL)
    height, width = mosaic.coverage.shape
    window = Window(column, row, width, height)
    # The rectangle of a site may contain tiles of another site.
    scores = np.where(mosaic.is_covered, mosaic.scores, raster.read(1, window=window))
    raster.write(scores, 1, window=window)
