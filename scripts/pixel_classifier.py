"""Segmentation pixel by pixel: gradient-boosted trees on what each pixel's surroundings look like.

Trained on pixels that are drawn from train tiles, as many of rock glacier as of background from a tile that has both.
The threshold is the one whose masks fit those of validation best. All is the same however many cores work.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from pixel_features import pixel_features
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits
from tile_parts import map_parts

Images = npt.NDArray[np.uint8]
"""Shape (tiles, 128, 128, 3)."""

Masks = npt.NDArray[np.uint8]
"""Shape (tiles, 128, 128), values 0 and 1."""

LEVELS = 256
"""Steps in which probabilities are told apart, from 0 to 1."""

MOST_TRAIN_TILES = 1500
"""Tiles that pixels are drawn from; more of them cost time and change little."""

MOST_VALIDATION_TILES = 500

_PIXELS = 64  # that are drawn from a tile, of rock glacier and of background

PixelClassifier = Any  # scikit-learn has no types


class NoRockGlacierError(ValueError):
    """There is nothing to learn from: says which split, and what to do."""


def drawn_tiles(count: int, most: int, seed: int) -> npt.NDArray[np.intp]:
    """Draw tiles, in their order; all where there are not more than `most`.

    Example:
        >>> drawn_tiles(3, 5, 0).tolist(), len(drawn_tiles(100, 5, 0))
        ([0, 1, 2], 5)
    """
    return np.sort(np.random.default_rng(seed).permutation(count)[:most])


def train_pixel_classifier(images: Images, masks: Masks, seed: int, num_proc: int | None) -> PixelClassifier:
    """Train on pixels of train tiles.

    Args:
        images: shape (tiles, 128, 128, 3).
        masks: shape (tiles, 128, 128).
        seed: of the tiles and pixels that are drawn.
        num_proc: number of processes that describe pixels.

    Raises:
        NoRockGlacierError: no pixel, or each, is rock glacier.
    """
    tiles = drawn_tiles(len(images), MOST_TRAIN_TILES, seed)
    drawn = list(map_parts("Drawing pixels", _drawn_pixels, (tiles,), (images, masks, seed), num_proc))
    features, labels = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
    if len(np.unique(labels)) < 2:
        raise NoRockGlacierError(
            f"train: {'all' if labels.any() else 'no'} pixels are rock glacier, so that there is nothing to learn; "
            "give archives with tiles of both classes and their masks"
        )
    classifier = HistGradientBoostingClassifier(class_weight="balanced", early_stopping=False, random_state=seed)
    # OpenMP's threads wait for each other by turning in circles, which takes minutes where others use the cores too.
    with threadpool_limits(1):
        return classifier.fit(features, labels)


def _drawn_pixels(
    tiles: npt.NDArray[np.intp], images: Images, masks: Masks, seed: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    features, labels = [], []
    for tile in tiles.tolist():
        rng = np.random.default_rng((seed, tile))
        flat = np.asarray(masks[tile]).ravel()
        its = [rng.permutation(np.flatnonzero(flat == kind))[:_PIXELS] for kind in (0, 1)]
        places = np.concatenate(its)
        features.append(pixel_features(np.asarray(images[tile])).reshape(flat.size, -1)[places])
        labels.append(flat[places])
    return np.concatenate(features), np.concatenate(labels)


def levels_of(classifier: PixelClassifier, images: Images, name: str, num_proc: int | None) -> Iterator[Masks]:
    """Yield part by part how probable rock glacier is on each pixel: uint8, 0 to `LEVELS` - 1."""
    return map_parts(name, _levels, (images,), (classifier,), num_proc)


def _levels(images: Images, classifier: PixelClassifier) -> Masks:
    levels = np.empty(images.shape[:3], np.uint8)
    with threadpool_limits(1):
        for place, image in enumerate(images):
            features = pixel_features(np.asarray(image))
            probabilities = classifier.predict_proba(features.reshape(-1, features.shape[-1]))[:, 1]
            levels[place] = as_levels(probabilities).reshape(levels.shape[1:])
    return levels


def as_levels(probabilities: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    """Round probabilities down to levels.

    Example:
        >>> as_levels(np.array([0.0, 0.5, 1.0])).tolist()
        [0, 128, 255]
    """
    return np.minimum(probabilities * LEVELS, LEVELS - 1).astype(np.uint8)


def best_threshold(levels: Iterator[Masks], masks: Masks) -> tuple[int, float]:
    """Find the level from which pixels count as rock glacier so that masks fit best.

    Args:
        levels: part by part, the levels of the pixels.
        masks: what they should be, shape (tiles, 128, 128).

    Returns:
        the level, and the intersection over union of all pixels together that it gives; the middle level, and 0, where
        no pixel is rock glacier.
    """
    counts = np.zeros((2, LEVELS), np.int64)
    first = 0
    for part in levels:
        for kind in (0, 1):
            counts[kind] += np.bincount(part[masks[first : first + len(part)] == kind], minlength=LEVELS)
        first += len(part)
    found = counts[:, ::-1].cumsum(1)[:, ::-1]  # pixels from each level up
    union = counts[1].sum() + found[0]
    if not counts[1].any():
        return LEVELS // 2, 0.0
    fits = found[1] / union
    return int(fits.argmax()), float(fits.max())
