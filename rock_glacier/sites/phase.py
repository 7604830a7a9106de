"""Phase correlation: do two tiles show the same ground at an offset?

It compares the phases of two spectra and ignores their amplitudes, so it depends little on light
and season. It needs a known orientation and offset, for example of a match or a mask overlap. If
two tiles show different ground, the peak near an offset is about 0.012 and rarely more than 0.03.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.fft

from rock_glacier_dataset import TILE_SIZE

Spectrum = npt.NDArray[np.complex64]
"""Shape (256, 129), as `scipy.fft.rfft2` arranges it; almost all values have the magnitude 1."""

_SIZE = 2 * TILE_SIZE  # of the tile padded with zeros, because a transform is periodic
_LUMINANCE = np.array([0.299, 0.587, 0.114, 0], np.float32)
_MIN_AMPLITUDE = 1  # in grey levels, summed over the tile; less is a rounding error


def spectrum_of(rgba: npt.NDArray[np.uint8]) -> Spectrum:
    """Compute the phases of a tile's spectrum.

    Args:
        rgba: uint8 array of shape (128, 128, 4). Alpha makes no difference.
    """
    luminance = rgba.astype(np.float32) @ _LUMINANCE
    spectrum = scipy.fft.rfft2(luminance - luminance.mean(), (_SIZE, _SIZE))
    return spectrum / np.maximum(np.abs(spectrum), _MIN_AMPLITUDE)


def phase_peak(
    a: Spectrum, b: Spectrum, dx: int, dy: int, *, radius: int = 3
) -> tuple[float, int, int]:
    """Find the highest phase correlation near an offset.

    Args:
        a: Spectrum of the first tile.
        b: Spectrum of the second tile, to which its orientation was applied.
        dx: Pixel (x, y) of tile a is pixel (x - dx, y - dy) of tile b.
        dy: See `dx`.
        radius: How far from the offset to search, in pixels along each axis.

    Returns:
        The correlation, at most 1 (for a tile and itself), and its `dx` and `dy`.
    """
    near = np.arange(-radius, radius + 1)
    correlations = scipy.fft.irfft2(a * b.conj(), (_SIZE, _SIZE))[np.ix_(dy + near, dx + near)]
    y, x = np.unravel_index(correlations.argmax(), correlations.shape)
    return float(correlations[y, x]), dx + int(x) - radius, dy + int(y) - radius
