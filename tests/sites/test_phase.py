"""Phase correlation has its peak at the offset of the link, and none for different ground."""

from __future__ import annotations

import numpy as np
import pytest
from factories import noise_scene

from rock_glacier.sites.orientations import COMPOSED, INVERSE, MATRICES, ORIENTATIONS, oriented
from rock_glacier.sites.phase import phase_peak, spectrum_of

CORNER = (100, 90)


def cut(x: int, y: int, *, seed: int = 0) -> np.ndarray:
    return noise_scene(seed, 320, 320)[y : y + 128, x : x + 128]


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("shift", [(0, 0), (40, -25), (-90, 80)])
def test_the_peak_is_at_the_offset_of_the_link(shift, orientation):
    a = oriented(cut(*CORNER), 6)
    b = oriented(cut(CORNER[0] + shift[0], CORNER[1] + shift[1]), orientation)
    restored = oriented(b, COMPOSED[6, INVERSE[orientation]])
    dx, dy = (MATRICES[6] @ shift).tolist()
    peak, *offset = phase_peak(spectrum_of(a), spectrum_of(restored), dx + 3, dy - 3)
    assert offset == [dx, dy]
    assert peak > 0.03


def test_a_tile_and_itself_have_a_peak_of_one():
    spectrum = spectrum_of(cut(0, 0))
    peak, *offset = phase_peak(spectrum, spectrum, 2, -1)
    assert peak == pytest.approx(1, abs=1e-3)
    assert offset == [0, 0]


def test_other_ground_and_flat_tiles_have_no_peak():
    a = spectrum_of(cut(*CORNER))
    flat = spectrum_of(np.full((128, 128, 4), 7, np.uint8))
    for b in (spectrum_of(cut(*CORNER, seed=1)), flat):
        assert phase_peak(a, b, 5, 5)[0] < 0.03
    assert phase_peak(flat, flat, 0, 0)[0] == 0
