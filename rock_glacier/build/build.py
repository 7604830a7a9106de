"""Build archives: convert the sources, find their grounds, assign these to splits, write and audit the archives.

The search for the same ground is approximate: which pairs it finds depends on the other tiles too. Where the audit of
the archives finds pairs across splits, blocks or grounds that the search before it missed, the tiles are assigned anew,
with these pairs.
"""

from __future__ import annotations

import csv
import itertools
import os
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rock_glacier.archives.grounds_file import GroundRow, write_grounds
from rock_glacier.archives.listing import split_of
from rock_glacier.archives.manifest import REPLACEABLE, write_manifest
from rock_glacier.archives.writer import WrittenArchive, archive_name, mask_path, write_archive, write_split
from rock_glacier.audit.checks import Audit, audit
from rock_glacier.audit.findings import ERROR, SHARED_GROUND
from rock_glacier.console import count
from rock_glacier.curation.assignment import assign_splits, count_tiles, target_counts
from rock_glacier.curation.blocks import MARGIN, Assigned, assign_blocks
from rock_glacier.curation.conversion import Facts, convert_sources
from rock_glacier.curation.sources import Source, SourceError, fault, find_sources, raise_faults
from rock_glacier.files import new_output_folder
from rock_glacier.grounds.components import number_grounds
from rock_glacier.grounds.pairs import Overlap, SameGround
from rock_glacier.grounds.positions import Positions, place_tiles
from rock_glacier.parallel import Workers
from rock_glacier_dataset import CLASS_NAMES, RELEASE_SIZES, SPLIT_NAMES, TILE_SIZE, ArchiveError, RockGlacierDataset

DROPPED_NAME = "dropped.csv"
"""Names the tiles that are in no split: columns source, class, ground, x, y."""

_PART = 64  # tiles that a worker converts at once
_ROUNDS = 3  # of assigning and auditing

_Link = Overlap | SameGround


class Built(NamedTuple):
    """Archives that were built.

    Attributes:
        sources: the tiles.
        facts: facts about each tile.
        positions: ground and place of each tile.
        assigned: split and block of each tile.
        target: target number of tiles of each split and class, of those that are kept, shape (splits, classes).
        archives: the archives, in the order in which they were written.
        audit: the audit of the archives.
    """

    sources: list[Source]
    facts: list[Facts]
    positions: Positions
    assigned: Assigned
    target: npt.NDArray[np.float64]
    archives: list[WrittenArchive]
    audit: Audit

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """Number of tiles of each split and class, shape (splits, classes)."""
        return count_tiles(*_kept(self.assigned, _labels(self.sources)))


