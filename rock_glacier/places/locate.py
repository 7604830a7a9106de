"""Locate tiles: find their places on the map.

Masks are cut out of outlines of rock glaciers, so their shape shows the place. Groups of masks that
overlap are placed on the outlines (see `fit`). This gives their site a transform to the map, and so
each tile of the site its coordinates, with or without a mask.

Measured with the 1,165 masks of the release's test split that can be read, and the curators' 81
outlines on the 10 m grid of EPSG:32719:

| masks | located | located without the right outlines, `glaciar_t_*` |
|---|---:|---:|
| in their 20 groups | 1,151 (98.8 %) | 0 |
| each mask alone | 1,011 (86.8 %) | 5 (0.4 %) |

The error is the distance between the two places. All 1,011 masks that are located alone have the
same orientation in their group. The distance is 0 m in the median, at most 14 m for 90 % and 22 m
for 99 % of them, and never more than 45 m. If two groups show the same boundary, their masks agree
to the pixel, once to one pixel. The 14 masks that are not located show at most one plain edge.

Time: 20 s CPU for 4,660 masks in 80 groups; about 0.15 s for a small group or a single mask.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import geopandas
import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely
from pyproj import Transformer

from rock_glacier.faults import InputError
from rock_glacier.output import count
from rock_glacier.parallel import Workers
from rock_glacier.places.fit import MIN_IOU, fit_groups
from rock_glacier.places.footprints import FOOTPRINT_WIDTH, footprint_polygons, join_sites
from rock_glacier.places.outlines import PIXEL
from rock_glacier.sites.orientations import COMPOSED, MATRICES
from rock_glacier.sites.placement import TOLERANCE
from rock_glacier.tiles import TileSet
from rock_glacier_dataset import TILE_SIZE, Fault

NO_FIT = "masks fit no outline"
AMBIGUOUS = "masks fit several places"
CONTRADICTING = "contradicts other tiles of its site"
DISAGREEING = "masks of the site fit no common place"
UNRELATED = "mask does not belong to the tile"
NOTHING_LOCATED = "no located tile at the site"

MIN_SUPPORT = 5
"""Number of masks with a clear place that suffices to locate a site, if they agree.

