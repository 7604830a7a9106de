"""The folders of the Hub repository, one for each branch, made from a folder of archives."""

from __future__ import annotations

import contextlib
import glob
import itertools
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import datasets
from huggingface_hub import HfApi, HfFileSystem, snapshot_download

import rock_glacier_dataset
from rock_glacier.archives.grounds_file import GROUNDS_NAME, read_grounds
from rock_glacier.archives.writer import sort_key
from rock_glacier.console import REPO_ID
from rock_glacier.files import new_output_folder
from rock_glacier.parallel import Workers
from rock_glacier.publication.card import published_card, script_card
from rock_glacier.publication.hub import HubError, hub_step, is_same, list_files
from rock_glacier.publication.parquet import WrittenParquet, parquet_name, write_parquet
from rock_glacier.publication.sums import CARD_NAME, MAIN, SCRIPT, HashedFile, write_sums
from rock_glacier_dataset import (
    ARCHIVE_NAME,
    CLASS_NAMES,
    CONFIG_NAMES,
    EMPTY_MASK,
    GLACIAR,
    MANIFEST_NAME,
    MASKS,
    SPLIT_NAMES,
    ArchiveError,
    TileArchive,
    features_of,
    find_archives,
    manifest_faults,
    name_faults,
    name_of,
    read_manifest,
)

PROJECT = Path(__file__).resolve().parents[3]
"""The clone of the project, which holds the README, the pictures, the licence and the citation."""

StagedSplits = dict[str, dict[str, list[WrittenParquet]]]
"""The Parquet files of each config and split."""


class _Row(NamedTuple):
    path: str
    archive: int  # its number in the split
    folder: str
    tile_id: str


def stage(
    data_dir: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    repo_id: str = REPO_ID,
    workers: Workers | None = None,
) -> StagedSplits:
    """Write the folders of the Hub repository: `main` and `script`, and `SHA256SUMS` of both.

    Rows are in the order of the SHA-256 of their paths, in as many Parquet files as the split has archives. Images,
    masks and archives are copied byte for byte; the checksum of each member is checked as it is read.

    Args:
        data_dir: folder of archives, local or `hf://datasets/<repo>[@<revision>]/<folder>`.
        out: the folder to write; it may exist when it is empty. It appears when it is complete, or not at all.
        repo_id: the Hub dataset that the card's calls load.
        workers: the processes that write; by default this one alone.

    Raises:
        ArchiveError: the archives have a fault.
        HubError: they cannot be downloaded.
        FileExistsError: `out` exists and is not an empty folder; it stays as it is.
        OSError: a file cannot be read or written.
        WorkerError: the workers cannot be reached.
    """
    if not (PROJECT / CARD_NAME).is_file():
        raise FileNotFoundError(f"{PROJECT / CARD_NAME}: no such file; run this in a clone of the project")
    with new_output_folder(out) as folder:
        run, sums = (workers or Workers(1)).map, dict[str, str]()
        source, data = _local_folder(os.fspath(data_dir)), folder / SCRIPT / "data"
        data.mkdir(parents=True)
        names = [name for name in sorted(os.listdir(source)) if _is_published(name)]
        copies = run("Copying archives", _copy, [(Path(source, name), data / name) for name in names])
        sums.update((f"{SCRIPT}/data/{name}", sha256) for name, sha256 in zip(names, copies, strict=True))
        # What is read from here on is the copy, so that a change of the source is no matter.
        files = find_archives(str(data))
        archives = {split: [(name_of(path), path) for path in files[split]] for split in SPLIT_NAMES}
        rows = {split: _plan_rows(split, archives[split], os.fspath(data_dir)) for split in SPLIT_NAMES}
        counts = {
            split: {name: sum(row.folder == name for row in planned) for name in CLASS_NAMES}
            for split, planned in rows.items()
        }
        for fault in manifest_faults(read_manifest(files), counts, dict(itertools.chain(*archives.values()))):
            raise fault
        grounds = [data / GROUNDS_NAME] if GROUNDS_NAME in names else []
        tiles = [row.path for planned in rows.values() for row in planned]
        if grounds and len(read_grounds(grounds[0], tiles)) != len(tiles):
            raise ArchiveError(f"{GROUNDS_NAME}: names tiles that no archive holds; take the file that belongs to them")
        staged: StagedSplits = {config: {split: [] for split in SPLIT_NAMES} for config in CONFIG_NAMES}
        tasks = [
            (folder / MAIN, f"{config}/{parquet_name(split, shard, shards)}", config, split, archives[split], part)
            for config in CONFIG_NAMES
            for split, planned in rows.items()
            for shards in [len(archives[split])]
            for shard, part in enumerate(_cut(planned, shards))
        ]
        for (_, _, config, split, *_), file in zip(tasks, run("Writing Parquet", _write_shard, tasks), strict=True):
            staged[config][split].append(file)
            sums[f"{MAIN}/{file.name}"] = file.sha256
        for target, content in _other_files(staged, repo_id, grounds):
            with HashedFile(folder / target) as written:
                written.write(content)
            sums[target] = written.sha256
        write_sums(folder, sums)
    return staged


