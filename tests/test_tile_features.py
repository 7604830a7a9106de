"""What tiles and pixels are described by: numbers that mean something, and the same ones each time."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import numpy as np
import pytest
from pixel_features import PIXEL_FEATURE_NAMES, pixel_features
from source_folders import ground
from tile_features import FEATURE_NAMES, features_of_tiles, named_features, tile_features


def flat(*colour: int) -> np.ndarray:
    return np.full((128, 128, 3), colour, np.uint8)


def ridges(period: int, across: int = 1) -> np.ndarray:
    """Waves of brightness across a tile, along an axis."""
    wave = 128 + 60 * np.sin(2 * np.pi * np.arange(128) / period)
    grey = np.broadcast_to(wave[:, None] if across == 0 else wave, (128, 128))
    return np.repeat(grey[..., None], 3, -1).astype(np.uint8)


@pytest.mark.parametrize("tile", [flat(0, 0, 0), flat(255, 255, 255), flat(255, 0, 0), ground(1), ridges(8)])
def test_every_tile_has_finite_features(tile):
    described = tile_features(tile)
    assert described.shape == (len(FEATURE_NAMES),)
    assert described.dtype == np.float32
    assert np.isfinite(described).all()
    of_pixels = pixel_features(tile)
    assert of_pixels.shape == (128, 128, len(PIXEL_FEATURE_NAMES))
    assert of_pixels.dtype == np.float32
    assert np.isfinite(of_pixels).all()


def test_names_stand_once():
    assert len(set(FEATURE_NAMES)) == len(FEATURE_NAMES)
    assert len(set(PIXEL_FEATURE_NAMES)) == len(PIXEL_FEATURE_NAMES)


def test_colour_is_told():
    red, grey = named_features(flat(200, 50, 50)), named_features(flat(100, 100, 100))
    assert red["red mean"] == pytest.approx(200 / 255)
    assert red["red-blue mean"] == pytest.approx(150 / 250, abs=1e-4)
    assert red["saturation p50"] == pytest.approx(0.75, abs=1e-4)
    assert grey["red-blue mean"] == grey["saturation p95"] == grey["brightness std"] == 0


def test_shares_are_shares():
    described = named_features(ground(1))
    for kind in ("direction", "pattern"):
        shares = [value for name, value in described.items() if name.startswith(kind)]
        assert sum(shares) == pytest.approx(1, abs=1e-3)
        assert min(shares) >= 0
    assert 0 <= described["coherence 1 mean"] <= 1


def test_ridges_are_told_by_direction_and_width():
    beside, above, noise = (named_features(tile) for tile in (ridges(8), ridges(8, across=0), ground(1)))
    assert beside["coherence 3 mean"] > 0.9 > noise["coherence 3 mean"]
    assert beside["direction 0"] + beside["direction 7"] + beside["direction 3"] + beside["direction 4"] > 0.9
    assert above["direction 1"] + above["direction 2"] + above["direction 5"] + above["direction 6"] > 0.9
    wide = named_features(ridges(32))
    assert beside["power 16-32"] > wide["power 16-32"]
    assert wide["power 4-8"] > beside["power 4-8"]


def test_relief_does_not_ask_how_much_light_there_is():
    tile = ground(1) // 2
    bright = tile + np.uint8(100)
    one, other = named_features(tile), named_features(bright)
    assert other["brightness mean"] > one["brightness mean"] + 0.3
    for name in FEATURE_NAMES[FEATURE_NAMES.index("direction 0") :]:
        assert other[name] == pytest.approx(one[name], rel=0.02, abs=0.02), name


def test_a_pixel_is_described_by_what_surrounds_it():
    tile = flat(80, 80, 80)
    tile[:, 64:] = 160
    described = dict(zip(PIXEL_FEATURE_NAMES, np.moveaxis(pixel_features(tile), -1, 0), strict=True))
    for scale in (1, 8):
        assert described[f"gradient {scale}"][64].argmax() in (63, 64)
        assert described[f"gradient {scale}"][64, 0] == pytest.approx(0, abs=1e-3)
    assert described["relief"][0, 0] == pytest.approx(-1, abs=1e-3)
    assert described["relief"][0, -1] == pytest.approx(1, abs=1e-3)
    assert described["red"][0, 0] == pytest.approx(80 / 255)


def test_tiles_are_described_one_by_one():
    tiles = np.stack([ground(1), ridges(8)])
    assert np.array_equal(features_of_tiles(tiles)[1], tile_features(tiles[1]))
    assert features_of_tiles(tiles[:0]).shape == (0, len(FEATURE_NAMES))


@pytest.mark.parametrize("wrong", [np.zeros((64, 128, 3), np.uint8), np.zeros((128, 128, 3)), np.zeros((128, 128, 4))])
def test_what_is_no_tile_is_refused(wrong):
    with pytest.raises(ValueError, match="a tile is uint8"):
        tile_features(wrong)