A site with fewer than 10 masks needs half of its masks. A mask that fits outlines by chance cannot
locate a large site. A site can still be located if the outlines lack most of its rock glaciers.
"""


@dataclass(frozen=True)
class Location:
    """The places of tiles on the map.

    Attributes:
        table: The table that was given to `locate_tiles`, with new values of `site`, `block`, `x`,
            `y` and `orientation`: north is up in located sites, and sites whose footprints
            intersect are one site. New columns: `longitude`, `latitude`, `epsg`, `easting`,
            `northing`, `located_by`, `outlines` and `geometry` as in the tile index, and `reason`,
            why a tile is not located, or "".
        groups: A row for each group of masks, indexed by `mask_group`: `site`, `tiles` (number),
            `iou` (of the masks and the outlines at the best place), `rival` (at the best other
            place), `outlines` (names, at the tiles that are located), `is_located` and `reason`
            (why the masks do not locate their tiles, or "").
        faults: A warning `location-conflict` for each group of masks that contradicts its site, and
            for each site whose masks fit no common place.
    """

    table: pd.DataFrame
    groups: pd.DataFrame
    faults: list[Fault]


def locate_tiles(
    tiles: TileSet,
    table: pd.DataFrame,
    outlines: geopandas.GeoDataFrame,
    workers: Workers | None = None,
) -> Location:
    """Locate the tiles of sites whose masks fit outlines.

    The transform of a site is the median over the tiles that are located by their masks, in the
    orientation of the majority. Tiles that differ from it by more than `TOLERANCE` are not located.
    If no majority agrees, no tile of the site is located.

    Args:
        tiles: The decoded tiles.
        table: A row for each tile, in the same order, with the columns `path`, `archive`,
            `has_mask`, `site`, `block`, `x`, `y`, `orientation` and `mask_group` (see `Sites`).
        outlines: Outlines of rock glaciers, as `read_outlines` returns them.
        workers: Processes to use. Default: one for each core.

    Raises:
        InputError: If no tile has a mask.
    """
    if not table["has_mask"].any():
        raise InputError(
            f"{tiles.folder}: no tile has a mask, so outlines cannot locate any. "
            "Add the masks, or run without --outlines."
        )
    table = table.reset_index(drop=True)
    groups = _fit_groups(tiles, table, outlines, workers or Workers())
    sites = _find_transforms(groups)
    groups["reason"] = _find_group_reasons(groups, sites)
    groups["is_located"] = groups["reason"] == ""
    faults = list(_find_faults(table, groups, sites))
    table["reason"] = _find_tile_reasons(tiles, table, groups, sites)
    is_located = table["reason"] == ""
    corners = _turn_north_up(table, sites)
    table = table.join(_make_coordinates(corners[is_located[corners.index]]))
    is_own = table["mask_group"].isin(groups.index[groups["is_located"]])
    located_by = pd.Series(np.where(is_own, "outlines", "site"), dtype="string")
    table["located_by"] = located_by.where(is_located)
    table["geometry"] = table["geometry"].where(is_located, None)
    table["outlines"] = _find_outlines(table, outlines)
    table = join_sites(table)
    return Location(table, _describe_groups(groups, table), faults)


def _fit_groups(
    tiles: TileSet, table: pd.DataFrame, outlines: geopandas.GeoDataFrame, workers: Workers
) -> pd.DataFrame:
    """Return the groups of masks: `site`, `tiles` (number), and the columns of `fit_groups`."""
    members = table[table["mask_group"] >= 0]
    groups = members.groupby("mask_group").agg(site=("site", "first"), tiles=("site", "size"))
    return groups.join(fit_groups(tiles.files, members, outlines, workers))


def _find_transforms(groups: pd.DataFrame) -> pd.DataFrame:
    """Find the transform of each site from its grid to the map.

    Returns:
        A row for each site with a group of a clear place, indexed by `site`: `epsg`, `orientation`,
        `x`, `y` as in `fit_groups`; `masks` and `agreeing` (number of masks, and of those in groups
        that agree with the transform), and `is_located` (0 or 1).
    """
    rows = []
    for site, members in groups.groupby("site"):
        clear = members[members["is_clear"]]
        if len(clear):
            transform = _find_transform(clear)
            agreeing = clear["tiles"][_agrees(clear, transform)].sum()
            masks = members["tiles"].sum()
            is_majority = 2 * agreeing > clear["tiles"].sum()
            is_located = is_majority and agreeing >= min(MIN_SUPPORT, masks / 2)
            rows.append([site, *transform, masks, agreeing, is_located])
    names = ["site", "epsg", "orientation", "x", "y", "masks", "agreeing", "is_located"]
    return pd.DataFrame(rows, columns=names).astype(np.int64).set_index("site")


def _find_transform(clear: pd.DataFrame) -> pd.Series:
    """Return the median transform, in the orientation of the majority, of some groups."""
    pose = clear.groupby(["epsg", "orientation"]).ngroup()
    majority = clear[pose == clear["tiles"].groupby(pose).sum().idxmax()]
    offsets = majority[["x", "y"]].to_numpy(np.float64).repeat(majority["tiles"], axis=0)
    x, y = np.rint(np.median(offsets, axis=0))
    return pd.Series({**majority[["epsg", "orientation"]].iloc[0], "x": x, "y": y})


def _agrees(groups: pd.DataFrame, transform: pd.Series | pd.DataFrame) -> pd.Series:
    """Return whether groups have a transform, within `TOLERANCE`.

    Args:
        groups: Columns of `fit_groups`.
        transform: One transform for all groups, or a row for each.
    """
    agrees = groups["epsg"] == transform["epsg"]
    agrees &= groups["orientation"] == transform["orientation"]
    for axis in ("x", "y"):
        agrees &= (groups[axis] - transform[axis]).abs() <= TOLERANCE
    return agrees


def _find_group_reasons(groups: pd.DataFrame, sites: pd.DataFrame) -> npt.NDArray[np.str_]:
    """Return why the masks of each group do not locate their tiles, or ""."""
    transforms = sites.reindex(groups["site"]).set_axis(groups.index)
    reasons = {
        NO_FIT: groups["iou"] < MIN_IOU,
        AMBIGUOUS: ~groups["is_clear"],
        DISAGREEING: transforms["is_located"] != 1,
        CONTRADICTING: ~_agrees(groups, transforms),
    }
    return np.select(list(reasons.values()), list(reasons), default="")


def _find_tile_reasons(
    tiles: TileSet, table: pd.DataFrame, groups: pd.DataFrame, sites: pd.DataFrame
) -> npt.NDArray[np.object_]:
    """Return why each tile is not located, or ""."""
    group_reason = table["mask_group"].map(groups["reason"]).astype(object)
    is_located = table["site"].map(sites["is_located"])  # NaN if no group has a clear place
    has_own_reason = group_reason.notna()
    is_unrelated = table["has_mask"] & ~has_own_reason & (tiles.table["mask_share"] > 0)
    return np.select(
        [
            (is_located == 1) & (group_reason == CONTRADICTING),
            is_located == 1,
            is_located == 0,
            has_own_reason,
            is_unrelated,
        ],
        [CONTRADICTING, "", DISAGREEING, group_reason, UNRELATED],
        default=NOTHING_LOCATED,
    )


def _find_faults(table: pd.DataFrame, groups: pd.DataFrame, sites: pd.DataFrame) -> Iterator[Fault]:
    """Report groups of masks that contradict their site, and sites without a common place."""
    fix = "Check the masks, and whether these tiles show the same ground as others of the site"
    contradicting = groups[groups["reason"] == CONTRADICTING]
    first_tiles = (
        table.drop_duplicates("mask_group").set_index("mask_group").loc[contradicting.index]
    )
    transforms = sites.loc[contradicting["site"]]
    missed = _map_centres(first_tiles, contradicting) - _map_centres(first_tiles, transforms)
    distance = PIXEL * np.hypot(missed[:, 0], missed[:, 1])
    for row, tile in enumerate(first_tiles.itertuples()):
        problem = f"the mask fits outlines {distance[row]:,.0f} m from the place of its site"
        if contradicting["orientation"].iloc[row] != transforms["orientation"].iloc[row]:
            problem += ", in another orientation"
        others = contradicting["tiles"].iloc[row] - 1
        if others:
            problem += f", and so do the masks of {count(others, 'other tile')}"
        yield Fault("location-conflict", f"{tile.archive}: {tile.path}", problem, fix)
    for site, row in sites[sites["is_located"] == 0].iterrows():
        members = table[table["site"] == site]
        tile = members.iloc[0]
        problem = (
            f"the {count(len(members), 'tile')} of its site cannot be located: at most "
            f"{row['agreeing']:,} of {row['masks']:,} masks fit outlines at a common place"
        )
        yield Fault("location-conflict", f"{tile['archive']}: {tile['path']}", problem, fix)


def _map_centres(tiles: pd.DataFrame, transforms: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Return the centres of tiles in pixels of the map, shape (tiles, 2).

    Args:
        tiles: Columns `x` and `y` in the grid of the site.
        transforms: A row for each tile: `orientation`, `x` and `y`, see `fit_groups`.
    """
    matrices = MATRICES[transforms["orientation"]]
    centres = tiles[["x", "y"]].to_numpy(np.int64) + TILE_SIZE // 2
    return np.einsum("nij,nj->ni", matrices, centres) + transforms[["x", "y"]].to_numpy()


