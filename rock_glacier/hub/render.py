"""Choose the tiles that the card's pictures show, and draw and write the pictures."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np

from rock_glacier.archives.listing import Listing, decode_member, open_members, split_of, tile_path
from rock_glacier.archives.manifest import is_sample
from rock_glacier.audit.checks import Audit
from rock_glacier.audit.findings import ERROR, SHARED_GROUND
from rock_glacier.audit.mosaics import draw_grounds
from rock_glacier.audit.parts import MaskShape
from rock_glacier.figures.pictures import (
    MOSAIC_SHAPE,
    Picture,
    PicturedTile,
    draw_grounds_side_by_side,
    draw_overlap,
    draw_portrait,
    draw_splits,
    draw_tile_and_mask,
    encode,
    mark_as_synthetic,
)
from rock_glacier.files import write_file
from rock_glacier.publication.picture_record import (
    GROUND,
    OVERLAP,
    PORTRAIT,
    RECORD_NAME,
    SPLITS,
    TILE_AND_MASK,
    PictureRecord,
    PictureText,
    write_record,
)
from rock_glacier.style import STYLE
from rock_glacier_dataset import CLASS_NAMES, MASKS, ROCK_GLACIER_COLOUR, TILE_SIZE, ArchiveError

_HARMLESS = {*SHARED_GROUND, "mask-empty"}  # for pictures
_BEST_COVERAGE = 0.25  # of a mask to show: enough to see, with enough of the mountain around it
_SHORTLIST = 8  # tiles, or pairs of tiles, of which the one with the most contrast is shown

WITHOUT = {
    TILE_AND_MASK: "no mask shows a rock glacier",
    OVERLAP: "no two tiles of two splits overlap",
    GROUND: "no two tiles show the same ground",
}
"""What archives are like of which a picture is not drawn."""


@matplotlib.style.context(STYLE, after_reset=True)
def draw_pictures(audited: Audit, *, seed: int = 0) -> dict[str, Picture]:
    """Draw the pictures of the card.

    Args:
        audited: the audit of the archives.
        seed: seed of the choice of the portrait's tiles.

    Returns:
        the pictures by file name, in the order of `PICTURES`; those of `WITHOUT` as far as there is what they show.

    Raises:
        ArchiveError: the archives have a fault other than shared ground or an empty mask, or grounds.csv does not fit.
    """
    for finding in audited.findings:
        if finding.severity == ERROR and finding.code not in _HARMLESS:
            raise ArchiveError(finding.message, finding.code, finding.path)
    portrait = {name: choose_tiles(audited, name, seed) for name in CLASS_NAMES}
    masked, pairs = clear_masks(audited.shapes), clear_overlaps(audited.overlaps)
    shown = [*masked, *itertools.chain(*portrait.values()), *(pair[side] for pair in pairs for side in "ab")]
    tiles = read_tiles(audited.listing, shown)

    def contrast(*paths: str) -> float:
        return min(float(tiles[path].rgb.std()) for path in paths)

    drawn = {PORTRAIT: draw_portrait({name: [tiles[path] for path in paths] for name, paths in portrait.items()})}
    if masked:
        drawn[TILE_AND_MASK] = draw_tile_and_mask(tiles[max(masked, key=contrast)])
    drawn[SPLITS] = draw_splits(audited.tiles, audited.coverages())
    if pairs:
        pair = max(pairs, key=lambda pair: contrast(pair["a"], pair["b"]))
        drawn[OVERLAP] = draw_overlap(pair, tiles[pair["a"]], tiles[pair["b"]])
    if mosaics := draw_grounds(audited, 2):
        drawn[GROUND] = draw_grounds_side_by_side(mosaics)
    if is_sample(audited.listing.folder):
        drawn = {name: mark_as_synthetic(picture) for name, picture in drawn.items()}
    return drawn


def read_tiles(listing: Listing, paths: Collection[str]) -> dict[str, PicturedTile]:
    """Read and decode tiles and their masks, by path; a tile without a mask gets one without rock glacier.

    Raises:
        ArchiveError: a tile or a mask is damaged.
    """
    rgb, masks = {}, {}
    wanted = set(paths)
    members = (member for member in (*listing.tiles, *listing.masks) if tile_path(member) in wanted)
    for archive, member in open_members(members):
        pixels = decode_member(archive, member.folder, member.member_id)
        if member.folder == MASKS:
            masks[tile_path(member)] = (pixels == ROCK_GLACIER_COLOUR).all(-1)
        else:
            rgb[member.path] = pixels[..., :3]
    no_mask = np.zeros((TILE_SIZE, TILE_SIZE), np.bool_)
    return {path: PicturedTile(path, rgb[path], masks.get(path, no_mask)) for path in paths}


def choose_tiles(audited: Audit, class_name: str, seed: int = 0) -> list[str]:
    """Choose tiles of a class at random for the portrait; no ground is shown twice while there is another.

    Args:
        audited: the audit of the archives.
        class_name: name of the class.
        seed: seed of the random choice.

    Returns:
        paths of the tiles. Tiles with an empty mask are left out.
    """
    candidates = [path for path in audited.grounds if path.split("/")[1] == class_name]
    candidates = [path for path in candidates if path not in audited.shapes or audited.shapes[path].coverage]
    shuffled = [candidates[place] for place in np.random.default_rng(seed).permutation(len(candidates))]
    first = {audited.grounds[path]: path for path in reversed(shuffled)}
    shuffled.sort(key=lambda path: first[audited.grounds[path]] != path)
    return shuffled[: MOSAIC_SHAPE[0] * MOSAIC_SHAPE[1]]


def clear_masks(shapes: Mapping[str, MaskShape]) -> list[str]:
    """Return the tiles with the clearest masks, the best first: of medium size, and away from the tile's border.

    Example:
        >>> clear_masks({"a": MaskShape(0.9, 0.8), "b": MaskShape(0.3, 0.0), "c": MaskShape(0.0, 0.0)})
        ['b', 'a']
    """
    covered = [path for path, shape in shapes.items() if shape.coverage > 0]
    return sorted(covered, key=lambda path: abs(shapes[path].coverage - _BEST_COVERAGE) + shapes[path].border)[
        :_SHORTLIST
    ]


def clear_overlaps(overlaps: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the clearest overlaps, the best first.

    Args:
        overlaps: of the audit: a, b, turn, dx, dy, pixels.

    Returns:
        overlaps of two splits, without a turn and shifted both ways if there are any, the nearest to half a tile first.
    """

    def dull(pair: Mapping[str, Any]) -> tuple[bool, bool]:
        return pair["turn"] > 0, not (pair["dx"] and pair["dy"])

    def rank(pair: Mapping[str, Any]) -> tuple[Any, ...]:
        return dull(pair), abs(pair["pixels"] / TILE_SIZE**2 - 0.5), pair["a"], pair["b"]

    pairs = sorted((pair for pair in overlaps if split_of(pair["a"]) != split_of(pair["b"])), key=rank)
    return [pair for pair in pairs if dull(pair) == dull(pairs[0])][:_SHORTLIST]


def write_pictures(audited: Audit, pictures: Mapping[str, Picture], out: Path) -> dict[str, int]:
    """Write pictures and their record into a folder, and remove those of an earlier run that were left out.

    Args:
        audited: the audit of the archives that they show.
        pictures: the pictures by file name.
        out: the folder; it is made if it does not exist, and other files in it stay.

    Returns:
        bytes of each picture's file, by file name.

    Raises:
        OSError: the folder or a file cannot be written.
    """
    files = {name: encode(picture.figure, name) for name, picture in pictures.items()}
    out.mkdir(parents=True, exist_ok=True)
    (out / RECORD_NAME).unlink(missing_ok=True)  # of other pictures
    for name, content in files.items():
        write_file(out / name, content)
    for name in WITHOUT.keys() - files.keys():
        (out / name).unlink(missing_ok=True)
    texts = {name: PictureText(picture.alt, picture.caption) for name, picture in pictures.items()}
    write_record(out, PictureRecord(is_sample(audited.listing.folder), audited.tiles, texts))
    return {name: len(content) for name, content in files.items()}
