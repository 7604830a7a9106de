"""Tiles of one place match on other dates and in any orientation; tiles of two places never do."""

from __future__ import annotations

import csv
import itertools
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from factories import array_files, noise_scene
from scipy import ndimage

from rock_glacier.parallel import Workers
from rock_glacier.sites.features import detect_features, transpose_descriptors
from rock_glacier.sites.matches import find_matches
from rock_glacier.sites.orientations import COMPOSED, INVERSE, MATRICES, oriented
from rock_glacier.tiles import TileSet
from rock_glacier_dataset import TILE_SIZE

ONE_PROCESS = Workers(1)
NO_OVERLAPS = pd.DataFrame({"a": [], "b": []}, dtype=int)


def matches_of(images, overlaps=NO_OVERLAPS, workers=ONE_PROCESS) -> pd.DataFrame:
    with tempfile.TemporaryDirectory() as folder:
        return find_matches(array_files(Path(folder), images), workers, overlaps)


def scene(seed: int, size: int = 384) -> np.ndarray:
    """Return terrain with details at several scales: uint8 of shape (size, size, 4)."""
    noise = noise_scene(seed, size, size)[..., 0] / 255 - 0.5
    terrain = sum(scale * ndimage.gaussian_filter(noise, scale) for scale in (1, 2, 4, 8))
    terrain = (terrain - terrain.min()) / np.ptp(terrain)
    image = np.full((size, size, 4), 255, np.uint8)
    image[..., :3] = (255 * terrain[..., None] * [1, 0.9, 0.8]).astype(np.uint8)
    return image


def on_another_date(image: np.ndarray, seed: int) -> np.ndarray:
    """Change the light: other contrast, haze and noise."""
    rng = np.random.default_rng(seed)
    colours = image[..., :3] / 255
    changed = 255 * colours ** rng.uniform(0.7, 1.4, 3) * rng.uniform(0.6, 0.9) + rng.uniform(
        10, 40
    )
    changed += rng.normal(0, 3, changed.shape)
    return np.dstack([changed.clip(0, 255).astype(np.uint8), image[..., 3]])


def test_matches_have_the_right_orientation_and_offset():
    rng = np.random.default_rng(0)
    dates = [scene(1), on_another_date(scene(1), 0)]
    corners = rng.integers(0, 384 - TILE_SIZE, (12, 2))
    orientations = rng.integers(0, 8, 12)
    tiles = [
        oriented(dates[number % 2][y : y + TILE_SIZE, x : x + TILE_SIZE], orientation)
        for number, ((x, y), orientation) in enumerate(zip(corners, orientations, strict=True))
    ]
    found = matches_of(tiles).set_index(["a", "b"])
    for a, b in itertools.combinations(range(12), 2):
        shift = corners[b] - corners[a]
        shared = np.maximum(TILE_SIZE - np.abs(shift), 0)
        if shared.min() >= 64:
            match = found.loc[(a, b)]
            assert match["orientation"] == COMPOSED[orientations[a], INVERSE[orientations[b]]]
            offset = MATRICES[orientations[a]] @ shift
            assert np.abs(offset - match[["dx", "dy"]]).max() <= 1
            assert match["pixels"] == (128 - abs(match["dx"])) * (128 - abs(match["dy"]))
        if shared.prod() == 0:
            assert (a, b) not in found.index


def test_different_places_never_match():
    corners = [(0, 0), (128, 0), (0, 128), (128, 128), (256, 256)]
    tiles = [
        scene(seed)[y : y + TILE_SIZE, x : x + TILE_SIZE]
        for seed in range(2, 5)
        for x, y in corners
    ]
    assert matches_of(tiles).empty


def test_pairs_that_overlap_are_skipped():
    tiles = [scene(1)[:128, :128], scene(1)[:128, 20:148], on_another_date(scene(1), 0)[:128, :128]]
    found = matches_of(tiles, pd.DataFrame({"a": [0], "b": [1]}))
    assert found[["a", "b"]].to_numpy().tolist() == [[0, 2], [1, 2]]


def test_several_processes_find_the_same_matches():
    """There are enough features for the compressed index, whose training is random."""
    scenes = [scene(seed, 512) for seed in range(2)]
    images = [
        image[y : y + 128, x : x + 128]
        for image in (*scenes, *(on_another_date(image, 0) for image in scenes))
        for y in range(0, 385, 96)
        for x in range(0, 385, 96)
    ]
    found = matches_of(images)
    assert len(found) > 100
    pd.testing.assert_frame_equal(found, matches_of(images, workers=Workers(2)))


def test_transposed_descriptors_are_those_of_the_transposed_tile():
    tile = scene(1)[:TILE_SIZE, :TILE_SIZE]
    features = detect_features(tile)
    transposed = detect_features(oriented(tile, 4))
    places = np.column_stack([features["geometry"]["y"], features["geometry"]["x"]])
    nearest = [
        np.hypot(*(places - (row["x"], row["y"])).T).argmin() for row in transposed["geometry"]
    ]
    expected = transpose_descriptors(features["descriptor"])[nearest].astype(int)
    assert np.median(np.abs(transposed["descriptor"] - expected)) <= 1
    untransposed = features["descriptor"][nearest].astype(int)
    assert np.median(np.abs(transposed["descriptor"] - untransposed)) > 5


@pytest.mark.parametrize("flat_tiles", [0, 3])
def test_flat_tiles_and_a_single_tile_have_no_matches(flat_tiles):
    flat = [np.full((128, 128, 4), shade, np.uint8) for shade in range(flat_tiles)]
    assert matches_of([scene(1)[:128, :128], *flat]).empty
    assert matches_of([]).empty


def test_real_tiles_match_across_dates_and_only_in_one_place(real, real_archives):
    """Each tile is in a random orientation, as in set b of the published comparison."""
    with (real / "names.csv").open() as file:
        sources = {row["path"]: row["tile"] for row in csv.DictReader(file)}
    with TileSet.read(real_archives, Workers(1)) as tiles:
        orientations = np.random.default_rng(0).integers(0, 8, len(tiles))
        images = [
            oriented(image, orientation)
            for image, orientation in zip(tiles.images, orientations, strict=True)
        ]
        names = [sources[path] for path in tiles.table["path"]]
    # A name is cordillera_<n>.png or glaciarRoca_<area>_<date>_<n>.png.
    places = np.array(["_".join(name.split("_")[:-2]) or "cordillera" for name in names])
    dates = np.array([name.rpartition("_")[0] for name in names])
    found = matches_of(images, workers=Workers(2))
    assert (places[found["a"]] == places[found["b"]]).all()
    is_other_date = dates[found["a"]] != dates[found["b"]]
    # Of 2,847 glaciar pairs on two dates, 1,381 match: 860 by gradients, 1,307 by their phases.
    assert is_other_date.sum() >= 1340