def _turn_north_up(table: pd.DataFrame, sites: pd.DataFrame) -> pd.DataFrame:
    """Turn located sites north up, in place.

    Returns:
        A row for each tile of these sites, with the index of `table`: `epsg`, and the upper left
        corner of the footprint in pixels, `x` and `y` (easting / 10 and -northing / 10).
    """
    transforms = sites[sites["is_located"] == 1]
    turned = table[table["site"].isin(transforms.index)]
    transforms = transforms.loc[turned["site"]].set_axis(turned.index)
    centres = _map_centres(turned, transforms)
    corners = pd.DataFrame(centres - TILE_SIZE // 2, turned.index, ["x", "y"])
    first = corners.groupby(turned["site"]).transform("min")
    table.loc[turned.index, ["x", "y"]] = (corners - first).astype(np.int32)
    orientation = COMPOSED[transforms["orientation"], turned["orientation"].to_numpy(np.int64)]
    table.loc[turned.index, "orientation"] = orientation.astype(np.int8)
    return corners.assign(epsg=transforms["epsg"])


def _make_coordinates(corners: pd.DataFrame) -> pd.DataFrame:
    """Return the location columns of the tile index, except `located_by` and `outlines`.

    Args:
        corners: Located tiles, see `_turn_north_up`.
    """
    location = pd.DataFrame({"longitude": np.nan, "latitude": np.nan, "epsg": corners["epsg"]})
    location["easting"] = PIXEL * corners["x"]
    location["northing"] = -PIXEL * corners["y"]
    for epsg, members in location.groupby("epsg"):
        to_degrees = Transformer.from_crs(f"EPSG:{epsg}", "EPSG:4326", always_xy=True)
        longitude, latitude = to_degrees.transform(
            members["easting"].to_numpy() + FOOTPRINT_WIDTH / 2,
            members["northing"].to_numpy() - FOOTPRINT_WIDTH / 2,
        )
        location.loc[members.index, "longitude"] = longitude
        location.loc[members.index, "latitude"] = latitude
    location = location.astype("Float64").astype({"epsg": "Int32"})
    polygons = footprint_polygons(corners["epsg"], location["easting"], location["northing"])
    return location.assign(geometry=shapely.to_wkb(polygons))


def _find_outlines(table: pd.DataFrame, outlines: geopandas.GeoDataFrame) -> list[list[str]]:
    """Return the names of the outlines that each footprint intersects."""
    footprints = geopandas.GeoSeries.from_wkb(table["geometry"], crs=outlines.crs)
    shown = footprints.to_frame("geometry").sjoin(outlines[["name", "geometry"]])
    names = shown.groupby(level=0)["name"].apply(sorted)
    return [names.get(row, []) for row in table.index]


def _describe_groups(groups: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Return `Location.groups`."""
    members = table.groupby("mask_group")
    names = members["outlines"].agg(lambda lists: sorted(set().union(*lists)))
    described = groups[["tiles", "iou", "rival", "is_located", "reason"]]
    return described.assign(site=members["site"].first(), outlines=names)
