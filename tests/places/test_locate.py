"""Masks that are cut from drawn outlines are located; those that fit several places are not."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import factories
import geopandas
import numpy as np
import pandas as pd
import pytest
import shapely

from rock_glacier.faults import InputError
from rock_glacier.index import make_index
from rock_glacier.masks import mask_to_class_indices
from rock_glacier.parallel import Workers
from rock_glacier.places import locate
from rock_glacier.places.footprints import footprint_polygons
from rock_glacier.places.locate import Location, locate_tiles
from rock_glacier.places.outlines import rasterise, read_outlines
from rock_glacier.png import decode_tile
from rock_glacier.sites.orientations import COMPOSED, INVERSE, MATRICES, oriented
from rock_glacier.tiles import TileSet

EPSG = 32719
WEST = 420_000
NORTH = 6_320_000
FAR = 1_000  # pixels between the outlines of two regions


def blob(x: int, y: int, seed: int, radius: float = 80) -> shapely.Polygon:
    """Return an irregular outline with its centre in column x and row y of the map, in metres."""
    angle = np.linspace(0, 2 * np.pi, 15)[:-1]
    length = radius * np.random.default_rng(seed).uniform(0.4, 1, len(angle))
    columns = x + length * np.cos(angle)
    rows = y + length * np.sin(angle)
    return shapely.Polygon(np.column_stack([WEST + 10 * columns, NORTH - 10 * rows]))


def make_outlines(*polygons: shapely.Polygon, epsg: int = EPSG) -> geopandas.GeoDataFrame:
    names = [f"outline-{number}" for number in range(len(polygons))]
    frame = geopandas.GeoDataFrame({"name": names}, geometry=list(polygons), crs=epsg)
    return frame.to_crs("EPSG:4326")


OUTLINES = make_outlines(blob(200, 200, 1), blob(330, 260, 2), blob(200 + FAR, 200, 3))
# Two tiles at each of the first two outlines, and one between them.
CORNERS = [(120, 110), (160, 150), (200, 130), (250, 180), (290, 220)]
FIRST_REGION = [(x, y, 3 * number % 8) for number, (x, y) in enumerate(CORNERS)]


def make_places(corners: list[tuple[int, int, int]], **columns: object) -> pd.DataFrame:
    """Tiles with masks at x and y of the map; with this orientation north is up."""
    places = pd.DataFrame(corners, columns=["x", "y", "orientation"])
    places = places.assign(site=0, block=0, mask_group=0, has_mask=True).assign(**columns)
    places["label"] = places["has_mask"].map({True: "glaciar", False: "cordillera"})
    return places


def cut_masks(
    places: pd.DataFrame, outlines: geopandas.GeoDataFrame, epsg: int = EPSG
) -> list[np.ndarray]:
    """Cut the masks from outlines, as stored."""
    drawn = rasterise(outlines, epsg, (WEST, NORTH - 20_000, WEST + 20_000, NORTH)).pixels
    masks = []
    for x, y, orientation in places[["x", "y", "orientation"]].to_numpy().tolist():
        masks.append(oriented(drawn[y : y + 128, x : x + 128], int(INVERSE[orientation])))
    return masks


def turn_sites(places: pd.DataFrame, orientation: int) -> pd.DataFrame:
    """Apply an orientation to the grids of all sites."""
    centres = places[["x", "y"]].to_numpy() + 64
    turned = places.assign(orientation=COMPOSED[orientation, places["orientation"]])
    turned[["x", "y"]] = centres @ MATRICES[orientation].T - 64
    return turned


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Location]:
    """Locate tiles with these masks, whose positions in their sites are as in `places`."""

    def locate_places(
        places: pd.DataFrame,
        masks: list[np.ndarray],
        outlines: geopandas.GeoDataFrame = OUTLINES,
    ) -> Location:
        paths = [f"train/{label}/{row}.png" for row, label in enumerate(places["label"])]
        files = {
            path.replace("glaciar", "masks"): factories.mask_png(masks[row])
            for row, path in enumerate(paths)
            if places["has_mask"][row]
        }
        folder = tmp_path / f"data{len(list(tmp_path.iterdir()))}"
        image = factories.png(0)
        factories.make_data_dir(folder, dict.fromkeys(paths, image), files)
        with TileSet.read(folder, Workers(1)) as tiles:
            assert tiles.table["path"].tolist() == paths
            known = places.drop(columns=["label", "has_mask"])
            table = pd.concat([tiles.table, known], axis=1)
            return locate_tiles(tiles, table, outlines, Workers(1))

    return locate_places


def assert_located(table: pd.DataFrame, places: pd.DataFrame) -> None:
    """Assert that tiles are at their places, and that north is up."""
    assert table["reason"].tolist() == [""] * len(places)
    assert ((table["easting"] - WEST) / 10).tolist() == places["x"].tolist()
    assert ((NORTH - table["northing"]) / 10).tolist() == places["y"].tolist()
    assert table["orientation"].tolist() == places["orientation"].tolist()
    for axis in ("x", "y"):
        first = places.groupby(table["site"])[axis].transform("min")
        assert table[axis].tolist() == (places[axis] - first).tolist()


@pytest.mark.parametrize("orientation", range(8))
def test_group_is_located_exactly(run, orientation):
    places = make_places(FIRST_REGION)
    location = run(turn_sites(places, orientation), cut_masks(places, OUTLINES))
    assert_located(location.table, places)
    assert location.table["located_by"].eq("outlines").all()
    assert location.faults == []
    group = location.groups.loc[0]
    assert group[["site", "tiles", "is_located", "reason"]].tolist() == [0, 5, True, ""]
    assert group["iou"] > 0.999
    assert group["outlines"] == ["outline-0", "outline-1"]


def test_location_columns_are_those_of_the_index(run):
    places = make_places(FIRST_REGION)
    index = make_index(run(places, cut_masks(places, OUTLINES)).table)
    assert index["epsg"].eq(EPSG).all()
    polygons = shapely.from_wkb(index["geometry"])
    expected = footprint_polygons(index["epsg"], index["easting"], index["northing"])
    assert shapely.equals(polygons, expected).all()
    centres = shapely.points(index[["longitude", "latitude"]].to_numpy(float))
    assert shapely.distance(centres, shapely.centroid(polygons)).max() < 1e-6
    shown = index.set_index("path")["outlines"].map(list)
    assert shown["train/glaciar/0.png"] == ["outline-0"]
    assert shown["train/glaciar/2.png"] == ["outline-0", "outline-1"]


def test_tiles_without_masks_are_located_through_their_site(run):
    corners = [*FIRST_REGION, (20, 80, 6), (500, 40, 1)]
    has_mask = [True] * 5 + [False] * 2
    places = make_places(corners, has_mask=has_mask, mask_group=[0] * 5 + [-1] * 2)
    table = run(turn_sites(places, 5), cut_masks(places, OUTLINES)).table
    assert_located(table, places)
    assert table["located_by"].tolist() == ["outlines"] * 5 + ["site"] * 2
    assert table["outlines"][6] == []


def test_group_may_be_a_single_mask(run):
    places = make_places([(130, 140, 2)])
    assert_located(run(places, cut_masks(places, OUTLINES)).table, places)


def test_sites_in_two_utm_zones_have_their_own_zone(run):
    west = make_outlines(blob(330, 260, 2), epsg=EPSG - 1)
    both = pd.concat([OUTLINES[:1], west.assign(name="west")], ignore_index=True)
    places = make_places([(130, 140, 2), (290, 220, 5)], site=[0, 1], mask_group=[0, 1])
    masks = cut_masks(places[:1], OUTLINES) + cut_masks(places[1:], west, EPSG - 1)
    table = run(places, masks, both).table
    assert_located(table, places)
    assert table["epsg"].tolist() == [EPSG, EPSG - 1]
    assert (table["longitude"][0] - table["longitude"][1]) == pytest.approx(6, abs=0.1)


def test_outlines_of_one_shape_are_ambiguous(run):
    places = make_places([(130, 140, 2)])
    twins = make_outlines(blob(200, 200, 1), blob(200 + FAR, 200, 1))
    location = run(places, cut_masks(places, twins), twins)
    assert location.table["reason"].tolist() == [locate.AMBIGUOUS]
    assert location.table["longitude"].isna().all()
    assert location.groups["rival"][0] > 0.99


def test_mask_of_two_similar_outlines_is_ambiguous(run):
    two = make_outlines(blob(200, 200, 1, 50), blob(200 + FAR, 200, 1, 53))
    places = make_places([(136, 136, 0)])
    masks = cut_masks(places, make_outlines(blob(200, 200, 1, 51.3)))
    location = run(places, masks, two)
    assert location.table["reason"].tolist() == [locate.AMBIGUOUS]
    assert location.groups["iou"][0] - location.groups["rival"][0] > 0.01


def sector() -> shapely.Polygon:
    """A sector of a circle, whose arc looks almost the same at a distance of a few pixels."""
    angle = np.radians(np.linspace(10, 40, 100))
    arc = np.column_stack([600 * np.cos(angle), 600 * np.sin(angle)])
    return shapely.Polygon(np.array([WEST, NORTH]) + 10 * np.vstack([arc, [0, 0]]) * (1, -1))


@pytest.mark.parametrize(
    ("outline", "corner"),
    [
        (shapely.box(WEST + 3_000, NORTH - 9_000, WEST + 6_000, NORTH - 3_000), (380, 500)),
        (shapely.box(WEST + 3_000, NORTH - 4_300, WEST + 4_300, NORTH - 3_000), (301, 301)),
        (shapely.box(WEST + 3_000, NORTH - 9_000, WEST + 6_000, NORTH - 3_000), (240, 500)),
        (sector(), (480, 190)),
    ],
    ids=["white", "white-in-small-outline", "straight", "arc"],
)
def test_mask_of_a_plain_edge_is_ambiguous(run, outline, corner):
    places = make_places([(*corner, 0)])
    outlines = make_outlines(outline)
    location = run(places, cut_masks(places, outlines), outlines)
    assert location.table["reason"].tolist() == [locate.AMBIGUOUS]


def make_two_groups(shift: int, number: int = 2) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the places of two groups in one site, and the same with the second group shifted."""
    places = make_places(FIRST_REGION[:4], mask_group=[0] * (4 - number) + [1] * number)
    shifted = places.copy()
    shifted.loc[places["mask_group"] == 1, "x"] += shift
    return places, shifted


