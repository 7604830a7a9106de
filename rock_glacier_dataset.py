"""Rock glaciers of the Chilean Andes: Sentinel-2 tiles with labels and masks, as a Hugging Face dataset.

`datasets` < 4 runs this file as a loading script; every version imports it as a module:

    >>> from rock_glacier_dataset import load_archives
    >>> tiles = load_archives("image-segmentation", data_dir="sample", split="train")
"""

from __future__ import annotations

import base64
import collections
import contextlib
import copy
import functools
import glob
import hashlib
import itertools
import json
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from typing import IO, Any

import datasets
import huggingface_hub
from datasets.builder import DatasetGenerationError
from datasets.data_files import DataFilesDict, DataFilesList
from datasets.download.streaming_download_manager import xopen
from datasets.fingerprint import Hasher

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
_VERSION = "2.0.0"
_URL = "hf://datasets/alkzar90/rock-glacier-dataset@script/data"

CONFIG_NAMES = ("image-classification", "image-segmentation")
CLASS_NAMES = ("cordillera", "glaciar")  # a class's place here is its label
CORDILLERA, GLACIAR = CLASS_NAMES
MASKS = "masks"  # the folder beside those of the classes
SPLIT_FOLDERS = {"train": ("train",), "validation": ("validation", "val"), "test": ("test",)}  # archives' names, too
SPLIT_NAMES = tuple(SPLIT_FOLDERS)
RELEASE_SIZES = {"train": 7875, "validation": 1125, "test": 2700}  # tiles
TILE_SIZE = 128  # pixels, width and height of a tile and of its mask
ROCK_GLACIER_COLOUR = (255, 255, 255, 255)  # RGBA, in a mask
BACKGROUND_COLOUR = (0, 0, 0, 255)
ARCHIVE_NAME = re.compile(r"(train|validation|val|test)(?:-\d{5}-of-(\d{5}))?\.zip")
MEMBER_NAME = re.compile(
    r"(?:(?!\.\./|[A-Za-z]:/)[^/\\]+/)*(train|validation|val|test)/(cordillera|glaciar|masks)/([0-9]{1,18})\.png"
)
MANIFEST_NAME = "manifest.json"
# The mask of a cordillera tile: opaque black. Spelt out, because an encoder's bytes change with its version.
EMPTY_MASK = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAIAAAACACAYAAADDPmHLAAAA60lEQVR42u3SMQ0AAAjAsPk3DTZI6FEDy6qG10QwAAbAABgAA2AADIABMAAG"
    "wAAYAANgAAyAATAABsAAGAADYAAMgAEwAAbAABgAA2AADIABMAAGwAAYAANgAAyAATAABsAAGAADYAAMgAEwAAbAABgAA2AADIABMAAGwAAY"
    "AANgAAyAATAABsAAGAADYAAMgAEwAAbAABgAA2AADIABMAAGwAAYAAMgggEwAAbAABgAA2AADIABMAAGwAAYAANgAAyAATAABsAAGAADYAAM"
    "gAEwAAbAABgAA2AADIABMAAGwAAYAANgAAzABQuGEMOy0eLE9QAAAABJRU5ErkJggg=="
)

_HUB_FOLDER = re.compile(r"hf://datasets/([^/@]+/[^/@]+)(?:@(refs/(?:pr|convert)/[^/]+|[^/]+))?/(.+?)/?")
_BLOCK = 2**20  # bytes that a request to a remote archive asks for
_MASK_BLOCK = 2**14  # the same for masks, some twenty of which it holds
_LARGEST_MEMBER = 2**20  # bytes; a tile's pixels are 64 KiB
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, RuntimeError, OverflowError)
_COPY_AGAIN = "copy or download the archive again, or build it again"


class ArchiveError(ValueError):
    """A fault in the archives: names the archive, the member, what is wrong and the remedy.

    `code` is its kind, as in the audit's report; `path` the member, such as `train/glaciar/012.png`, or the archive.
    """

    def __init__(self, message: str, code: str = "archive-unreadable", path: str = "") -> None:
        super().__init__(message)
        self.code, self.path = code, path


def features_of(config_name: str) -> datasets.Features:
    """Return the features of a config, in their order."""
    label, mask = datasets.ClassLabel(names=list(CLASS_NAMES)), datasets.Image()
    target = {"labels": label} if config_name == CONFIG_NAMES[0] else {"masks": mask}
    return datasets.Features({"image": datasets.Image(), **target, "path": datasets.Value("string")})


