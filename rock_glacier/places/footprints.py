"""Footprints: the squares that located tiles cover on the map."""

from __future__ import annotations

import geopandas
import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely
from scipy.spatial import KDTree

from rock_glacier.places.outlines import PIXEL
from rock_glacier.sites.orientations import COMPOSED, INVERSE, MATRICES
from rock_glacier.sites.placement import number_sites
from rock_glacier_dataset import TILE_SIZE

FOOTPRINT_WIDTH = TILE_SIZE * PIXEL
"""Width of a footprint in metres."""


def footprint_squares(easting: npt.ArrayLike, northing: npt.ArrayLike) -> npt.NDArray[np.object_]:
    """Make the footprints of located tiles, each in its own UTM zone.

    Args:
        easting: Of the upper left corner of each footprint, in metres, shape (tiles,).
        northing: Of the same corner, in metres, shape (tiles,).

    Returns:
        Array of shape (tiles,): polygons in metres.
    """
    west = np.asarray(easting, np.float64)
    north = np.asarray(northing, np.float64)
    squares = shapely.box(west, north - FOOTPRINT_WIDTH, west + FOOTPRINT_WIDTH, north)
    return np.asarray(squares, object)


def footprint_polygons(
    epsg: npt.ArrayLike, easting: npt.ArrayLike, northing: npt.ArrayLike
) -> npt.NDArray[np.object_]:
    """Make the footprints of located tiles.

    Args:
        epsg: EPSG code of the UTM zone of each tile, shape (tiles,).
        easting: Of the upper left corner of each footprint, in metres, shape (tiles,).
        northing: Of the same corner, in metres, shape (tiles,).

    Returns:
        Array of shape (tiles,): polygons in EPSG:4326. Their sides are straight lines in degrees,
        which differ from the sides of the square by less than 0.1 m.
    """
    zones = np.asarray(epsg, np.int64)
    squares = footprint_squares(easting, northing)
    for zone in np.unique(zones):
        rows = zones == zone
        squares[rows] = geopandas.GeoSeries(squares[rows], crs=int(zone)).to_crs("EPSG:4326")
    return squares


def find_footprint_pairs(table: pd.DataFrame) -> pd.DataFrame:
    """Find the pairs of located tiles whose footprints share ground.

    Footprints that only touch share no ground. Footprints in different UTM zones are not compared.

    Args:
        table: A row for each tile, with the columns `epsg`, `easting` and `northing` (null if the
            tile is not located) and `orientation` (north is up in sites of located tiles).

    Returns:
        A row for each pair, ordered by `a` and `b`: `a` and `b` (rows of the tiles, a < b), and the
        link `orientation`, `dx` and `dy` as in `Sites.pairs`: tile b, after `orientation` was
        applied, has its upper left pixel at (dx, dy) of tile a as it is stored. `pixels` is the
        number of shared pixels.
    """
    pairs = _find_neighbours(table)
    shared = (TILE_SIZE - pairs["right"].abs()) * (TILE_SIZE - pairs["down"].abs())
    orientation = table["orientation"].to_numpy(np.int64)
    # From north up to the frame of tile a as it is stored.
    to_stored = INVERSE[orientation[pairs["a"]]]
    offsets = np.einsum("nij,nj->ni", MATRICES[to_stored], pairs[["right", "down"]].to_numpy())
    return pd.DataFrame(
        {
            "a": pairs["a"],
            "b": pairs["b"],
            "orientation": COMPOSED[to_stored, orientation[pairs["b"]]],
            "dx": offsets[:, 0],
            "dy": offsets[:, 1],
            "pixels": shared,
        }
    )


def _find_neighbours(table: pd.DataFrame) -> pd.DataFrame:
    """Find pairs of tiles whose footprints share ground.

    Returns:
        int64 columns `a`, `b` (a < b, ordered), and `right` and `down`: the offset from the corner
        of a to the corner of b, in pixels.
    """
    rows = np.flatnonzero(table["easting"].notna())
    located = table.iloc[rows]
    corners = located[["easting", "northing"]].to_numpy(np.float64) * (1 / PIXEL, -1 / PIXEL)
    corners = np.rint(corners).astype(np.int64)
    pairs = [np.empty((0, 2), np.int64)]
    for members in located.groupby("epsg").indices.values():
        tree = KDTree(corners[members])
        near = tree.query_pairs(TILE_SIZE - 1, p=np.inf, output_type="ndarray")
        pairs.append(members[near])
    a, b = np.sort(np.concatenate(pairs), axis=1).T
    order = np.lexsort((b, a))
    offsets = corners[b[order]] - corners[a[order]]
    columns = {"a": rows[a[order]], "b": rows[b[order]]}
    return pd.DataFrame({**columns, "right": offsets[:, 0], "down": offsets[:, 1]})


def join_sites(table: pd.DataFrame) -> pd.DataFrame:
    """Join the sites whose footprints share ground.

    A joined site has one grid. The tiles of each of its former sites move together, by the median
    difference between position and coordinates, in whole pixels. Its blocks are numbered in the
    order of their first tiles; blocks of two former sites become one if footprints share ground.
    Sites in different UTM zones are not joined.

    Args:
        table: A row for each tile, with the columns `site`, `block`, `x`, `y`, `epsg`, `easting`
            and `northing`. North is up in sites of located tiles, and each is in one UTM zone.

    Returns:
        The table with new `site` (numbered in the order of the first tiles), `block`, `x` and `y`.
        Tiles of sites that are not joined keep their block and position.
    """
    pairs = _find_neighbours(table)
    former = table["site"].to_numpy()
    pairs = pairs[former[pairs["a"]] != former[pairs["b"]]]
    site = _number_joined(table[["site"]], pairs)
    block = pd.Series(_number_joined(table[["site", "block"]], pairs))
    changes = {"block": block.groupby(site).rank("dense") - 1}
    for name, coordinate, sign in (("x", "easting", 1), ("y", "northing", -1)):
        position = table[name].reset_index(drop=True)
        on_map = pd.Series(table[coordinate].to_numpy(np.float64, na_value=np.nan)) / PIXEL * sign
        moved = position + (on_map - position).groupby(former).transform("median").round()
        changes[name] = moved - moved.groupby(site).transform("min")
    joined = table.assign(site=site.astype(np.int32))
    is_joined = pd.Series(former).groupby(site).transform("nunique") > 1
    for name, values in changes.items():
        joined.loc[is_joined.to_numpy(), name] = values[is_joined].to_numpy(np.int32)
    return joined


def _number_joined(groups: pd.DataFrame, pairs: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Join groups of tiles that pairs connect, and number them in the order of their first tiles.

    Args:
        groups: A row for each tile; equal rows are in one group.
        pairs: Columns `a` and `b`: the tiles of each pair.
    """
    number = groups.groupby(list(groups), sort=False).ngroup().to_numpy()
    _, first = np.unique(number, return_index=True)
    within = pd.DataFrame({"a": first[number], "b": range(len(groups))})
    return number_sites(len(groups), pd.concat([within, pairs[["a", "b"]]]))
