"""Stage the Hub repository: a folder for each of its branches, made from a folder of archives."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import datasets
import pandas as pd
import pyarrow.parquet as pq

import rock_glacier_dataset
from rock_glacier.archives import is_sample
from rock_glacier.audit.checks import check, find_index_faults
from rock_glacier.audit.duplicates import find_duplicates
from rock_glacier.faults import InputError, find_errors, raise_faults
from rock_glacier.hub.card import Content, SharedPixels, make_card, make_script_card
from rock_glacier.hub.croissant import CROISSANT_NAME, describe
from rock_glacier.hub.parquet import plan_files, write_config_file
from rock_glacier.hub.pictures import MAP_NAME, draw_pictures
from rock_glacier.index import INDEX_NAME, read_index, write_index
from rock_glacier.output import count, message, new_folder, write_file
from rock_glacier.parallel import Workers
from rock_glacier.sites import find_sites
from rock_glacier.tiles import TileSet
from rock_glacier_dataset import (
    ARCHIVE_NAME,
    CONFIG_NAMES,
    MANIFEST_NAME,
    REPO_ID,
    SPLIT_NAMES,
    Fault,
    features_of,
)

# A clone of the project, with README, pictures, licence and citation.
PROJECT = Path(__file__).resolve().parents[2]

# Folders of a staged repository, named like its branches.
MAIN = "main"
SCRIPT = "script"

CARD_NAME = "README.md"
LABELS_NAME = "id2label.json"
SCRIPT_NAME = "rock-glacier-dataset.py"

# Files of the project that are published as they are.
_COPIED_FILES = ("LICENSE", "CITATION.cff")


def stage(
    data_dir: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    repo_id: str = REPO_ID,
    index_file: str | os.PathLike[str] | None = None,
    workers: Workers | None = None,
) -> dict[str, datasets.DatasetInfo]:
    """Write the folders `main` and `script` of the Hub repository.

    Rows are in the order of the SHA-256 of their paths. A split has as many Parquet files as
    archives. Images, masks and archives are copied byte for byte.

    Args:
        data_dir: Folder of archives, local or `hf://datasets/<repo>[@<revision>]/<folder>`.
        out: Folder to write, new or empty. It is complete or absent.
        repo_id: Repository on the Hub.
        index_file: Tile index. Default: the one in `data_dir`; if there is none, or if it does not
            fit the tiles, the archives are audited.
        workers: Processes to use. Default: one for each core.

    Returns:
        Features, splits and sizes of each config.

    Raises:
        ArchiveError: If the archives have an error, or `index_file` does not fit.
        InputError: If this is not a clone of the project.
        FileExistsError: If `out` is not empty.
    """
    workers = workers or Workers()
    if not (PROJECT / CARD_NAME).is_file():
        raise InputError(
            f"{PROJECT / CARD_NAME}: does not exist. Stage from a clone of the project."
        )
    with new_folder(out) as folder, TileSet.read(data_dir, workers) as tiles:
        raise_faults(find_errors(tiles.faults))
        index, pairs, faults = _find_index(tiles, index_file, workers)
        data = folder / SCRIPT / "data"
        _copy_archives(Path(tiles.folder), data)
        _write_parquet(folder / MAIN, data, tiles.table, workers)
        write_index(index, folder / MAIN / INDEX_NAME)
        infos = {config: _describe_config(folder / MAIN, config) for config in CONFIG_NAMES}
        synthetic = is_sample(data)
        assets = folder / MAIN / "assets"
        assets.mkdir()
        # The card keeps the project's map if the tiles are not located.
        shutil.copyfile(PROJECT / "assets" / MAP_NAME, assets / MAP_NAME)
        pictures = draw_pictures(tiles, index, pairs, assets, is_sample=synthetic)
        shared = _count_shared(tiles, pairs)
        content = Content(repo_id, synthetic, tiles.counts, index, shared, faults, pictures, infos)
        _write_documents(folder, content)
    return infos


def _find_index(
    tiles: TileSet, index_file: str | os.PathLike[str] | None, workers: Workers
) -> tuple[pd.DataFrame, pd.DataFrame, list[Fault] | None]:
    """Return the tile index, the pairs, and the faults of the audit if one was necessary."""
    own_file = tiles.folder / INDEX_NAME
    if index_file is not None or own_file.is_file():
        index = read_index(index_file or own_file)
        sites = find_sites(tiles, workers, matches=False)
        faults = find_index_faults(index, sites, tiles.table["path"])
        if index_file is not None:
            raise_faults(faults)
        if not faults:
            return index, sites.pairs, None
    message(
        "No tile index fits these archives, so the archives are audited first. Tiles are located "
        "only by: rock-glacier audit --outlines PATH --index FILE"
    )
    audit = check(tiles, find_sites(tiles, workers))
    if audit.errors:
        message(f"The audit found {count(audit.errors, 'error')}. List them: rock-glacier audit")
    return audit.index, audit.pairs, audit.faults


def _count_shared(tiles: TileSet, pairs: pd.DataFrame) -> SharedPixels:
    """Count pairs of tiles of different splits that overlap or are identical."""
    splits = tiles.table["split"].to_numpy()
    overlaps = pairs[pairs["kind"] == "overlap"]
    duplicates = find_duplicates(tiles)
    return SharedPixels(
        overlapping=int((splits[overlaps["a"]] != splits[overlaps["b"]]).sum()),
        identical=int((splits[duplicates["a"]] != splits[duplicates["b"]]).sum()),
    )


def _copy_archives(source: Path, target: Path) -> None:
    target.mkdir(parents=True)
    for name in sorted(os.listdir(source)):
        if ARCHIVE_NAME.fullmatch(name) or name == MANIFEST_NAME:
            shutil.copyfile(source / name, target / name)


def _write_parquet(branch: Path, data: Path, tiles: pd.DataFrame, workers: Workers) -> None:
    tasks = []
    for config in CONFIG_NAMES:
        for name, rows in plan_files(tiles[["path", "split", "archive"]]).items():
            tasks.append((branch / config / name, config, data, rows))
    for _ in workers.map(write_config_file, tasks, "Writing Parquet"):
        pass


def _describe_config(branch: Path, config: str) -> datasets.DatasetInfo:
    """Read the splits and sizes of a config from its Parquet files, for the card."""
    info = datasets.DatasetInfo(features=features_of(config), splits=datasets.SplitDict())
    info.download_size = 0
    info.dataset_size = 0
    for split in SPLIT_NAMES:
        rows = 0
        size = 0
        for file in sorted((branch / config).glob(f"{split}-*.parquet")):
            metadata = pq.read_metadata(file)
            rows += metadata.num_rows
            for group in range(metadata.num_row_groups):
                size += metadata.row_group(group).total_byte_size
            info.download_size += file.stat().st_size
        info.splits.add(datasets.SplitInfo(split, size, rows))
        info.dataset_size += size
    return info


def _write_documents(folder: Path, content: Content) -> None:
    """Write cards, metadata, licence and the loading script."""
    main = folder / MAIN
    card = make_card((PROJECT / CARD_NAME).read_text(encoding="utf-8"), content)
    write_file(main / CARD_NAME, str(card))
    croissant = describe(card, main, repo_id=content.repo_id, is_sample=content.is_sample)
    write_file(main / CROISSANT_NAME, croissant)
    labels = {"0": "background", "1": "rock glacier"}
    write_file(main / LABELS_NAME, json.dumps(labels, indent=2) + "\n")
    for name in _COPIED_FILES:
        shutil.copyfile(PROJECT / name, main / name)
    write_file(folder / SCRIPT / CARD_NAME, str(make_script_card(card, content.repo_id)))
    shutil.copyfile(rock_glacier_dataset.__file__, folder / SCRIPT / SCRIPT_NAME)


def read_repo_id(staged: Path) -> str:
    """Return the repository that a folder was staged for.

    Raises:
        InputError: If the folder was not staged.
    """
    file = staged / MAIN / CROISSANT_NAME
    if not file.is_file():
        raise InputError(f"{staged}: is not a staged folder. Write one with: rock-glacier stage")
    url: str = json.loads(file.read_text(encoding="utf-8"))["url"]
    return "/".join(url.split("/")[-2:])
