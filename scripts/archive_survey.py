"""What a folder of archives holds, seen in one pass: how many tiles of which class, and how much its masks cover.

The archives are read by the dataset's own builder, which checks them as they pass. Only masks are decoded; of a tile no
more is kept than its path, and of a mask two numbers.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import numpy as np
import numpy.typing as npt
from make_sample_archives import SAMPLE_VERSION
from tile_pixels import BACKGROUND, ROCK_GLACIER, decoded
from tqdm import tqdm

import rock_glacier_dataset
from rock_glacier_dataset import CLASS_NAMES, CONFIG_NAMES, MANIFEST_NAME, SPLIT_NAMES, ArchiveError, RockGlacierDataset

GLACIAR = CLASS_NAMES[1]


class MaskShape(NamedTuple):
    """How a mask lies on its tile.

    Attributes:
        coverage: share of the tile's pixels that are rock glacier, in [0, 1].
        border: share of the pixels along the tile's border that are, in [0, 1].
    """

    coverage: float
    border: float


class Survey(NamedTuple):
    """What a folder of archives holds.

    Attributes:
        data_dir: the folder.
        paths: path of each tile, in the order of the examples.
        shapes: of the mask of each glaciar tile, by its path; empty where the folder has no archives of masks.
        has_masks: whether the folder has archives of masks.
        has_manifest: whether the folder has a manifest.
        is_synthetic: whether the manifest is that of a sample.
    """

    data_dir: Path
    paths: list[str]
    shapes: dict[str, MaskShape]
    has_masks: bool
    has_manifest: bool
    is_synthetic: bool

    def counts(self) -> dict[str, dict[str, int]]:
        """Return the number of tiles in each split and class."""
        found = {split: dict.fromkeys(CLASS_NAMES, 0) for split in SPLIT_NAMES}
        for path in self.paths:
            split, class_name, _ = path.split("/")
            found[split][class_name] += 1
        return found

    def coverages(self) -> dict[str, npt.NDArray[np.float64]]:
        """Return for each split the mask coverage of its glaciar tiles, values in [0, 1], in the order of the tiles."""
        return {
            split: np.array([shape.coverage for path, shape in self.shapes.items() if path.startswith(f"{split}/")])
            for split in SPLIT_NAMES
        }


class PicturedTile(NamedTuple):
    """A tile to be shown.

    Attributes:
        path: its path.
        rgb: uint8 array of shape (128, 128, 3).
        mask: bool array of shape (128, 128), True on a rock glacier; None where the folder has no archives of masks.
    """

    path: str
    rgb: npt.NDArray[np.uint8]
    mask: npt.NDArray[np.bool_] | None


def survey(data_dir: str | os.PathLike[str], *, progress: bool = False) -> Survey:
    """Look at every tile and mask of a folder of archives.

    Args:
        data_dir: the folder; it is local.
        progress: whether to show a progress bar on standard error.

    Returns:
        what it holds.

    Raises:
        ArchiveError: at the first fault of the archives.
    """
    if "://" in os.fspath(data_dir):
        raise ArchiveError(f"{os.fspath(data_dir)}: is a URL; copy the archives to a local folder, and name that")
    folder = Path(data_dir).expanduser()
    names = rock_glacier_dataset._list_files(os.path.abspath(folder), datasets.DownloadConfig())
    has_masks = any("_masks" in name for name in names if rock_glacier_dataset._ARCHIVE_NAME.fullmatch(name))
    manifest = rock_glacier_dataset._read_manifest(names.get(MANIFEST_NAME), datasets.DownloadConfig())
    paths: list[str] = []
    shapes: dict[str, MaskShape] = {}
    total = sum(sum(counts.values()) for counts in manifest.get("splits", {}).values()) or None
    examples = _examples(folder, has_masks)
    for path, example in tqdm(examples, "Reading archives", total, unit=" tiles", leave=False, disable=not progress):
        paths.append(path)
        if has_masks and path.split("/")[1] == GLACIAR:
            shapes[path] = _shape(_decoded_mask(path, example["masks"]))
    is_synthetic = manifest.get("version") == SAMPLE_VERSION
    return Survey(folder, paths, shapes, has_masks, MANIFEST_NAME in names, is_synthetic)


def read_tiles(surveyed: Survey, paths: Collection[str]) -> dict[str, PicturedTile]:
    """Read and decode some tiles, with their masks where there are any.

    Args:
        surveyed: the folder of archives.
        paths: the tiles' paths.

    Returns:
        the tiles, by path.

    Raises:
        ArchiveError: a tile or a mask cannot be decoded, or the archives were changed meanwhile.
    """
    wanted = set(paths)
    found = {}
    for path, example in _examples(surveyed.data_dir, surveyed.has_masks, checked=False):
        if path in wanted:
            mask = _decoded_mask(path, example["masks"]) if surveyed.has_masks else None
            found[path] = PicturedTile(path, _decoded_rgb(path, example["image"]), mask)
    if found.keys() != wanted:
        missing = min(wanted - found.keys())
        raise ArchiveError(f"{missing}: is gone; the archives were changed meanwhile, so begin again")
    return found


def _examples(folder: Path, has_masks: bool, checked: bool = True) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each tile's path and example, undecoded; the archives' SHA-256 are looked at where that is asked for."""
    config = CONFIG_NAMES[1] if has_masks else CONFIG_NAMES[0]
    with tempfile.TemporaryDirectory(prefix="rock-glacier-") as cache:
        builder = RockGlacierDataset(cache, config_name=config, data_dir=folder)
        for generator in builder._split_generators(datasets.DownloadManager()):
            kwargs = generator.gen_kwargs if checked else {**generator.gen_kwargs, "digests": {}}
            yield from builder._generate_examples(**kwargs)


def _decoded_mask(path: str, png: bytes) -> npt.NDArray[np.bool_]:
    pixels = _decoded(f"{path}: its mask", png)
    rock_glacier = pixels == ROCK_GLACIER
    if not (rock_glacier | (pixels == BACKGROUND)).all():
        raise ArchiveError(f"{path}: its mask has colours other than white and black; see scripts/audit_archives.py")
    return rock_glacier


def _decoded_rgb(path: str, png: bytes) -> npt.NDArray[np.uint8]:
    pixels = _decoded(path, png)
    return np.stack([pixels >> np.uint32(shift) & np.uint32(0xFF) for shift in (0, 8, 16)], axis=-1).astype(np.uint8)


def _decoded(what: str, png: bytes) -> npt.NDArray[np.uint32]:
    try:
        return decoded(png)
    except ValueError as error:
        raise ArchiveError(f"{what} cannot be decoded ({error}); replace the member") from None


def _shape(mask: npt.NDArray[np.bool_]) -> MaskShape:
    border = np.concatenate([mask[0], mask[-1], mask[1:-1, 0], mask[1:-1, -1]])
    return MaskShape(float(mask.mean()), float(border.mean()))
