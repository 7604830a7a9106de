"""Outlines of rock glaciers: read them from files, and draw them on the grid of the tiles."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import geopandas
import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely
from pyproj import CRS
from rasterio import Affine
from rasterio.features import rasterize
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from rock_glacier.faults import InputError

PIXEL = 10
"""Width of a pixel in metres. Corners of pixels are at multiples of 10 m."""

REGION_GAP = 2_000
"""Distance in metres from which outlines belong to different regions.

No tile shows outlines of two regions: its diagonal is 1,810 m.
"""

_MAX_REGION = 50_000  # metres; the raster of such a region needs 25 MB
_WGS84 = "EPSG:4326"
_DEGREES = shapely.box(-360, -360, 360, 360)  # coordinates that are not in metres
_ANDES = shapely.box(-82, -56, -60, 12)
_CURATORS_SUFFIX = ".tsv"
_PARQUET_SUFFIXES = (".parquet", ".geoparquet")
_SUFFIXES = (".gpkg", ".geojson", ".shp", ".kml", *_PARQUET_SUFFIXES, _CURATORS_SUFFIX)
_DECIMALS = 7  # of degrees, about 1 cm; formats round coordinates differently


@dataclass(frozen=True)
class Raster:
    """Outlines drawn on a grid of 10 m pixels.

    Attributes:
        pixels: uint8 array of shape (height, width): 1 if the centre of the pixel is within an
            outline, 0 otherwise. The first row is in the north.
        epsg: EPSG code of the UTM zone.
        easting: Of the upper left corner, in metres, a multiple of 10.
        northing: Of the upper left corner, in metres, a multiple of 10.
    """

    pixels: npt.NDArray[np.uint8]
    epsg: int
    easting: int
    northing: int


def read_outlines(path: str | os.PathLike[str]) -> geopandas.GeoDataFrame:
    """Read outlines of rock glaciers.

    Args:
        path: A file, or a folder of files (subfolders and other files are ignored): GeoPackage,
            GeoJSON, Shapefile, KML, GeoParquet, or the curators' `.tsv`, which has a longitude and
            a latitude per line and one polygon per file. All layers are read.

    Returns:
        A row for each outline, ordered by name: `name` (str, unique) and `geometry` (Polygon or
        MultiPolygon in EPSG:4326, without heights). The name comes from the column `name` (in any
        case), or else from the first column `id` or `*_id` that holds a different text for each of
        several outlines. Without these it is the name of the file without `_strict`, or of the
        layer if the file has several. It is followed by a number if the file or layer holds several
        outlines. Outlines that share a name all get a number, such as `Tapado-1`. An
        outline that is there twice, such as in two formats, is read once.

    Raises:
        InputError: If a file cannot be read, has no CRS, or has a feature that is not a valid
            polygon in the Andes; or if there are no outlines.
        FileNotFoundError: If there is no such file or folder.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    files = [path]
    if path.is_dir():
        files = sorted(
            file
            for file in path.iterdir()
            if file.suffix.lower() in _SUFFIXES and not file.name.startswith(".")
        )
    if not files:
        raise InputError(f"{path}: holds no outlines. Add files of type {', '.join(_SUFFIXES)}.")
    outlines = pd.concat([_read_file(file) for file in files], ignore_index=True)
    outlines = outlines[~outlines.geometry.map(_canonical).duplicated()]
    while outlines["name"].duplicated().any():
        is_shared = outlines["name"].duplicated(keep=False)
        number = outlines.groupby("name").cumcount() + 1
        outlines["name"] = outlines["name"].where(
            ~is_shared, outlines["name"] + "-" + number.astype(str)
        )
    return outlines.sort_values("name", ignore_index=True)


def _canonical(polygon: shapely.Polygon | shapely.MultiPolygon) -> bytes:
    """Return bytes that are equal for equal outlines, whichever format they were read from."""
    rounded = shapely.transform(polygon, lambda xy: xy.round(_DECIMALS))
    return shapely.MultiPolygon(shapely.get_parts(rounded).tolist()).normalize().wkb


