"""The truth of a split, from archives or from the Hub, and the cluster of each tile for the bootstrap."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import numpy as np
import numpy.typing as npt
from huggingface_hub import snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError

from rock_glacier.archives.grounds_file import GROUNDS_NAME, read_grounds
from rock_glacier.archives.listing import check_folder
from rock_glacier.arrays import decode_png
from rock_glacier.masks import mask_to_class_indices
from rock_glacier.scoring.predictions import Mask
from rock_glacier_dataset import load_archives

MANY_GROUNDS = 30
"""Tiles of so many grounds are drawn by grounds, those of fewer by blocks."""


class Clusters(NamedTuple):
    """Clusters of tiles, which the bootstrap draws.

    Attributes:
        over: what they are: "grounds", "blocks" or "tiles".
        numbers: shape (tiles,): number of each tile's cluster, from 0 without a gap.
        grounds: number of grounds; None where they are not known.
    """

    over: str
    numbers: npt.NDArray[np.intp]
    grounds: int | None


def find_snapshot(repo_id: str, revision: str | None) -> Path:
    """Return the folder of the Hub's cache that holds a dataset's `grounds.csv`, if it has one; its name is the commit.

    Raises:
        OSError: the Hub cannot be reached and its cache does not hold the dataset, or there is no such dataset.
    """
    try:
        return Path(snapshot_download(repo_id, repo_type="dataset", revision=revision, allow_patterns=[GROUNDS_NAME]))
    except LocalEntryNotFoundError as error:
        raise ConnectionError(
            f"{repo_id}: the Hub cannot be reached and its cache does not hold this dataset; connect, or give "
            "--data-dir"
        ) from error


def load_truth(config: str, split: str, data_dir: str | None, repo_id: str, revision: str | None) -> datasets.Dataset:
    """Load the tiles of a split without their images: `path`, and `labels` or undecoded `masks`.

    They come from `data_dir`, a folder of archives or the URL of one; where it is None, from the Hub.
    """
    if data_dir is not None:
        check_folder(data_dir)
        tiles: Any = load_archives(config, split=split, data_dir=data_dir)
    else:
        tiles = datasets.load_dataset(repo_id, name=config, split=split, revision=revision)
    tiles = tiles.remove_columns("image")
    return tiles.cast_column("masks", datasets.Image(decode=False)) if "masks" in tiles.column_names else tiles


def decode_true_mask(tile: Mapping[str, Any]) -> Mask:
    """Decode the mask of a tile from `load_truth`.

    Raises:
        ValueError: the mask is damaged, or has other colours than a mask has.
    """
    try:
        return mask_to_class_indices(decode_png(tile["masks"]["bytes"]))
    except ValueError as error:
        raise ValueError(f"{tile['path']}: its true mask cannot be used ({error}); audit the archives") from None


def read_clusters(file: Path | None, folder: str, paths: list[str]) -> Clusters:
    """Read the cluster of each tile: its ground where there are `MANY_GROUNDS`, else its block.

    Args:
        file: a grounds.csv; None for the one in `folder`, if there is one; without one each tile is a cluster.
        folder: folder of the dataset, or URL of one.
        paths: paths of the tiles.

    Raises:
        ArchiveError: the file is not a grounds.csv, or lacks one of the tiles.
        OSError: the file cannot be read.
    """
    try:
        rows = read_grounds(file or f"{os.path.expanduser(folder).rstrip('/')}/{GROUNDS_NAME}", paths)
    except FileNotFoundError:
        if file is not None:
            raise
        return Clusters("tiles", np.arange(len(paths)), None)
    grounds = len({rows[path].ground for path in paths})
    over, columns = ("grounds", 1) if grounds >= MANY_GROUNDS else ("blocks", 2)
    places = [rows[path][1 : 1 + columns] for path in paths]
    return Clusters(over, np.unique(places, axis=0, return_inverse=True)[1].ravel(), grounds)
