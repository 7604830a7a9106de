"""Outlines are read from every format, checked, and drawn on the grid of the tiles."""

from __future__ import annotations

from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pytest
import shapely

from rock_glacier.faults import InputError
from rock_glacier.places.outlines import rasterise, rasterise_regions, read_outlines, utm_epsg

WEST = shapely.Polygon([(-69.70, -33.30), (-69.69, -33.31), (-69.68, -33.30)])
EAST = shapely.Polygon([(-69.60, -33.30), (-69.59, -33.31), (-69.58, -33.29)])
TWO_PARTS = shapely.MultiPolygon([WEST, EAST])
BOW_TIE = shapely.Polygon([(-69.7, -33.3), (-69.6, -33.2), (-69.6, -33.3), (-69.7, -33.2)])


def frame(*polygons, crs="EPSG:4326", **columns) -> geopandas.GeoDataFrame:
    return geopandas.GeoDataFrame(columns, geometry=list(polygons), crs=crs)


def write_tsv(file, polygon, end=""):
    lines = [f"{x}\t{y}{end}\r\n" for x, y in polygon.exterior.coords]
    file.write_text("".join(lines))


def placemark(name, polygon) -> str:
    points = " ".join(f"{x},{y},4000" for x, y in polygon.exterior.coords)
    ring = f"<LinearRing><coordinates>{points}</coordinates></LinearRing>"
    polygon = f"<Polygon><outerBoundaryIs>{ring}</outerBoundaryIs></Polygon>"
    return f"<Placemark><name>{name}</name>{polygon}</Placemark>"


def write_kml(file, content):
    file.write_text(
        f'<kml xmlns="http://www.opengis.net/kml/2.2"><Document>{content}</Document></kml>'
    )


@pytest.mark.parametrize("suffix", ["gpkg", "geojson", "shp", "kml", "parquet"])
def test_every_format_gives_the_same_outlines(tmp_path, suffix):
    file = tmp_path / f"inventory.{suffix}"
    written = frame(shapely.force_3d(TWO_PARTS, 4000), shapely.force_3d(WEST), Name=["b", "a"])
    if suffix == "parquet":
        written.to_parquet(file)
    else:
        written.to_file(file)
    outlines = read_outlines(file)
    assert list(outlines) == ["name", "geometry"]
    assert outlines.crs == "EPSG:4326"
    assert outlines["name"].tolist() == ["a", "b"]
    assert not outlines.has_z.any()
    assert outlines.geom_equals(geopandas.GeoSeries([WEST, TWO_PARTS], crs="EPSG:4326")).all()


def test_a_projected_crs_is_converted(tmp_path):
    frame(WEST).to_crs(32719).to_file(tmp_path / "west.gpkg")
    outlines = read_outlines(tmp_path / "west.gpkg")
    assert outlines.geometry[0].hausdorff_distance(WEST) < 1e-8
    assert outlines.crs == "EPSG:4326"


@pytest.mark.parametrize("end", ["", "\t"])
def test_curators_files_are_named_by_file(tmp_path, end):
    for name, polygon in (("glaciar_2", WEST), ("glaciar_1", EAST)):
        write_tsv(tmp_path / f"{name}_strict.tsv", polygon, end)
    for name in ("README.md", "._glaciar_2_strict.tsv"):
        (tmp_path / name).write_text("is ignored")
    outlines = read_outlines(tmp_path)
    assert outlines["name"].tolist() == ["glaciar_1", "glaciar_2"]
    assert outlines.geometry.tolist() == [EAST, WEST]


def test_the_curators_81_outlines_are_read(real):
    outlines = read_outlines(real / "outlines")
    assert len(outlines) == 81
    assert outlines["name"].iloc[[0, -1]].tolist() == ["glaciar_1", "glaciar_t_9"]
    assert outlines.to_crs(32719).area.sum() / 1e6 == pytest.approx(94.67, abs=0.01)
    assert len(list(rasterise_regions(outlines, 0))) == 35


def test_all_folders_of_a_kml_file_are_read(tmp_path):
    inner = f"<Folder><name>A</name>{placemark('three', TWO_PARTS.envelope)}</Folder>"
    write_kml(
        tmp_path / "a.kml",
        f"<Folder><name>A</name>{placemark('one', WEST)}</Folder>"
        f"<Folder><name>B</name>{placemark('two', EAST)}{inner}</Folder>",
    )
    outlines = read_outlines(tmp_path / "a.kml")
    assert outlines["name"].tolist() == ["one", "three", "two"]
    assert outlines.geometry[0] == WEST
    assert outlines.geometry[2] == EAST


def test_all_layers_of_a_geopackage_are_read(tmp_path):
    file = tmp_path / "a.gpkg"
    frame(WEST).to_file(file, layer="huasco")
    frame(EAST, WEST.buffer(0.01), crs="EPSG:4326").to_file(file, layer="atacama")
    outlines = read_outlines(file)
    assert outlines["name"].tolist() == ["atacama-1", "atacama-2", "huasco"]


