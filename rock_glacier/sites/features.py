"""Local features of a tile: where they are, and descriptors that neither light nor a turn by quarters changes much."""

from __future__ import annotations

import functools
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

MOST_FEATURES = 250
"""Number of features of a tile at most, the strongest."""

FEATURE = np.dtype([("x", "f4"), ("y", "f4"), ("size", "f4"), ("angle", "f4"), ("descriptor", "u1", 128)])
"""A feature: its place and diameter in pixels, its angle in degrees (clockwise from the right), and its RootSIFT
descriptor times 255."""

# A SIFT descriptor is a histogram over 4 x 4 fields and 8 angles: the order of its numbers in a transposed tile.
_TRANSPOSED = np.arange(128).reshape(4, 4, 8)[::-1, :, -np.arange(8) % 8].ravel()


@functools.cache
def _detectors() -> tuple[Any, Any]:
    cv2.setNumThreads(1)  # tiles are spread over processes
    return cv2.createCLAHE(2.0, (4, 4)), cv2.SIFT.create(MOST_FEATURES, contrastThreshold=0.02)


def tile_features(rgba: npt.NDArray[np.uint8]) -> np.ndarray:
    """Detect the features of a tile: SIFT on its luminance, with the contrast of each 32 x 32 pixels equalised.

    Args:
        rgba: uint8 array of shape (128, 128, 4); alpha makes no difference.

    Returns:
        array of `FEATURE`, at most 250; none where the tile is flat.
    """
    clahe, sift = _detectors()
    points, descriptors = sift.detectAndCompute(clahe.apply(cv2.cvtColor(rgba, cv2.COLOR_RGBA2GRAY)), None)
    features = np.zeros(len(points), FEATURE)
    if len(points):
        features["x"], features["y"] = np.array([point.pt for point in points]).T
        features["size"] = [point.size for point in points]
        features["angle"] = [point.angle for point in points]
        sums = np.maximum(descriptors.sum(1, keepdims=True), 1)
        features["descriptor"] = np.rint(255 * np.sqrt(descriptors / sums))
    return features[:MOST_FEATURES]  # SIFT returns more where several are equally strong


def transposed_descriptors(descriptors: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return the descriptors that the features of a tile have in the transposed tile: shape (features, 128)."""
    return descriptors[:, _TRANSPOSED]