def _read_file(file: Path) -> geopandas.GeoDataFrame:
    """Read and check the outlines of a file."""
    try:
        layers = _read_layers(file)
    except (RuntimeError, ValueError, OSError) as error:  # pyogrio raises RuntimeErrors
        if isinstance(error, OSError) and error.errno is not None:  # not about the content
            raise
        raise InputError(f"{file}: cannot be read as outlines ({error}).") from error
    layers = {name: layer for name, layer in layers.items() if len(layer)}
    if not layers:
        raise InputError(f"{file}: holds no outlines. Add polygons.")
    outlines = []
    for name, layer in layers.items():
        if layer.crs is None:
            fix = "Set it with GeoDataFrame.set_crs; a Shapefile has it in its .prj file"
            raise InputError(f"{file}: has no CRS (coordinate reference system). {fix}.")
        names = _find_names(layer, name)
        geometry = _check(layer.geometry.set_axis(names), file)
        outlines.append(geometry.rename("geometry").rename_axis("name").reset_index())
    return pd.concat(outlines, ignore_index=True)


def _read_layers(file: Path) -> dict[str, geopandas.GeoDataFrame]:
    """Read the layers of a file that hold geometry.

    The name of the only layer is the name of the file without suffixes.
    """
    suffix = file.suffix.lower()
    stem = file.stem.removesuffix("_strict")
    if suffix == _CURATORS_SUFFIX:
        points = pd.read_csv(file, sep="\t", header=None, usecols=[0, 1], dtype=float)
        return {stem: geopandas.GeoDataFrame(geometry=[shapely.Polygon(points)], crs=_WGS84)}
    if suffix in _PARQUET_SUFFIXES:
        return {stem: geopandas.read_parquet(file)}
    listed = geopandas.list_layers(file)
    names = listed["name"][listed["geometry_type"].notna()]
    layers = {name: geopandas.read_file(file, layer=name) for name in names}
    if len(layers) == 1:
        return {stem: next(iter(layers.values()))}
    return layers


def _find_names(layer: geopandas.GeoDataFrame, name: str) -> list[str]:
    """Return a name for each outline of a layer."""
    names = pd.Series([name])
    if len(layer) > 1:
        names = pd.Series([f"{name}-{number}" for number in range(1, len(layer) + 1)])
    columns = {str(column).lower(): column for column in layer.columns}
    if "name" in columns:
        given = layer[columns["name"]].astype("string").str.strip().reset_index(drop=True)
        return given.where(given != "", pd.NA).fillna(names).tolist()
    for lower, column in columns.items():
        is_id = lower == "id" or lower.endswith("_id")
        is_text = pd.api.types.infer_dtype(layer[column], skipna=False) == "string"
        if is_id and is_text and layer[column].is_unique and len(layer) > 1:
            return layer[column].tolist()
    return names.tolist()


def _check(geometry: geopandas.GeoSeries, file: Path) -> geopandas.GeoSeries:
    """Check the outlines of a layer, indexed by name, and return them in EPSG:4326."""
    for name, polygon in geometry.items():
        problem = _describe_shape_problem(polygon)
        if problem:
            raise InputError(f"{file}: {name}: {problem}.")
    geometry = geometry.force_2d()
    located = geometry.to_crs(_WGS84)
    is_outside = ~located.covered_by(_ANDES)
    if is_outside.any():
        row = int(is_outside.to_numpy().argmax())
        problem = _describe_place_problem(geometry.iloc[row], geometry.crs, located.iloc[row])
        raise InputError(f"{file}: {geometry.index[row]}: {problem}.")
    return located


def _describe_shape_problem(polygon: shapely.Geometry | None) -> str:
    """Return what is wrong with the shape of an outline, or an empty string."""
    if polygon is None or polygon.is_empty:
        return "has no geometry. Delete the feature"
    if not isinstance(polygon, shapely.Polygon | shapely.MultiPolygon):
        return f"is a {polygon.geom_type}, not a polygon. Give only polygons"
    if not polygon.is_valid:
        reason = shapely.is_valid_reason(polygon)
        return f"is not valid: {reason}. Correct it, for example with make_valid of geopandas"
    return ""


def _describe_place_problem(polygon: shapely.Geometry, crs: CRS, located: shapely.Geometry) -> str:
    """Return why an outline is not in the Andes.

    Args:
        polygon: The outline with the coordinates of its file.
        crs: The CRS of its file.
        located: The outline in EPSG:4326.
    """
    fix = f"Set the right CRS instead of {crs.name}, with set_crs(..., allow_override=True)"
    has_degrees = polygon.within(_DEGREES)
    if crs.is_projected and has_degrees:
        return f"has coordinates in degrees, but its CRS is in metres. {fix}"
    if crs.is_geographic and not has_degrees:
        return f"has coordinates in metres, but its CRS is in degrees. {fix}"
    if shapely.transform(located, lambda xy: xy[:, ::-1]).within(_ANDES):
        return "has latitude and longitude swapped. Write the longitude first"
    longitude, latitude = shapely.get_coordinates(located)[0]
    return f"is at longitude {longitude:.2f}, latitude {latitude:.2f}, which is not in the Andes"