NAMES: dict[str, tuple[dict[str, list[Any]], list[str]]] = {
    "names": ({"NAME": ["x", "y"], "id": ["p", "q"]}, ["x", "y"]),
    "some names": ({"name": [None, " x "]}, ["file-1", "x"]),
    "blank names": ({"name": ["", " "]}, ["file-1", "file-2"]),
    "equal names": ({"name": ["x", "x"]}, ["x-1", "x-2"]),
    "identifiers": ({"rgi_id": ["p", "q"], "year": ["a", "b"]}, ["p", "q"]),
    "equal identifiers": ({"id": ["p", "p"], "glac_id": ["q", "r"]}, ["q", "r"]),
    "identifiers of one outline": ({"id": ["p"]}, ["file"]),
    "numbers": ({"id": [7, 8]}, ["file-1", "file-2"]),
    "nothing": ({}, ["file-1", "file-2"]),
}


@pytest.mark.parametrize("case", NAMES)
def test_names_come_from_a_column_or_the_file(tmp_path, case):
    columns, names = NAMES[case]
    frame(*[WEST, EAST][: len(names)], **columns).to_parquet(tmp_path / "file.parquet")
    assert read_outlines(tmp_path / "file.parquet")["name"].tolist() == names


def test_names_of_several_files_are_unique(tmp_path):
    frame(WEST, EAST, name=["x", "x-1"]).to_file(tmp_path / "a.geojson")
    frame(WEST.buffer(0.01), name=["x"]).to_file(tmp_path / "b.gpkg")
    outlines = read_outlines(tmp_path)
    assert outlines["name"].tolist() == ["x-1-1", "x-1-2", "x-2"]


def test_an_outline_in_two_formats_is_read_once(tmp_path):
    write_tsv(tmp_path / "glaciar_1_strict.tsv", WEST)
    rounded = shapely.MultiPolygon([WEST.reverse()])
    frame(rounded, id=["1"]).to_file(tmp_path / "glaciar_1_strict.kml")
    assert read_outlines(tmp_path)["name"].tolist() == ["glaciar_1"]


def refusal(path) -> str:
    with pytest.raises(InputError) as raised:
        read_outlines(path)
    return str(raised.value)