def _is_published(name: str) -> bool:
    return bool(ARCHIVE_NAME.fullmatch(name)) or name in (MANIFEST_NAME, GROUNDS_NAME)


def _local_folder(data_dir: str) -> str:
    """Return a local folder of archives; download them where they are on the Hub."""
    if not data_dir.startswith("hf://"):
        if "://" in data_dir:
            raise ArchiveError(f"{data_dir}: is neither local nor hf://datasets/...; copy the archives to a folder")
        return os.path.abspath(os.path.expanduser(data_dir))
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


def _plan_rows(split: str, archives: list[tuple[str, str]], source: str) -> list[_Row]:
    """Check a split's archives without reading their members, and put its tiles in the order of the rows."""
    for fault in name_faults(split, [name for name, _ in archives], source):
        raise fault
    rows: list[_Row] = []
    found: set[tuple[str, str]] = set()
    for number, (name, path) in enumerate(archives):
        with TileArchive(split, name, path) as archive:
            for fault in (*archive.faults, *archive.pair_faults()):
                raise fault
            for tile in found.intersection(archive.tiles):
                raise archive.fault("is in another shard too", "remove one", "member-duplicate", archive.path_of(*tile))
            found.update(archive.tiles)
            rows += [_Row(archive.path_of(*tile), number, *tile) for tile in archive.tiles]
    return sorted(rows, key=lambda row: sort_key(row.path))


def _cut(rows: list[_Row], parts: int) -> list[list[_Row]]:
    ends = [len(rows) * part // parts for part in range(parts + 1)]
    return [rows[start:end] for start, end in itertools.pairwise(ends)]


def _write_shard(
    branch: Path, name: str, config: str, split: str, archives: list[tuple[str, str]], rows: list[_Row]
) -> WrittenParquet:
    needed = sorted({row.archive for row in rows})  # one alone, where archives are in the order of the rows
    with contextlib.ExitStack() as stack:
        opened = {number: stack.enter_context(TileArchive(split, *archives[number])) for number in needed}
        examples = (_example(opened[row.archive], row, config) for row in rows)
        return write_parquet(branch, name, features_of(config), examples)


def _example(archive: TileArchive, row: _Row, config: str) -> dict[str, Any]:
    example = {"image": archive.read(row.folder, row.tile_id), "path": row.path}
    if config == CONFIG_NAMES[0]:
        return {**example, "labels": CLASS_NAMES.index(row.folder)}
    return {**example, "masks": archive.read(MASKS, row.tile_id) if row.folder == GLACIAR else EMPTY_MASK}


def _copy(source: Path, target: Path) -> str:
    with source.open("rb") as file, HashedFile(target) as copy:
        shutil.copyfileobj(file, copy, 2**20)
    return copy.sha256


def _other_files(staged: StagedSplits, repo_id: str, grounds: list[Path]) -> Iterator[tuple[str, bytes]]:
    """Yield path and content of what is staged beside Parquet and archives."""
    infos = {}
    for config, splits in staged.items():
        info = datasets.DatasetInfo(features=features_of(config), splits=datasets.SplitDict())
        for split, files in splits.items():
            info.splits.add(datasets.SplitInfo(split, sum(file.num_bytes for file in files), sum_rows(files)))
        info.download_size = sum(file.file_bytes for files in splits.values() for file in files)
        info.dataset_size = sum(split.num_bytes for split in info.splits.values())
        infos[config] = info
    names = [file.name for splits in staged.values() for files in splits.values() for file in files]
    card = published_card((PROJECT / CARD_NAME).read_text(encoding="utf-8"), infos, repo_id, names)
    yield f"{MAIN}/{CARD_NAME}", card.encode()
    yield f"{MAIN}/id2label.json", (json.dumps(dict(enumerate(CLASS_NAMES)), indent=2) + "\n").encode()
    pictures = [path for path in sorted((PROJECT / "assets").rglob("*")) if path.is_file() and path.name[0] != "."]
    for path in (PROJECT / "LICENSE", PROJECT / "CITATION.cff", PROJECT / "CHANGELOG.md", *pictures):
        yield f"{MAIN}/{path.relative_to(PROJECT).as_posix()}", path.read_bytes()
    for path in grounds:
        yield f"{MAIN}/{path.name}", path.read_bytes()
    yield f"{SCRIPT}/{CARD_NAME}", script_card(card, repo_id).encode()
    yield f"{SCRIPT}/{repo_id.split('/')[1]}.py", Path(rock_glacier_dataset.__file__).read_bytes()


def sum_rows(files: list[WrittenParquet]) -> int:
    """Return the number of rows of several files."""
    return sum(file.rows for file in files)
