#!/usr/bin/env python
"""Write the folder that is the dataset's repository on the Hub: card, Parquet, archives and module.

    python scripts/stage_hub_repo.py data staged
    python scripts/upload.py staged --repo-id alkzar90/rock-glacier-dataset

Both configs are written as Parquet straight from the builder, which checks the archives as it reads them; no image is
decoded. The archives go beside it, for the loading script and for whoever wants the files. The same archives give the
same bytes, with the same versions of pyarrow, datasets and huggingface_hub.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import csv
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import pyarrow.parquet as pq
from audit_record import audit_record
from dataset_card import published_card
from parquet_shards import ParquetShard, shard_name, write_shard
from staged_folder import (
    ARCHIVES_FOLDER,
    ASSETS_FOLDER,
    CARD_FILE,
    MODULE_FILE,
    check_repo_id,
    refuse_module_name,
    repo_id_option,
)

import rock_glacier_dataset
from rock_glacier.console import run, say
from rock_glacier.files import new_output_folder
from rock_glacier.parallel import BACKENDS, BackendError, Workers
from rock_glacier_dataset import (
    CLASS_NAMES,
    CONFIG_NAMES,
    MANIFEST_NAME,
    REPO_ID,
    SPLIT_NAMES,
    ArchiveError,
    RockGlacierDataset,
)

PROJECT = Path(__file__).resolve().parent.parent
"""The folder that holds what is published as it stands: the module, the README, the licence and the citation."""

GROUPS_NAME = "groups.csv"
"""The file beside the archives that tells which tiles show the same ground; build_archives.py writes it."""

COPIED_FILES = (MODULE_FILE, "LICENSE", "CITATION.cff", "CONTRIBUTING.md", "CHANGELOG.md")


class ShardWork(NamedTuple):
    """What a process needs to know to write one shard of one config.

    Attributes:
        builder: the config's builder.
        split: name of the split.
        gen_kwargs: what the builder asks for to generate the shard's examples.
        path: the Parquet file to write.
    """

    builder: RockGlacierDataset
    split: str
    gen_kwargs: dict[str, Any]
    path: Path

    @property
    def archives(self) -> list[Path]:
        """The archives that are read."""
        pairs = [*self.gen_kwargs["tiles"], *filter(None, self.gen_kwargs["masks"])]
        return [Path(path) for _, path in pairs]


class Staged(NamedTuple):
    """What was staged.

    Attributes:
        shards: the Parquet files of each config and split.
        archives: what was copied: the archives, the manifest and the groups.
    """

    shards: dict[str, dict[str, list[ParquetShard]]]
    archives: list[Path]


def stage(
    data_dir: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    repo_id: str = REPO_ID,
    archives: bool = True,
    workers: Workers | None = None,
) -> Staged:
    """Write the folder that is the dataset's repository on the Hub.

    Args:
        data_dir: folder of archives.
        out: the folder to write; it may exist when it is empty. It appears when it is complete, or not at all.
        repo_id: the Hub dataset that the card's calls load.
        archives: whether the archives and the manifest go with it; the groups of tiles always do.
        workers: who writes the shards; by default this process alone.

    Returns:
        what was staged.

    Raises:
        ArchiveError: the archives have a fault, or were changed meanwhile.
        ValueError: `out` or `repo_id` has the name of the module.
        FileExistsError: `out` exists and is not an empty folder; it stays as it is.
        OSError: a file cannot be read or written.
        BackendError: the workers cannot be reached.
    """
    refuse_module_name(os.fspath(out))
    check_repo_id(repo_id)
    if "://" in os.fspath(data_dir):
        raise ArchiveError(f"{os.fspath(data_dir)}: is a URL; copy the archives to a local folder, and stage that")
    data_dir = Path(data_dir).expanduser()
    with (
        new_output_folder(out) as folder,
        tempfile.TemporaryDirectory(prefix="rock-glacier-") as cache,  # `datasets` never sees Parquet in a cache
    ):
        works = {config: list(_shard_works(data_dir, config, folder / config, cache)) for config in CONFIG_NAMES}
        everything = [work for config in CONFIG_NAMES for work in works[config]]
        sources = sorted({path for work in everything for path in work.archives})
        before = [_state(path) for path in sources]
        run = (workers or Workers(1)).run
        shards = run("Writing Parquet", _write_shard, [(work,) for work in everything])
        written = dict(zip((work.path for work in everything), shards, strict=True))
        wanted = [*sources, data_dir / MANIFEST_NAME, data_dir / GROUPS_NAME] if archives else [data_dir / GROUPS_NAME]
        copied = [path for path in wanted if path.exists()]
        if copied:
            run("Copying archives", _copy, [(path, folder / ARCHIVES_FOLDER / path.name) for path in copied])
        for path, state in zip(sources, before, strict=True):
            if _state(path) != state:
                raise ArchiveError(f"{path.name}: was changed while it was staged; stage again")
        if (data_dir / GROUPS_NAME).exists():
            _check_groups(data_dir / GROUPS_NAME, folder)
        by_split = {config: _by_split(works[config], written) for config in CONFIG_NAMES}
        _write_card(folder, by_split, repo_id)
        for name in COPIED_FILES:
            shutil.copyfile(PROJECT / name, folder / name)
        if (PROJECT / ASSETS_FOLDER).is_dir():
            hidden = shutil.ignore_patterns(".*")  # which are no part of a staged folder
            shutil.copytree(
                PROJECT / ASSETS_FOLDER, folder / ASSETS_FOLDER, ignore=hidden, copy_function=shutil.copyfile
            )
        id2label = {str(label): name for label, name in enumerate(CLASS_NAMES)}
        _write_text(folder / "id2label.json", json.dumps(id2label, indent=2) + "\n")
    return Staged(by_split, copied)


def _shard_works(data_dir: Path, config: str, folder: Path, cache: str) -> Iterator[ShardWork]:
    builder = RockGlacierDataset(cache, config_name=config, data_dir=data_dir)
    folder.mkdir()
    for generator in builder._split_generators(datasets.DownloadManager()):
        kwargs = generator.gen_kwargs
        if config != CONFIG_NAMES[-1]:
            kwargs["digests"] = {}  # the last config reads every archive, and checks them all
        shards = len(kwargs["tiles"])
        for shard, (tiles, masks) in enumerate(zip(kwargs["tiles"], kwargs["masks"], strict=True)):
            path = folder / shard_name(generator.name, shard, shards)
            yield ShardWork(builder, generator.name, {**kwargs, "tiles": [tiles], "masks": [masks]}, path)


def _write_shard(work: ShardWork) -> ParquetShard:
    examples = (example for _, example in work.builder._generate_examples(**work.gen_kwargs))
    return write_shard(work.path, work.builder.info.features, examples)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    shutil.copyfile(source, target)


def _check_groups(groups: Path, folder: Path) -> None:
    """Check that the groups are of the tiles that were staged."""
    paths = {
        path
        for shard in sorted((folder / CONFIG_NAMES[0]).iterdir())
        for path in pq.read_table(shard, columns=["path"])["path"].to_pylist()
    }
    with groups.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    remedy = "build the archives again, or remove it"
    for line, row in enumerate(rows, 2):
        if row.get("path") is None or not re.fullmatch("[0-9]+", row.get("group") or ""):
            raise ArchiveError(f"{groups.name}: line {line} has no path or no group; {remedy}")
    if {row["path"] for row in rows} != paths or len(rows) != len(paths):
        raise ArchiveError(f"{groups.name}: is of other tiles than the archives; {remedy}")


def _by_split(works: Sequence[ShardWork], written: dict[Path, ParquetShard]) -> dict[str, list[ParquetShard]]:
    return {split: [written[work.path] for work in works if work.split == split] for split in SPLIT_NAMES}


def _state(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _write_card(folder: Path, shards: dict[str, dict[str, list[ParquetShard]]], repo_id: str) -> None:
    infos = {}
    for config, splits in shards.items():
        info = datasets.DatasetInfo(features=rock_glacier_dataset.features_of(config), splits=datasets.SplitDict())
        for split, files in splits.items():
            num_bytes, examples = sum(file.num_bytes for file in files), sum(file.examples for file in files)
            info.splits.add(datasets.SplitInfo(split, num_bytes, examples))
        info.download_size = sum(file.file_bytes for files in splits.values() for file in files)
        info.dataset_size = sum(split.num_bytes for split in info.splits.values())
        infos[config] = info
    readme = (PROJECT / CARD_FILE).read_text(encoding="utf-8")
    paths = [f"{config}/{file.name}" for config in shards for several in shards[config].values() for file in several]
    _write_text(folder / CARD_FILE, published_card(readme, infos, repo_id, paths))


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="""\
Write the folder that is the dataset's repository on the Hub: the card with its
metadata, both configs as Parquet, the archives, the module, the pictures, the
licence and the citation. The archives are checked as they are read; the first
fault ends the run.""",
        epilog="""\
