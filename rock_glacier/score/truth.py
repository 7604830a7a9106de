"""The truth of a split: the labels or masks of its tiles, and which tiles belong together."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
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
    CONFIG_NAMES,
    REPO_ID,
    ArchiveError,
    Fault,
    download_archives,
    load_archives,
    mask_path,
)

CLASSIFICATION = CONFIG_NAMES[0]

MANY_SITES = 30
"""The bootstrap draws sites if they are equivalent to at least this many of equal size. Blocks of
one site share no ground, but are similar, so they are drawn only if there are too few sites for
intervals, or if a few sites have most of the tiles."""

_ROWS_AT_ONCE = 256  # of a Parquet file, about 10 MB with images

PLACE_COLUMNS = ["site", "x", "y", "orientation", "epsg", "easting", "northing"]
"""Columns of the tile index with the positions of tiles: in their site, and on the map."""


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
        index_file: File of the index, if it is not the one next to the data.
        images: uint8 of shape (tiles, 128, 128, 3), the RGB tiles, if they were asked for.
    """

    config: str
    split: str
    source: str
    commit: str | None
    is_sample: bool
    paths: list[str]
    values: npt.NDArray[Any]
    index: pd.DataFrame | None
    index_file: Path | None = None
    images: npt.NDArray[np.uint8] | None = None

    @property
    def places(self) -> pd.DataFrame:
        """The positions of the tiles: the columns `site` to `northing` of the index.

        Without an index, each tile is a site.
        """
        if self.index is not None:
            return self.index[PLACE_COLUMNS]
        places = pd.DataFrame({"site": range(len(self.paths))}).reindex(columns=PLACE_COLUMNS)
        return places.fillna({"x": 0, "y": 0, "orientation": 0}).astype({"orientation": int})

    def check_locations(self, option: str) -> None:
        """Check that the index has locations, which an option of the command needs.

        Raises:
            InputError: If no tile is located.
        """
        if self.places["easting"].isna().all():
            raise InputError(
                f"{self.source}: {option} needs located tiles, but no tile is located. Write an "
                "index with `rock-glacier audit DATA_DIR --outlines PATH --index FILE`, and pass "
                "it as --index."
            )

    @property
    def clusters(self) -> Clusters:
        """What the bootstrap draws: blocks, or sites if there are no blocks or many sites.

        Without an index, each tile is a cluster.
        """
        if self.index is None:
            return Clusters("tile", np.arange(len(self.paths)))
        sites = Clusters("site", self.index.groupby("site").ngroup().to_numpy())
        blocks = Clusters("block", self.index.groupby(["site", "block"]).ngroup().to_numpy())
        if sites.effective >= MANY_SITES or sites.number == blocks.number:
            return sites
        return blocks


def load_truth(
    config: str,
    split: str,
    *,
    data_dir: str | None = None,
    revision: str | None = None,
    index: Path | None = None,
    images: bool = False,
) -> Truth:
    """Load the truth of a split, from a folder of archives or from the Hub.

    Args:
        config: Name of the config.
        split: Name of the split.
        data_dir: Folder of archives, local or `hf://datasets/<repo>[@<revision>]/<folder>`.
            Default: the dataset on the Hub.
        revision: Branch, tag or commit on the Hub. Default: `main`.
        index: The tile index. Default: `tiles.parquet` next to the data, if it exists.
        images: Whether to read the images of the tiles as well.

    Raises:
        ArchiveError: If the archives have a fault, or the index lists other tiles.
        InputError: If there is no such split.
        OSError: If the files cannot be read or downloaded.
    """
    folder = _fetch(config, split, data_dir, revision)
    source = data_dir or REPO_ID
    commit = None
    if data_dir is None or data_dir.startswith("hf://"):
        commit = _commit_of(folder)
        source += f" at commit {commit}"
    if data_dir is None:
        examples = _read_parquet(folder, config, split, images=images)
    else:
        examples = _read_archives(folder, config, split)
    tiles = {}
    pictures = []
    for example in examples:
        tiles[example["path"]] = _truth_of(example, source)
        if images:
            pixels = decode_tile(example["image"]["bytes"], f"{source}: {example['path']}")
            pictures.append(pixels[..., :3].copy())
    if not tiles:
        raise InputError(f"{source}: the split {split} has no tiles. Choose another split.")
    paths = list(tiles)
    rows = None
    if index is not None:
        rows = _read_index(index, paths, split)
    elif (folder / INDEX_NAME).exists():
        rows = _read_index(folder / INDEX_NAME, paths, split)
    return Truth(
        config=config,
        split=split,
        source=source,
        commit=commit,
        is_sample=is_sample(folder),
        paths=paths,
        values=np.stack(list(tiles.values())),
        index=rows,
        index_file=index,
        images=np.stack(pictures) if images else None,
    )


