"""The truth of a split: the labels or masks of its tiles, and which tiles belong together."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.parquet as pq
from huggingface_hub import snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError

from rock_glacier.archives import is_sample, local_folder
from rock_glacier.faults import InputError, raise_faults
from rock_glacier.index import INDEX_NAME, check_index, read_index
from rock_glacier.masks import mask_to_class_indices
from rock_glacier.png import decode_tile
from rock_glacier.score.bootstrap import Clusters
from rock_glacier_dataset import (
    CLASS_NAMES,
    CONFIG_NAMES,
    GLACIAR,
    REPO_ID,
    TILE_SIZE,
    ArchiveError,
    ArchiveReader,
    Fault,
    class_of,
    find_archive_faults,
    find_archives,
    mask_path,
)

CLASSIFICATION = CONFIG_NAMES[0]

MANY_SITES = 30
"""With at least so many sites, whole sites are drawn. Blocks of one site share no ground, but they
are similar, so they are drawn only if there are too few sites for intervals."""


@dataclass(frozen=True)
class Truth:
    """The truth of a split.

    Attributes:
        config: Name of the config.
        split: Name of the split.
        source: Folder of archives, or repository and commit on the Hub.
        commit: Commit on the Hub, or None.
        is_sample: Whether the tiles are synthetic.
        paths: Paths of the tiles.
        values: int64 of shape (tiles,), the labels; or uint8 of shape (tiles, 128, 128), the masks
            of 0 and 1 (rock glacier).
        index: The rows of the tile index for these tiles, in their order, or None without an index.
    """

    config: str
    split: str
    source: str
    commit: str | None
    is_sample: bool
    paths: list[str]
    values: npt.NDArray[Any]
    index: pd.DataFrame | None

    @property
    def clusters(self) -> Clusters:
        """What the bootstrap draws: blocks, or sites if there are no blocks or many sites.

        Without an index, each tile is a cluster.
        """
        if self.index is None:
            return Clusters("tile", np.arange(len(self.paths)))
        of_site = self.index.groupby("site").ngroup().to_numpy()
        of_block = self.index.groupby(["site", "block"]).ngroup().to_numpy()
        sites = of_site.max() + 1
        if sites >= MANY_SITES or sites == of_block.max() + 1:
            return Clusters("site", of_site)
        return Clusters("block", of_block)


def load_truth(
    config: str,
    split: str,
    *,
    data_dir: str | None = None,
    revision: str | None = None,
    index: Path | None = None,
) -> Truth:
    """Load the truth of a split, from a folder of archives or from the Hub.

    Args:
        config: Name of the config.
        split: Name of the split.
        data_dir: Folder of archives, local or `hf://datasets/<repo>[@<revision>]/<folder>`.
            Default: the dataset on the Hub.
        revision: Branch, tag or commit on the Hub. Default: `main`.
        index: The tile index. Default: `tiles.parquet` next to the data, if it exists.

    Raises:
        ArchiveError: If the archives have a fault, or if the index is one of other tiles.
        InputError: If there is no such split.
        OSError: If the files cannot be read or downloaded.
    """
    if data_dir is None:
        folder = _download(config, split, revision)
        commit = folder.name
        source = f"{REPO_ID} at commit {commit}"
        tiles = _read_parquet(folder, config, split)
    else:
        folder = local_folder(os.path.expanduser(data_dir))
        commit = None
        source = data_dir
        tiles = _read_archives(folder, config, split)
    if not tiles:
        raise InputError(f"{source}: the split {split} has no tiles. Choose another split.")
    paths = list(tiles)
    return Truth(
        config=config,
        split=split,
        source=source,
        commit=commit,
        is_sample=is_sample(folder),
        paths=paths,
        values=np.stack(list(tiles.values())),
        index=_read_index(index or folder / INDEX_NAME, paths, split, required=index is not None),
    )


def _download(config: str, split: str, revision: str | None) -> Path:
    """Download a split of the dataset; return its folder, which is named by the commit."""
    patterns = [f"{config}/{split}-*.parquet", INDEX_NAME]
    try:
        folder = snapshot_download(
            REPO_ID, repo_type="dataset", revision=revision, allow_patterns=patterns
        )
    except LocalEntryNotFoundError:
        raise InputError(
            f"{REPO_ID}: the Hub cannot be reached, and its cache lacks the revision "
            f"{revision or 'main'}. Connect to the network, or give --data-dir."
        ) from None
    return Path(folder)


def _read_parquet(folder: Path, config: str, split: str) -> dict[str, npt.NDArray[np.generic]]:
    """Read the label or the mask of each tile by path, from the Parquet files of the Hub."""
    tiles: dict[str, npt.NDArray[np.generic]] = {}
    for file in sorted(folder.glob(f"{config}/{split}-*.parquet")):
        column = "labels" if config == CLASSIFICATION else "masks"
        for row in pq.read_table(file, columns=["path", column]).to_pylist():
            path = row["path"]
            if config == CLASSIFICATION:
                tiles[path] = np.int64(row["labels"])
            else:
                tiles[path] = _decode_mask(row["masks"]["bytes"], f"{file.name}: {path}")
    return tiles


def _read_archives(folder: Path, config: str, split: str) -> dict[str, npt.NDArray[np.generic]]:
    """Read the label or the mask of each tile by path, from the archives of a split."""
    tiles: dict[str, npt.NDArray[np.generic]] = {}
    archives = find_archives(str(folder), splits=(split,))[split]
    names = [os.path.basename(archive) for archive in archives]
    raise_faults(find_archive_faults(split, names, str(folder)))
    for archive in archives:
        with ArchiveReader(split, str(archive)) as reader:
            raise_faults(reader.faults + reader.find_pair_faults())
            for path in reader.tiles:
                if config == CLASSIFICATION:
                    tiles[path] = np.int64(CLASS_NAMES.index(class_of(path)))
                else:
                    tiles[path] = _read_mask(reader, path)
    return tiles


def _read_mask(reader: ArchiveReader, path: str) -> npt.NDArray[np.uint8]:
    if class_of(path) != GLACIAR:
        return np.zeros((TILE_SIZE, TILE_SIZE), np.uint8)
    path = mask_path(path)
    return _decode_mask(reader.read(path), f"{reader.name}: {path}")


def _decode_mask(png: bytes, place: str) -> npt.NDArray[np.uint8]:
    pixels = decode_tile(png, place, "mask-format")
    try:
        return mask_to_class_indices(pixels)
    except ValueError as error:
        raise ArchiveError(Fault("mask-values", place, str(error), "Audit the archives")) from None


def _read_index(file: Path, paths: list[str], split: str, *, required: bool) -> pd.DataFrame | None:
    """Read the rows of the tile index for the tiles of a split, in their order."""
    if not required and not file.exists():
        return None
    index = read_index(file)
    index = index[index["split"] == split]
    raise_faults(check_index(index, paths))
    return index.set_index("path").loc[paths].reset_index()