def test_group_that_contradicts_its_site_is_not_located(run):
    places, shifted = make_two_groups(shift=7, number=1)
    location = run(turn_sites(shifted, 3), cut_masks(places, OUTLINES))
    assert_located(location.table[:3], places[:3])
    assert location.table["reason"][3] == locate.CONTRADICTING
    assert location.table["located_by"].isna().tolist() == [False] * 3 + [True]
    (fault,) = location.faults
    assert fault.code == "location-conflict"
    assert fault.place == "train.zip: train/glaciar/3.png"
    assert " 70 m " in fault.problem
    # It keeps its position in the site.
    assert location.table["x"].tolist() == (shifted["x"] - shifted["x"].min()).tolist()
    assert location.table["site"].nunique() == 1


def test_group_in_another_orientation_contradicts_its_site(run):
    places = make_places(FIRST_REGION[:4], mask_group=[0, 0, 0, 1])
    wrong = places.copy()
    wrong.loc[3, "orientation"] = (wrong.loc[3, "orientation"] + 1) % 4
    location = run(wrong, cut_masks(places, OUTLINES))
    assert_located(location.table[:3], places[:3])
    assert location.table["reason"][3] == locate.CONTRADICTING


def test_group_that_is_a_few_pixels_off_follows_its_site(run):
    places, shifted = make_two_groups(shift=6, number=1)
    location = run(shifted, cut_masks(places, OUTLINES))
    assert_located(location.table, shifted)
    assert location.faults == []