def _fetch(config: str, split: str, data_dir: str | None, revision: str | None) -> Path:
    """Return the local folder of the data, which are downloaded if they are on the Hub."""
    if data_dir is None:
        return _download(config, split, revision)
    if data_dir.startswith("hf://"):
        return Path(download_archives(data_dir, [split]))
    return local_folder(os.path.expanduser(data_dir))


def _download(config: str, split: str, revision: str | None) -> Path:
    """Download a split of the dataset, and return its folder in the cache of the Hub."""
    patterns = [f"{config}/{split}-*.parquet", INDEX_NAME]
    try:
        folder = snapshot_download(
            REPO_ID, repo_type="dataset", revision=revision, allow_patterns=patterns
        )
    except LocalEntryNotFoundError:
        raise InputError(
            f"{REPO_ID}: the Hub cannot be reached, and its cache lacks the revision "
            f"{revision or 'main'}. Connect to the network, or pass --data-dir."
        ) from None
    return Path(folder)


def _commit_of(folder: Path) -> str:
    """Return the commit of a folder in the cache of the Hub: `.../snapshots/<commit>/...`."""
    return next(part for part in reversed(folder.parts) if re.fullmatch("[0-9a-f]{40}", part))


def _read_parquet(
    folder: Path, config: str, split: str, *, images: bool
) -> Iterator[dict[str, Any]]:
    """Yield the examples of a split from the Parquet files of the Hub."""
    columns = ["path", "labels" if config == CLASSIFICATION else "masks"]
    if images:
        columns.append("image")
    files = sorted(folder.glob(f"{config}/{split}-*.parquet"))
    number = int(files[0].stem.rpartition("-")[2]) if files else 0
    if len(files) != number:  # possible without network
        raise InputError(
            f"{folder}: has only {len(files)} of {number} files of {config}, split {split}. "
            "Connect to the network, or pass --data-dir."
        )
    for file in files:
        for batch in pq.ParquetFile(file).iter_batches(_ROWS_AT_ONCE, columns=columns):
            yield from batch.to_pylist()


def _read_archives(folder: Path, config: str, split: str) -> Iterator[dict[str, Any]]:
    """Yield the examples of a split from archives; nothing is written to a cache."""
    examples = load_archives(config, data_dir=folder, split=split, streaming=True)
    for column in examples.features.keys() & {"image", "masks"}:
        examples = examples.cast_column(column, datasets.Image(decode=False))
    yield from examples


def _truth_of(example: dict[str, Any], source: str) -> npt.NDArray[np.generic]:
    """Return the label of an example, or its mask as class indices."""
    if "labels" in example:
        return np.int64(example["labels"])
    place = f"{source}: {mask_path(example['path'])}"
    pixels = decode_tile(example["masks"]["bytes"], place, "mask-format")
    try:
        return mask_to_class_indices(pixels)
    except ValueError as error:
        raise ArchiveError(Fault("mask-values", place, str(error), "Audit the archives")) from None


def _read_index(file: Path, paths: list[str], split: str) -> pd.DataFrame:
    """Read the rows of the tile index for the tiles of a split, in their order."""
    index = read_index(file)
    index = index[index["split"] == split]
    raise_faults(check_index(index, paths))
    return index.set_index("path").loc[paths].reset_index()
