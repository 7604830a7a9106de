"""The rows of both configs, made from archives: what is staged as Parquet and what the Hub has to give."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from rock_glacier.archives.listing import ListedMember, Listing
from rock_glacier.archives.writer import plan_shards
from rock_glacier_dataset import CLASS_NAMES, CONFIG_NAMES, EMPTY_MASK, GLACIAR, MASKS


def plan_rows(listing: Listing, split: str) -> list[list[ListedMember]]:
    """Put a split's tiles in the order of the SHA-256 of their paths, in as many parts as it has archives."""
    tiles = {tile.path: tile for tile in listing.tiles if tile.archive.split == split}
    shards = len({tile.archive for tile in tiles.values()})
    return [[tiles[path] for path in part] for part in plan_shards(tiles, masks=False, shards=shards)]


def read_rows(tiles: Sequence[ListedMember], config: str) -> Iterator[dict[str, Any]]:
    """Yield the row of each tile, with images and masks as the bytes of the archives.

    Raises:
        ArchiveError: a member is damaged.
    """
    with contextlib.ExitStack() as stack:
        opened = {listed: stack.enter_context(listed.open()) for listed in {tile.archive for tile in tiles}}
        for tile in tiles:
            archive = opened[tile.archive]
            row: dict[str, Any] = {"image": archive.read(tile.folder, tile.member_id), "path": tile.path}
            if config == CONFIG_NAMES[0]:
                row["labels"] = CLASS_NAMES.index(tile.folder)
            else:
                row["masks"] = archive.read(MASKS, tile.member_id) if tile.folder == GLACIAR else EMPTY_MASK
            yield row
