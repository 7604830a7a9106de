"""The folders of the Hub repository, one for each branch, made from a folder of archives."""

from __future__ import annotations

import glob
import json
import os
import shutil
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq
from huggingface_hub import HfApi, HfFileSystem, snapshot_download

import rock_glacier_dataset
from rock_glacier.archives.grounds_file import GROUNDS_NAME, read_grounds
from rock_glacier.archives.listing import ListedMember, Listing, check_folder
from rock_glacier.archives.manifest import is_sample
from rock_glacier.audit.findings import Code
from rock_glacier.audit.parts import check_masks
from rock_glacier.audit.record import audit_result
from rock_glacier.console import REPO_ID
from rock_glacier.files import new_output_folder
from rock_glacier.parallel import Workers
from rock_glacier.publication.card import published_card, script_card
from rock_glacier.publication.croissant import CROISSANT_NAME, describe
from rock_glacier.publication.hub import HubError, hub_step, is_same, list_files
from rock_glacier.publication.parquet import write_parquet
from rock_glacier.publication.picture_record import PictureRecord, read_fitting_record, read_record
from rock_glacier.publication.rows import plan_rows, read_rows
from rock_glacier.publication.sums import CARD_NAME, MAIN, SCRIPT, replaceable_files, write_sums
from rock_glacier_dataset import (
    ARCHIVE_NAME,
    CLASS_NAMES,
    CONFIG_NAMES,
    MANIFEST_NAME,
    SPLIT_NAMES,
    ArchiveError,
    features_of,
    locate,
)

PROJECT = Path(__file__).resolve().parents[3]
"""The clone of the project, which holds the README, the pictures, the licence and the citation."""

_PART = 64  # masks that a worker checks at once

ASSETS = PROJECT / "assets"
"""The pictures of a sample, and those that no archives are drawn in."""


def stage(
    data_dir: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    repo_id: str = REPO_ID,
    assets: Path = ASSETS,
    overwrite: bool = False,
    workers: Workers | None = None,
) -> dict[str, datasets.DatasetInfo]:
    """Write the folders of the Hub repository: `main` and `script`, and `SHA256SUMS` of both.

    Rows are in the order of the SHA-256 of their paths, in as many Parquet files as the split has archives. Images,
    masks and archives are copied byte for byte; the checksum of each member is checked as it is read.

    Args:
        data_dir: folder of archives, local or `hf://datasets/<repo>[@<revision>]/<folder>`.
        out: the folder to write; it may exist when it is empty. It appears when it is complete, or not at all.
        repo_id: the Hub dataset that the card's calls load.
        assets: folder of the pictures that `render_assets.py` drew of these archives; of a sample, those of any.
        overwrite: whether to replace `out` where it holds what this function wrote, and nothing else.
        workers: the processes that write; by default this one alone.

    Returns:
        what the card says of each config: its features, splits and sizes.

    Raises:
        ArchiveError: the archives have a fault.
        HubError: they cannot be downloaded.
        ValueError: the pictures do not show these archives.
        FileExistsError: `out` exists, and is neither empty nor to be replaced; it stays as it is.
        OSError: a file cannot be read or written.
        WorkerError: the workers cannot be reached.
    """
    if not (PROJECT / CARD_NAME).is_file():
        raise FileNotFoundError(f"{PROJECT / CARD_NAME}: no such file; run this in a clone of the project")
    place, workers = os.fspath(data_dir), workers or Workers(1)
    with new_output_folder(out, replaceable_files(Path(out)) if overwrite else ()) as folder:
        source, data = local_folder(place), folder / SCRIPT / "data"
        names = [name for name in sorted(os.listdir(source)) if _is_published(name)]
        data.mkdir(parents=True)
        list(workers.map("Copying archives", shutil.copyfile, [(Path(source, name), data / name) for name in names]))
        # From here on the copy is read, so that a change of the source does no harm.
        listing = _list_valid(data, place)
        counts = listing.counts()
        pictures = read_fitting_record(assets, place, is_sample(data), counts)._replace(tiles=counts)
        _check_masks(listing, workers)
        if GROUNDS_NAME in names:
            read_grounds(Path(source, GROUNDS_NAME), [tile.path for tile in listing.tiles])  # refuses other tiles
            _copy(data / GROUNDS_NAME, folder / MAIN / GROUNDS_NAME)
        tasks = [
            (folder / MAIN / config / f"{split}-{shard:05d}-of-{len(parts):05d}.parquet", config, part)
            for split in SPLIT_NAMES
            for parts in [plan_rows(listing, split)]
            for config in CONFIG_NAMES
            for shard, part in enumerate(parts)
        ]
        list(workers.map("Writing Parquet", _write, tasks))
        infos = {config: _describe_config(folder / MAIN, config) for config in CONFIG_NAMES}
        _write_other_files(folder, infos, repo_id, assets, pictures)
        write_sums(folder, workers)
    return infos


