"""The truth of a split, from archives or from the Hub, and the ground of each tile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import numpy as np
import numpy.typing as npt
from huggingface_hub import snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError

from rock_glacier.archives.grounds_file import GROUNDS_NAME, read_grounds
from rock_glacier.arrays import decode_png
from rock_glacier.masks import mask_to_class_indices
from rock_glacier.scoring.mask_formats import Mask
from rock_glacier_dataset import load_archives


class Source(NamedTuple):
    """Where the dataset is loaded from.

    Attributes:
        repo_id: the Hub dataset.
        revision: its branch, tag or commit.
        data_dir: folder of archives, or URL of one; None for the Hub.
    """

    repo_id: str
    revision: str | None = None
    data_dir: str | None = None


def pin(source: Source) -> tuple[Source, str]:
    """Replace a source's revision by the commit that it names now, on the Hub or else in its cache.

    Returns:
        the source, and the path or URL at which `grounds.csv` lies, if there is one.

    Raises:
        OSError: the Hub cannot be reached and its cache does not hold the dataset, or there is no such dataset.
    """
    if source.data_dir is not None:
        return source, grounds_beside(source.data_dir)
    try:
        snapshot = snapshot_download(
            source.repo_id, repo_type="dataset", revision=source.revision, allow_patterns=[GROUNDS_NAME]
        )
    except LocalEntryNotFoundError as error:
        raise ConnectionError(
            f"{source.repo_id}: the Hub cannot be reached and its cache does not hold this dataset; connect, or give "
            "--data-dir"
        ) from error
    return source._replace(revision=Path(snapshot).name), str(Path(snapshot) / GROUNDS_NAME)


def grounds_beside(data_dir: str) -> str:
    """Return the path or URL at which `grounds.csv` lies beside archives, if there is one."""
    if "://" in data_dir:
        return f"{data_dir.rstrip('/')}/{GROUNDS_NAME}"
    return str(Path(data_dir).expanduser() / GROUNDS_NAME)


def load_truth(source: Source, config: str, split: str) -> datasets.Dataset:
    """Load the tiles of a split without their images: `path`, and `labels` or undecoded `masks`.

    Raises:
        Exception: whatever loading raises.
    """
    if source.data_dir is not None:
        tiles: Any = load_archives(config, split=split, data_dir=source.data_dir)
    else:
        tiles = datasets.load_dataset(source.repo_id, name=config, split=split, revision=source.revision)
    tiles = tiles.remove_columns("image")
    return tiles.cast_column("masks", datasets.Image(decode=False)) if "masks" in tiles.column_names else tiles


def true_masks(tiles: datasets.Dataset, rows: npt.NDArray[np.intp]) -> Iterator[Mask]:
    """Yield the masks of tiles in some order of rows.

    Raises:
        ValueError: a mask is damaged, or has other colours than a mask has.
    """
    for row in rows.tolist():
        tile = tiles[row]
        try:
            yield mask_to_class_indices(decode_png(tile["masks"]["bytes"]))
        except ValueError as error:
            raise ValueError(f"{tile['path']}: its true mask cannot be used ({error}); audit the archives") from None


def read_ground_numbers(file: str, paths: list[str]) -> npt.NDArray[np.intp]:
    """Read the ground of each tile: shape (tiles,), numbers from 0 without a gap.

    Raises:
        ArchiveError: the file is not a grounds.csv, or lacks one of the tiles.
        FileNotFoundError: there is no such file.
        OSError: it cannot be read.
    """
    grounds = read_grounds(file, paths)
    return np.unique([grounds[path] for path in paths], return_inverse=True)[1].ravel()
