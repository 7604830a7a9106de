"""Build archives from tiles and masks: convert, find sites, assign splits, write and audit.

All steps work on one table with a row for each source, and add columns to it.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Mapping, Sequence
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
    assign_random,
    assign_sites,
    check_classes,
    drop_pairs_across,
)
from rock_glacier.faults import InputError, find_errors, raise_faults
from rock_glacier.index import INDEX_NAME, make_index, write_index
from rock_glacier.parallel import Workers
from rock_glacier.sites import find_sites
from rock_glacier.tiles import TileSet
from rock_glacier_dataset import (
    GLACIAR,
    RELEASE_SIZES,
    SPLIT_NAMES,
    Fault,
    RockGlacierDataset,
    mask_path,
)

DROPPED_NAME = "dropped.csv"
"""File that lists the dropped tiles: columns `source`, `label`, `site`, `x` and `y`."""

SHARED_GROUND_CODES = ("overlap-across-splits", "match-across-splits")
"""Codes of faults that the methods "keep" and "random" allow."""

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
    """Result of a build.

    Attributes:
        tiles: A row for each source: `source` (its name), `label` (class name), `split` and `path`
            (null if the tile is dropped), `site`, `block`, `x`, `y` and `orientation`.
        audit: Audit of the archives.
        masks_with_greys: Number of masks whose greys became white or black.
        dropped_by_audit: Number of tiles that were dropped because of pairs that only the audit
            found.
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
        prefixes: Class by prefix, for files whose names begin with it and folders of this name.
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
    with (
        output.new_folder(out) as folder,
        tempfile.TemporaryDirectory(prefix="rock-glacier-") as scratch,
    ):
        pngs = Path(scratch)
        sources = find_sources(tiles_folder, masks_folder, prefixes)
        masks_with_greys = _convert(sources, pngs, workers)
        table = _assign_splits(sources, pngs, options, workers)
        audit = _write_and_audit(folder, table, pngs, workers)
        dropped_by_audit = 0
        while options.method == "sites":
            # The search for matches is approximate: among fewer tiles, it may find other pairs.
            pairs = _renumber(audit.pairs, _rows_of(audit.table["path"], table))
            splits = drop_pairs_across(table["split"], table["site"], pairs)
            if splits.equals(table["split"]):
                break
            check_classes(splits, table["label"])
            dropped_by_audit += int((splits.isna() & table["split"].notna()).sum())
            table["split"] = splits
            table["path"] = _name_tiles(table)
            audit = _write_and_audit(folder, table, pngs, workers)
        raise_faults([f for f in find_errors(audit.faults) if f.code not in SHARED_GROUND_CODES])
        table = _add_blocks(table, audit)
        version = str(RockGlacierDataset.VERSION)
        if is_sample(tiles_folder):
            version = SAMPLE_VERSION
        write_manifest(folder, version, audit.counts)
        _write_tables(folder, table, audit)
    return Built(table, audit, masks_with_greys, dropped_by_audit)


def _convert(sources: Sequence[Source], pngs: Path, workers: Workers) -> int:
    """Convert tiles and masks, and write them to files that are named by the row of the source.

    Returns:
        Number of masks whose greys became white or black.

    Raises:
        ArchiveError: If a source has a fault. Raised after all sources were read.
    """
    tasks = [
        (sources[start : start + _TILES_PER_TASK],)
        for start in range(0, len(sources), _TILES_PER_TASK)
    ]
    results = workers.map(convert_sources, tasks, "Converting tiles")
    faults = []
    masks_with_greys = 0
    for row, result in enumerate(itertools.chain.from_iterable(results)):
        if isinstance(result, Fault):
            faults.append(result)
            continue
        _tile_file(pngs, row).write_bytes(result.tile)
        if result.mask is not None:
            _mask_file(pngs, row).write_bytes(result.mask)
        masks_with_greys += result.has_greys
    raise_faults(faults)
    return masks_with_greys


def _tile_file(pngs: Path, row: int) -> Path:
    return pngs / f"tile-{row}.png"


def _mask_file(pngs: Path, row: int) -> Path:
    return pngs / f"mask-{row}.png"


def _assign_splits(
    sources: Sequence[Source], pngs: Path, options: SplitOptions, workers: Workers
) -> pd.DataFrame:
    """Assign tiles to splits, and name them.

    Returns:
        A row for each source, with the columns `source`, `label`, `split` and `path`; the last two
        are null if a tile is dropped. With the method "sites", also `site`, `x`, `y` and
        `orientation`.
    """
    table = pd.DataFrame(
        {
            "source": [source.name for source in sources],
            "label": [source.label for source in sources],
            "split": [source.split for source in sources],
        }
    )
    if options.method == "keep":
        _check_splits(table)
        if sources[0].tile.archive_split:
            return table.assign(path=[source.tile.name for source in sources])
    elif options.method == "random":
        table["split"] = assign_random(table["label"], options.ratios, seed=options.seed)
    else:
        table, pairs = _find_sites(table, pngs, workers)
        table["split"] = assign_sites(
            table, pairs, options.ratios, buffer=options.buffer, seed=options.seed
        )
    return table.assign(path=_name_tiles(table))


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


