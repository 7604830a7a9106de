"""Tiles of one place are linked on two dates and under any turn, and tiles of two places are not."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import csv
import itertools
import re

import numpy as np
import pytest

from rock_glacier.archives.listing import Listing, decode_member, open_members
from rock_glacier.grounds.features import tile_features, transposed_descriptors
from rock_glacier.grounds.pairs import SameGround
from rock_glacier.grounds.same_ground import confirm_links, find_links, gradients
from rock_glacier.grounds.turns import COMPOSED, INVERSE, MATRICES, turned
from rock_glacier.sample.terrain import make_ground, render_date
from rock_glacier_dataset import TILE_SIZE


def find_same_ground(tiles: list[np.ndarray]) -> list[SameGround]:
    links = find_links(map(tile_features, tiles), len(tiles))
    return confirm_links(links, lambda number: gradients(tiles[number]))


def rgba(rgb: np.ndarray) -> np.ndarray:
    return np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)])


def scene(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return render_date(rng, make_ground(rng, 384, rock_glaciers=False))


def on_another_date(rgb: np.ndarray, seed: int) -> np.ndarray:
    """Change the light: darker bands, haze and noise."""
    rng = np.random.default_rng(seed)
    changed = 255 * (rgb / 255) ** rng.uniform(0.7, 1.4, 3) * rng.uniform(0.6, 0.9, 3) + rng.uniform(10, 40, 3)
    return np.clip(changed + rng.normal(0, 3, rgb.shape), 0, 255).astype(np.uint8)


def test_ground_is_found_on_another_date_and_under_turns_where_it_lies():
    rng = np.random.default_rng(0)
    dates = [scene(1), on_another_date(scene(1), 0)]
    places, turns = rng.integers(0, 384 - TILE_SIZE, (12, 2)), rng.integers(0, 8, 12)
    tiles = [
        turned(rgba(dates[number % 2][y : y + TILE_SIZE, x : x + TILE_SIZE]), turn)
        for number, ((x, y), turn) in enumerate(zip(places.tolist(), turns.tolist(), strict=True))
    ]
    found = {one[:2]: one for one in find_same_ground(tiles)}
    for a, b in itertools.combinations(range(12), 2):
        shift = places[b] - places[a]
        shared = np.maximum(TILE_SIZE - np.abs(shift), 0)
        if shared.min() >= 64:
            link = found[a, b]
            assert link.turn == COMPOSED[turns[a], INVERSE[turns[b]]]
            assert np.abs(MATRICES[turns[a]] @ shift - (link.dx, link.dy)).max() <= 1
        if shared.prod() == 0:
            assert (a, b) not in found


def test_two_places_are_never_linked():
    tiles = [
        rgba(scene(seed)[y : y + TILE_SIZE, x : x + TILE_SIZE])
        for seed in range(2, 5)
        for x, y in [(0, 0), (128, 0), (0, 128), (128, 128), (256, 256)]
    ]
    assert find_same_ground(tiles) == []


def test_real_tiles_turned_at_random_are_three_places(real, real_archives):
    with (real / "names.csv").open() as file:
        sources = {row["path"]: row["tile"] for row in csv.DictReader(file)}
    rng = np.random.default_rng(1)
    tiles, places, dates = [], [], []
    for archive, member in open_members(Listing(real_archives).tiles):
        tile = decode_member(archive, member.folder, member.member_id)
        tiles.append(turned(tile, int(rng.integers(8))))
        name = re.fullmatch(r"(cordillera|glaciarRoca_([a-z]+)_(\d+))_.+", sources[member.path])
        assert name
        places.append(name[2] or name[1])
        dates.append(name[3])
    pairs = [(one.a, one.b) for one in find_same_ground(tiles)]
    assert all(places[a] == places[b] for a, b in pairs)
    assert sum(dates[a] is not None and dates[a] != dates[b] for a, b in pairs) >= 780


def test_descriptors_are_those_of_the_transposed_tile():
    tile = rgba(scene(1)[:TILE_SIZE, :TILE_SIZE])
    features, transposed = tile_features(tile), tile_features(turned(tile, 4))
    places = np.column_stack([features["y"], features["x"]])
    near = [np.hypot(*(places - (one["x"], one["y"])).T).argmin() for one in transposed]
    differences = transposed["descriptor"].astype(int) - transposed_descriptors(features["descriptor"])[near]
    assert np.median(np.abs(differences)) <= 1
    assert np.median(np.abs(transposed["descriptor"].astype(int) - features["descriptor"][near])) > 5


@pytest.mark.parametrize("tiles", [0, 1, 3])
def test_flat_tiles_and_a_single_one_have_no_links(tiles):
    flat = [np.full((TILE_SIZE, TILE_SIZE, 4), shade, np.uint8) for shade in range(0, 3)][: max(tiles - 1, 0)]
    alone = [rgba(scene(1)[:TILE_SIZE, :TILE_SIZE])] if tiles else []
    assert find_same_ground(alone + flat) == []
    assert len(tile_features(np.zeros((TILE_SIZE, TILE_SIZE, 4), np.uint8))) == 0