def build_archives(
    tiles: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    masks: str | os.PathLike[str] | None = None,
    prefixes: Mapping[str, str] | None = None,
    split: str = "ground",
    ratios: Sequence[float] | None = None,
    shards: int = 1,
    seed: int = 0,
    overwrite: bool = False,
    workers: Workers | None = None,
) -> Built:
    """Build archives with manifest.json and grounds.csv; and dropped.csv, where tiles are left out.

    The same files, options and seed give the same bytes with the same versions of numpy, scipy, Pillow, zlib, OpenCV
    and faiss.

    Args:
        tiles: folder of tiles, RGB or RGBA, or of archives; see `find_sources`.
        out: folder to write; it may exist when it is empty. It appears when it is complete, or not at all.
        masks: folder of masks. Without any mask the archives are for `image-classification` alone.
        prefixes: the class of folders of this name, and of files whose names begin so.
        split: "ground" assigns grounds, whole or in blocks, and leaves out tiles between blocks; "random" assigns
            single tiles; "keep" leaves tiles in the splits that their folders or archives name.
        ratios: of train, validation and test, each above 0; by default those of the release.
        shards: archives of each split.
        seed: not negative.
        overwrite: whether to replace `out` where it holds archives and what belongs to them, and nothing else.
        workers: processes to use; by default one for each core of this machine.

    Raises:
        SourceError: a tile or a mask does not fit, or they do not fit one another.
        ArchiveError: the archives that were read or built have a fault.
        ValueError: there are not enough grounds for the splits, or tiles for the shards, or no assignment was found
            by which splits share no ground.
        FileExistsError: `out` exists, and is neither empty nor to be replaced; it stays as it is.
        OSError: a folder cannot be read or written.
    """
    tiles, out, masks = Path(tiles), Path(out), None if masks is None else Path(masks)
    workers = workers or Workers()
    _check_folders(tiles, out, masks)
    sources = find_sources(tiles, masks, prefixes)
    if split == "keep":
        _check_kept_splits(sources)
    ratios = ratios or list(RELEASE_SIZES.values())
    numbered = [f"{SPLIT_NAMES[0]}/{source.class_name}/{number}.png" for number, source in enumerate(sources)]
    with new_output_folder(out, REPLACEABLE if overwrite else ()) as folder:
        with tempfile.TemporaryDirectory(prefix=".all-tiles-", dir=folder) as temporary:
            everything = Path(temporary) / archive_name(SPLIT_NAMES[0])
            facts = _convert_all(sources, numbered, everything, workers)
            links = _links(audit(temporary, workers), {path: number for number, path in enumerate(numbered)})
            links += _links_of_flat_tiles(facts, links)
            with_masks = any(one.has_mask for one in facts)
            for left in reversed(range(_ROUNDS)):
                positions, assigned = _assign(split, sources, links, ratios, seed)
                paths = _final_paths(sources, assigned.splits.tolist())
                archives = []
                with zipfile.ZipFile(everything) as source:
                    for name in SPLIT_NAMES:
                        members = {path: numbered[tile] for path, tile in paths.items() if split_of(path) == name}
                        archives += write_split(folder, name, members, source, masks=with_masks, shards=shards)
                found = audit(folder, workers)
                places = np.column_stack([positions.ground, assigned.blocks])
                missed = [one for one in _links(found, paths) if (places[one.a] != places[one.b]).any()]
                across = [one for one in missed if assigned.splits[one.a] != assigned.splits[one.b]]
                if not missed or not (left or (across and split == "ground")):
                    break
                links += missed
                for archive in archives:
                    (folder / archive.name).unlink()
            else:
                a, b = (sources[tile].name for tile in across[0][:2])
                what = f"after {_ROUNDS} assignments, splits share ground in {count(len(across), 'pair')} of tiles"
                raise ValueError(f"{what}; remove a tile of each, such as {a} or {b}")
        _check_audit(found, may_leak=split != "ground")
        version = str(RockGlacierDataset.VERSION)
        record = {"tool": f"build_archives.py {version}", "errors": found.errors, "warnings": found.warnings}
        write_manifest(folder, version=version, splits=found.tiles, archives=archives, audit=record)
        _write_places(folder, sources, paths, positions, assigned)
    target = target_counts(_kept(assigned, _labels(sources))[1], ratios)
    return Built(sources, facts, positions, assigned, target, archives, found)


def _labels(sources: Iterable[Source]) -> list[int]:
    return [CLASS_NAMES.index(source.class_name) for source in sources]


def _kept(assigned: Assigned, labels: Sequence[int]) -> tuple[list[int], list[int]]:
    """Return the splits and labels of the tiles that are not left out."""
    kept = assigned.splits >= 0
    return assigned.splits[kept].tolist(), np.array(labels)[kept].tolist()


def _check_folders(tiles: Path, out: Path, masks: Path | None) -> None:
    for folder in filter(None, (tiles, masks)):
        if folder.is_dir() and out.resolve().is_relative_to(folder.resolve()):
            raise fault(out, f"is or lies in {folder}, which is read", "name a folder outside")
    if masks is not None and masks.resolve() == tiles.resolve():
        raise fault(masks, "is the folder of tiles too", "put the masks into a folder of their own")


def _check_kept_splits(sources: Sequence[Source]) -> None:
    for source in sources:
        if source.split is None:
            remedy = f"put it into {', '.join(SPLIT_NAMES)}, or leave out --split keep"
            raise SourceError(f"{source.name}: no folder names its split; {remedy}")
    for split in SPLIT_NAMES:
        if all(source.split != split for source in sources):
            raise SourceError(f"{split}: has no tiles; add a folder of this name, or leave out --split keep")


def _convert_all(sources: Sequence[Source], paths: Sequence[str], archive: Path, workers: Workers) -> list[Facts]:
    """Write all tiles and masks, converted, into one archive under these paths."""
    facts: list[Facts] = []
    faults: list[SourceError | ArchiveError] = []
    parts = [(sources[start : start + _PART],) for start in range(0, len(sources), _PART)]

    def members() -> Iterator[tuple[str, bytes]]:
        results = itertools.chain.from_iterable(workers.map("Converting tiles", convert_sources, parts))
        for path, result in zip(paths, results, strict=True):
            if isinstance(result, Exception):
                faults.append(result)
                continue
            facts.append(result.facts)
            yield path, result.tile
            if result.mask is not None:
                yield mask_path(path), result.mask

    write_archive(archive, members())
    raise_faults(faults)
    return facts


