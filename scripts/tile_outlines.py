"""The outline of a mask: the pixels' own edges, neither smoothed nor moved."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def outline_edges(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Find the straight edges between the rock glacier of a mask and everything else, the tile's border among it.

    Args:
        mask: bool array of shape (rows, columns), True on a rock glacier.

    Returns:
        float array of shape (edges, 2, 2): for each edge its two ends (x, y), in pixels from the upper left corner of
        the mask, where the pixel in row 0 and column 0 reaches from (0, 0) to (1, 1). Each is as long as it can be;
        the lying ones come first.

    Example:
        >>> outline_edges(np.array([[False, True, True]])).tolist()
        [[[1.0, 0.0], [3.0, 0.0]], [[1.0, 1.0], [3.0, 1.0]], [[1.0, 0.0], [1.0, 1.0]], [[3.0, 0.0], [3.0, 1.0]]]
    """
    lying = _lying_edges(mask)
    upright = _lying_edges(mask.T)[..., ::-1]
    return np.concatenate([lying, upright]).astype(np.float64)


def _lying_edges(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
    padded = np.pad(mask, 1)
    is_edge = np.pad(padded[1:, 1:-1] != padded[:-1, 1:-1], ((0, 0), (1, 1)))
    begins, ends = is_edge[:, 1:] & ~is_edge[:, :-1], is_edge[:, :-1] & ~is_edge[:, 1:]
    return np.stack([np.argwhere(begins), np.argwhere(ends)], axis=1)[..., ::-1]