Look at the folder, load it, and publish it:

  python scripts/stage_hub_repo.py data staged
  python -c 'import datasets; print(datasets.load_dataset("staged"))'
  python scripts/upload.py staged --repo-id ID

Prints a line for each config and split, and one for the archives. Exit status:
0 when all is written, 1 when something failed (OUT is whole, or as it was
before), 2 for wrong usage.""",
    )
    parser.add_argument("data_dir", metavar="DATA_DIR", help="local folder of archives: train.zip and so on")
    parser.add_argument(
        "out",
        metavar="OUT",
        help=f"the folder to write; it may exist when it is empty, and is not called {Path(MODULE_FILE).stem}",
    )
    parser.add_argument(
        "--repo-id",
        metavar="ID",
        type=repo_id_option,
        default=REPO_ID,
        help="the Hub dataset that the card's calls are to load (default: %(default)s)",
    )
    parser.add_argument(
        "--no-archives",
        action="store_true",
        help="leave the archives out; upload.py then cannot keep the branch of the loading script",
    )
    parser.add_argument(
        "--num-proc",
        metavar="N",
        type=int,
        default=1,
        help="processes that write shards, each a config, a split and an archive (default: %(default)s)",
    )
    parser.add_argument(
        "--backend",
        choices=BACKENDS,
        default="loky",
        help="who writes: this machine (loky, the default) or a cluster that sees both folders, through joblib",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.num_proc < 1:
        parser.error(f"--num-proc is {options.num_proc}; it is 1 at least")
    with _usage_errors(parser):
        refuse_module_name(options.out)

    def write() -> None:
        print(audit_record(str(options.data_dir)), file=sys.stderr)
        if not (Path(options.data_dir) / GROUPS_NAME).exists():
            print(f"{options.data_dir}: has no {GROUPS_NAME}, which the card's grouped split reads", file=sys.stderr)
        staged = stage(
            options.data_dir,
            options.out,
            repo_id=options.repo_id,
            archives=not options.no_archives,
            workers=Workers(options.num_proc, options.backend, progress=True),
        )
        for config, splits in staged.shards.items():
            for split, files in splits.items():
                examples, size = sum(file.examples for file in files), sum(file.file_bytes for file in files)
                say(f"{config} {split}: {examples} examples, {size} bytes, {_count(len(files), 'Parquet file')}")
        size = sum(path.stat().st_size for path in staged.archives)
        say(f"data: {size} bytes, {_count(len(staged.archives), 'file')}" if staged.archives else "data: left out")

    return run(
        parser.prog,
        write,
        (ArchiveError, BackendError, OSError, concurrent.futures.BrokenExecutor),
        if_interrupted="interrupted; nothing was written",
    )


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


@contextlib.contextmanager
def _usage_errors(parser: argparse.ArgumentParser) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    sys.exit(main())
