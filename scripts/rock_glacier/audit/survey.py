"""What a folder of archives holds: how many tiles of which class, and how much of its tile each mask covers."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rock_glacier.archives.listing import Listing, decode_member, open_members, split_of
from rock_glacier.archives.manifest import SAMPLE_VERSION
from rock_glacier_dataset import GLACIAR, MASKS, ROCK_GLACIER_COLOUR, SPLIT_NAMES, TILE_SIZE, ArchiveError


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
    """What a folder of archives holds: its listing, and the shapes of the masks by the paths of their tiles."""

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
        return {
            split: np.array([shape.coverage for path, shape in self.shapes.items() if split_of(path) == split])
            for split in SPLIT_NAMES
        }


def read_tiles(surveyed: Survey, paths: Collection[str]) -> dict[str, PicturedTile]:
    """Read and decode tiles, with their masks where there are any, by path.

    Raises:
        ArchiveError: there is no such tile, or it or its mask is damaged.
    """
    wanted = set(paths)
    tiles = [tile for tile in surveyed.listing.tiles if tile.path in wanted]
    for path in sorted(wanted - {tile.path for tile in tiles}):
        raise ArchiveError(f"{path}: not in {surveyed.listing.folder}; name a tile that is there", path=path)
    found = {}
    for archive, tile in open_members(tiles):
        mask = np.zeros((TILE_SIZE, TILE_SIZE), np.bool_) if surveyed.has_masks else None
        if tile.folder == GLACIAR and (MASKS, tile.member_id) in archive.members:
            mask = (decode_member(archive, MASKS, tile.member_id) == ROCK_GLACIER_COLOUR).all(-1)
        rgb = decode_member(archive, tile.folder, tile.member_id)[..., :3]
        found[tile.path] = PicturedTile(tile.path, rgb, mask)
    return found
