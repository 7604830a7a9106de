"""Build archives: convert the sources, find their grounds, assign these to splits, write and audit the archives."""

from __future__ import annotations

import itertools
import os
import tempfile
import zipfile
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rock_glacier.archives.grounds_file import GroundRow, write_grounds
from rock_glacier.archives.listing import split_of
from rock_glacier.archives.manifest import write_manifest
from rock_glacier.archives.writer import WrittenArchive, archive_name, mask_path, write_archive, write_split
from rock_glacier.audit.checks import Audit, audit
from rock_glacier.audit.findings import ERROR, Code
from rock_glacier.curation.assignment import assign_splits, count_tiles, target_counts
from rock_glacier.curation.conversion import Facts, convert_sources
from rock_glacier.curation.sources import Source, SourceError, fault, find_sources
from rock_glacier.files import new_output_folder
from rock_glacier.grounds.components import number_grounds
from rock_glacier.parallel import Workers
from rock_glacier_dataset import CLASS_NAMES, RELEASE_SIZES, SPLIT_NAMES, ArchiveError, RockGlacierDataset

LEAKS = {
    Code.OVERLAP_ACROSS_SPLITS.code: "pairs of tiles overlap",
    Code.DUPLICATE_PIXELS.code: "tiles repeat others",
}
"""Findings of ground that splits share, and what a finding stands for."""

_PART = 64  # tiles that a worker converts at once


class Built(NamedTuple):
    """Archives that were built.

    Attributes:
        sources: the tiles.
        facts: facts about each tile.
        grounds: number of each tile's ground.
        splits: number of each tile's split.
        target: target number of tiles of each split and class, shape (splits, classes).
        archives: the archives, in the order in which they were written.
        audit: the audit of the archives.
    """

    sources: list[Source]
    facts: list[Facts]
    grounds: list[int]
    splits: list[int]
    target: npt.NDArray[np.float64]
    archives: list[WrittenArchive]
    audit: Audit

    @property
    def labels(self) -> list[int]:
        """Number of each tile's class."""
        return [CLASS_NAMES.index(source.class_name) for source in self.sources]

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """Number of tiles of each split and class, shape (splits, classes)."""
        return count_tiles(self.splits, self.labels)


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
    workers: Workers | None = None,
) -> Built:
    """Build archives with manifest.json and grounds.csv.

    The same files, options and seed give the same bytes with the same versions of numpy, scipy, Pillow and zlib.

    Args:
        tiles: folder of tiles, RGB or RGBA, or of archives; see `find_sources`.
        out: folder to write; it may exist when it is empty. It appears when it is complete, or not at all.
        masks: folder of masks. Without any mask the archives are for `image-classification` alone.
        prefixes: the class of folders of this name, and of files whose names begin so.
        split: "ground" assigns whole grounds, "random" single tiles; "keep" leaves tiles in the splits that their
            folders or archives name.
        ratios: of train, validation and test, each above 0; by default those of the release.
        shards: archives of each split.
        seed: not negative.
        workers: processes to use; by default one for each core of this machine.

    Raises:
        SourceError: a tile or a mask does not fit, or they do not fit one another.
        ArchiveError: the archives that were read or built have a fault.
        ValueError: there are not enough grounds for the splits, or tiles for the shards.
        FileExistsError: `out` exists and is not an empty folder; it stays as it is.
        OSError: a folder cannot be read or written.
    """
    tiles, out, masks = Path(tiles), Path(out), None if masks is None else Path(masks)
    workers = workers or Workers()
    _check_folders(tiles, out, masks)
    sources = find_sources(tiles, masks, prefixes)
    if split == "keep":
        _check_kept_splits(sources)
    labels = [CLASS_NAMES.index(source.class_name) for source in sources]
    ratios = ratios or list(RELEASE_SIZES.values())
    numbered = [f"{SPLIT_NAMES[0]}/{source.class_name}/{number}.png" for number, source in enumerate(sources)]
    with new_output_folder(out) as folder:
        with tempfile.TemporaryDirectory(prefix=".all-tiles-", dir=folder) as temporary:
            everything = Path(temporary) / archive_name(SPLIT_NAMES[0])
            facts = _convert_all(sources, numbered, everything, workers)
            grounds = _find_grounds(numbered, facts, everything.parent, workers)
            if split == "keep":
                splits = [SPLIT_NAMES.index(source.split or "") for source in sources]
            else:
                units = grounds if split == "ground" else range(len(sources))
                splits = assign_splits(units, labels, ratios, seed)
            paths = _final_paths(sources, splits)
            with_masks = any(one.has_mask for one in facts)
            archives = []
            with zipfile.ZipFile(everything) as source:
                for name in SPLIT_NAMES:
                    of_split = {path: old for path, old in zip(paths, numbered, strict=True) if split_of(path) == name}
                    archives += write_split(folder, name, of_split, source, masks=with_masks, shards=shards)
        found = audit(folder, workers)
        _check_audit(found, may_leak=split != "ground")
        version = str(RockGlacierDataset.VERSION)
        record = {"tool": f"build_archives.py {version}", "errors": found.errors, "warnings": found.warnings}
        write_manifest(folder, version=version, splits=found.tiles, archives=archives, audit=record)
        order = sorted(range(len(sources)), key=lambda number: (splits[number], number))
        write_grounds(
            folder, (GroundRow(paths[number], grounds[number], 0, 0, 0, 0, sources[number].name) for number in order)
        )
    return Built(sources, facts, grounds, splits, target_counts(labels, ratios), archives, found)


def _check_folders(tiles: Path, out: Path, masks: Path | None) -> None:
    for folder in filter(None, (tiles, masks)):
        if out.resolve() != folder.resolve() and out.resolve().is_relative_to(folder.resolve()):
            raise fault(out, f"lies in {folder}, which is read", "name a folder outside")
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
    parts = [(sources[start : start + _PART],) for start in range(0, len(sources), _PART)]

    def members() -> Iterator[tuple[str, bytes]]:
        results = itertools.chain.from_iterable(workers.map("Converting tiles", convert_sources, parts))
        for path, result in zip(paths, results, strict=True):
            if isinstance(result, Exception):  # the first of the sources, whichever worker found one first
                raise result
            facts.append(result.facts)
            yield path, result.tile
            if result.mask is not None:
                yield mask_path(path), result.mask

    write_archive(archive, members())
    return facts


def _find_grounds(paths: Sequence[str], facts: Sequence[Facts], folder: Path, workers: Workers) -> list[int]:
    """Number the grounds of the tiles in a folder's archive; tiles that repeat others are of one ground too."""
    found = audit(folder, workers).grounds
    first: dict[Hashable, int] = {}
    pairs = []
    for number, path in enumerate(paths):
        for label in (found[path], facts[number].canonical_hash):
            pairs.append((first.setdefault(label, number), number))
    return number_grounds(len(paths), pairs)


def _final_paths(sources: Sequence[Source], splits: Sequence[int]) -> list[str]:
    """Number the tiles of each split and class from 000, in their order, as the curators number them."""
    given: Counter[tuple[int, str]] = Counter()
    paths = []
    for source, split in zip(sources, splits, strict=True):
        paths.append(f"{SPLIT_NAMES[split]}/{source.class_name}/{given[split, source.class_name]:03d}.png")
        given[split, source.class_name] += 1
    return paths


def _check_audit(found: Audit, *, may_leak: bool) -> None:
    """Raise the first error of the audit, but for shared ground where that may be."""
    for one in found.findings:
        if one.severity == ERROR and not (may_leak and one.code in LEAKS):
            raise ArchiveError(one.message, one.code, one.path)
