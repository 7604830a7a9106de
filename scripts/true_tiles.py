"""The true labels and masks of a split, from archives or from the Hub, and the groups of its tiles."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import fsspec
from huggingface_hub import snapshot_download
from huggingface_hub.utils import LocalEntryNotFoundError  # type: ignore[attr-defined]
from mask_formats import Mask, mask_of_png
from tile_groups import GROUPS_NAME

import rock_glacier_dataset


class Source(NamedTuple):
    """Where the dataset is loaded from: a folder of archives, or the Hub.

    Attributes:
        data_dir: folder of archives, or URL of one; None for the Hub.
        repo_id: Hub dataset; None for a folder.
        revision: branch, tag or commit of the Hub dataset.
    """

    data_dir: str | None
    repo_id: str | None = None
    revision: str | None = None


class PinnedSource(NamedTuple):
    """A source as it is now.

    Attributes:
        source: with the commit of the Hub dataset as its revision.
        groups: the file of groups that lies with the dataset; None where there is none.
    """

    source: Source
    groups: Path | None


def pinned(source: Source) -> PinnedSource:
    """Find out the commit that a source's revision names now, from the Hub or else its cache, and the groups.

    Raises:
        OSError: the Hub cannot be reached, and its cache holds nothing of the dataset; or it has no such dataset.
    """
    if source.repo_id is None:
        return PinnedSource(source, _groups_beside_archives(source.data_dir or ""))
    try:
        folder = snapshot_download(
            source.repo_id, repo_type="dataset", revision=source.revision, allow_patterns=[f"data/{GROUPS_NAME}"]
        )
    except LocalEntryNotFoundError as error:
        raise ConnectionError(
            f"{source.repo_id}: the Hub cannot be reached, and its cache does not hold this dataset; connect, or give "
            "--data-dir"
        ) from error
    groups = Path(folder) / "data" / GROUPS_NAME
    return PinnedSource(source._replace(revision=Path(folder).name), groups if groups.is_file() else None)


def _groups_beside_archives(data_dir: str) -> Path | None:
    """Find the groups in a folder of archives as the archives themselves are found, from a URL by downloading them."""
    folder = rock_glacier_dataset._absolute(data_dir)
    place = rock_glacier_dataset._join(folder, GROUPS_NAME)
    if not rock_glacier_dataset._is_url(folder):
        return Path(place) if os.path.isfile(place) else None
    file_system, path = fsspec.core.url_to_fs(place)
    if not file_system.exists(path):
        return None
    # Downloaded each time, for what was loaded from a URL before may have changed there since.
    config = datasets.DownloadConfig(force_download=True, disable_tqdm=True)
    return Path(datasets.DownloadManager(download_config=config).download(place))


class TrueTiles:
    """The tiles of a split with what is true of them; images stay on the disk and undecoded.

    Args:
        source: where the dataset is loaded from.
        config: name of the config.
        split: name of the split.

    Attributes:
        paths: the tiles' paths.

    Raises:
        Exception: whatever loading raises.
    """

    def __init__(self, source: Source, config: str, split: str) -> None:
        examples = _load(source, config, split)
        self._examples = examples.select_columns([name for name in examples.column_names if name != "image"])
        if "masks" in self._examples.column_names:
            self._examples = self._examples.cast_column("masks", datasets.Image(decode=False))
        self.paths: list[str] = list(self._examples["path"])

    def labels(self) -> list[int]:
        """Return each tile's label, 0 or 1."""
        return list(self._examples["labels"])

    def mask(self, row: int) -> Mask:
        """Return the mask of the tile in this row.

        Raises:
            ValueError: it has other colours than a mask has.
        """
        try:
            return mask_of_png(self._examples[row]["masks"]["bytes"])
        except ValueError as error:
            raise ValueError(f"{self.paths[row]}: the true mask cannot be used ({error}); audit the archives") from None


def _load(source: Source, config: str, split: str) -> Any:
    if source.repo_id is None:
        return rock_glacier_dataset.load_dataset(config, split=split, data_dir=source.data_dir)
    return datasets.load_dataset(source.repo_id, name=config, split=split, revision=source.revision)