SWAPPED = shapely.transform(WEST, lambda xy: xy[:, ::-1])
METRES = frame(WEST).to_crs(32719).geometry[0]
BAD = {
    "line": (frame(WEST.exterior), ["LineString"]),
    "point": (frame(WEST.centroid), ["Point"]),
    "no geometry": (frame(None), ["no geometry"]),
    "empty": (frame(shapely.Polygon()), ["no geometry"]),
    "self-intersection": (frame(BOW_TIE), ["Self-intersection[-69.65 -33.25]", "make_valid"]),
    "unknown CRS": (frame(WEST, crs=None), ["CRS"]),
    "Alps": (frame(shapely.box(10, 46, 10.1, 46.1)), ["longitude 10.1", "latitude 46.0", "Andes"]),
    "swapped": (frame(SWAPPED), ["swapped"]),
    "swapped metres": (
        frame(shapely.transform(METRES, lambda xy: xy[:, ::-1]), crs=32719),
        ["Andes"],
    ),
    "degrees as metres": (frame(WEST, crs=32719), ["degrees", "UTM zone 19S"]),
    "metres as degrees": (frame(METRES), ["metres", "WGS 84"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_features_are_named(tmp_path, case):
    bad, parts = BAD[case]
    good = frame(EAST).to_crs(bad.crs) if bad.crs else frame(EAST, crs=None)
    both = pd.concat([good, bad], ignore_index=True).assign(name=["good", "bad feature"])
    both.to_parquet(tmp_path / "a.parquet")
    message = refusal(tmp_path / "a.parquet")
    assert message.startswith(f"{tmp_path / 'a.parquet'}: ")
    assert "bad feature: " in message or case == "unknown CRS"
    for part in parts:
        assert part in message


def test_another_continent_in_metres_is_named(tmp_path):
    frame(METRES, name=["bad feature"], crs=32633).to_file(tmp_path / "a.gpkg")
    assert "bad feature: is at longitude 13.9" in refusal(tmp_path / "a.gpkg")


def test_a_shapefile_without_prj_has_no_crs(tmp_path):
    frame(WEST).to_file(tmp_path / "a.shp")
    (tmp_path / "a.prj").unlink()
    assert ".prj" in refusal(tmp_path / "a.shp")


UNREADABLE = {
    "a.geojson": b"no outlines",
    "a.gpkg": b"SQLite format 3\0" + bytes(200),
    "a.kml": b"<kml>",
    "a.shp": b"",
    "a.parquet": b"PAR1" + bytes(100) + b"PAR1",
    "a.tsv": b"longitude\tlatitude\n-69.7\t-33.3\n",
    "b.tsv": b"",
    "c.tsv": b"-69.7\t-33.3\n",
    "d.tsv": b"-69.7 -33.3\n",
    "empty.geojson": b'{"type": "FeatureCollection", "features": []}',
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_files_without_outlines_are_named(tmp_path, name):
    (tmp_path / name).write_bytes(UNREADABLE[name])
    assert refusal(tmp_path / name).startswith(f"{tmp_path / name}: ")


def test_a_folder_without_outlines_is_named(tmp_path):
    (tmp_path / "README.md").touch()
    assert refusal(tmp_path).startswith(f"{tmp_path}: ")
    with pytest.raises(FileNotFoundError):
        read_outlines(tmp_path / "missing.gpkg")


@pytest.mark.parametrize(
    ("longitude", "latitude"), [(-81.9, -5), (-77.9, -0.1), (-72.1, -55), (-71.9, -55), (-60.1, 11)]
)
def test_zones_are_those_of_geopandas(longitude, latitude):
    place = geopandas.GeoSeries([shapely.Point(longitude, latitude)], crs="EPSG:4326")
    assert utm_epsg(longitude, latitude) == place.estimate_utm_crs().to_epsg()


def test_whole_pixels_are_drawn_exactly():
    pixels = np.zeros((20, 30), np.uint8)
    pixels[5:15, 10:12] = 1
    pixels[14, 10:25] = 1
    squares = [
        shapely.box(430_010 + 10 * x, 6_300_190 - 10 * y, 430_020 + 10 * x, 6_300_200 - 10 * y)
        for y, x in np.argwhere(pixels)
    ]
    outlines = frame(shapely.union_all(squares), crs=32719)
    raster = rasterise(outlines, 32719, (430_011, 6_300_000, 430_310, 6_300_191))
    assert (raster.easting, raster.northing, raster.epsg) == (430_010, 6_300_200, 32719)
    assert raster.pixels.dtype == np.uint8
    assert (raster.pixels == pixels).all()


def test_a_pixel_is_drawn_if_its_centre_is_within():
    triangle = shapely.Polygon([(0, 0), (40, 0), (0, 40)])
    origin = (430_000, 6_300_001)
    outlines = frame(shapely.transform(triangle, lambda xy: np.add(xy, origin)), crs=32719)
    raster = rasterise(outlines, 32719, (430_000, 6_300_000, 430_040, 6_300_040))
    assert raster.pixels.tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]


def test_areas_of_raster_and_polygons_agree():
    outlines = frame(WEST, EAST, shapely.Point(-69.65, -33.25).buffer(0.005))
    bounds = outlines.to_crs(32719).total_bounds
    raster = rasterise(outlines, 32719, tuple(bounds))
    area = outlines.to_crs(32719).area.sum()
    assert raster.pixels.sum() * 100 == pytest.approx(area, rel=0.005)


def test_some_rows_of_outlines_can_be_drawn():
    outlines = frame(WEST, EAST)
    bounds = tuple(outlines[1:].to_crs(32719).total_bounds)
    assert rasterise(outlines[1:], 32719, bounds).pixels.any()


def test_bounds_without_outlines_are_empty():
    raster = rasterise(frame(WEST), 32719, (500_000, 6_300_000, 500_100, 6_300_050))
    assert raster.pixels.tolist() == [[0] * 10] * 5


def squares_at(*corners) -> geopandas.GeoDataFrame:
    """Squares of 100 x 100 pixels in EPSG:4326, with the lower left corner at (east, north)."""
    west = 430_000 + np.array([east for east, _ in corners])
    south = 6_300_000 + np.array([north for _, north in corners])
    # Sides are between the centres of the outer pixels and their edges, because of rounding.
    return frame(*shapely.box(west + 3, south + 3, west + 997, south + 997), crs=32719).to_crs(4326)


def test_outlines_far_apart_have_rasters_of_their_own():
    outlines = squares_at((0, 0), (20_000, 0), (2_900, 0), (5_800, 1_500))
    west, east = rasterise_regions(outlines, margin=500)
    assert west.pixels.shape == (350, 780)
    assert (west.easting, west.northing) == (429_500, 6_303_000)
    assert west.pixels.sum() == 30_000
    assert east.pixels.shape == (200, 200)
    assert east.pixels[50:150, 50:150].all()


def test_parts_of_one_outline_are_in_regions_of_their_own():
    squares = squares_at((0, 0), (20_000, 0))
    single = squares.dissolve()
    widths = [raster.pixels.shape for raster in rasterise_regions(single, margin=500)]
    assert widths == [(200, 200), (200, 200)]


def test_a_long_region_is_cut_into_squares():
    """A chain of 174 km; a raster shows the outlines of its neighbours within the margin."""
    outlines = squares_at(*((100, 2_900 * number) for number in range(60)))
    rasters = list(rasterise_regions(outlines, margin=4_000))
    assert len(rasters) == 4
    assert all(raster.pixels.shape[0] <= 5_900 for raster in rasters)
    shown = [int(raster.pixels.sum()) / 10_000 for raster in rasters]
    assert sum(shown) > 60
    assert rasters[0].pixels[:400].any()


def test_each_region_has_the_zone_of_its_centre():
    outlines = frame(*(shapely.box(x, -40, x + 0.01, -39.99) for x in (-72.1, -71.9)))
    assert [raster.epsg for raster in rasterise_regions(outlines, 0)] == [32718, 32719]