def _is_published(name: str) -> bool:
    return bool(ARCHIVE_NAME.fullmatch(name)) or name in (MANIFEST_NAME, GROUNDS_NAME)


def local_folder(data_dir: str) -> str:
    """Return a local folder of archives; download them where they are on the Hub.

    Raises:
        ArchiveError: there is no such folder, it holds no archives, or it is elsewhere.
        HubError: they cannot be downloaded.
    """
    if not data_dir.startswith("hf://"):
        if "://" in data_dir:
            raise ArchiveError(f"{data_dir}: is neither local nor hf://datasets/...; copy the archives to a folder")
        check_folder(data_dir)
        return locate(data_dir)
    with hub_step(data_dir, "download the archives"):
        place: Any = HfFileSystem().resolve_path(data_dir)
        api = HfApi()
        commit = str(api.dataset_info(place.repo_id, revision=place.revision).sha)
        wanted = [
            file
            for file in list_files(api, place.repo_id, commit, place.path_in_repo)
            if _is_published(os.path.basename(file.path))
        ]
        if not wanted:
            raise ArchiveError(f"{data_dir}: holds no archives; give a folder that holds train.zip")
        patterns = [glob.escape(file.path) for file in wanted]
        snapshot = snapshot_download(place.repo_id, repo_type="dataset", revision=commit, allow_patterns=patterns)
    for file in wanted:
        if not is_same(local := Path(snapshot, file.path), file):
            raise HubError(f"{local.resolve()}: is not what {data_dir} holds; delete it and run again")
    return os.path.join(snapshot, place.path_in_repo)


def _list_valid(folder: Path, source: str) -> Listing:
    """List archives, and raise the first fault that shows without reading the members; it names the source."""
    try:
        listing = Listing(folder)
        for fault in listing.faults:
            raise fault
    except ArchiveError as fault:
        raise ArchiveError(str(fault).replace(str(folder), source)) from None
    return listing


def _check_masks(listing: Listing, workers: Workers) -> None:
    """Raise the first fault of the masks but for empty ones: nothing but two colours goes out."""
    parts = [(listing.masks[start : start + _PART],) for start in range(0, len(listing.masks), _PART)]
    for findings, _ in workers.map("Checking masks", check_masks, parts):
        for found in findings:
            if found.code != Code.MASK_EMPTY.code:
                raise ArchiveError(found.message, found.code, found.path)


def _write(file: Path, config: str, tiles: list[ListedMember]) -> None:
    write_parquet(file, features_of(config), read_rows(tiles, config))


def _describe_config(branch: Path, config: str) -> datasets.DatasetInfo:
    """Read from the Parquet files of a config what its card says of it."""
    info = datasets.DatasetInfo(features=features_of(config), splits=datasets.SplitDict())
    for split in SPLIT_NAMES:
        parts = [pq.read_metadata(file) for file in (branch / config).glob(f"{split}-*")]
        sizes = [part.row_group(group).total_byte_size for part in parts for group in range(part.num_row_groups)]
        info.splits.add(datasets.SplitInfo(split, sum(sizes), sum(part.num_rows for part in parts)))
    info.download_size = sum(file.stat().st_size for file in (branch / config).iterdir())
    info.dataset_size = sum(split.num_bytes for split in info.splits.values())
    return info


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _write_other_files(
    folder: Path, infos: dict[str, datasets.DatasetInfo], repo_id: str, assets: Path, pictures: PictureRecord
) -> None:
    """Write the cards, the pictures, the loading script and the documents."""
    readme = (PROJECT / CARD_NAME).read_text(encoding="utf-8")
    card = published_card(
        readme,
        read_record(ASSETS).texts,
        pictures,
        infos,
        repo_id,
        has_grounds=(folder / MAIN / GROUNDS_NAME).exists(),
        audit=audit_result(folder / SCRIPT / "data"),
        files=[f"{file.parent.name}/{file.name}" for file in sorted((folder / MAIN).glob("*/*.parquet"))],
    )
    (folder / MAIN / CARD_NAME).write_bytes(card.encode())
    (folder / MAIN / CROISSANT_NAME).write_bytes(describe(card, repo_id).encode())
    (folder / MAIN / "id2label.json").write_text(json.dumps(dict(enumerate(CLASS_NAMES)), indent=2) + "\n")
    for name in ("LICENSE", "CITATION.cff", "CHANGELOG.md", "assets/leak.json", "assets/leak.png"):
        _copy(PROJECT / name, folder / MAIN / name)
    for name in pictures.texts:
        _copy(assets / name, folder / MAIN / "assets" / name)
    (folder / SCRIPT / CARD_NAME).write_bytes(script_card(card, repo_id).encode())
    _copy(Path(rock_glacier_dataset.__file__), folder / SCRIPT / f"{repo_id.split('/')[1]}.py")