def test_site_without_a_majority_is_not_located(run):
    places, shifted = make_two_groups(shift=20)
    location = run(turn_sites(shifted, 2), cut_masks(places, OUTLINES))
    assert location.table["reason"].tolist() == [locate.DISAGREEING] * 4
    assert [fault.code for fault in location.faults] == ["location-conflict"]
    assert not location.groups["is_located"].any()
    # Its grid is as before.
    assert location.table["orientation"].tolist() == turn_sites(shifted, 2)["orientation"].tolist()


def test_largest_of_several_groups_is_not_enough_without_a_majority(run):
    groups = [0] * 5 + [1] * 3 + [2] * 3
    places = make_places(FIRST_REGION + FIRST_REGION[:3] + FIRST_REGION[:3], mask_group=groups)
    shifted = places.assign(x=places["x"] + places["mask_group"].map({0: 0, 1: 20, 2: -20}))
    location = run(shifted, cut_masks(places, OUTLINES))
    assert location.table["reason"].tolist() == [locate.DISAGREEING] * 11


def test_tiles_of_two_regions_in_one_site_are_reported(run):
    second = (130 + FAR, 140, 0)
    places = make_places([*FIRST_REGION, second], mask_group=[0] * 5 + [1])
    wrong = places.copy()
    wrong.loc[5, ["x", "y"]] = [400, 300]
    location = run(wrong, cut_masks(places, OUTLINES))
    assert_located(location.table[:5], places[:5])
    assert location.table["reason"][5] == locate.CONTRADICTING
    assert len(location.faults) == 1


