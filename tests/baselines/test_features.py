"""Features of tiles and pixels: numbers that mean what their names say."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import numpy as np
import pytest
from source_folders import ground

from rock_glacier.baselines.features import (
    PIXEL_FEATURE_NAMES,
    TILE_FEATURE_NAMES,
    describe_tiles,
    pixel_features,
    tile_features,
)
from rock_glacier.parallel import Workers


def flat(*colour: int) -> np.ndarray:
    return np.full((128, 128, 3), colour, np.uint8)


def waves(period: int, axis: int = 1) -> np.ndarray:
    """Waves of brightness across a tile, along an axis."""
    wave = 128 + 60 * np.sin(2 * np.pi * np.arange(128) / period)
    grey = np.broadcast_to(wave[:, None] if axis == 0 else wave, (128, 128))
    return np.repeat(grey[..., None], 3, -1).astype(np.uint8)


def named(tile: np.ndarray) -> dict[str, float]:
    return dict(zip(TILE_FEATURE_NAMES, tile_features(tile).tolist(), strict=True))


def planes(tile: np.ndarray) -> dict[str, np.ndarray]:
    return dict(zip(PIXEL_FEATURE_NAMES, np.moveaxis(pixel_features(tile), -1, 0), strict=True))


@pytest.mark.parametrize("tile", [flat(0, 0, 0), flat(255, 255, 255), flat(255, 0, 0), ground(1), waves(8)])
def test_every_tile_has_finite_features_of_different_names(tile):
    for found, shape, names in (
        (tile_features(tile), (), TILE_FEATURE_NAMES),
        (pixel_features(tile), (128, 128), PIXEL_FEATURE_NAMES),
    ):
        assert found.shape == (*shape, len(names))
        assert found.dtype == np.float32
        assert np.isfinite(found).all()
        assert len(set(names)) == len(names)


def test_colours_are_told_apart():
    red, grey = named(flat(120, 30, 30)), named(flat(100, 100, 100))
    assert red["red, mean"] == pytest.approx(120 / 255)
    assert red["saturation, p50"] == pytest.approx(0.75)
    assert grey["saturation, p95"] == grey["relief, std"] == 0


def test_statistics_are_those_of_the_pixels():
    tile, found = ground(1), named(ground(1))
    for name, plane in planes(tile).items():
        expected = [plane.mean(dtype=np.float64), plane.std(dtype=np.float64), *np.percentile(plane, (5, 50, 95))]
        values = [found[f"{name}, {statistic}"] for statistic in ("mean", "std", "p5", "p50", "p95")]
        assert values == pytest.approx(expected, rel=1e-4, abs=1e-5), name


def test_shares_add_up_to_one():
    found = named(ground(1))
    for kind in ("direction", "pattern"):
        shares = [value for name, value in found.items() if name.startswith(kind)]
        assert sum(shares) == pytest.approx(1, abs=1e-3)
        assert min(shares) >= 0


def test_waves_are_told_apart_by_direction_and_width():
    beside, above, wide = named(waves(8)), named(waves(8, axis=0)), named(waves(32))
    direction = [max(range(8), key=lambda number: found[f"direction {number}"]) for found in (beside, above)]
    assert abs(direction[0] - direction[1]) == 4  # a quarter turn
    assert beside["edge 1, mean"] > 2 * wide["edge 1, mean"]
    assert beside["relief 8, std"] < 0.2 < wide["relief 8, std"]  # which levels out narrow waves
    lowest, highest = (planes(waves(32))[f"curvature {end} 2"] for end in ("low", "high"))
    crest, trough = (slice(4, 12), slice(20, 28))
    assert lowest[64, crest].mean() < lowest[64, trough].mean() - 0.01
    assert highest[64, trough].mean() > highest[64, crest].mean() + 0.01


def test_relief_does_not_depend_on_the_light():
    tile = ground(1) // 2
    one, brighter = named(tile), named(tile + np.uint8(100))
    assert brighter["red, mean"] > one["red, mean"] + 0.3
    for name in TILE_FEATURE_NAMES:
        if not name.startswith(("red", "green", "blue", "saturation")):
            assert brighter[name] == pytest.approx(one[name], rel=0.02, abs=0.02), name


def test_a_pixel_is_described_by_what_surrounds_it():
    tile = flat(80, 80, 80)
    tile[:, 64:] = (80, 200, 160)
    found = planes(tile)
    for name in ("edge 1", "edge 8", "roughness 1", "roughness 8"):
        assert found[name][64].argmax() in (63, 64)
        assert found[name][64, 0] == pytest.approx(0, abs=1e-3)
    assert found["relief"][0, 0] == pytest.approx(-1, abs=1e-3)
    assert found["relief"][0, -1] == pytest.approx(1, abs=1e-3)
    assert found["red"][0, 0] == pytest.approx(80 / 255)


def test_tiles_are_described_one_by_one():
    tiles = np.stack([ground(1), *[waves(8)] * 32])  # more than a worker is handed at once
    found = describe_tiles("Describing", tiles, Workers(1))
    assert np.array_equal(found, np.stack([tile_features(tiles[0]), *[tile_features(tiles[1])] * 32]))