class RockGlacierDataset(datasets.GeneratorBasedBuilder):
    """Rock Glacier dataset: Sentinel-2 images of the Chilean Andes, cut into tiles and annotated by human curators.

    Tiles: PNG, 128 x 128 pixels, RGBA, 8 bits a channel; bands B04, B03, B02 as red, green, blue.
    Classes: `cordillera` (0), mountain without a rock glacier; `glaciar` (1), mountain with one.
    Masks: PNG, 128 x 128 pixels, RGBA; white (255, 255, 255, 255) is rock glacier, black (0, 0, 0, 255) is background.
    Splits of the release: train 7,875, validation 1,125, test 2,700 tiles.
    Configs: `image-classification` (default) with `image`, `labels`, `path`; `image-segmentation` with `image`,
    `masks`, `path`. Images and masks are the bytes of the archives; the mask of a cordillera tile is all background.
    Source: https://github.com/alcazar90/rock-glacier-detection, of the Centro de Modelamiento Matemático, Universidad
    de Chile, and the dataset card.

    Args:
        data_dir: folder of archives, local or any URL that fsspec opens. Default: `data/` beside the loading script,
            or else `data/` on the branch `script` of the Hub dataset. All else is as in `datasets.DatasetBuilder`.

    Raises:
        ArchiveError: at the first fault of the archives.
    """

    VERSION = datasets.Version(_VERSION)
    BUILDER_CONFIGS = [  # noqa: RUF012 - `datasets` asks for a list
        datasets.BuilderConfig(CONFIG_NAMES[0], VERSION, description="Tiles, each with a label: rock glacier or not."),
        datasets.BuilderConfig(CONFIG_NAMES[1], VERSION, description="Tiles, each with a mask: where is rock glacier?"),
    ]
    DEFAULT_CONFIG_NAME = CONFIG_NAMES[0]
    DEFAULT_WRITER_BATCH_SIZE = 64  # tiles, some 2 MiB

    def __init__(
        self,
        *,
        config_name: Any = None,
        base_path: Any = None,
        data_dir: Any = None,
        data_files: Any = None,
        **kwargs: Any,
    ) -> None:
        if data_files is not None:
            raise ValueError("data_files are not read; give the folder that holds the archives as data_dir")
        token, storage_options = kwargs.get("token"), kwargs.get("storage_options") or {}
        self._download_config = datasets.DownloadConfig(token=token, storage_options=storage_options)
        self._folder = _locate(data_dir, base_path, token)
        files = find_archives(self._folder, self._download_config)  # whose state keys the cache
        config_name = config_name or self.DEFAULT_CONFIG_NAME  # forgotten by early versions where there are data_files
        super().__init__(config_name=config_name, base_path=base_path, data_files=files, **kwargs)

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(_DESCRIPTION, _CITATION, _HOMEPAGE, _LICENSE, features_of(self.config.name))

    def _split_generators(self, dl_manager: datasets.DownloadManager) -> list[datasets.SplitGenerator]:
        files, whole = self.config.data_files, not dl_manager.is_streaming
        manifest = read_manifest(files, self._download_config)
        # What lies at a URL may change, but for a commit on the Hub; `datasets` would take what it downloaded before.
        dl_manager.download_config.force_download |= not self._folder.startswith("hf://")
        generators = []
        for split in SPLIT_NAMES:
            for fault in name_faults(split, files[split], self._folder):
                raise fault
            archives = list(zip(map(name_of, files[split]), dl_manager.download(list(files[split])), strict=True))
            if whole and len(archives) > 1:
                self._check_shards(split, archives, manifest)
            kwargs = {"split": split, "archives": archives, "manifest": manifest, "whole": whole}
            generators.append(datasets.SplitGenerator(name=split, gen_kwargs=kwargs))
        return generators

    def _generate_examples(
        self, split: str, archives: list[tuple[str, str]], manifest: dict[str, Any], whole: bool
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the examples of a split, or of some shards of it, in the order in which the members stand."""
        with_masks = self.config.name == CONFIG_NAMES[1]
        for name, path in archives:
            with TileArchive(split, name, path, self._download_config) as archive:
                pair_faults = archive.pair_faults() if with_masks else ()
                for fault in itertools.chain(archive.faults, archive.manifest_faults(manifest, whole), pair_faults):
                    raise fault
                for folder, tile_id in archive.tiles:
                    # Bytes, and no path beside them: `datasets` would look for such a file and take it instead.
                    example: dict[str, Any] = {"image": archive.read(folder, tile_id)}
                    if not with_masks:
                        example["labels"] = CLASS_NAMES.index(folder)
                    else:
                        example["masks"] = archive.read(MASKS, tile_id) if folder == GLACIAR else EMPTY_MASK
                    example["path"] = archive.path_of(folder, tile_id)
                    yield example["path"], example

    def _check_shards(self, split: str, archives: list[tuple[str, str]], manifest: dict[str, Any]) -> None:
        """Check what only all shards of a split show: that no tile stands in two, and how many there are."""
        found: set[tuple[str, str]] = set()
        for name, path in archives:
            with TileArchive(split, name, path, self._download_config) as archive:
                for tile in found.intersection(archive.tiles):
                    path = archive.path_of(*tile)
                    raise archive.fault("stands in another shard too", "remove one", "member-duplicate", path)
                found.update(archive.tiles)
        for fault in count_faults(manifest, split, archives[0][0], found):
            raise fault

    def _prepare_split_single(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        try:
            yield from super()._prepare_split_single(*args, **kwargs)
        except DatasetGenerationError as error:  # which comes out of a process of its own without its cause
            cause = error.__cause__
            if isinstance(cause, ArchiveError):
                raise cause from None
            raise DatasetGenerationError(str(cause)) from cause

    def _download_and_prepare(self, *args: Any, **kwargs: Any) -> None:
        try:
            super()._download_and_prepare(*args, **kwargs)
        except DatasetGenerationError as error:
            raise error.__cause__ if isinstance(error.__cause__, OSError) else error from None
        if Hasher.hash(find_archives(self._folder, self._download_config)) != Hasher.hash(self.config.data_files):
            raise ArchiveError(f"{self._folder}: was changed while it was read; load it again")


def load_archives(
    name: str | None = None,
    *,
    data_dir: Any = None,
    split: Any = None,
    streaming: bool = False,
    num_proc: int | None = None,
    **options: Any,
) -> datasets.Dataset | datasets.DatasetDict | datasets.IterableDataset | datasets.IterableDatasetDict:
    """Load the dataset from archives, on every version of `datasets`; arguments and result as `datasets.load_dataset`.

    Args:
        name: `image-classification` (default) or `image-segmentation`.
        data_dir: folder of archives, local or any URL that fsspec opens, such as `hf://datasets/<repo>@<revision>/data`.
            Default: `data/` on the branch `script` of the Hub dataset.
        split: such as `train`, `train+test` or `test[:10%]` (no slices while streaming). Default: all splits.
        streaming: read examples as they are asked for, without preparing the dataset.
        num_proc: number of processes that prepare the shards of a split.
        **options: `cache_dir`, `token`, `storage_options`.

    Raises:
        ArchiveError: at the first fault of the archives; nothing is left in the cache then.
        ValueError: there is no such config or split.
    """
    builder = RockGlacierDataset(config_name=name, data_dir=data_dir, **options)
    if streaming:
        return builder.as_streaming_dataset(split=split)
    builder.download_and_prepare(num_proc=num_proc)
    return builder.as_dataset(split=split)


def _locate(data_dir: str | os.PathLike[str] | None, base_path: str | None, token: bool | str | None) -> str:
    """Find the folder of archives: an absolute local path, or a URL; on the Hub, at the commit that is there now."""
    endpoint = datasets.config.HF_ENDPOINT
    folder = os.path.expanduser(os.fspath(data_dir if data_dir is not None else os.path.join(base_path or "", "data")))
    if data_dir is None and folder.startswith(endpoint):  # beside a script on the Hub
        folder = folder.replace(endpoint, "hf:/", 1).replace("/resolve/", "@", 1)
    elif data_dir is None and not (base_path and os.path.isdir(folder)):
        folder = _URL
    if match := _HUB_FOLDER.fullmatch(folder):
        repo_id, revision, path = match.groups()
        commit = huggingface_hub.HfApi(endpoint=endpoint, token=token).dataset_info(repo_id, revision=revision).sha
        return f"hf://datasets/{repo_id}@{commit}/{path}"
    if "://" in folder:
        return folder
    if "::" in folder or not os.path.isdir(folder):
        what = "fsspec takes '::' for a chain of URLs; rename it" if "::" in folder else "no such folder"
        raise ArchiveError(f"{folder!r}: {what}; give the folder that holds train.zip as data_dir")
    return os.path.abspath(folder)


def name_of(url: str) -> str:
    """Return the file name of an archive's path or URL, such as `zip://train.zip::https://example.org/all.zip`."""
    return os.path.basename(url.split("::")[0])


def find_archives(folder: str, download_config: datasets.DownloadConfig | None = None) -> DataFilesDict:
    """Find the archives of each split, shards in order, and manifest.json, in a folder: an absolute path or a URL.

    The `origin_metadata` of a file is its state: ETag or time of modification where known, and its size in bytes.
    """
    base_path = folder if "://" in folder else glob.escape(folder)
    files = DataFilesDict()
    try:
        found = DataFilesList.from_patterns(["*.zip", "*.json"], base_path, download_config=download_config)
        for key, stems in {**SPLIT_FOLDERS, MANIFEST_NAME: ("manifest",)}.items():
            files[key] = DataFilesList([], [])
            for url, state in sorted(zip(found, found.origin_metadata, strict=True)):
                name = name_of(url)
                if re.split("[-.]", name)[0] in stems and (key == name or ARCHIVE_NAME.fullmatch(name)):
                    with xopen(url, "rb", download_config=download_config) as file:
                        files[key] = files[key] + DataFilesList([url], [(*state, file.seek(0, os.SEEK_END))])
    except Exception as error:  # of as many kinds as there are file systems
        message = " ".join(f"cannot be listed ({type(error).__name__}: {error})".split())
        raise ArchiveError(f"{folder}: {message}; give a folder that holds train.zip as data_dir") from error
    return files


def name_faults(split: str, urls: Iterable[str], folder: str) -> Iterator[ArchiveError]:
    """Yield what is wrong with the set of a split's archives, which is one archive or all shards of it."""
    names = [*map(name_of, urls)] or [f"{split}.zip", ""]
    stem, shards = ARCHIVE_NAME.fullmatch(names[0]).groups()  # type: ignore[union-attr]
    expected = [f"{stem}-{shard:05d}-of-{shards}.zip" for shard in range(int(shards))] if shards else names[:1]
    for name in (name for name in expected if name not in map(name_of, urls)):
        also = "; a web server has to list its folders" if "://" in folder else ""
        yield ArchiveError(f"{name}: not in {folder}; add it, or give another folder as data_dir{also}", path=name)
    for name in (name for name in map(name_of, urls) if name not in expected):
        yield ArchiveError(f"{name}: does not belong with {names[0]} in {folder}; remove one of the two", path=name)


def read_manifest(files: DataFilesDict, download_config: datasets.DownloadConfig | None = None) -> dict[str, Any]:
    """Read manifest.json: `{"splits": {split: {class: n}}, "archives": {file: {"bytes", "sha256"}}}`, or {} without."""
    manifest: dict[str, Any] = {}
    for url in files[MANIFEST_NAME]:
        with xopen(url, "rb", download_config=download_config) as file:
            content = file.read()
        try:
            manifest = json.loads(content)
            for split, counts in manifest.get("splits", {}).items():
                if split not in SPLIT_NAMES or not {*counts} <= {*CLASS_NAMES} or {*map(type, counts.values())} - {int}:
                    raise TypeError(f"splits.{split} is {counts!r}")
            for name, archive in manifest.get("archives", {}).items():
                if type(archive["bytes"]) is not int or not re.fullmatch("[0-9a-f]{64}", archive["sha256"]):
                    raise TypeError(f"archives.{name} is {archive!r}")
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
            raise _manifest_fault(MANIFEST_NAME, f"is not a manifest ({error!r})") from None
    return manifest


def _manifest_fault(archive: str, what: str) -> ArchiveError:
    remedy = f"copy or download the archives and {MANIFEST_NAME} again, or build them again"
    return ArchiveError(f"{archive}: {what}; {remedy}", "manifest-mismatch", archive)


def count_faults(manifest: dict[str, Any], split: str, archive: str, tiles: Any) -> Iterator[ArchiveError]:
    """Yield each class of which a split's tiles, given as (class, id), are not as many as in the manifest."""
    found = collections.Counter(folder for folder, _ in tiles)
    for name in CLASS_NAMES if "splits" in manifest else ():
        expected = manifest["splits"].get(split, {}).get(name, 0)
        if found[name] != expected:
            yield _manifest_fault(archive, f"has {found[name]} {name} tiles, {expected} in {MANIFEST_NAME}")


def sha256_of_file(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


class TileArchive(contextlib.ExitStack):
    """An archive of tiles and masks of a split, open for reading: the file `name` at a local path or URL.

    Attributes:
        members: by folder (a class or `masks`) and id, in the order in which they stand; faulty ones are left out.
        faults: the faulty members' faults.
        size: bytes of the archive.

    Raises:
        ArchiveError: it cannot be read.
    """

    def __init__(self, split: str, name: str, path: str, download_config: Any = None) -> None:
        super().__init__()
        self.split, self.name, self.path = split, name, path
        self.faults: list[ArchiveError] = []
        self.members: dict[tuple[str, str], zipfile.ZipInfo] = {}
        self._download_config = download_config
        try:
            file = self._open(_BLOCK)
            self.size = file.seek(0, os.SEEK_END)
            file.seek(max(0, self.size - _BLOCK))
            file.read(1)  # so that one request brings the end of a remote archive
            self._zip = zipfile.ZipFile(file)
        except (OSError, *_ZIP_ERRORS) as error:
            self.close()
            raise self.fault(f"cannot be read as a zip archive ({error})", _COPY_AGAIN) from error
        for member in sorted(self._zip.infolist(), key=lambda member: member.header_offset):
            name = member.orig_filename  # filename ends at a NUL
            if "__MACOSX/" in name or name.endswith(".DS_Store") or (name.endswith("/") and not member.file_size):
                continue
            match = MEMBER_NAME.fullmatch(name)
            key = match.group(2, 3) if match and match[1] in SPLIT_FOLDERS[split] else None
            if fault := self._fault_of(key, member):
                self.faults.append(self.fault(*fault, name))
            else:
                self.members[key] = member
        if not any(folder in CLASS_NAMES for folder, _ in self.members):
            self.faults.append(self.fault("holds no tiles", _COPY_AGAIN))

    def _fault_of(self, key: Any, member: zipfile.ZipInfo) -> tuple[str, str, str] | None:
        """Return what keeps a member from being read, the remedy and the code; None where nothing does."""
        if key is None:
            what = f"is not named {self.split}/<class>/<id>.png or {self.split}/{MASKS}/<id>.png"
            return (
                what,
                f"rename or remove it; classes are {' and '.join(CLASS_NAMES)}, ids 1 to 18 digits",
                "member-name",
            )
        if key in self.members:
            return "stands twice in the archive", "remove one", "member-duplicate"
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            return f"is packed by method {member.compress_type}", "build the archive with stored members", "png-corrupt"
        size = max(member.file_size, member.compress_size)
        if size > _LARGEST_MEMBER or member.header_offset + member.compress_size > self.size:
            return f"claims {size} bytes, more than a tile has or the archive holds", _COPY_AGAIN, "png-corrupt"
        if b"PK\1\2" in member.extra + member.comment:  # the start of another entry
            return "the archive's directory is damaged here", _COPY_AGAIN, "archive-unreadable"
        return None

    @property
    def tiles(self) -> Iterator[tuple[str, str]]:
        """Class and id of each tile, in the order in which they stand."""
        return (key for key in self.members if key[0] in CLASS_NAMES)

    def path_of(self, folder: str, tile_id: str) -> str:
        """Return a member's path, such as `val/glaciar/012.png`."""
        return "/".join(self.members[folder, tile_id].orig_filename.split("/")[-3:])

    def fault(self, what: str, remedy: str, code: str = "archive-unreadable", member: str = "") -> ArchiveError:
        """Make the error that names this archive, the member, what is wrong and the remedy."""
        member = member if member.isprintable() else repr(member)
        return ArchiveError(f"{self.name}: {member and member + ': '}{what}; {remedy}", code, member or self.name)

    def pair_faults(self) -> Iterator[ArchiveError]:
        """Yield each glaciar tile without a mask, and each mask without a glaciar tile."""
        for folder, tile_id in self.members:
            path = self.path_of(folder, tile_id)
            if folder == GLACIAR and (MASKS, tile_id) not in self.members:
                mask = path.replace(GLACIAR, MASKS)
                yield self.fault(f"no {mask}", "add it or move the tile to cordillera", "mask-missing", path)
            elif folder == MASKS and (GLACIAR, tile_id) not in self.members:
                tile = path.replace(MASKS, GLACIAR)
                yield self.fault(f"no {tile}", "add it or remove the mask", "mask-orphan", path)

    def manifest_faults(self, manifest: dict[str, Any], whole: bool = True) -> Iterator[ArchiveError]:
        """Yield what differs from the manifest: bytes, SHA-256 (of a whole local file), tiles (where it is no shard)."""
        expected = manifest.get("archives", {}).get(self.name)
        if expected is None and "archives" in manifest:
            yield _manifest_fault(self.name, f"is not in {MANIFEST_NAME}")
        elif expected and expected["bytes"] != self.size:
            yield _manifest_fault(self.name, f"has {self.size} bytes, {expected['bytes']} in {MANIFEST_NAME}")
        elif expected and whole and expected["sha256"] != sha256_of_file(self.path):
            yield _manifest_fault(self.name, f"has another SHA-256 than in {MANIFEST_NAME}")
        if "-of-" not in self.name:
            yield from count_faults(manifest, self.split, self.name, self.tiles)

    def _open(self, block_size: int) -> IO[bytes]:
        if "://" not in self.path:
            return self.enter_context(open(self.path, "rb"))
        return self.enter_context(xopen(self.path, "rb", download_config=self._download_config, block_size=block_size))

    @functools.cached_property
    def _mask_zip(self) -> zipfile.ZipFile:
        masks = copy.copy(self._zip)
        masks.fp = self._open(_MASK_BLOCK)  # for masks may stand far from their tiles
        return masks

    def read(self, folder: str, tile_id: str) -> bytes:
        """Read a member as it stands; ArchiveError where it is damaged or `png_fault` finds one."""
        member, path = self.members[folder, tile_id], self.path_of(folder, tile_id)
        try:
            with (self._mask_zip if folder == MASKS else self._zip).open(member) as file:
                png: bytes = file.read(member.file_size)  # no more, whatever it inflates to
            if len(png) != member.file_size:
                raise EOFError(f"{len(png)} bytes instead of {member.file_size}")
        except _ZIP_ERRORS as error:
            raise self.fault(f"cannot be read ({error})", _COPY_AGAIN, "png-corrupt", path) from None
        if fault := png_fault(png):
            code = "mask-format" if folder == MASKS and fault[1] == "png-format" else fault[1]
            raise self.fault(fault[0], "save it as an 8-bit RGBA PNG of 128 x 128 pixels", code, path)
        return png


def png_fault(png: bytes) -> tuple[str, str] | None:
    """Find what keeps a file from being an 8-bit RGBA PNG of 128 x 128 pixels, as far as it shows undecoded.

    Returns what is wrong and its code, `png-corrupt` or `png-format`, or None. The format: ISO/IEC 15948, 5 and 11.2.
    """
    if not png.startswith(b"\x89PNG\r\n\x1a\n"):
        return "is empty" if not png else "is a JPEG" if png[:3] == b"\xff\xd8\xff" else "is no PNG", "png-corrupt"
    place, kind, headers = 8, b"", 0
    while kind != b"IEND" and place + 12 <= len(png):
        length, kind = struct.unpack_from(">L4s", png, place)
        place += 12 + length  # length, type, content, checksum
        headers += kind == b"IHDR"
    if kind != b"IEND" or place > len(png):
        return "is a PNG cut short", "png-corrupt"
    if png[8:16] != b"\0\0\0\rIHDR" or png[29:33] != zlib.crc32(png[12:29]).to_bytes(4, "big"):
        return "is a PNG whose header is damaged", "png-corrupt"
    width, height, depth, colour_type = struct.unpack_from(">LLBB", png, 16)
    if headers > 1 or (width, height, depth, colour_type) != (TILE_SIZE, TILE_SIZE, 8, 6):
        colours = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with alpha", 6: "RGBA"}.get(
            colour_type, "of no known kind"
        )
        return f"is {width} x {height}, {depth}-bit {colours}, with {headers} headers", "png-format"
    return None