def test_one_fitting_mask_does_not_locate_a_large_site(run):
    places = make_places(FIRST_REGION[:1] + [(150, 150, 0)] * 9, mask_group=range(10))
    noise = np.random.default_rng(0).integers(0, 2, (9, 4, 4), np.uint8)
    others = [np.kron(squares, np.ones((32, 32), np.uint8)) for squares in noise]
    location = run(places, cut_masks(places[:1], OUTLINES) + others)
    assert location.table["reason"].tolist() == [locate.DISAGREEING] * 10
    reasons = location.groups["reason"]
    assert reasons[0] == locate.DISAGREEING
    assert reasons[1:].eq(locate.NO_FIT).all()


def test_masks_of_another_scale_are_not_located(run):
    large = make_outlines(blob(400, 400, 1, radius=160))
    corners = [(x, y, 0) for x in (260, 350, 440) for y in (260, 350, 440)]
    places = make_places(corners)
    location = run(places, cut_masks(places, large))
    assert location.table["reason"].tolist() == [locate.NO_FIT] * 9
    assert location.faults == []
    assert make_index(location.table)["geometry"].isna().all()


def test_masks_are_not_located_on_outlines_of_another_region(run):
    places = make_places(FIRST_REGION)
    location = run(places, cut_masks(places, OUTLINES), OUTLINES[2:])
    assert location.table["reason"].tolist() == [locate.NO_FIT] * 5
    assert location.groups["outlines"][0] == []


def test_sites_that_share_ground_on_the_map_become_one(run):
    places = make_places(FIRST_REGION, site=[0, 0, 0, 1, 1], mask_group=[0, 0, 0, 1, 1])
    turned = pd.concat([turn_sites(places[:3], 1), turn_sites(places[3:], 6)])
    location = run(turned, cut_masks(places, OUTLINES))
    assert_located(location.table, places)
    assert location.table["site"].tolist() == [0] * 5
    assert location.groups["site"].tolist() == [0, 0]


def test_reasons_tell_masks_that_do_not_belong_to_tiles(run):
    has_mask = [True, True, False]
    places = make_places([(130, 140, 0)] * 3, site=range(3), mask_group=-1, has_mask=has_mask)
    masks = cut_masks(places, OUTLINES)
    masks[1] = np.zeros((128, 128))
    reasons = run(places, masks).table["reason"].tolist()
    assert reasons == [locate.UNRELATED, locate.NOTHING_LOCATED, locate.NOTHING_LOCATED]


def test_tiles_without_any_mask_cannot_be_located(run):
    places = make_places(FIRST_REGION, has_mask=False, mask_group=-1)
    with pytest.raises(InputError, match="no tile has a mask"):
        run(places, [])


def test_result_does_not_depend_on_the_order_of_groups(run):
    corners = [(120 + 9 * number, 110 + 7 * number, number % 8) for number in range(10)]
    places = make_places(corners, site=range(10), mask_group=range(10))
    masks = cut_masks(places, OUTLINES)
    location = run(places, masks)
    reverse = run(places.assign(mask_group=range(9, -1, -1)), masks)
    columns = ["easting", "northing", "orientation", "reason", "site"]
    pd.testing.assert_frame_equal(location.table[columns], reverse.table[columns])
    assert location.groups["iou"].tolist() == reverse.groups["iou"].tolist()[::-1]


def test_real_masks_are_located_on_the_right_outlines(run, real):
    with zipfile.ZipFile(real / "release_test_masks.zip") as archive:
        names = [name for name in archive.namelist() if name.endswith(".png")][:10]
        images = [decode_tile(archive.read(name), name) for name in names]
    masks = [mask_to_class_indices(image) for image in images]
    places = make_places([(0, 0, 0)] * 10, site=range(10), mask_group=range(10))
    outlines = read_outlines(real / "outlines")
    is_right = outlines["name"].str.startswith("glaciar_t_")
    located = run(places, masks, outlines[is_right])
    assert (located.table["reason"] == "").mean() > 0.75
    null = run(places, masks, outlines[~is_right])
    assert (null.table["reason"] == "").sum() == 0