def _links(found: Audit, numbers: Mapping[str, int]) -> list[_Link]:
    """Return the pairs of an audit by the numbers of their sources, which are given by the tiles' paths."""

    def numbered(row: dict[str, Any]) -> dict[str, Any]:
        return {**row, "a": numbers[row["a"]], "b": numbers[row["b"]]}

    overlaps = (Overlap(**numbered(row)) for row in found.overlaps)
    return [*overlaps, *(SameGround(**numbered(row)) for row in found.same_ground or [])]


def _links_of_flat_tiles(facts: Sequence[Facts], links: Sequence[_Link]) -> Iterator[Overlap]:
    """Yield the pairs of equal tiles that have too few colours to overlap."""
    known = {one[:2] for one in links}
    first: dict[bytes, int] = {}
    for number, one in enumerate(facts):
        earlier = first.setdefault(one.canonical_hash, number)
        if earlier != number and (earlier, number) not in known:
            yield Overlap(earlier, number, 0, 0, 0, TILE_SIZE**2)


def _assign(
    split: str, sources: Sequence[Source], links: Sequence[_Link], ratios: Sequence[float], seed: int
) -> tuple[Positions, Assigned]:
    """Place the tiles by their links, and assign them to splits so that no link is between two splits or blocks."""
    tiles, labels = len(sources), _labels(sources)
    overlaps = [one for one in links if isinstance(one, Overlap)]
    positions = place_tiles(tiles, overlaps, [one for one in links if isinstance(one, SameGround)])
    if split != "ground":
        kept = [SPLIT_NAMES.index(source.split or "") for source in sources] if split == "keep" else None
        splits = np.array(kept or assign_splits(range(tiles), labels, ratios, seed))
        return positions, Assigned(splits, np.zeros_like(splits), [])
    # Places are exact in grounds that overlaps alone connect, without a second part of another date.
    _, first = np.unique(number_grounds(tiles, (one[:2] for one in overlaps)), return_index=True)
    parts = np.bincount(positions.ground[first])
    margin = np.where(parts[positions.ground] > 1, MARGIN, 0)
    ground, linked = positions.ground.tolist(), [one[:2] for one in links]
    return positions, assign_blocks(ground, positions.x, positions.y, labels, ratios, seed, margin, linked)


def _final_paths(sources: Sequence[Source], splits: Sequence[int]) -> dict[str, int]:
    """Number the tiles of each split and class from 000, in their order, as the curators number them.

    Returns:
        the number of each tile that is kept, by its path.
    """
    given: Counter[tuple[int, str]] = Counter()
    paths = {}
    for number, (source, split) in enumerate(zip(sources, splits, strict=True)):
        if split >= 0:
            paths[f"{SPLIT_NAMES[split]}/{source.class_name}/{given[split, source.class_name]:03d}.png"] = number
            given[split, source.class_name] += 1
    return paths


def _write_places(
    folder: Path, sources: Sequence[Source], paths: Mapping[str, int], positions: Positions, assigned: Assigned
) -> None:
    """Write grounds.csv, and dropped.csv where tiles are left out."""
    ground, turn, x, y = (column.tolist() for column in positions[:4])
    splits, blocks = assigned.splits.tolist(), assigned.blocks.tolist()
    in_order = sorted(paths.items(), key=lambda one: (splits[one[1]], one[1]))
    write_grounds(
        folder, (GroundRow(path, ground[n], blocks[n], x[n], y[n], turn[n], sources[n].name) for path, n in in_order)
    )
    dropped = [n for n, split in enumerate(splits) if split < 0]
    if dropped:
        with (folder / DROPPED_NAME).open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["source", "class", "ground", "x", "y"])
            writer.writerows([sources[n].name, sources[n].class_name, ground[n], x[n], y[n]] for n in dropped)


def _check_audit(found: Audit, *, may_leak: bool) -> None:
    """Raise the errors of the audit, but for shared ground where that may be."""
    errors = (one for one in found.findings if one.severity == ERROR and not (may_leak and one.code in SHARED_GROUND))
    raise_faults([ArchiveError(one.message, one.code, one.path) for one in errors])
