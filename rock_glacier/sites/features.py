"""Local features of a tile, which depend little on light and orientation."""

from __future__ import annotations

import functools
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

MAX_FEATURES = 250
"""Largest number of features of a tile; the strongest are kept."""

GEOMETRY = np.dtype([("x", "f4"), ("y", "f4"), ("size", "f4"), ("angle", "f4")])
"""Position and diameter in pixels, and angle in degrees clockwise from the right."""

FEATURE = np.dtype([("geometry", GEOMETRY), ("descriptor", "u1", 128)])
"""A feature: its geometry, and the RootSIFT descriptor times 255."""

# A SIFT descriptor is a histogram over 4 x 4 fields and 8 angles. In a transposed tile, its numbers
# have this order.
_TRANSPOSED = np.arange(128).reshape(4, 4, 8)[::-1, :, -np.arange(8) % 8].ravel()


@functools.cache
def _detectors() -> tuple[Any, Any]:
    cv2.setNumThreads(1)  # tiles are already distributed over processes
    return cv2.createCLAHE(2.0, (4, 4)), cv2.SIFT.create(MAX_FEATURES, contrastThreshold=0.02)


def detect_features(rgba: npt.NDArray[np.uint8]) -> np.ndarray:
    """Detect SIFT features on the luminance of a tile, after local contrast equalisation.

    Args:
        rgba: uint8 array of shape (128, 128, 4). Alpha makes no difference.

    Returns:
        Array of `FEATURE`, at most 250; empty if the tile is flat.
    """
    clahe, sift = _detectors()
    luminance = cv2.cvtColor(np.ascontiguousarray(rgba), cv2.COLOR_RGBA2GRAY)
    points, descriptors = sift.detectAndCompute(clahe.apply(luminance), None)
    features = np.zeros(len(points), FEATURE)
    if len(points):
        features["geometry"] = [(*point.pt, point.size, point.angle) for point in points]
        sums = np.maximum(descriptors.sum(1, keepdims=True), 1)
        features["descriptor"] = np.rint(255 * np.sqrt(descriptors / sums))
    return features[:MAX_FEATURES]  # SIFT returns more if several are equally strong


def transpose_descriptors(descriptors: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return the descriptors of the same features in the transposed tile: shape (n, 128)."""
    return descriptors[:, _TRANSPOSED]
