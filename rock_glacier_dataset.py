"""Rock glaciers of the Chilean Andes: Sentinel-2 tiles with labels and masks, as a Hugging Face dataset.

One file with two faces: `datasets` < 4 runs it as a loading script, and every version imports it as a module:

    >>> from rock_glacier_dataset import load_dataset
    >>> tiles = load_dataset("image-segmentation", split="train", data_dir="sample")

`RockGlacierDataset` is the data sheet and `load_dataset` the way in; then comes the way that the data goes: where the
archives are, how one is read and checked, and what a user makes of it: class indices of masks, and arrays to train on.
"""

from __future__ import annotations

import base64
import collections
import concurrent.futures
import contextlib
import errno
import hashlib
import inspect
import itertools
import json
import math
import os
import posixpath
import re
import shutil
import struct
import zlib
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from pathlib import Path
from typing import IO
from typing import Any
from typing import NamedTuple
from typing import TypeVar
from urllib.parse import unquote

import datasets
import fsspec
import huggingface_hub
import numpy as np
from datasets.builder import DatasetGenerationError
from datasets.download.streaming_download_manager import xopen
from datasets.utils.info_utils import is_small_dataset
from huggingface_hub.utils import LocalEntryNotFoundError  # type: ignore[attr-defined]
from PIL import Image

_CITATION = """\
@ONLINE {rock-glacier-dataset,
    author="CMM - Glaciares (UChile)",
    title="Rock Glacier Dataset",
    month="October",
    year="2022",
    url="https://github.com/alcazar90/rock-glacier-detection"
}
"""

_DESCRIPTION = """\
Sentinel-2 images of rock glaciers in the Chilean Andes, as tiles of 128 x 128 pixels, for image classification (is
there a rock glacier on the tile?) and image segmentation (which pixels show one?), annotated by human curators.
"""

_HOMEPAGE = "https://github.com/alcazar90/rock-glacier-detection"

_LICENSE = "MIT"

REPO_ID = "alkzar90/rock-glacier-dataset"

_VERSION = "1.0.0"

CLASS_NAMES = ("cordillera", "glaciar")
"""The classes; a class's place here is its label: 0 is mountain without a rock glacier, 1 is mountain with one."""

SPLIT_NAMES = ("train", "validation", "test")

RELEASE_SIZES = {"train": 7875, "validation": 1125, "test": 2700}
"""Number of tiles in each split of the release."""

TILE_SIZE = 128
"""Width and height of a tile and of its mask, in pixels."""

ROCK_GLACIER_COLOUR = (255, 255, 255, 255)
"""RGBA of a mask's pixels that show a rock glacier."""

BACKGROUND_COLOUR = (0, 0, 0, 255)
"""RGBA of a mask's other pixels."""

MANIFEST_NAME = "manifest.json"

# The mask of a cordillera tile that has no mask file. Spelt out, because an encoder's bytes change with its version.
_ALL_BACKGROUND_MASK = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAIAAAACACAYAAADDPmHLAAAA60lEQVR42u3SMQ0AAAjAsPk3DTZI6FEDy6qG10QwAAbAABgAA2AADIABMAAG"
    "wAAYAANgAAyAATAABsAAGAADYAAMgAEwAAbAABgAA2AADIABMAAGwAAYAANgAAyAATAABsAAGAADYAAMgAEwAAbAABgAA2AADIABMAAGwAAY"
    "AANgAAyAATAABsAAGAADYAAMgAEwAAbAABgAA2AADIABMAAGwAAYAAMgggEwAAbAABgAA2AADIABMAAGwAAYAANgAAyAATAABsAAGAADYAAM"
    "gAEwAAbAABgAA2AADIABMAAGwAAYAANgAAzABQuGEMOy0eLE9QAAAABJRU5ErkJggg=="
)


class ArchiveError(ValueError):
    """A fault in the archives: says which archive and member, what is wrong, and what to do.

    Attributes:
        code: kind of the fault, as the audit lists them: `archive-unreadable`, `member-name`, `png-corrupt`, ...
        path: the member, such as `train/glaciar/12.png`, or else the archive or folder.
    """

    # No __init__ of its own: with one, not every process that prepares a shard could hand the error to the first.
    code = "archive-unreadable"
    path = ""


# ---------------------------------------------------------------------------------------------------------- the dataset


