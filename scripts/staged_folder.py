"""The folder that is the dataset's repository on the Hub: what it may be called, and what is in it."""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from dataset_card import configs_of_card, infos_in_card
from huggingface_hub import DatasetCard
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]
from parquet_shards import shard_name

import rock_glacier_dataset
from rock_glacier_dataset import (
    CONFIG_NAMES,
    REPO_ID,
    SPLIT_NAMES,
    ArchiveError,
    RockGlacierDataset,
    features_of,
    sha256_of_file,
)

MODULE_FILE = f"{rock_glacier_dataset.__name__}.py"
CARD_FILE = "README.md"
ARCHIVES_FOLDER = "data"
ASSETS_FOLDER = "assets"

_REMEDY = "stage it again"


class StagedError(ValueError):
    """A fault in a staged folder: says which file, what is wrong, and what to do."""


class StagedFolder(NamedTuple):
    """What is in a staged folder.

    Attributes:
        folder: the folder.
        files: every file, by its path in the repository.
        shards: the Parquet files of each config and split, in order.
        sizes: number of tiles in each split.
    """

    folder: Path
    files: dict[str, Path]
    shards: dict[str, dict[str, list[Path]]]
    sizes: dict[str, int]

    @property
    def card(self) -> str:
        """The dataset card."""
        return self.files[CARD_FILE].read_text(encoding="utf-8")


def refuse_module_name(name: str) -> None:
    """Refuse a folder or a Hub repository that `datasets` would take for a loading script.

    Args:
        name: path of a folder, or id of a Hub repository.

    Raises:
        ValueError: it is called as the module that stands in it.

    Example:
        >>> refuse_module_name("alkzar90/rock-glacier-dataset")
    """
    last = os.path.basename(os.path.abspath(name))
    if last.casefold() in (MODULE_FILE, Path(MODULE_FILE).stem):
        raise ValueError(
            f"{name}: datasets takes {last} with the file {MODULE_FILE} in it for a loading script, which versions "
            f"from 4 on refuse to load; choose another name, such as {REPO_ID.partition('/')[2]}"
        )


def check_repo_id(repo_id: str) -> None:
    """Refuse what is no id of a Hub dataset, or one that `datasets` would take for a loading script.

    Raises:
        ValueError: says what an id is.
    """
    try:
        validate_repo_id(repo_id)
        is_id = repo_id.count("/") == 1
    except HFValidationError:
        is_id = False
    if not is_id:
        raise ValueError(f"{repo_id!r} is no Hub dataset; its id is <user or organization>/<name>")
    refuse_module_name(repo_id)


def repo_id_option(text: str) -> str:
    """Take what a command line is given as `--repo-id`; see `check_repo_id`."""
    try:
        check_repo_id(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def read_staged(folder: Path) -> StagedFolder:
    """Look at a staged folder, and check that its card and its Parquet files belong together.

    Files and folders whose names begin with a dot, and `__pycache__`, are passed over.

    Raises:
        StagedError: at the first fault.
        OSError: a file cannot be read.
    """
    if not folder.is_dir():
        raise StagedError(f"{folder}: no such folder; name one that stage_hub_repo.py wrote")
    files: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if any(_is_passed_over(part) for part in parts):
            continue
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise StagedError(f"{'/'.join(parts)}: is a link or no file; remove it, or {_REMEDY}")
        if path.is_file():
            files["/".join(parts)] = path
    for required in (CARD_FILE, MODULE_FILE):
        if required not in files:
            raise StagedError(f"{folder}: holds no {required}; name a folder that stage_hub_repo.py wrote")
    shards = {config: {split: _find_shards(files, config, split) for split in SPLIT_NAMES} for config in CONFIG_NAMES}
    sizes = {
        config: {split: _count_rows(config, paths) for split, paths in splits.items()}
        for config, splits in shards.items()
    }
    _check_card(files[CARD_FILE], sizes)
    first, second = sizes.values()
    if first != second:
        raise StagedError(f"{folder}: the configs hold {first} and {second} tiles; {_REMEDY}")
    if any(name.startswith(f"{ARCHIVES_FOLDER}/") and name.endswith(".zip") for name in files):
        _check_archives(folder / ARCHIVES_FOLDER)
    return StagedFolder(folder, files, shards, first)


def _is_passed_over(name: str) -> bool:
    return name.startswith(".") or name == "__pycache__"


def _find_shards(files: Mapping[str, Path], config: str, split: str) -> list[Path]:
    found = [path for name, path in files.items() if name.startswith(f"{config}/{split}-")]
    expected = [shard_name(split, shard, len(found)) for shard in range(len(found))]
    if not found or [path.name for path in found] != expected:
        there = ", ".join(path.name for path in found) or "nothing"
        raise StagedError(f"{config}: the Parquet files of {split} are not one whole set, there is {there}; {_REMEDY}")
    return found


def _count_rows(config: str, shards: list[Path]) -> int:
    """Count the rows of a split by the footers of its files, and check the columns."""
    expected = features_of(config).arrow_schema
    rows = 0
    for path in shards:
        try:
            footer = pq.read_metadata(path)
        except (pa.ArrowInvalid, OSError) as error:
            raise StagedError(f"{config}/{path.name}: is not a whole Parquet file ({error}); {_REMEDY}") from None
        if not footer.schema.to_arrow_schema().equals(expected):
            raise StagedError(f"{config}/{path.name}: has other columns than {', '.join(expected.names)}; {_REMEDY}")
        rows += footer.num_rows
    return rows


def _check_card(path: Path, sizes: dict[str, dict[str, int]]) -> None:
    """Check that the card tells every client of these configs and numbers, which `datasets` holds the files to."""
    try:
        infos = infos_in_card(path.read_text(encoding="utf-8"))
    except Exception as error:  # whatever the parser of YAML raises
        raise StagedError(f"{path.name}: its metadata cannot be read ({error}); {_REMEDY}") from None
    told = {
        config: {name: split.num_examples for name, split in (info.splits or {}).items()}
        for config, info in infos.items()
    }
    card = DatasetCard(path.read_text(encoding="utf-8"))
    if card.data.get("configs") != configs_of_card(SPLIT_NAMES):
        raise StagedError(f"{path.name}: does not name the data files of {' and '.join(CONFIG_NAMES)}; {_REMEDY}")
    for config, info in infos.items():
        if config in CONFIG_NAMES and info.features != features_of(config):
            raise StagedError(f"{path.name}: tells of other features of {config} than {features_of(config)}; {_REMEDY}")
    if told != sizes:
        raise StagedError(f"{path.name}: tells of {told}, the Parquet files hold {sizes}; {_REMEDY}")


def _check_archives(data_dir: Path) -> None:
    """Check that all archives are there that a loading script reads, and are those that the manifest tells of."""
    try:
        with tempfile.TemporaryDirectory(prefix="rock-glacier-") as cache:
            builder = RockGlacierDataset(cache, config_name="image-segmentation", data_dir=data_dir)
            for generator in builder._split_generators(datasets.DownloadManager()):
                pairs = [*generator.gen_kwargs["tiles"], *generator.gen_kwargs["masks"]]
                for name, path in pairs:
                    digest = generator.gen_kwargs["digests"].get(name)
                    if digest and sha256_of_file(path) != digest:
                        raise StagedError(f"{ARCHIVES_FOLDER}/{name}: has another SHA-256 than its manifest; {_REMEDY}")
    except ArchiveError as error:
        raise StagedError(f"{ARCHIVES_FOLDER}/{error}; then {_REMEDY}") from None
