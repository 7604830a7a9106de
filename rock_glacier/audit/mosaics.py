"""The largest grounds of a folder of archives, each drawn as a mosaic of its tiles."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image
from tqdm import tqdm

from rock_glacier.archives.grounds_file import GroundRow
from rock_glacier.archives.listing import ListedMember, decode_member, open_members
from rock_glacier.audit.checks import Audit
from rock_glacier.grounds.mosaic import draw_mosaic
from rock_glacier_dataset import TILE_SIZE, ArchiveError


class Mosaic(NamedTuple):
    """A ground, drawn.

    Attributes:
        paths: its tiles' paths.
        blocks: number of its blocks.
        image: its tiles where they lie, with its blocks in colour where there are several.
    """

    paths: list[str]
    blocks: int
    image: Image.Image

    @property
    def tiles(self) -> int:
        """Number of its tiles."""
        return len(self.paths)


def draw_grounds(found: Audit, most: int) -> list[Mosaic]:
    """Draw the grounds with most tiles, the largest first; those of one tile are left out.

    Grounds, blocks and places are those of the folder's grounds.csv. Where that is missing or damaged, they are those
    of the audit, which knows no blocks.

    Args:
        found: the audit.
        most: number of grounds at most.
    """
    grounds = defaultdict(list)
    for tile, row in zip(found.listing.tiles, _rows(found), strict=True):
        grounds[row.ground].append((tile, row))
    largest = sorted((ground for ground in grounds.values() if len(ground) > 1), key=len, reverse=True)[:most]
    mosaics = []
    for ground in largest:
        tiles, rows = zip(*ground, strict=True)
        _, _, blocks, x, y, turns, _ = zip(*rows, strict=True)
        shown = tqdm(_decoded(tiles), "Drawing a ground", len(tiles), unit=" tiles", disable=None)
        image = draw_mosaic(shown, turns, x, y, blocks)
        mosaics.append(Mosaic([tile.path for tile in tiles], len(set(blocks)), image))
    return mosaics


def _rows(found: Audit) -> list[GroundRow]:
    """Return the rows of grounds.csv, or what the audit found in this form, in the order of the tiles."""
    paths = [tile.path for tile in found.listing.tiles]
    if found.rows:
        return [found.rows[path] for path in paths]
    ground, turn, x, y, _ = found.positions
    places = zip(paths, *(column.tolist() for column in (ground, x, y, turn)), strict=True)
    return [GroundRow(path, ground, 0, x, y, turn, "") for path, ground, x, y, turn in places]


def _decoded(tiles: Iterable[ListedMember]) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield the pixels of tiles; one that cannot be decoded is grey."""
    for archive, tile in open_members(tiles):
        try:
            yield decode_member(archive, tile.folder, tile.member_id)
        except ArchiveError:
            yield np.full((TILE_SIZE, TILE_SIZE, 4), 128, np.uint8)