def utm_epsg(longitude: float, latitude: float) -> int:
    """Return the EPSG code of the UTM zone (WGS 84) of a place.

    Example:
        >>> utm_epsg(-69.7, -33.3)
        32719
    """
    # estimate_utm_crs of geopandas needs 70 ms, and knows exceptions only in Norway.
    zone = math.floor((longitude + 180) / 6) + 1
    return (32600 if latitude >= 0 else 32700) + zone


def rasterise(
    outlines: geopandas.GeoDataFrame, epsg: int, bounds: tuple[float, float, float, float]
) -> Raster:
    """Draw outlines on the grid of pixels whose corners are at multiples of 10 m.

    Args:
        outlines: Outlines in any CRS.
        epsg: EPSG code of a UTM zone.
        bounds: West, south, east and north in metres, in this zone. The raster covers the pixels
            that these touch.

    Returns:
        The raster. A pixel is 1 if its centre is within an outline.
    """
    west, south = (PIXEL * math.floor(bound / PIXEL) for bound in bounds[:2])
    east, north = (PIXEL * math.ceil(bound / PIXEL) for bound in bounds[2:])
    projected = outlines.geometry.to_crs(epsg)
    shown = projected.iloc[projected.sindex.query(shapely.box(west, south, east, north))]
    pixels = np.zeros(((north - south) // PIXEL, (east - west) // PIXEL), np.uint8)
    if len(shown):  # rasterio < 1.4 raises an error if there is nothing to draw
        transform = Affine(PIXEL, 0, west, 0, -PIXEL, north)
        rasterize(shown, out=pixels, transform=transform, default_value=1)
    return Raster(pixels, epsg, west, north)


def rasterise_regions(outlines: geopandas.GeoDataFrame, margin: float) -> Iterator[Raster]:
    """Draw outlines in one raster per region, one after the other.

    Outlines, or parts of one, are in one region if a chain connects them with gaps of less than
    `REGION_GAP`. The curators' 81 outlines form 35 regions, which need 6 MiB without a margin and
    17 MiB with a margin of 1,810 m.

    A region longer than 50 km, as in the inventory of a country, is cut into squares of 50 km. A
    raster also shows the outlines of other squares and regions within its bounds. One raster needs
    about 30 MB at most, but all rasters of 26,000 outlines along Chile need 3.5 GiB: use them one
    after the other.

    Args:
        outlines: Outlines in any CRS.
        margin: Metres around the outlines of a region that its raster covers.

    Yields:
        Rasters in the order of their first outlines, in the UTM zone of their centre.
    """
    # A feature may hold all rock glaciers of a country: its parts can be in different regions.
    outlines = outlines.to_crs(_WGS84).explode(ignore_index=True)
    by_zone: dict[int, geopandas.GeoDataFrame] = {}
    # The error of one zone for all of the Andes is small compared to REGION_GAP.
    for rows in _find_regions(outlines.geometry.to_crs(_zone_of(outlines))):
        epsg = _zone_of(outlines.iloc[rows])
        if epsg not in by_zone:
            by_zone[epsg] = outlines.to_crs(epsg)
        west, south, east, north = by_zone[epsg].iloc[rows].total_bounds
        bounds = (west - margin, south - margin, east + margin, north + margin)
        yield rasterise(by_zone[epsg], epsg, bounds)


def _zone_of(outlines: geopandas.GeoDataFrame) -> int:
    """Return the EPSG code of the UTM zone of the centre of outlines in EPSG:4326."""
    west, south, east, north = outlines.total_bounds
    return utm_epsg((west + east) / 2, (south + north) / 2)


def _find_regions(outlines: geopandas.GeoSeries) -> list[npt.NDArray[np.int64]]:
    """Return the rows of the outlines of each region; coordinates are in metres."""
    a, b = outlines.sindex.query(outlines, predicate="dwithin", distance=REGION_GAP)
    near = coo_array((np.ones(len(a)), (a, b)), shape=(len(outlines), len(outlines)))
    regions = pd.DataFrame({"connected": connected_components(near, directed=False)[1]})
    centres = outlines.centroid.reset_index(drop=True)
    for name, values in (("column", centres.x), ("row", centres.y)):
        first = values.groupby(regions["connected"]).transform("min")
        regions[name] = (values - first) // _MAX_REGION
    groups = regions.groupby(["connected", "column", "row"], sort=False)
    return [rows.index.to_numpy() for _, rows in groups]
