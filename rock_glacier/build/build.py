"""Build archives from tiles and masks: convert, find sites, assign splits, write and audit.

All steps work on one table with a row for each source, and add columns to it. A tile is decoded
when it is converted, and once more when the finished archives are audited.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from rock_glacier.audit.checks import SPLIT_CODES, Audit, check
from rock_glacier.audit.duplicates import find_duplicates
from rock_glacier.build.conversion import convert_sources
from rock_glacier.build.sources import Source, find_sources
from rock_glacier.build.splits import assign_random, assign_sites, check_classes, drop_pairs
from rock_glacier.faults import InputError, find_errors, raise_faults
from rock_glacier.index import INDEX_NAME, make_index, write_index
from rock_glacier.parallel import Workers
from rock_glacier.places.footprints import find_footprint_pairs
from rock_glacier.places.locate import locate_tiles
from rock_glacier.sites import Sites, find_sites
from rock_glacier.sites.pairs import add_pairs, make_pairs, sort_ends
from rock_glacier.sites.placement import TOLERANCE, measure_misfits, place_tiles
from rock_glacier.tiles import ArrayFiles, TileSet
from rock_glacier_dataset import (
    GLACIAR,
    RELEASE_SIZES,
    SPLIT_NAMES,
    TILE_SIZE,
    Fault,
    RockGlacierDataset,
    mask_path,
)

DROPPED_NAME = "dropped.csv"
"""File that lists the dropped tiles: columns `source`, `label`, `site`, `x` and `y`."""

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
        outlines: Rock glaciers to locate the tiles with, as `read_outlines` returns them, or None.
    """

    method: str = "sites"
    ratios: Sequence[float] = tuple(RELEASE_SIZES.values())
    buffer: float = 0.0
    seed: int = 0
    outlines: Any = None


