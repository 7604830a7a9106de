"""Compare grounds.csv with the grounds that the audit found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rock_glacier.archives.grounds_file import GROUNDS_NAME, GroundRow, read_grounds
from rock_glacier.archives.listing import Listing
from rock_glacier.audit.findings import ERROR, WARNING, Code, Finding, finding_of
from rock_glacier.console import count
from rock_glacier.grounds.pairs import Overlap, SameGround
from rock_glacier_dataset import ArchiveError


def check_grounds_file(
    listing: Listing, pairs: Sequence[Overlap | SameGround]
) -> tuple[dict[str, GroundRow], list[Finding]]:
    """Read the grounds.csv of a folder of archives, and compare it with the pairs of tiles that share ground.

    Args:
        listing: the archives.
        pairs: the pairs that were found, by the numbers of their tiles.

    Returns:
        its rows by path, empty where there is none, or none that can be read and is of these tiles; and its faults.
    """
    try:
        rows = read_grounds(f"{listing.folder}/{GROUNDS_NAME}", [tile.path for tile in listing.tiles])
    except FileNotFoundError:  # it is optional
        return {}, []
    except ArchiveError as fault:
        message = str(fault).removeprefix(f"{listing.folder}/")
        return {}, [finding_of(ArchiveError(message, Code.MANIFEST_MISMATCH.code, GROUNDS_NAME))]
    return rows, [*_contradictions(pairs, [rows[tile.path] for tile in listing.tiles])]


def _contradictions(pairs: Iterable[Overlap | SameGround], rows: Sequence[GroundRow]) -> Iterator[Finding]:
    apart: dict[str, list[Overlap | SameGround]] = {"grounds": [], "blocks of one ground": []}
    for pair in pairs:
        a, b = rows[pair.a], rows[pair.b]
        if a.ground != b.ground:
            apart["grounds"].append(pair)
        elif a.block != b.block:
            apart["blocks of one ground"].append(pair)
    for of_what, several in apart.items():
        if several:
            # Overlaps are certain; the same ground on another date is only likely.
            severity = ERROR if any(isinstance(pair, Overlap) for pair in several) else WARNING
            first = " and ".join(rows[tile].path for tile in several[0][:2])
            what = f"has {count(len(several), 'pair')} of tiles that share ground in two {of_what}, the first {first}"
            message = f"{GROUNDS_NAME}: {what}; build the archives again"
            yield Finding(Code.MANIFEST_MISMATCH.code, severity, GROUNDS_NAME, message)