def _find_sites(
    table: pd.DataFrame, pngs: Path, workers: Workers
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Find the tiles that share ground.

    Returns:
        The table with the columns `site`, `x`, `y` and `orientation`, and the pairs of its rows.
    """
    # Sites are found in archives. The splits are not known yet, so all tiles are in one.
    draft = table.assign(split=SPLIT_NAMES[0])
    draft["path"] = _name_tiles(draft)
    with tempfile.TemporaryDirectory(dir=pngs) as folder:
        _write_archives(Path(folder), draft, pngs)
        with TileSet.read(folder, workers) as tiles:
            rows = _rows_of(tiles.table["path"], draft)
            sites = find_sites(tiles, workers)
            duplicates = find_duplicates(tiles)
    positions = _join_duplicates(sites.table, duplicates).set_axis(rows)
    return table.join(positions), _renumber(sites.pairs, rows)


def _join_duplicates(positions: pd.DataFrame, duplicates: pd.DataFrame) -> pd.DataFrame:
    """Put tiles with the same pixels into one site: tiles of few colours do not overlap."""
    positions = positions.copy()
    sites = positions["site"].to_numpy()
    flat = duplicates[sites[duplicates["a"]] != sites[duplicates["b"]]]
    for name in ("site", "x", "y"):
        positions.loc[flat["b"], name] = positions.loc[flat["a"], name].to_numpy()
    # Tile a is alone in its site, so its own orientation is 0.
    positions.loc[flat["b"], "orientation"] = flat["orientation"].to_numpy(np.int8)
    return positions


def _name_tiles(table: pd.DataFrame) -> pd.Series:
    """Return the paths of the tiles in splits: ids count from 000 in each split and class."""
    kept = table[table["split"].notna()]
    ids = kept.groupby(["split", "label"]).cumcount()
    return kept["split"] + "/" + kept["label"] + "/" + ids.map("{:03d}.png".format)


def _rows_of(paths: pd.Series, table: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Return the row of the table for each path."""
    rows = {path: row for row, path in table["path"].items()}
    return paths.map(rows).to_numpy(np.int64)


def _renumber(pairs: pd.DataFrame, rows: npt.NDArray[np.int64]) -> pd.DataFrame:
    """Return pairs of rows of the table, given pairs of tiles and the row of each tile."""
    return pairs.assign(a=rows[pairs["a"]], b=rows[pairs["b"]])


def _write_archives(folder: Path, table: pd.DataFrame, pngs: Path) -> None:
    """Write the archives of all splits, and replace existing ones."""
    files = {}
    for tile in table.dropna(subset="path").itertuples():
        files[tile.path] = _tile_file(pngs, tile.Index)
        if tile.label == GLACIAR:
            files[mask_path(tile.path)] = _mask_file(pngs, tile.Index)
    for split in SPLIT_NAMES:
        (folder / archive_name(split)).unlink(missing_ok=True)
        paths = table["path"][table["split"] == split]
        write_archives(folder, split, paths, lambda path: files[path].read_bytes())


def _write_and_audit(folder: Path, table: pd.DataFrame, pngs: Path, workers: Workers) -> Audit:
    _write_archives(folder, table, pngs)
    with TileSet.read(folder, workers) as tiles:
        return check(tiles, find_sites(tiles, workers))


def _add_blocks(table: pd.DataFrame, audit: Audit) -> pd.DataFrame:
    """Add the column `block`, and positions if they were not needed to assign splits."""
    if "site" not in table:
        positions = audit.table[["site", "x", "y", "orientation"]]
        rows = _rows_of(audit.table["path"], table)
        return table.join(positions.set_axis(rows)).assign(block=0)
    # The strips of a site are in different splits.
    blocks = table.groupby("site")["split"].transform(lambda splits: pd.factorize(splits)[0])
    return table.assign(block=blocks)


def _write_tables(folder: Path, table: pd.DataFrame, audit: Audit) -> None:
    """Write tiles.parquet, and dropped.csv if tiles are dropped."""
    kept = table.dropna(subset="path").merge(audit.table[["path", "mask_share"]], on="path")
    write_index(make_index(kept), folder / INDEX_NAME)
    dropped = table.loc[table["path"].isna(), ["source", "label", "site", "x", "y"]]
    if len(dropped):
        dropped.to_csv(folder / DROPPED_NAME, index=False, lineterminator="\n")