@dataclass(frozen=True)
class Built:
    """Result of a build.

    Attributes:
        tiles: A row for each source: `source` (its name), `label` (class name), `split` and `path`
            (null if the tile is dropped), `site`, `block`, `x`, `y` and `orientation`; with
            outlines also the columns of the tile index about locations.
        audit: Audit of the archives.
        masks_with_greys: Number of masks whose greys became white or black.
    """

    tiles: pd.DataFrame
    audit: Audit
    masks_with_greys: int


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
        prefixes: Class by prefix, for files whose names begin with it and folders of this name.
        options: How to assign tiles to splits, and outlines.
        workers: Processes to use. Default: one for each core.

    Raises:
        ArchiveError: If tiles, masks or archives have a fault.
        InputError: If options do not fit the tiles, a split would have no tile of a class, or
            outlines are given but no tile has a mask.
        FileExistsError: If `out` is neither new nor empty.
        OSError: If a folder cannot be read or written.
    """
    options = options or SplitOptions()
    workers = workers or Workers()
    tiles_folder = Path(tiles)
    masks_folder = None if masks is None else Path(masks)
    scratch = tempfile.TemporaryDirectory(prefix="rock-glacier-")
    with output.new_folder(out) as folder, scratch:
        sources = find_sources(tiles_folder, masks_folder, prefixes)
        if options.outlines is not None:
            _check_masks(sources, tiles_folder)
        draft, masks_with_greys = _convert(sources, scratch, workers)
        job = _Job(folder, draft, options, workers)
        if options.method == "sites":
            table, audit = _build_sites(job)
        else:
            table, audit = _build_single(job, sources)
        raise_faults([f for f in find_errors(audit.faults) if f.code not in SPLIT_CODES])
        version = str(RockGlacierDataset.VERSION)
        if is_sample(tiles_folder):
            version = SAMPLE_VERSION
        write_manifest(folder, version, audit.counts)
        _write_dropped(folder, table)
    return Built(table, audit, masks_with_greys)


@dataclass(frozen=True)
class _Job:
    """What all steps need.

    Attributes:
        folder: Folder of the archives.
        draft: The converted tiles, in the order of the sources, in a scratch folder.
        options: How to assign tiles to splits.
        workers: Processes to use.
    """

    folder: Path
    draft: TileSet
    options: SplitOptions
    workers: Workers


def _convert(
    sources: Sequence[Source], scratch: tempfile.TemporaryDirectory[str], workers: Workers
) -> tuple[TileSet, int]:
    """Convert tiles and masks, and write PNG files and arrays to a scratch folder.

    Returns:
        The decoded tiles, and the number of masks whose greys became white or black. The `path` of
        a tile is the name of its source.

    Raises:
        ArchiveError: If a source has a fault. Raised after all sources were read.
    """
    folder = Path(scratch.name)
    files = ArrayFiles(folder / "images", folder / "masks", len(sources))
    tasks = [
        (sources[start : start + _TILES_PER_TASK],)
        for start in range(0, len(sources), _TILES_PER_TASK)
    ]
    results = workers.map(convert_sources, tasks, "Converting tiles")
    faults = []
    mask_shares = []
    masks_with_greys = 0
    with files.images.open("wb") as images, files.masks.open("wb") as masks:
        for row, result in enumerate(itertools.chain.from_iterable(results)):
            if isinstance(result, Fault):
                faults.append(result)
                continue
            _tile_file(folder, row).write_bytes(result.tile)
            if result.mask is not None:
                _mask_file(folder, row).write_bytes(result.mask)
            images.write(result.pixels.tobytes())
            masks.write(result.rock_glacier.tobytes())
            mask_shares.append(result.rock_glacier.mean())
            masks_with_greys += result.has_greys
    raise_faults(faults)
    table = pd.DataFrame(
        {
            "path": pd.array([source.name for source in sources], "string"),
            "label": pd.array([source.label for source in sources], "string"),
            "archive": "",
            "has_mask": [source.label == GLACIAR for source in sources],
            "mask_share": np.array(mask_shares, np.float32),
        }
    )
    return TileSet(folder, table, files, {}, [], scratch), masks_with_greys


def _check_masks(sources: Sequence[Source], tiles: Path) -> None:
    """Check that outlines can locate tiles: at least one has a mask."""
    if all(source.label != GLACIAR for source in sources):
        raise InputError(
            f"{tiles}: no tile has a mask, so outlines cannot locate any. "
            "Add the masks, or run without --outlines."
        )


def _tile_file(pngs: Path, row: int) -> Path:
    return pngs / f"tile-{row}.png"


def _mask_file(pngs: Path, row: int) -> Path:
    return pngs / f"mask-{row}.png"


def _build_single(job: _Job, sources: Sequence[Source]) -> tuple[pd.DataFrame, Audit]:
    """Build archives by the methods "keep" and "random", which assign single tiles.

    Returns:
        `Built.tiles` and the audit.
    """
    tiles = job.draft.table
    splits = pd.array([source.split for source in sources], "string")
    table = tiles.assign(source=tiles["path"], split=splits)
    if job.options.method == "random":
        ratios = job.options.ratios
        table["split"] = assign_random(table["label"], ratios, seed=job.options.seed)
    else:
        _check_splits(table)
    table["path"] = _name_tiles(table)
    if job.options.method == "keep" and sources[0].tile.archive_split:
        table["path"] = [source.tile.name for source in sources]
    _write_archives(job, table)
    audit = _audit(job, job.options.outlines)
    found = audit.table.drop(columns=list(table.columns), errors="ignore")
    table = table.join(found.set_axis(_rows_of(audit.table["path"], table)))
    write_index(make_index(table), job.folder / INDEX_NAME)
    return table, audit


def _check_splits(table: pd.DataFrame) -> None:
    """Check that every tile has a split, and every split a tile."""
    for source in table["source"][table["split"].isna()]:
        raise InputError(
            f"{source}: no folder names its split. Move it into a folder named "
            f"{', '.join(SPLIT_NAMES)}, or use another --split."
        )
    for split in SPLIT_NAMES:
        if split not in set(table["split"]):
            raise InputError(f"The split {split} has no tiles. Add some, or use another --split.")


def _build_sites(job: _Job) -> tuple[pd.DataFrame, Audit]:
    """Build archives by the method "sites", whose splits share no ground.

    The search for matches is approximate. If the audit finds other pairs among the tiles that were
    kept, the sites are joined by these pairs and assigned again.

    Returns:
        `Built.tiles` and the audit.
    """
    sites = find_sites(job.draft, job.workers)
    pairs = _add_duplicates(sites.pairs, find_duplicates(job.draft))
    is_dropped = pd.Series(False, range(len(job.draft)))
    while True:
        table = _assign_sites(job, sites, pairs, is_dropped)
        _write_archives(job, table)
        write_index(make_index(table.dropna(subset="path")), job.folder / INDEX_NAME)
        audit = _audit(job)
        misfits = _find_misfits(audit, table)
        if misfits.empty:
            return table, audit
        keys = pd.MultiIndex.from_frame(pairs[["a", "b"]])
        is_known = pd.MultiIndex.from_frame(misfits[["a", "b"]]).isin(keys)
        if is_known.all():
            # These pairs contradict stronger ones whose tiles were dropped.
            is_dropped |= drop_pairs(table["split"], misfits).isna()
        pairs = pd.concat([pairs, misfits[~is_known]], ignore_index=True)


def _add_duplicates(pairs: pd.DataFrame, duplicates: pd.DataFrame) -> pd.DataFrame:
    """Add tiles with the same pixels: tiles of few colours do not overlap by definition."""
    keys = pd.MultiIndex.from_frame(pairs[["a", "b"]])
    is_known = pd.MultiIndex.from_frame(duplicates[["a", "b"]]).isin(keys)
    new = duplicates[~is_known].assign(dx=0, dy=0, pixels=TILE_SIZE**2)
    return pd.concat([pairs, make_pairs(new, "overlap")], ignore_index=True)


def _assign_sites(
    job: _Job, sites: Sites, pairs: pd.DataFrame, is_dropped: pd.Series
) -> pd.DataFrame:
    """Place and locate tiles by pairs, and assign their sites to splits.

    Args:
        job: The build.
        sites: The sites that were found among all tiles.
        pairs: Their pairs, and others that were found later.
        is_dropped: Whether each tile is dropped in any case.

    Returns:
        `Built.tiles`.
    """
    options = job.options
    tiles = job.draft.table
    placed = place_tiles(len(tiles), pairs).table
    table = pd.concat([tiles, placed, sites.table[["mask_group"]]], axis=1)
    table = table.assign(source=table["path"], block=0)
    if options.outlines is not None:
        table = locate_tiles(job.draft, table, options.outlines, job.workers).table
        pairs = add_pairs(pairs, find_footprint_pairs(table), "footprint")
    table["split"] = assign_sites(
        table, pairs, options.ratios, buffer=options.buffer, seed=options.seed
    )
    table.loc[is_dropped, "split"] = None
    check_classes(table["split"], table["label"])
    table["path"] = _name_tiles(table)
    # The strips of a site are in different splits.
    strips = table.groupby("site")["split"].transform(lambda splits: pd.factorize(splits)[0])
    return table.assign(block=strips)


def _find_misfits(audit: Audit, table: pd.DataFrame) -> pd.DataFrame:
    """Find the pairs of an audit that are in two splits or sites, or that positions contradict.

    Returns:
        Pairs of rows of the table, with the columns of `Sites.pairs`.
    """
    rows = _rows_of(audit.table["path"], table)
    pairs = audit.pairs[audit.pairs["kind"] != "footprint"]
    pairs = sort_ends(pairs.assign(a=rows[pairs["a"]], b=rows[pairs["b"]]))
    placed = table.assign(site=table.groupby(["site", "block"]).ngroup())
    unit = placed["site"].to_numpy()
    is_wrong = pairs["is_used"] & (measure_misfits(placed, pairs) > TOLERANCE)
    is_wrong |= unit[pairs["a"]] != unit[pairs["b"]]
    return pairs[is_wrong].drop(columns=["across", "is_used"])


def _name_tiles(table: pd.DataFrame) -> pd.Series:
    """Return the paths of the tiles in splits: ids count from 000 in each split and class."""
    kept = table[table["split"].notna()]
    ids = kept.groupby(["split", "label"]).cumcount()
    return kept["split"] + "/" + kept["label"] + "/" + ids.map("{:03d}.png".format)


def _rows_of(paths: pd.Series, table: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Return the row of the table for each path."""
    rows = {path: row for row, path in table["path"].items()}
    return paths.map(rows).to_numpy(np.int64)


def _write_archives(job: _Job, table: pd.DataFrame) -> None:
    """Write the archives of all splits, and replace existing ones."""
    files = {}
    for tile in table.dropna(subset="path").itertuples():
        files[tile.path] = _tile_file(job.draft.folder, tile.Index)
        if tile.label == GLACIAR:
            files[mask_path(tile.path)] = _mask_file(job.draft.folder, tile.Index)
    for split in SPLIT_NAMES:
        (job.folder / archive_name(split)).unlink(missing_ok=True)
        paths = table["path"][table["split"] == split]
        write_archives(job.folder, split, paths, lambda path: files[path].read_bytes())


def _audit(job: _Job, outlines: Any = None) -> Audit:
    """Audit the archives and, if it was written, the tile index."""
    with TileSet.read(job.folder, job.workers) as tiles:
        sites = find_sites(tiles, job.workers)
        return check(tiles, sites, outlines=outlines, workers=job.workers)


def _write_dropped(folder: Path, table: pd.DataFrame) -> None:
    """Write dropped.csv if tiles are dropped."""
    dropped = table.loc[table["path"].isna(), ["source", "label", "site", "x", "y"]]
    if len(dropped):
        dropped.to_csv(folder / DROPPED_NAME, index=False, lineterminator="\n")
