"""The true labels and masks of a split, from archives or from the Hub, and the groups of its tiles."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from typing import NamedTuple

import datasets
from huggingface_hub import HfApi
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError
from huggingface_hub.errors import LocalEntryNotFoundError
from huggingface_hub.errors import OfflineModeIsEnabled
from mask_formats import Mask
from mask_formats import mask_of_png
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

    def pinned(self) -> Source:
        """Return the source with the commit that its revision names now; as it is where the Hub is not asked."""
        if self.repo_id is None:
            return self
        try:
            return self._replace(revision=HfApi().dataset_info(self.repo_id, revision=self.revision).sha)
        except OfflineModeIsEnabled:
            return self


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
            raise ValueError(f"{self.paths[row]}: the true mask {error}; audit the archives") from None


def _load(source: Source, config: str, split: str) -> Any:
    if source.repo_id is None:
        return rock_glacier_dataset.load_dataset(config, split=split, data_dir=source.data_dir)
    return datasets.load_dataset(source.repo_id, name=config, split=split, revision=source.revision)


def published_groups(source: Source) -> Path | None:
    """Return the file of groups that lies with the dataset; None where there is none.

    Raises:
        OSError: the Hub has to be asked, and cannot be.
    """
    if source.repo_id is None:
        beside = Path(source.data_dir or "") / GROUPS_NAME
        return beside if beside.is_file() else None
    try:
        return Path(
            hf_hub_download(source.repo_id, f"data/{GROUPS_NAME}", repo_type="dataset", revision=source.revision)
        )
    except LocalEntryNotFoundError as error:
        raise OSError(
            f"{source.repo_id}: data/{GROUPS_NAME} is not in the cache, and the Hub cannot be reached; connect, or "
            "give --groups"
        ) from error
    except EntryNotFoundError:
        return None
