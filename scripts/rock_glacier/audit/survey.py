"""What a folder of archives holds: how many tiles of which class, and how much of its tile each mask covers."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rock_glacier.archives.listing import ListedMember, Listing, decode_member, open_members, split_of
from rock_glacier.archives.manifest import SAMPLE_VERSION
from rock_glacier.masks import mask_to_class_indices
from rock_glacier_dataset import GLACIAR, MASKS, SPLIT_NAMES, TILE_SIZE, ArchiveError, TileArchive


class MaskShape(NamedTuple):
    """How a mask lies on its tile.

    Attributes:
        coverage: share of the tile's pixels that are rock glacier, in [0, 1].
        border: share of the pixels along the tile's border that are, in [0, 1].
    """

    coverage: float
    border: float


class PicturedTile(NamedTuple):
    """A tile to be shown.

    Attributes:
        path: its path.
        rgb: uint8 array of shape (128, 128, 3).
        mask: bool array of shape (128, 128), True on a rock glacier; None where the archives hold no masks.
    """

    path: str
    rgb: npt.NDArray[np.uint8]
    mask: npt.NDArray[np.bool_] | None


@dataclass(frozen=True)
class Survey:
    """What a folder of archives holds.

    Attributes:
        listing: the archives and their members.
        shapes: shape of the mask of each glaciar tile that has one, by the tile's path.
    """

    listing: Listing
    shapes: dict[str, MaskShape]

    @property
    def paths(self) -> list[str]:
        """Path of each tile, in the order in which they stand."""
        return [tile.path for tile in self.listing.tiles]

    @property
    def has_masks(self) -> bool:
        """Whether any archive holds a mask."""
        return bool(self.listing.masks)

    @property
    def is_synthetic(self) -> bool:
        """Whether the manifest is that of a sample."""
        return self.listing.manifest.get("version") == SAMPLE_VERSION

    def counts(self) -> dict[str, dict[str, int]]:
        """Return the number of tiles in each split and class."""
        return self.listing.counts()

    def coverages(self) -> dict[str, npt.NDArray[np.float64]]:
        """Return the mask coverages of the glaciar tiles of each split, values in [0, 1]."""
        of_splits: dict[str | None, list[float]] = {split: [] for split in SPLIT_NAMES}
        for path, shape in self.shapes.items():
            of_splits[split_of(path)].append(shape.coverage)
        return {split: np.array(of_splits[split]) for split in SPLIT_NAMES}


def read_tiles(surveyed: Survey, paths: Collection[str]) -> dict[str, PicturedTile]:
    """Read and decode tiles, with their masks where there are any.

    Args:
        surveyed: the folder of archives.
        paths: the tiles' paths.

    Returns:
        the tiles, by path.

    Raises:
        ArchiveError: there is no such tile, or it or its mask is damaged.
    """
    wanted = set(paths)
    tiles = [tile for tile in surveyed.listing.tiles if tile.path in wanted]
    if missing := wanted - {tile.path for tile in tiles}:
        path = min(missing)
        raise ArchiveError(f"{path}: not in {surveyed.listing.folder}; name a tile that is there", path=path)
    found = {}
    for archive, tile in open_members(tiles):
        mask = np.zeros((TILE_SIZE, TILE_SIZE), np.bool_) if surveyed.has_masks else None
        if mask is not None and (MASKS, tile.member_id) in archive.members and tile.folder == GLACIAR:
            mask = _read_mask(archive, tile._replace(folder=MASKS, path=archive.path_of(MASKS, tile.member_id)))
        found[tile.path] = PicturedTile(tile.path, decode_member(archive, tile)[..., :3], mask)
    return found


def _read_mask(archive: TileArchive, mask: ListedMember) -> npt.NDArray[np.bool_]:
    try:
        return mask_to_class_indices(decode_member(archive, mask)).astype(np.bool_)
    except ArchiveError:
        raise
    except ValueError as error:
        remedy = "save it without antialiasing, in the two colours"
        raise archive.fault(str(error), remedy, "mask-values", mask.path) from None


def mask_shape(mask: npt.NDArray[np.bool_]) -> MaskShape:
    """Measure a mask.

    Args:
        mask: bool array of shape (128, 128), True on a rock glacier.
    """
    border = np.concatenate([mask[0], mask[-1], mask[1:-1, 0], mask[1:-1, -1]])
    return MaskShape(float(mask.mean()), float(border.mean()))