class RockGlacierDataset(datasets.GeneratorBasedBuilder):
    """Rock Glacier dataset.

    Sentinel-2 images of the Chilean Andes (bands B04, B03, B02 as red, green, blue), cut into tiles and annotated by
    human curators, in the course project MDS7201-1 with the Centro de Modelamiento Matemático, Universidad de Chile.

    Tiles:
        PNG, 128 x 128 pixels, RGBA, 8 bits a channel.

    Classes:
        `cordillera` (0): mountain without a rock glacier; `glaciar` (1): mountain with one.

    Masks:
        PNG, 128 x 128 pixels, RGBA; white (255, 255, 255, 255) is rock glacier, black (0, 0, 0, 255) is background.

    Splits of the release:
        train 7,875, validation 1,125, test 2,700 tiles.

    Configs:
        `image-classification` (default): `image`, `labels` (ClassLabel), `path`; needs the archives of tiles alone.
        `image-segmentation`: `image`, `masks` (Image), `path`.

    Examples come out by shard, then class, then id as a number. Images and masks are the bytes of the archives'
    members; a cordillera tile without a mask file gets the mask that is all background. Each member's name, checksum
    and PNG header are checked as it passes, and where there is a manifest.json, each archive's size, tile counts and
    SHA-256 against it. Streaming leaves out what needs more than is read: the SHA-256, and across shards the counts
    and tiles that stand twice.

    Args:
        data_dir: folder of archives, local or any URL that fsspec opens. Without it: `data/` beside the loading script,
            else `data/` of the Hub dataset `alkzar90/rock-glacier-dataset`.
        revision: branch, tag or commit of the Hub dataset.

    The other arguments are those of `datasets.DatasetBuilder`.

    Raises:
        ArchiveError: at the first fault of the archives.

    Source: https://github.com/alcazar90/rock-glacier-detection and the dataset card.
    """

    VERSION = datasets.Version(_VERSION)
    BUILDER_CONFIGS = [  # noqa: RUF012 - a plain list is what `datasets` asks for
        datasets.BuilderConfig(
            name="image-classification",
            version=VERSION,
            description="Tiles, each with the label cordillera (no rock glacier) or glaciar (rock glacier).",
        ),
        datasets.BuilderConfig(
            name="image-segmentation",
            version=VERSION,
            description="Tiles, each with a mask: white is rock glacier, black is background.",
        ),
    ]
    DEFAULT_CONFIG_NAME = "image-classification"
    DEFAULT_WRITER_BATCH_SIZE = 64  # tiles, below 2 MiB: from there on, one write asks the kernel for huge pages

    def __init__(
        self,
        cache_dir: str | None = None,
        dataset_name: str | None = None,
        config_name: str | None = None,
        hash: str | None = None,
        base_path: str | None = None,
        *,
        data_dir: str | os.PathLike[str] | None = None,
        token: bool | str | None = None,
        storage_options: dict[str, Any] | None = None,
        revision: str | None = None,
        **kwargs: Any,
    ) -> None:
        if revision is not None and data_dir is not None:
            raise ValueError("revision names a state of the Hub dataset and data_dir another place; give one of them")
        kwargs.pop("trust_remote_code", None)  # which `datasets` < 2.16 does not know and passes on
        data_dir = None if data_dir is None else os.fspath(data_dir)
        self._folder = _locate(data_dir, base_path, revision, token)
        self._download_config = datasets.DownloadConfig(token=token, storage_options=storage_options or {})
        # Archives that were changed since are prepared anew: their state is part of the cache folder's name.
        state = [hash, self._folder]
        if not _HUB_FOLDER.fullmatch(self._folder):  # whose state is the commit in its URL
            files = _list_files(self._folder, self._download_config)
            parts = {name: file for name, file in files.items() if _is_part(name)}
            state += sorted(f"{name} {file.stamp}" for name, file in parts.items())
            if not _is_url(self._folder):  # a date can be set, and two archives may have one
                state += [_digest_of_checksums(name, parts[name].path) for name in sorted(parts)]
        super().__init__(
            cache_dir,
            dataset_name,
            config_name or self.DEFAULT_CONFIG_NAME,  # which early versions forget where a data_dir is given
            hashlib.sha256(json.dumps(state).encode()).hexdigest(),
            base_path,
            data_dir=data_dir,
            token=token,
            storage_options=storage_options,
            **kwargs,
        )
        if not os.path.exists(self.cache_dir):
            # `datasets` < 4 takes these from a card beside the script, and would hold any data_dir to its counts.
            self.info.splits = self.info.download_size = self.info.dataset_size = self.info.size_in_bytes = None

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(
            description=_DESCRIPTION,
            features=features_of(self.config.name),
            homepage=_HOMEPAGE,
            license=_LICENSE,
            citation=_CITATION,
        )

    def download_and_prepare(self, *args: Any, **kwargs: Any) -> None:
        """Prepare the dataset, as `datasets.DatasetBuilder` documents it."""
        store = inspect.signature(super().download_and_prepare).parameters.get("try_from_hf_gcs")
        if store is not None and store.default is True:
            kwargs["try_from_hf_gcs"] = False  # early versions would ask a store of Google's, which never had this
        super().download_and_prepare(*args, **kwargs)

    @property
    def _with_masks(self) -> bool:
        return self.config.name == "image-segmentation"

    def _split_generators(
        self, dl_manager: datasets.DownloadManager | datasets.StreamingDownloadManager
    ) -> list[datasets.SplitGenerator]:
        folder = self._folder
        hub = _HUB_FOLDER.fullmatch(folder)
        if hub and not dl_manager.is_streaming:
            folder = self._download_from_hub(hub["repo_id"], hub["revision"], hub["path"] or "", dl_manager)
        files = _list_files(folder, self._download_config)
        manifest = _read_manifest(files.get(MANIFEST_NAME), self._download_config)
        return [
            datasets.SplitGenerator(
                name=split, gen_kwargs=self._split_kwargs(split, folder, files, manifest, dl_manager)
            )
            for split in SPLIT_NAMES
        ]

    def _split_kwargs(
        self,
        split: str,
        folder: str,
        files: dict[str, _File],
        manifest: dict[str, Any],
        dl_manager: datasets.DownloadManager | datasets.StreamingDownloadManager,
    ) -> dict[str, Any]:
        """Find a split's archives, and return what `_generate_examples` asks for."""
        tile_names = _find_archives(files, split, "", folder)
        mask_names = _find_masks(files, split, tile_names, folder) if self._with_masks else []
        _check_sizes(manifest, tile_names + mask_names, files)
        paths = {name: files[name].path for name in tile_names + mask_names}
        if _is_url(folder) and not dl_manager.is_streaming:
            paths = self._download(paths, files, dl_manager)
        tiles = [(name, paths[name]) for name in tile_names]
        masks = [(name, paths[name]) for name in mask_names]
        counts = manifest["splits"].get(split, {}) if "splits" in manifest else None
        if len(tiles) > 1:
            if not dl_manager.is_streaming:
                _check_across_shards(split, tiles, counts, self._download_config)
            counts = None
        archives = {} if dl_manager.is_streaming else manifest.get("archives", {})
        return {
            "split": split,
            "tiles": tiles,
            "masks": masks or [None] * len(tiles),
            "counts": counts,
            "digests": {name: archives[name]["sha256"] for name in paths if name in archives},
        }

    def _download(
        self, urls: dict[str, str], files: dict[str, _File], dl_manager: datasets.DownloadManager
    ) -> dict[str, str]:
        """Download archives by name to where only these states of them are: what was changed at its URL comes anew."""
        stamps = hashlib.sha256(json.dumps([files[name].stamp for name in sorted(urls)]).encode()).hexdigest()
        config = dl_manager.download_config
        cache_dir = config.cache_dir or datasets.config.DOWNLOADED_DATASETS_PATH
        config.cache_dir = os.path.join(cache_dir, stamps)
        try:
            downloaded: dict[str, str] = dl_manager.download(urls)
        finally:
            config.cache_dir = cache_dir
        return downloaded

    def _download_from_hub(self, repo_id: str, commit: str, path: str, dl_manager: datasets.DownloadManager) -> str:
        kinds = ("", "_masks") if self._with_masks else ("",)
        wanted = [f"{split}{kind}{shard}.zip" for split in SPLIT_NAMES for kind in kinds for shard in ("", "-*-of-*")]
        patterns = [posixpath.join(path, name) for name in (MANIFEST_NAME, *wanted)]
        force = dl_manager.download_config.force_download
        return os.path.join(_download_snapshot(repo_id, commit, patterns, self.token, force), path)

    def _prepare_split_single(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        fault = None
        try:
            yield from super()._prepare_split_single(*args, **kwargs)
        except DatasetGenerationError as error:
            if not isinstance(error.__cause__, ArchiveError):
                raise
            fault = error.__cause__  # says what to do, which the error around it does not
        if fault is not None:
            raise fault  # out here, where Python does not chain it to the error that is chained to it

    def _generate_examples(
        self,
        split: str,
        tiles: list[tuple[str, str]],
        masks: list[tuple[str, str] | None],
        counts: dict[str, int] | None,
        digests: dict[str, str],
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the examples of a split, or of some shards of it, as bytes that are never decoded.

        Args:
            split: the split's name.
            tiles: name and path (or URL) of each archive of tiles.
            masks: the same of masks; None for each where the config has none.
            counts: number of tiles in each class, where the manifest gives them and the split is one archive.
            digests: SHA-256 that each archive must have, by name; where it is left out, it is not checked.
        """
        for tile_archive, mask_archive in zip(tiles, masks, strict=True):
            archives = [archive for archive in (tile_archive, mask_archive) if archive is not None]
            with contextlib.ExitStack() as stack:
                hashing = stack.enter_context(concurrent.futures.ThreadPoolExecutor())
                found = {name: hashing.submit(sha256_of_file, path) for name, path in archives if name in digests}
                tile_reader, *mask_readers = [
                    stack.enter_context(_Archive(name, path, split, self._download_config)) for name, path in archives
                ]
                if counts is not None:
                    _check_counts(counts, tile_reader.name, tile_reader.members["key"])
                yield from _read_examples(tile_reader, *mask_readers)
                for name, digest in found.items():
                    if digest.result() != digests[name]:
                        raise _manifest_fault(name, f"has the SHA-256 {digest.result()}, another in {MANIFEST_NAME}")


CONFIG_NAMES = tuple(config.name for config in RockGlacierDataset.BUILDER_CONFIGS)


def features_of(config_name: str) -> datasets.Features:
    """Return the features of a config, in their order.

    Example:
        >>> list(features_of("image-segmentation"))
        ['image', 'masks', 'path']
    """
    targets = {
        "image-classification": {"labels": datasets.ClassLabel(names=list(CLASS_NAMES))},
        "image-segmentation": {"masks": datasets.Image()},
    }
    if config_name not in targets:
        raise ValueError(f"there is no config {config_name!r}; the configs are {' and '.join(targets)}")
    return datasets.Features({"image": datasets.Image(), **targets[config_name], "path": datasets.Value("string")})


def load_dataset(
    name: str | None = None,
    *,
    split: str | datasets.Split | Sequence[str] | None = None,
    streaming: bool = False,
    data_dir: str | os.PathLike[str] | None = None,
    revision: str | None = None,
    num_proc: int | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    token: bool | str | None = None,
) -> datasets.Dataset | datasets.DatasetDict | datasets.IterableDataset | datasets.IterableDatasetDict:
    """Load the Rock Glacier dataset from archives, as `datasets.load_dataset` would, on every version of `datasets`.

    Args:
        name: `image-classification` (default) or `image-segmentation`.
        split: such as `train`, `train+validation` or `test[:10%]` (no slices while streaming); all splits without it.
        streaming: read examples as they are asked for, without preparing the dataset.
        data_dir: folder of archives, local or any URL that fsspec opens; without it, the Hub dataset's.
        revision: branch, tag or commit of the Hub dataset; `main` without it.
        num_proc: number of processes that prepare the shards of a split.
        cache_dir: where the prepared dataset is kept; without it, where `datasets` keeps its own.
        token: Hub token, for a private copy; `True` or None for the one that the Hub client finds.

    Returns:
        a `Dataset`, or for all splits a `DatasetDict`; while streaming an `IterableDataset` or `IterableDatasetDict`.
        Features of `image-classification`: `image` (128 x 128 RGBA image), `labels` (0 or 1), `path`; of
        `image-segmentation`: `image`, `masks` (128 x 128 RGBA image, white and black), `path`.

    Raises:
        ArchiveError: at the first fault of the archives; nothing is left in the cache then.
        ValueError: if there is no such config or split.

    Example:
        >>> load_dataset("image-classification", split="test", data_dir="sample")
        Dataset({
            features: ['image', 'labels', 'path'],
            num_rows: 24
        })
    """
    builder = RockGlacierDataset(
        None if cache_dir is None else os.fspath(cache_dir),
        config_name=name,
        data_dir=data_dir,
        revision=revision,
        token=token,
    )
    if streaming:
        if num_proc is not None:
            raise NotImplementedError(
                "num_proc prepares a dataset in parallel; while streaming, use DataLoader workers"
            )
        return builder.as_streaming_dataset(split=split)
    builder.download_and_prepare(num_proc=num_proc)
    return builder.as_dataset(split=split, in_memory=is_small_dataset(builder.info.dataset_size))


# ----------------------------------------------------------------------------------------------- where the archives are

_ARCHIVE_NAME = re.compile(rf"((?:{'|'.join(SPLIT_NAMES)})(?:_masks)?)(?:-\d{{5}}-of-\d{{5}})?\.zip")
_HUB_FOLDER = re.compile(
    r"hf://datasets/(?P<repo_id>[^/@]+/[^/@]+)(?:@(?P<revision>refs/(?:pr|convert)/[^/]+|[^/]+))?(?:/(?P<path>.*))?"
)


def _locate(data_dir: str | None, base_path: str | None, revision: str | None, token: bool | str | None) -> str:
    """Find the folder of archives.

    Returns:
        an absolute local path, or a URL; for the Hub, with the commit that the revision names now.
    """
    if data_dir is not None:
        folder = _absolute(data_dir)
    elif base_path is not None and not _is_url(base_path) and os.path.isdir(os.path.join(base_path, "data")):
        folder = os.path.abspath(os.path.join(base_path, "data"))
    elif base_path is not None and base_path.startswith(datasets.config.HF_ENDPOINT) and "/resolve/" in base_path:
        repository = base_path[len(datasets.config.HF_ENDPOINT) :].strip("/").replace("/resolve/", "@", 1)
        folder = f"hf://{repository}/data"
    elif base_path is not None and _is_url(base_path):
        folder = _join(base_path, "data")
    else:
        folder = f"hf://datasets/{REPO_ID}/data"
    hub = _HUB_FOLDER.fullmatch(folder)
    if hub is None:
        return folder
    return _pin_commit(
        hub["repo_id"], unquote(hub["revision"] or revision or "main"), (hub["path"] or "").strip("/"), token
    )


def _pin_commit(repo_id: str, revision: str, path: str, token: bool | str | None) -> str:
    """Return the URL of a folder of the Hub at the commit that a revision names, from the Hub or else its cache."""
    few_files = [".gitattributes", posixpath.join(path, MANIFEST_NAME)]  # the call is made for the commit
    snapshot = _download_snapshot(repo_id, revision, few_files, token)
    return f"hf://datasets/{repo_id}@{Path(snapshot).name}/{path}".rstrip("/")


def _download_snapshot(
    repo_id: str, revision: str, patterns: list[str], token: bool | str | None, force: bool = False
) -> str:
    """Return the folder of the Hub client's cache that holds a revision's files of these patterns."""
    try:
        return huggingface_hub.snapshot_download(
            repo_id,
            repo_type="dataset",
            revision=revision,
            token=token,
            allow_patterns=patterns,
            force_download=force,
        )
    except LocalEntryNotFoundError as error:
        raise ConnectionError(
            f"{repo_id}: the Hub cannot be reached, and its cache does not hold {', '.join(patterns[:3])} of revision "
            f"{revision}; connect, or give a folder of archives as data_dir"
        ) from error


def _absolute(data_dir: str) -> str:
    """Return the absolute path of a local folder, or the URL of another."""
    if not data_dir:
        raise ArchiveError("data_dir is empty; give the folder that holds train.zip")
    if data_dir.startswith("file://"):
        data_dir = fsspec.core.strip_protocol(data_dir)
        data_dir = data_dir if os.path.isdir(data_dir) else unquote(data_dir)
    return data_dir if _is_url(data_dir) else os.path.abspath(os.path.expanduser(data_dir))


class _File(NamedTuple):
    """A file of a data_dir: its path or URL, its size in bytes where known, and what changes when it is rewritten."""

    path: str
    size: int | None
    stamp: str


def _is_part(name: str) -> bool:
    """Tell whether a file of a data_dir is an archive or the manifest."""
    return name == MANIFEST_NAME or _ARCHIVE_NAME.fullmatch(name) is not None


def _is_url(path: str) -> bool:
    return "://" in path or "::" in path


def _join(folder: str, name: str) -> str:
    """Join a folder, local or a URL, possibly chained (`zip://folder::https://host/file.zip`), and a file name."""
    first, *rest = folder.split("::") if _is_url(folder) else [folder]
    return "::".join([f"{first.rstrip('/')}/{name}", *rest])


def _list_local(folder: str) -> dict[str, _File]:
    if not os.path.isdir(folder):
        raise ArchiveError(f"{folder}: no such folder; give the folder that holds train.zip as data_dir")
    try:
        with os.scandir(folder) as found:
            files = [(file.name, file.path, file.stat()) for file in found if file.is_file()]
    except OSError as error:
        raise ArchiveError(f"{folder}: cannot be listed ({error.strerror}); make it readable") from None
    return {name: _File(path, status.st_size, f"{status.st_size} {status.st_mtime_ns}") for name, path, status in files}


def _list_remote(folder: str, download_config: datasets.DownloadConfig) -> dict[str, _File]:
    options = {"hf": {"endpoint": datasets.config.HF_ENDPOINT, "token": download_config.token}}
    options |= download_config.storage_options
    protocols = fsspec.available_protocols()  # options of one protocol are kept from the others
    options = {name: value for name, value in options.items() if name not in protocols or f"{name}://" in folder}
    file_system, root = fsspec.core.url_to_fs(folder, **options)
    root = root.rstrip("/")
    try:
        names = {path.rstrip("/").rpartition("/")[2] for path in file_system.ls(root, detail=False)}
    except (FileNotFoundError, NotADirectoryError):
        names = set()
    names = set(filter(_is_part, names))
    if not names:  # a web server that lists no folders is asked for the files by name
        expected = [*(f"{split}{kind}.zip" for split in SPLIT_NAMES for kind in ("", "_masks")), MANIFEST_NAME]
        names = {name for name in expected if file_system.exists(f"{root}/{name}")}
    if not names:
        raise ArchiveError(f"{folder}: no archives there; give the folder that holds train.zip as data_dir")
    files = {}
    for name in sorted(names):
        facts = file_system.info(f"{root}/{name}")
        files[name] = _File(_join(folder, name), facts.get("size"), str(sorted(facts.items())))
    return files


def _list_files(folder: str, download_config: datasets.DownloadConfig) -> dict[str, _File]:
    """List a data_dir: its files by name."""
    return _list_remote(folder, download_config) if _is_url(folder) else _list_local(folder)


def _find_archives(files: dict[str, _File], split: str, kind: str, folder: str) -> list[str]:
    """Find the archives of one split.

    Args:
        files: the files of the data_dir.
        split: name of the split.
        kind: "" for tiles, "_masks" for masks.
        folder: the data_dir, for messages.

    Returns:
        the archive's name, or the names of its shards in order.
    """
    for fault in _archive_faults(files, split, kind, folder):
        raise fault
    return _names_of(files, split, kind)


def _names_of(files: dict[str, _File], split: str, kind: str) -> list[str]:
    return sorted(name for name in files if (match := _ARCHIVE_NAME.fullmatch(name)) and match[1] == split + kind)


def _archive_faults(files: dict[str, _File], split: str, kind: str, folder: str) -> Iterator[ArchiveError]:
    """Yield what is wrong with the set of a split's archives: those that are missing, and those that are too many."""
    whole = f"{split}{kind}.zip"
    found = _names_of(files, split, kind)
    if not found and not _is_url(folder) and os.path.lexists(os.path.join(folder, whole)):
        yield ArchiveError(f"{whole}: is no file in {folder}, but a folder, a pipe or a broken link; replace it")
    elif not found:
        remedy = "add it" if not kind else "add it, or load image-classification, which needs the tiles alone"
        there = ", ".join(sorted(files)[:9]) or "nothing"
        yield ArchiveError(f"{whole}: not in {folder}, where there is {there}; {remedy}")
    elif found != [whole] and whole in found:
        yield ArchiveError(f"{whole}: stands beside shards of the same archive in {folder}; remove one or the other")
    elif found != [whole]:
        total = int(found[0][-len("00000.zip") : -len(".zip")])
        expected = [f"{split}{kind}-{shard:05d}-of-{total:05d}.zip" for shard in range(total)]
        for name in expected:
            if name not in files:
                yield ArchiveError(f"{name}: missing from {folder}; add it or rebuild the archives")
        for name in found:
            if name not in expected:
                yield ArchiveError(f"{name}: not of the set of {total} shards in {folder}; remove the set out of date")


def _find_masks(files: dict[str, _File], split: str, tiles: Sequence[str], folder: str) -> list[str]:
    """Find a split's archives of masks, shard k of which belongs to shard k of the tiles."""
    masks = _find_archives(files, split, "_masks", folder)
    if len(masks) != len(tiles):
        raise ArchiveError(
            f"{masks[0]}: masks in {len(masks)} and tiles in {len(tiles)} archives, so that they cannot be paired; "
            "rebuild both with the same number of shards"
        )
    return masks


def _read_manifest(file: _File | None, download_config: datasets.DownloadConfig) -> dict[str, Any]:
    """Read manifest.json: `{"splits": {split: {class: n}}, "archives": {file: {"bytes", "sha256"}}}`, or {} without."""
    if file is None:
        return {}
    with _open(MANIFEST_NAME, file.path, download_config) as opened:
        content = opened.read()
    try:
        manifest = json.loads(content)
        for split, counts in manifest.get("splits", {}).items():
            for name, count in counts.items():
                if split not in SPLIT_NAMES or name not in CLASS_NAMES or type(count) is not int:
                    raise TypeError(f"splits.{split}.{name} is {count!r}")
        for name, archive in manifest.get("archives", {}).items():
            if not isinstance(archive["bytes"], int) or not re.fullmatch("[0-9a-f]{64}", archive["sha256"]):
                raise TypeError(f"archives.{name} is {archive!r}")
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        fault = ArchiveError(f"{MANIFEST_NAME}: is not a manifest ({error!r}); rebuild the archives or remove it")
        fault.code, fault.path = "manifest-mismatch", MANIFEST_NAME
        raise fault from None
    return manifest


def _manifest_fault(archive: str, what: str) -> ArchiveError:
    error = ArchiveError(
        f"{archive}: {what}; the archive is another than the manifest's: "
        "copy or download both again, or rebuild them together"
    )
    error.code, error.path = "manifest-mismatch", archive
    return error


def _check_sizes(manifest: dict[str, Any], names: Sequence[str], files: dict[str, _File]) -> None:
    """Check that the manifest lists these archives, each with the size that it has."""
    if "archives" not in manifest:
        return
    for name in names:
        expected = manifest["archives"].get(name)
        if expected is None:
            raise _manifest_fault(name, f"is not in {MANIFEST_NAME}")
        if files[name].size not in (None, expected["bytes"]):
            raise _manifest_fault(name, f"has {files[name].size} bytes, {expected['bytes']} in {MANIFEST_NAME}")


def _check_counts(expected: dict[str, int], archive: str, keys: np.ndarray) -> None:
    """Check that a split's tiles are as many in each class as the manifest says."""
    found = np.bincount(keys // 10**_ID_DIGITS, minlength=len(CLASS_NAMES)).tolist()
    for name, count in zip(CLASS_NAMES, found, strict=True):
        if count != expected.get(name, 0):
            raise _manifest_fault(archive, f"has {count} {name} tiles, {expected.get(name, 0)} in {MANIFEST_NAME}")


def _check_across_shards(
    split: str,
    tiles: Sequence[tuple[str, str]],
    counts: dict[str, int] | None,
    download_config: datasets.DownloadConfig,
) -> None:
    """Check what can be seen from all shards of a split alone: no tile is in two of them, and none is too many."""
    keys = np.empty(0, np.int64)
    for name, path in tiles:
        with _Archive(name, path, split, download_config) as shard:
            doubled = np.intersect1d(keys, shard.members["key"], assume_unique=True)
            if doubled.size:
                raise shard.doubled_across_shards(int(doubled[0]))
            keys = np.concatenate([keys, shard.members["key"]])
    if counts is not None:
        _check_counts(counts, tiles[0][0], keys)


def _digest_of_checksums(name: str, path: str) -> str:
    """Return a digest of a local archive's directory, which holds each member's checksum; of a manifest, of all of it.

    So it costs next to nothing, and changes with the content. "" where a file cannot be read, which is told later.
    """
    try:
        if name == MANIFEST_NAME:
            return sha256_of_file(path)
        with _Archive(name, path, "", datasets.DownloadConfig(), members=_NO_MEMBERS) as archive:
            return hashlib.sha256(archive.read_directory()[0]).hexdigest()
    except (ArchiveError, OSError):
        return ""


def sha256_of_file(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits, as manifest.json has it."""
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(2**22))  # so large that this thread seldom asks for the interpreter lock
    with open(path, "rb", buffering=0) as file:
        while size := file.readinto(buffer):
            digest.update(buffer[:size])
    return digest.hexdigest()


# ----------------------------------------------------------------------------------------------- how an archive is read

# `zipfile` keeps some 500 bytes of objects for each member, which at ten times the release is a quarter of all that
# loading needs; here a member is a row of 32 bytes. The format: APPNOTE.TXT - .ZIP File Format Specification, PKWARE
# (the sections in brackets), and for PNG: ISO/IEC 15948:2004.

_LOCAL_HEADER = struct.Struct("<26xHH")  # lengths of name and extra field [4.3.7]
_DIRECTORY_ENTRY = struct.Struct("<4s4xHH4xLLLHHH8xL")  # [4.3.12], the fields as in _Archive._walk
_END_RECORD = struct.Struct("<4s6xHLL2x")  # signature, number of entries, the directory's size and offset [4.3.16]
_END_RECORD_64 = struct.Struct("<4s28xQQQ")  # the same [4.3.14]
_END_LOCATOR_64_SIZE = 20  # stands between the two [4.3.15]
_STORED, _DEFLATED = 0, 8
_ENCRYPTED, _UTF8 = 0x1, 0x800
_ZIP64 = 0xFFFFFFFF

_PNG_HEADER = struct.Struct(">12x4sLLBB3xL")  # chunk type, width, height, bit depth, colour type, checksum
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"IEND\xaeB`\x82"
_PNG_COLOUR_TYPES = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with alpha", 6: "RGBA"}

_ID_DIGITS = 18  # ids stay below 10 ** 18, so that a member's key, class * 10 ** 18 + id, fits into an int64
_MEMBER_NAME = re.compile(rb"([a-z]+)/(%s)/(0|[1-9]\d{0,%d})\.png" % ("|".join(CLASS_NAMES).encode(), _ID_DIGITS - 1))
_MEMBER = np.dtype("i8,i8,u4,u4,u4,u4", align=True)
_MEMBER.names = ("key", "start", "packed_size", "size", "checksum", "method")
_NO_MEMBERS = np.empty(0, _MEMBER)
_LARGEST_MEMBER = 2**20  # bytes; a tile's pixels are 64 KiB, so that a member above this is no tile whatever it claims
_LOCAL_BLOCK = 2**18  # bytes that one call reads; some tiles, or some hundred masks
_REMOTE_BLOCK = 2**20  # bytes that one request to a remote archive asks for

_COPY_AGAIN = "copy or download it again, or rebuild it"
_REPLACE = "replace the member, or copy or download the archive again"


class _Archive:
    """One archive of tiles or masks, open for reading.

    Args:
        name: the archive's file name.
        path: path or URL of the archive.
        split: name of the split that its members belong to.
        download_config: how to open a URL.
        on_fault: is told of a member's fault, and the member is left out; without it, the fault is raised.
        members: rows of the members that are wanted, as they were read from its directory before.

    Attributes:
        name: the archive's file name, for messages.
        members: array of `_MEMBER`, ascending by key, that is in the order of the examples.
    """

    def __init__(
        self,
        name: str,
        path: str,
        split: str,
        download_config: datasets.DownloadConfig,
        on_fault: Callable[[ArchiveError], object] | None = None,
        members: np.ndarray | None = None,
    ) -> None:
        self.name = name
        self._split = split
        self._on_fault = on_fault
        self._file = _open(name, path, download_config)
        try:
            self._size = self._file.seek(0, os.SEEK_END)
            self.members = self._sort_members(*self.read_directory()) if members is None else members
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> _Archive:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def fault(
        self, what: str, remedy: str, member: str | None = None, code: str = "archive-unreadable"
    ) -> ArchiveError:
        """Make the error that names this archive, the member, what is wrong and the remedy."""
        if member is not None and not member.isprintable():
            member = repr(member)
        message = f"{self.name}: {'' if member is None else member + ': '}{what}; {remedy}"
        error = ArchiveError(message)
        error.code, error.path = code, member or self.name
        return error

    def doubled_across_shards(self, key: int) -> ArchiveError:
        """Make the error that names a member of this shard that another shard of the split has too."""
        return self.fault("stands in another shard too", "remove one", self.member_name(key), "member-duplicate")

    def _tell(self, fault: ArchiveError) -> None:
        if self._on_fault is None:
            raise fault
        self._on_fault(fault)

    def member_name(self, key: int) -> str:
        """Return the name of the member with this key, such as `train/glaciar/12.png`."""
        label, number = divmod(key, 10**_ID_DIGITS)
        return f"{self._split}/{CLASS_NAMES[label]}/{number}.png"

    def read_png(self, member: tuple[int, ...], name: str) -> bytes:
        """Read one member, a row of `members`, and check its checksum and PNG header."""
        png = self._read_member(name, *member[1:])
        what, code = _png_fault(png)
        if what:
            if code == "png-format" and "_masks" in self.name:
                code = "mask-format"
            remedy = f"save it again as an 8-bit RGBA PNG of {TILE_SIZE} x {TILE_SIZE} pixels"
            raise self.fault(what, remedy, name, code)
        return png

    def read_directory(self) -> tuple[bytes, int, int]:
        """Return the directory, its number of entries, and the number of bytes before the archive, almost always 0."""
        size = self._size
        tail_start = max(0, size - 2**16 - _END_RECORD.size)  # the record may end in a comment of 2 ** 16 - 1 bytes
        tail = self._read(tail_start, size - tail_start)
        end = tail.rfind(b"PK\5\6")
        if end < 0 or end + _END_RECORD.size > len(tail):
            if self._read(0, min(4, size)) in (b"PK\3\4", b"PK\5\6"):
                raise self.fault("is cut short: no directory at its end", _COPY_AGAIN)
            raise self.fault(f"is not a zip archive ({size} bytes)", _COPY_AGAIN)
        _, entries, directory_size, directory_start = _END_RECORD.unpack_from(tail, end)
        end += tail_start
        if self._read(max(0, end - _END_LOCATOR_64_SIZE), 4) == b"PK\6\7":
            end -= _END_LOCATOR_64_SIZE + _END_RECORD_64.size
            record = self._read(max(0, end), _END_RECORD_64.size)
            if not record.startswith(b"PK\6\6"):
                raise self.fault("its zip64 end record is damaged", _COPY_AGAIN)
            _, entries, directory_size, directory_start = _END_RECORD_64.unpack(record)
        shift = end - directory_size - directory_start
        if shift < 0:
            raise self.fault("is cut short: its directory lies outside the file", _COPY_AGAIN)
        return self._read(directory_start + shift, directory_size), entries, shift

    def _sort_members(self, directory: bytes, entries: int, shift: int) -> np.ndarray:
        """Check every member's name, and return the members in the order of the examples."""
        members = np.fromiter(self._walk(directory, entries, shift), _MEMBER)
        members = members[np.argsort(members["key"], kind="stable")]
        keys = members["key"]
        doubled = keys[1:] == keys[:-1]
        for key in keys[1:][doubled].tolist():
            self._tell(
                self.fault("stands twice in the archive", "remove one", self.member_name(key), "member-duplicate")
            )
        return members[np.concatenate([[True], ~doubled])] if doubled.any() else members

    def _walk(self, directory: bytes, entries: int, shift: int) -> Iterator[tuple[int, ...]]:
        """Yield the fields of `_MEMBER` of each member that is not passed over."""
        split = self._split.encode()
        next_entry = count = 0
        while next_entry < len(directory):
            entry = next_entry
            count += 1
            if directory[entry : entry + 4] != b"PK\1\2" or len(directory) - entry < _DIRECTORY_ENTRY.size:
                raise self.fault("its directory is damaged", _COPY_AGAIN)
            _, flags, method, checksum, packed_size, size, *lengths, start = _DIRECTORY_ENTRY.unpack_from(
                directory, entry
            )
            name_start = entry + _DIRECTORY_ENTRY.size
            name_end = name_start + lengths[0]
            next_entry = name_start + sum(lengths)  # of name, extra field and comment
            name = directory[name_start:name_end]
            match = _MEMBER_NAME.fullmatch(name)
            if match is None or match[1] != split:
                readable = name.decode("utf-8" if flags & _UTF8 else "cp437", "replace")
                if readable.endswith("/") and not size:
                    continue  # a directory
                what, code = _member_name_fault(readable, self._split)
                if what:
                    self._tell(self.fault(what, f"members are named {self._split}/<class>/<id>.png", readable, code))
                continue
            if _ZIP64 in (packed_size, size, start):
                extra_field = directory[name_end : name_end + lengths[1]]
                size, packed_size, start = _zip64_numbers(extra_field, size, packed_size, start)
            what, remedy = "", _REPLACE
            if flags & _ENCRYPTED:
                what, remedy = "is encrypted", "rebuild the archive without a password"
            elif method not in (_STORED, _DEFLATED):
                what, remedy = f"is packed by method {method}", "rebuild with stored members"
            elif max(size, packed_size) > _LARGEST_MEMBER:
                what = f"claims {max(size, packed_size)} bytes, too many for a tile"
            elif start + shift + packed_size > self._size:
                what = "does not stand where the archive's directory says"
            if what:
                self._tell(self.fault(what, remedy, name.decode(), "png-corrupt"))
                continue
            key = CLASS_NAMES.index(match[2].decode()) * 10**_ID_DIGITS + int(match[3])
            yield key, start + shift, packed_size, size, checksum, method
        if (count - entries) % 2**16:  # an archive without zip64 records counts in 16 bits
            raise self.fault("its directory is damaged: entries are missing", _COPY_AGAIN)

    def _read_member(self, name: str, start: int, packed_size: int, size: int, checksum: int, method: int) -> bytes:
        header_size = _LOCAL_HEADER.size + len(name)
        header = self._read(start, header_size)
        if len(header) < header_size or not header.startswith(b"PK\3\4"):
            raise self.fault("does not stand where the archive's directory says", _REPLACE, name, "png-corrupt")
        name_length, extra_length = _LOCAL_HEADER.unpack_from(header)
        if name_length != len(name) or header[_LOCAL_HEADER.size :] != name.encode():
            raise self.fault("has another name where the archive's directory points", _REPLACE, name, "png-corrupt")
        if extra_length:
            self._file.seek(extra_length, os.SEEK_CUR)
        content = self._file.read(packed_size)
        if method == _DEFLATED:
            try:
                content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, size + 1)
            except zlib.error as error:
                raise self.fault(f"cannot be inflated ({error})", _REPLACE, name, "png-corrupt") from None
        if len(content) != size or zlib.crc32(content) != checksum:
            raise self.fault("is damaged: its checksum differs", _REPLACE, name, "png-corrupt")
        return content

    def _read(self, start: int, size: int) -> bytes:
        self._file.seek(start)
        return self._file.read(size)


def _member_name_fault(name: str, split: str) -> tuple[str, str]:
    """Say what is wrong with a member's name, and the code of the fault; nothing where the member is passed over."""
    parts = name.split("/")
    if parts[0] == "__MACOSX" or parts[-1] == ".DS_Store":
        return "", ""
    if len(parts) == 3 and parts[0] == split and parts[1] not in CLASS_NAMES and parts[1] not in ("", "..", "."):
        return f"has the unknown class {parts[1]!r}, the classes are {' and '.join(CLASS_NAMES)}", "class-unknown"
    if "\\" in name:
        what = "its name has a backslash"
    elif name.startswith("/") or re.match("[A-Za-z]:", name):
        what = "its name is an absolute path"
    elif ".." in parts:
        what = "its name leads out of the archive"
    elif parts[0] in SPLIT_NAMES and parts[0] != split:
        what = f"belongs to the split {parts[0]}, this is an archive of {split}"
    elif len(parts) != 3 or parts[0] != split or parts[1] not in CLASS_NAMES:
        what = f"stands outside {split}/<class>/"
    elif not parts[2].endswith(".png"):
        what = "its name does not end in .png"
    else:
        stem = parts[2].removesuffix(".png")
        what = f"its id {stem!r} is not a decimal number without leading zeros of at most {_ID_DIGITS} digits"
    return what, "member-name"


def _zip64_numbers(extra_field: bytes, *numbers: int) -> Iterator[int]:
    """Yield the numbers, those that are too large for 32 bits taken from the zip64 extra field (section 4.5.3)."""
    longs: Iterator[tuple[int]] = iter(())
    while len(extra_field) >= 4:
        field_id, length = struct.unpack_from("<HH", extra_field)
        if field_id == 0x0001:
            longs = struct.iter_unpack("<Q", extra_field[4 : 4 + length // 8 * 8])
        extra_field = extra_field[4 + length :]
    for number in numbers:
        yield next(longs, (number,))[0] if number == _ZIP64 else number


def _png_fault(png: bytes) -> tuple[str, str]:
    """Say what keeps these bytes from being a tile or a mask, and the fault's code, as far as it shows undecoded."""
    what = ""
    if not png:
        what = "is empty"
    elif not png.startswith(_PNG_SIGNATURE):
        what = "is a JPEG under the name of a PNG" if png.startswith(b"\xff\xd8\xff") else "is no PNG"
    elif len(png) < _PNG_HEADER.size or png.rfind(_PNG_END) < 0:
        what = "is a PNG cut short"
    if what:
        return what, "png-corrupt"
    chunk, width, height, depth, colour_type, header_checksum = _PNG_HEADER.unpack_from(png)
    if chunk != b"IHDR" or zlib.crc32(png[12:29]) != header_checksum:
        return "is a PNG whose header is damaged", "png-corrupt"
    if (width, height, depth, colour_type) != (TILE_SIZE, TILE_SIZE, 8, 6):
        colours = _PNG_COLOUR_TYPES.get(colour_type, "of an unknown colour type")
        return f"is {width} x {height}, {depth}-bit {colours}", "png-format"
    return "", ""


def _pair(tiles: _Archive, masks: _Archive, on_fault: Callable[[ArchiveError], object] | None = None) -> np.ndarray:
    """Find each tile's mask.

    Args:
        tiles: the archive of tiles.
        masks: the archive of their masks.
        on_fault: is told of each tile without a mask that it needs, and of each mask without a tile; without it, the
            first is raised.

    Returns:
        int64 array of shape `(tiles,)`: the mask's place in `masks.members`; -1 where a tile has no mask.
    """
    tile_keys, mask_keys = tiles.members["key"], masks.members["key"]
    places = np.searchsorted(mask_keys, tile_keys)
    places[~np.isin(tile_keys, mask_keys, assume_unique=True)] = -1
    lacking = tile_keys[(places < 0) & (tile_keys // 10**_ID_DIGITS == CLASS_NAMES.index("glaciar"))]
    orphans = mask_keys[~np.isin(mask_keys, tile_keys, assume_unique=True)]
    faults = itertools.chain(
        (
            tiles.fault(
                f"no mask in {masks.name}",
                "add one or move the tile to cordillera",
                tiles.member_name(key),
                "mask-missing",
            )
            for key in lacking.tolist()
        ),
        (
            masks.fault(
                f"no tile in {tiles.name}", "add the tile or remove the mask", masks.member_name(key), "mask-orphan"
            )
            for key in orphans.tolist()
        ),
    )
    for fault in faults:
        if on_fault is None:
            raise fault
        on_fault(fault)
    return places


def _read_examples(tiles: _Archive, masks: _Archive | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each tile's path and example, with its mask or, where no masks are given, its label."""
    if not tiles.members.size:
        raise tiles.fault("holds no tiles", _COPY_AGAIN)
    places = None if masks is None else _pair(tiles, masks)
    for first in range(0, tiles.members.size, 1000):  # by the thousand, for Python's integers take ten times the room
        for row, tile in enumerate(tiles.members[first : first + 1000].tolist(), first):
            path = tiles.member_name(tile[0])
            # Bytes, and no path beside them: `datasets` would look for such a file and take it instead.
            example: dict[str, Any] = {"image": tiles.read_png(tile, path)}
            if masks is None or places is None:
                example["labels"] = tile[0] // 10**_ID_DIGITS
            elif places[row] < 0:
                example["masks"] = _ALL_BACKGROUND_MASK
            else:
                example["masks"] = masks.read_png(masks.members[places[row]].item(), path)
            example["path"] = path
            yield path, example


def _open(name: str, path: str, download_config: datasets.DownloadConfig) -> IO[bytes]:
    """Open a local file, or any URL with the retries and the token that `datasets` would use."""
    if _is_url(path):
        return xopen(path, "rb", download_config=download_config, block_size=_REMOTE_BLOCK)
    try:
        return open(path, "rb", buffering=_LOCAL_BLOCK)
    except OSError as error:
        raise ArchiveError(f"{name}: cannot be opened ({error.strerror}); make {path} readable") from None


# ---------------------------------------------------------------------------------------------------------------- masks


def mask_to_class_indices(mask: Image.Image | np.ndarray) -> np.ndarray:
    """Turn a mask's colours into class indices.

    Args:
        mask: a mask as the dataset gives it: an RGBA image of 128 x 128 pixels, or a uint8 array of shape
            `(..., 128, 128, 4)` with values in [0, 255], such as a batch of masks.

    Returns:
        uint8 array of shape `(..., 128, 128)` with values in {0, 1}: 1 is rock glacier, 0 is background.

    Raises:
        ValueError: if the mask has another size, mode or dtype, or a colour other than the two.

    Example:
        >>> mask = Image.new("RGBA", (128, 128), BACKGROUND_COLOUR)
        >>> mask.putpixel((3, 5), ROCK_GLACIER_COLOUR)
        >>> indices = mask_to_class_indices(mask)
        >>> indices.shape, indices.dtype, int(indices.sum()), int(indices[5, 3])
        ((128, 128), dtype('uint8'), 1, 1)
    """
    colours = np.asarray(mask)
    if colours.dtype != np.uint8 or colours.shape[-3:] != (TILE_SIZE, TILE_SIZE, 4):
        raise ValueError(
            f"a mask is an RGBA image of {TILE_SIZE} x {TILE_SIZE} pixels or a uint8 array of shape "
            f"(..., {TILE_SIZE}, {TILE_SIZE}, 4); got {colours.dtype} of shape {colours.shape}"
        )
    pixels = np.ascontiguousarray(colours).view(np.uint32)[..., 0]  # of four bytes that are compared as one number
    expected = np.array([ROCK_GLACIER_COLOUR, BACKGROUND_COLOUR], np.uint8).view(np.uint32)
    rock_glacier = pixels == expected[0]
    known = rock_glacier | (pixels == expected[1])
    if not known.all():
        where = tuple(np.argwhere(~known)[0])
        raise ValueError(
            f"a mask has the two colours {ROCK_GLACIER_COLOUR} and {BACKGROUND_COLOUR} alone; "
            f"got {tuple(colours[where].tolist())} at y={where[-2]}, x={where[-1]}"
        )
    return rock_glacier.astype(np.uint8)


def class_indices_to_mask(indices: np.ndarray) -> Image.Image:
    """Turn class indices, such as a model's prediction, into a mask with the dataset's colours.

    Args:
        indices: integer or boolean array of shape `(128, 128)` with values in {0, 1}: 1 is rock glacier.

    Returns:
        RGBA image of 128 x 128 pixels.

    Raises:
        ValueError: if the shape is another, or a value is not 0 or 1.

    Example:
        >>> class_indices_to_mask(np.ones((128, 128), np.uint8)).getpixel((0, 0))
        (255, 255, 255, 255)
    """
    indices = np.asarray(indices)
    if indices.shape != (TILE_SIZE, TILE_SIZE) or not np.isin(indices, (0, 1)).all():
        raise ValueError(
            f"class indices are numbers 0 and 1 in an array of shape ({TILE_SIZE}, {TILE_SIZE}); "
            f"got {indices.dtype} of shape {indices.shape}, or other values"
        )
    colours = np.array([BACKGROUND_COLOUR, ROCK_GLACIER_COLOUR], np.uint8)
    return Image.fromarray(colours[indices.astype(np.intp)])


# --------------------------------------------------------------------------------------------------------------- arrays


def load_arrays(
    name: str | None = None,
    *,
    split: str | datasets.Split,
    data_dir: str | os.PathLike[str] | None = None,
    revision: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    num_proc: int | None = None,
    rgb: bool = True,
) -> dict[str, np.ndarray]:
    """Load a split as arrays: decoded once, on all cores, into files of the cache that later calls only map.

    The files stand in the folder of the prepared dataset, whose name is made of the config and the archives' state: of
    each local archive its size, its date and its members' checksums, of one at a URL what the server says of it, of a
    Hub dataset the commit. So other archives, or another revision, have other arrays. Several processes may ask at
    once: one decodes, and the others wait for it.

    `image[rows]` gathers a batch; `torch.from_numpy` and `jax.dlpack.from_dlpack` take an array uncopied. A worker
    process that is forked shares the arrays; one that is spawned would be sent a copy, and had better load them itself.

    Args:
        name: `image-classification` (default) or `image-segmentation`.
        split: `train`, `validation` or `test`; a part of one is a slice of its arrays.
        data_dir: folder of archives, local or any URL that fsspec opens; without it, the Hub dataset's.
        revision: branch, tag or commit of the Hub dataset; `main` without it.
        cache_dir: where the prepared dataset and the arrays are kept; without it, where `datasets` keeps its own.
        num_proc: number of processes that prepare the shards of a split, and of threads that decode; without it one
            process, and a thread for each core.
        rgb: whether to leave out the alpha channel.

    Returns:
        the columns by name, in the order of the examples, mapped from files that are never written to: a change that a
        program makes to an array stays with that process.

        - `image`: uint8 array of shape `(N, 128, 128, 3)`, or `(N, 128, 128, 4)` without `rgb`, values in [0, 255].
        - `labels` (`image-classification`): int64 array of shape `(N,)`, values in {0, 1}.
        - `masks` (`image-segmentation`): uint8 array of shape `(N, 128, 128)`, values in {0, 1}, as
          `mask_to_class_indices` makes them.
        - `path`: array of str, of shape `(N,)`, such as `train/cordillera/1512.png`.

    Raises:
        ArchiveError: at the first fault of the archives, an image that cannot be decoded and a mask of other colours
            among them; no arrays are left in the cache then.
        ValueError: if there is no such config or split.
        OSError: if the disk has too little room (`errno.ENOSPC`), found out before local archives are prepared, and
            before anything is decoded.

    Example:
        >>> arrays = load_arrays("image-segmentation", split="test", data_dir="sample")
        >>> {name: array.shape for name, array in arrays.items()}
        {'image': (24, 128, 128, 3), 'masks': (24, 128, 128), 'path': (24,)}
    """
    from filelock import FileLock

    if str(split) not in SPLIT_NAMES:
        raise ValueError(
            f"there is no split {str(split)!r} to load as arrays, the splits are {', '.join(SPLIT_NAMES)}; "
            "load one of them and slice its arrays"
        )
    builder = RockGlacierDataset(
        None if cache_dir is None else os.fspath(cache_dir), config_name=name, data_dir=data_dir, revision=revision
    )
    folder = os.path.join(builder.cache_dir, f"{split}-{'rgb' if rgb else 'rgba'}")
    if not os.path.isdir(folder):
        if not os.path.isdir(builder.cache_dir):
            _check_room_to_prepare(builder, str(split), rgb)
        builder.download_and_prepare(num_proc=num_proc)
        with FileLock(f"{folder}.lock"):
            if not os.path.isdir(folder):
                _write_arrays(builder.as_dataset(split=str(split)), folder, rgb, num_proc or _count_cores())
    # Copied on write, for torch warns of arrays that may not be written to. (`datasets` replaces `np.load` in here.)
    columns = features_of(builder.config.name)
    return {column: np.lib.format.open_memmap(os.path.join(folder, f"{column}.npy"), "c") for column in columns}


def _count_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _write_arrays(examples: datasets.Dataset, folder: str, rgb: bool, workers: int) -> None:
    """Decode a prepared split into a file for each column, in a folder beside that is renamed when all are written."""
    from datasets.utils.logging import tqdm

    mode = "RGB" if rgb else "RGBA"
    shapes = {"image": (TILE_SIZE, TILE_SIZE, len(mode)), "masks": (TILE_SIZE, TILE_SIZE)}
    shapes = {column: (len(examples), *shape) for column, shape in shapes.items() if column in examples.features}
    unfinished = f"{folder}.incomplete"
    shutil.rmtree(unfinished, ignore_errors=True)  # which a process left behind that was killed
    _check_room(os.path.dirname(folder), sum(math.prod(shape) for shape in shapes.values()))
    os.mkdir(unfinished)
    try:
        small_columns: dict[str, list[np.ndarray]] = {}
        with contextlib.ExitStack() as stack:
            files = {}
            for column, shape in shapes.items():
                files[column] = stack.enter_context(open(os.path.join(unfinished, f"{column}.npy"), "wb"))
                header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(files[column], header)
            bar = stack.enter_context(tqdm(total=len(examples), desc="Decoding", unit=" tiles"))
            # Threads, for Pillow lets go of the interpreter lock while it decodes. What they read and decode is written
            # rather than put into mapped files, so that the memory that this takes stays what it is as the data grows.
            for batch in _map_in_order(lambda rows: _decode_rows(rows, mode), _read_batches(examples), workers):
                for column, values in batch.items():
                    if column in files:
                        files[column].write(values.data)
                    else:
                        small_columns.setdefault(column, []).append(values)
                bar.update(len(batch["path"]))
        for column, parts in small_columns.items():
            np.save(os.path.join(unfinished, f"{column}.npy"), np.concatenate(parts))
        os.rename(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _check_room_to_prepare(builder: RockGlacierDataset, split: str, rgb: bool) -> None:
    """Check that the disk has room for a dataset of local archives, none of which is prepared, and a split's arrays."""
    if _is_url(builder._folder):  # where archives are counted only as they come
        return
    files = _list_files(builder._folder, builder._download_config)
    kinds = ("", "_masks") if builder._with_masks else ("",)
    names = [name for each in SPLIT_NAMES for kind in kinds for name in _names_of(files, each, kind)]
    tiles = 0
    for name in _names_of(files, split, ""):
        shard = _Archive(name, files[name].path, split, builder._download_config, members=_NO_MEMBERS)
        with contextlib.suppress(ArchiveError), shard:  # which preparing is going to raise
            tiles += shard.read_directory()[1]
    of_tile = TILE_SIZE**2 * ((3 if rgb else 4) + builder._with_masks)
    there = builder.cache_dir
    while not os.path.isdir(there):
        there = os.path.dirname(there)
    _check_room(there, sum(files[name].size or 0 for name in names) + tiles * of_tile)


def _check_room(folder: str, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(
            errno.ENOSPC,
            f"the arrays, and the dataset where it is yet to be prepared, need {needed / 2**20:,.1f} MiB in {folder}, "
            f"where {free / 2**20:,.1f} MiB are free; make room, or name a folder on another disk as cache_dir",
        )


def _read_batches(examples: datasets.Dataset) -> Iterator[list[dict[str, Any]]]:
    """Yield the examples of a prepared split, undecoded, by the batches that they were written in."""
    import pyarrow

    for file in examples.cache_files:
        with pyarrow.OSFile(file["filename"]) as opened, pyarrow.ipc.open_stream(opened) as batches:
            for batch in batches:
                yield batch.to_pylist()


_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def _map_in_order(function: Callable[[_Item], _Result], items: Iterable[_Item], workers: int) -> Iterator[_Result]:
    """Yield a function's results in the order of the items, of which no more are read than keep the threads busy."""
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        pending: collections.deque[concurrent.futures.Future[_Result]] = collections.deque()
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _decode_rows(rows: list[dict[str, Any]], mode: str) -> dict[str, np.ndarray]:
    """Decode some examples into an array for each column."""
    columns = {"image": np.stack([np.asarray(_decode(row, "image").convert(mode)) for row in rows])}
    if "masks" in rows[0]:
        columns["masks"] = np.stack([_decode_mask(row) for row in rows])
    else:
        columns["labels"] = np.array([row["labels"] for row in rows], np.int64)
    columns["path"] = np.array([row["path"] for row in rows])
    return columns


def _decode(row: dict[str, Any], column: str) -> Image.Image:
    try:
        return datasets.Image().decode_example(row[column])
    except MemoryError:
        raise
    except Exception as error:  # of many kinds, by what is damaged
        raise _fault_of_example(row, column, f"cannot be decoded ({error}); {_REPLACE}", "png-corrupt") from None


def _decode_mask(row: dict[str, Any]) -> np.ndarray:
    mask = _decode(row, "masks")
    try:
        return mask_to_class_indices(mask)
    except ValueError as error:
        raise _fault_of_example(
            row, "masks", f"{error}; save it again in these, without antialiasing", "mask-values"
        ) from None


def _fault_of_example(row: dict[str, Any], column: str, what: str, code: str) -> ArchiveError:
    path = row["path"]
    archive = path.split("/")[0] + ("_masks" if column == "masks" else "") + ".zip"
    error = ArchiveError(f"{archive}: {path}: {what}")
    error.code, error.path = code, path
    return error
