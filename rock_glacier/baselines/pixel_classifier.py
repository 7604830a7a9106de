"""Segmentation pixel by pixel: gradient-boosted trees on the features of each pixel.

They are trained on pixels drawn from train tiles, as many of rock glacier as of background from a tile that shows both.
The threshold of masks is the one that fits the validation masks best. The number of processes changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from rock_glacier.baselines.features import Features, parts_of, pixel_features
from rock_glacier.parallel import Workers

Images = npt.NDArray[np.uint8]
"""Shape (tiles, 128, 128, 3)."""

Masks = npt.NDArray[np.uint8]
"""Shape (tiles, 128, 128), values in {0, 1}."""

_LEVELS = 256  # steps in which probabilities are compared
_PIXELS_OF_TILE = 64  # drawn of rock glacier, and of background


class PixelClassifier:
    """A classifier of pixels, trained, with its threshold.

    Args:
        train: images and masks of train tiles.
        validation: images and masks of validation tiles.
        seed: seed of the pixels that are drawn and of the trees.
        workers: processes that describe pixels and predict.

    Attributes:
        threshold: probability from which a pixel is rock glacier.
        fit: intersection over union that the threshold gives on validation; 0 where nothing there is rock glacier.

    Raises:
        ValueError: no train pixel, or each one, is rock glacier.
    """

    def __init__(
        self, train: tuple[Images, Masks], validation: tuple[Images, Masks], seed: int, workers: Workers
    ) -> None:
        self._workers = workers
        images, masks = train
        parts = [(images[part], masks[part], (seed, part.start)) for part in parts_of(len(images))]
        drawn = list(workers.map("Drawing pixels", _draw_pixels, parts))
        features, labels = (np.concatenate(of_parts) for of_parts in zip(*drawn, strict=True))
        if len(np.unique(labels)) < 2:
            raise ValueError(
                f"train: {'all' if labels.any() else 'no'} pixels are rock glacier, so there is nothing to learn; give "
                "archives with tiles of both classes and their masks"
            )
        self._trees = HistGradientBoostingClassifier(class_weight="balanced", early_stopping=False, random_state=seed)
        with threadpool_limits(1):  # threads of OpenMP block one another where other programs use the cores
            self._trees.fit(features, labels)
        self.threshold, self.fit = 0.5, 0.0
        images, masks = validation
        if masks.any():
            counts = np.zeros((2, _LEVELS), np.int64)  # pixels of each level, of background and of rock glacier
            for levels, mask in zip(self._levels("Choosing a threshold", images), masks, strict=True):
                counts += [np.bincount(levels[mask == kind], minlength=_LEVELS) for kind in (0, 1)]
            alarms, hits = counts[:, ::-1].cumsum(axis=1)  # from the highest level down
            fits = hits / (alarms + counts[1].sum())
            self.threshold, self.fit = 1 - (int(fits.argmax()) + 1) / _LEVELS, float(fits.max())

    def predict(self, images: Images) -> Iterator[Masks]:
        """Yield the mask of each tile, shape (128, 128)."""
        for levels in self._levels("Predicting", images):
            yield (levels >= self.threshold * _LEVELS).astype(np.uint8)

    def _levels(self, name: str, images: Images) -> Iterator[npt.NDArray[np.uint8]]:
        parts = [(self._trees, images[part]) for part in parts_of(len(images))]
        for levels in self._workers.map(name, _predict_levels, parts):
            yield from levels


def _draw_pixels(images: Images, masks: Masks, seed: tuple[int, int]) -> tuple[Features, npt.NDArray[np.uint8]]:
    rng = np.random.default_rng(seed)
    features, labels = [], []
    for image, mask in zip(images, masks, strict=True):
        flat = mask.ravel()
        places = np.concatenate([rng.permutation(np.flatnonzero(flat == kind))[:_PIXELS_OF_TILE] for kind in (0, 1)])
        features.append(pixel_features(image).reshape(flat.size, -1)[places])
        labels.append(flat[places])
    return np.concatenate(features), np.concatenate(labels)


def _predict_levels(trees: Any, images: Images) -> npt.NDArray[np.uint8]:
    levels = np.empty(images.shape[:3], np.uint8)
    with threadpool_limits(1):
        for place, image in enumerate(images):
            features = pixel_features(image)
            probabilities = trees.predict_proba(features.reshape(-1, features.shape[-1]))[:, 1]
            levels[place] = np.minimum(probabilities * _LEVELS, _LEVELS - 1).reshape(levels.shape[1:])
    return levels
