"""Build archives from tiles and masks: convert, find sites, assign splits, write and audit."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from rock_glacier import output
from rock_glacier.archives import (
    SAMPLE_VERSION,
    archive_name,
    is_sample,
    write_archives,
    write_manifest,
)
from rock_glacier.audit.checks import Audit, check
from rock_glacier.audit.duplicates import find_duplicates
from rock_glacier.build.conversion import convert_sources
from rock_glacier.build.sources import Source, find_sources
from rock_glacier.build.splits import (
    DROPPED,
    Plan,
    check_classes,
    drop_pairs_across,
    plan_random,
    plan_sites,
)
from rock_glacier.faults import InputError, find_errors, raise_faults
from rock_glacier.index import INDEX_NAME, make_index, write_index
from rock_glacier.parallel import Workers
from rock_glacier.sites import find_sites
from rock_glacier.tiles import TileSet
from rock_glacier_dataset import (
    CLASS_NAMES,
    GLACIAR,
    RELEASE_SIZES,
    SPLIT_NAMES,
    Fault,
    RockGlacierDataset,
    mask_path,
    split_of,
)

DROPPED_NAME = "dropped.csv"
"""File that lists the tiles in no split: columns `source`, `label`, `site`, `x` and `y`."""

SHARED_GROUND_CODES = ("overlap-across-splits", "match-across-splits")
"""Codes of faults that `keep` and `random` allow."""

_TILES_PER_TASK = 64  # Few enough to keep all processes busy, and about 3 MB to send back.


@dataclass(frozen=True)
class SplitOptions:
    """How to assign tiles to splits.

    Attributes:
        method: "sites" keeps tiles that share ground in one split, "keep" leaves each tile in the
            split that its folder or archive names, "random" assigns single tiles.
        ratios: Relative numbers of tiles in train, validation and test, each above 0.
        buffer: For "sites": pixels to keep between tiles of two splits of a site.
        seed: Seed of the random numbers, not negative.
    """

    method: str = "sites"
    ratios: Sequence[float] = tuple(RELEASE_SIZES.values())
    buffer: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class Built:
    """What was built.

    Attributes:
        tiles: A row for each source: `source` (its name), `label` (class name), `path` (null if it
            is dropped), `split`, `site`, `block`, `x`, `y`, `orientation`.
        audit: Audit of the archives.
        masks_with_greys: Number of masks whose greys were cut at half.
        dropped_by_audit: Number of tiles that were dropped because of pairs that only the audit of
            the archives found.
    """

    tiles: pd.DataFrame
    audit: Audit
    masks_with_greys: int
    dropped_by_audit: int


def build_archives(
    tiles: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    masks: str | os.PathLike[str] | None = None,
    prefixes: Mapping[str, str] | None = None,
    options: SplitOptions | None = None,
    workers: Workers | None = None,
) -> Built:
    """Build archives with manifest.json and tiles.parquet, and dropped.csv if tiles are dropped.

    The same files, options and seed give the same bytes with the same versions of numpy, Pillow,
    zlib, OpenCV, faiss and pyarrow.

    Args:
        tiles: Folder of tiles, or of archives; see `find_sources`.
        out: Folder to write, new or empty. It is complete, or unchanged if there is an error.
        masks: Folder of masks, if they are not below `tiles`.
        prefixes: Class of the files whose names begin so, and of the folders of this name.
        options: How to assign tiles to splits.
        workers: Processes to use. Default: one for each core.

    Raises:
        ArchiveError: If tiles, masks or archives have a fault.
        InputError: If options do not fit the tiles, or a split would have no tile of a class.
        FileExistsError: If `out` is neither new nor empty.
        OSError: If a folder cannot be read or written.
    """
    options = options or SplitOptions()
    workers = workers or Workers()
    tiles_folder = Path(tiles)
    masks_folder = None if masks is None else Path(masks)
    _check_folders(tiles_folder, Path(out), masks_folder)
    with (
        output.new_folder(out) as folder,
        tempfile.TemporaryDirectory(prefix="rock-glacier-") as scratch,
        _Store(Path(scratch, "converted.zip")) as store,
    ):
        sources = find_sources(tiles_folder, masks_folder, prefixes)
        store.convert(sources, workers)
        plan, places = _plan(store, Path(scratch, "draft"), options, workers)
        built = _write_and_audit(store, folder, plan, places, workers)
        version = str(RockGlacierDataset.VERSION)
        if is_sample(tiles_folder):
            version = SAMPLE_VERSION
        write_manifest(folder, version, built.audit.counts)
        _write_tables(folder, built)
    return built


def _check_folders(tiles: Path, out: Path, masks: Path | None) -> None:
    for folder in (tiles, masks):
        if folder and out.resolve().is_relative_to(folder.resolve()):
            raise InputError(f"{out}: is in {folder}, which is read. Choose a folder outside.")
    if masks and masks.resolve() == tiles.resolve():
        raise InputError(f"{masks}: is the folder of tiles too. Give masks a folder of their own.")


class _Store:
    """Converted tiles and masks in a scratch file; a context manager.

    Attributes:
        sources: The sources of the tiles.
        labels: Number of each tile's class.
        masks_with_greys: Number of masks whose greys were cut at half.
    """

    def __init__(self, file: Path) -> None:
        self.sources: list[Source] = []
        self.labels: list[int] = []
        self.masks_with_greys = 0
        self._zip = zipfile.ZipFile(file, "x")

    def __enter__(self) -> _Store:
        return self

    def __exit__(self, *exception: object) -> None:
        self._zip.close()

    def convert(self, sources: Sequence[Source], workers: Workers) -> None:
        """Convert the tiles and masks of sources.

        Raises:
            ArchiveError: The first fault, after all sources were read.
        """
        self.sources = list(sources)
        self.labels = [CLASS_NAMES.index(source.label) for source in sources]
        faults = []
        tasks = [
            (sources[start : start + _TILES_PER_TASK],)
            for start in range(0, len(sources), _TILES_PER_TASK)
        ]
        results = workers.map(convert_sources, tasks, "Converting tiles")
        for number, result in enumerate(itertools.chain.from_iterable(results)):
            if isinstance(result, Fault):
                faults.append(result)
                continue
            self._zip.writestr(f"tile {number}", result.tile)
            if result.mask is not None:
                self._zip.writestr(f"mask {number}", result.mask)
            self.masks_with_greys += result.has_greys
        raise_faults(faults)

    def write(self, folder: Path, paths: Mapping[int, str]) -> None:
        """Write the archives of all splits.

        Args:
            folder: Folder of the archives.
            paths: Paths of the tiles to write, by number of their source.
        """
        members = {}
        for number, path in paths.items():
            members[path] = f"tile {number}"
            if self.sources[number].label == GLACIAR:
                members[mask_path(path)] = f"mask {number}"
        for split in SPLIT_NAMES:
            tiles = [path for path in paths.values() if split_of(path) == split]
            write_archives(folder, split, tiles, lambda path: self._zip.read(members[path]))


def _plan(
    store: _Store, draft: Path, options: SplitOptions, workers: Workers
) -> tuple[Plan, pd.DataFrame | None]:
    """Assign tiles to splits.

    Returns:
        The plan; and where the tiles are, if that was needed to make it: columns `site`, `x`, `y`
        and `orientation`, a row for each source.
    """
    if options.method == "keep":
        return _keep_splits(store.sources), None
    if options.method == "random":
        return plan_random(store.labels, options.ratios, options.seed), None
    # Archives need splits before their sites are known; these are preliminary.
    draft.mkdir()
    paths = _name_tiles(store.sources, plan_random(store.labels, (1, 1, 1), seed=0))
    store.write(draft, paths)
    with TileSet.read(draft, workers) as tiles:
        raise_faults(find_errors(tiles.faults))
        sites = find_sites(tiles, workers)
        places = _join_duplicates(sites.table, find_duplicates(tiles))
        numbers = _numbers_of(tiles.table["path"], paths)
    shutil.rmtree(draft)
    places = places.set_index(numbers).sort_index()
    pairs = _renumber(sites.pairs, numbers)
    plan = plan_sites(
        places.assign(label=store.labels),
        pairs,
        options.ratios,
        buffer=options.buffer,
        seed=options.seed,
    )
    return plan, places


def _keep_splits(sources: Sequence[Source]) -> Plan:
    for source in sources:
        if source.split is None:
            raise InputError(
                f"{source.name}: no folder names its split. Move it into a folder named "
                f"{', '.join(SPLIT_NAMES)}, or use another --split."
            )
    splits = np.array([SPLIT_NAMES.index(source.split or "") for source in sources])
    for number, split in enumerate(SPLIT_NAMES):
        if number not in splits:
            raise InputError(f"The split {split} has no tiles. Add some, or use another --split.")
    return Plan(splits, np.zeros_like(splits))


def _name_tiles(sources: Sequence[Source], plan: Plan, *, keep: bool = False) -> dict[int, str]:
    """Return the paths of the tiles that are not dropped, by number of their source.

    Ids count from 000 in each split and class, as the curators number them. With `keep`, members of
    archives keep their paths.
    """
    ids: Counter[str] = Counter()
    paths = {}
    for number, (source, split) in enumerate(zip(sources, plan.splits.tolist(), strict=True)):
        if split == DROPPED:
            continue
        folder = f"{SPLIT_NAMES[split]}/{source.label}"
        paths[number] = f"{folder}/{ids[folder]:03d}.png"
        if keep and source.tile.archive_split:
            paths[number] = source.tile.name
        ids[folder] += 1
    return paths


def _numbers_of(tile_paths: Iterable[str], paths: Mapping[int, str]) -> npt.NDArray[np.int64]:
    """Return the number of the source of each tile."""
    numbers = {path: number for number, path in paths.items()}
    return np.array([numbers[path] for path in tile_paths], np.int64)


def _renumber(pairs: pd.DataFrame, numbers: npt.NDArray[np.int64]) -> pd.DataFrame:
    """Return pairs of sources, given pairs of rows."""
    return pairs.assign(a=numbers[pairs["a"]], b=numbers[pairs["b"]])


def _join_duplicates(table: pd.DataFrame, duplicates: pd.DataFrame) -> pd.DataFrame:
    """Put tiles with the same pixels into one site: those of few colours do not overlap.

    Args:
        table: Columns `site`, `x`, `y` and `orientation`.
        duplicates: Columns `a`, `b` and `orientation`; see `find_duplicates`.
    """
    table = table.copy()
    sites = table["site"].to_numpy()
    flat = duplicates[sites[duplicates["a"]] != sites[duplicates["b"]]]
    table.loc[flat["b"], ["site", "x", "y"]] = table.loc[flat["a"], ["site", "x", "y"]].to_numpy()
    # Tile a is alone in its site, so its own orientation is 0.
    table.loc[flat["b"], "orientation"] = flat["orientation"].to_numpy(np.int8)
    table["site"] = pd.factorize(table["site"])[0].astype(np.int32)
    return table


def _write_and_audit(
    store: _Store, folder: Path, plan: Plan, places: pd.DataFrame | None, workers: Workers
) -> Built:
    """Write the archives and audit them.

    The search for matches is approximate: with other tiles it may find other pairs. If a pair is
    in two sites or blocks, a tile is dropped and the archives are written again.
    """
    dropped_by_audit = 0
    while True:
        paths = _name_tiles(store.sources, plan, keep=places is None)
        store.write(folder, paths)
        with TileSet.read(folder, workers) as tiles:
            sites = find_sites(tiles, workers)
            audit = check(tiles, sites)
        numbers = _numbers_of(audit.table["path"], paths)
        if places is None:
            places = audit.table.set_index(numbers).sort_index()
            break
        cleaned = drop_pairs_across(plan, places["site"], _renumber(audit.pairs, numbers))
        if cleaned is plan:
            break
        check_classes(cleaned.splits, store.labels)
        dropped_by_audit += int((cleaned.splits != plan.splits).sum())
        plan = cleaned
        for split in SPLIT_NAMES:
            (folder / archive_name(split)).unlink()
    raise_faults([f for f in find_errors(audit.faults) if f.code not in SHARED_GROUND_CODES])
    table = pd.DataFrame(
        {
            "source": [source.name for source in store.sources],
            "label": [source.label for source in store.sources],
            "split": [None if split == DROPPED else SPLIT_NAMES[split] for split in plan.splits],
            "path": pd.Series(paths).reindex(range(len(store.sources))),
            "block": plan.blocks,
        }
    ).join(places[["site", "x", "y", "orientation"]])
    return Built(table, audit, store.masks_with_greys, dropped_by_audit)


def _write_tables(folder: Path, built: Built) -> None:
    """Write tiles.parquet, and dropped.csv if tiles are dropped."""
    is_dropped = built.tiles["path"].isna()
    mask_shares = built.audit.table[["path", "mask_share"]]
    write_index(
        make_index(built.tiles[~is_dropped].merge(mask_shares, on="path")), folder / INDEX_NAME
    )
    if is_dropped.any():
        dropped = built.tiles.loc[is_dropped, ["source", "label", "site", "x", "y"]]
        dropped.to_csv(folder / DROPPED_NAME, index=False, lineterminator="\n")
