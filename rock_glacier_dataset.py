"""Rock glaciers of the Chilean Andes: tiles, labels and masks. A loading script for `datasets` < 4, and a module."""

from __future__ import annotations

import base64
import contextlib
import copy
import functools
import hashlib
import json
import os
import re
import struct
import threading
import urllib.parse
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, Any
from unittest import mock

import datasets
import huggingface_hub
from datasets.builder import DatasetGenerationError, FileLock
from datasets.data_files import DataFilesDict, DataFilesList
from datasets.download.streaming_download_manager import xopen
from datasets.fingerprint import Hasher

_CITATION = """\
@ONLINE {rock-glacier-dataset, author="CMM - Glaciares (UChile)", title="Rock Glacier Dataset", month="October",
    year="2022", url="https://github.com/alcazar90/rock-glacier-detection"}
"""
_DESCRIPTION = """\
Sentinel-2 images of rock glaciers in the Chilean Andes, as tiles of 128 x 128 pixels, for image classification (is
there a rock glacier on the tile?) and image segmentation (which pixels show one?), annotated by human curators.
"""
HOMEPAGE, _LICENSE = "https://github.com/alcazar90/rock-glacier-detection", "MIT"
_VERSION = "2.0.0"

REPO_ID = "alkzar90/rock-glacier-dataset"
CONFIG_NAMES = ("image-classification", "image-segmentation")
CLASS_NAMES = ("cordillera", "glaciar")  # the index of a class is its label
GLACIAR, MASKS = "glaciar", "masks"  # folders of an archive; a mask has the id of its glaciar tile
SPLIT_FOLDERS = {"train": ("train",), "validation": ("validation", "val"), "test": ("test",)}  # archives' names, too
SPLIT_NAMES = tuple(SPLIT_FOLDERS)
RELEASE_SIZES = {"train": 7875, "validation": 1125, "test": 2700}  # tiles
TILE_SIZE = 128  # pixels, width and height of a tile and of its mask
ROCK_GLACIER_COLOUR, BACKGROUND_COLOUR = (255, 255, 255, 255), (0, 0, 0, 255)  # RGBA, in a mask
ARCHIVE_NAME = re.compile(r"(train|validation|val|test)(?:-\d{5}-of-((?!0{5})\d{5}))?\.zip")
MEMBER_NAME = re.compile(
    r"(?:(?!\.\./|[A-Za-z]:/)[^/\\]+/)*(train|validation|val|test)/(cordillera|glaciar|masks)/([0-9]{1,18})\.png"
)
MANIFEST_NAME = "manifest.json"
# The mask of a cordillera tile: opaque black. Spelt out, because an encoder's bytes change with its version.
_MASK = "c-rd>@N?(olHy`uVBq!ia0vp^4Is?H1|$#LC7xzrV4Ujd;uuoF`1T+pBLf2mlfobSTWu07U(;9z4vivN9^MAVOT~viFaUw4tDnm{r-UW|ZP3GZ"
EMPTY_MASK = zlib.decompress(base64.b85decode(_MASK))

_HUB_FOLDER = re.compile(r"hf://datasets/([^/@]+/[^/@]+)(?:@(refs/(?:pr|convert)/[^/]+|[^/]+))?(?:/(.+?))?/?")
_BLOCK, _MASK_BLOCK = 2**20, 2**14  # bytes that a request to a remote archive asks for; masks are small and scattered
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, RuntimeError, OverflowError)
_COPY_AGAIN = "copy or download the archive again, or build it again"
_PATCHING = threading.RLock()  # held while `FileLock` of `datasets` is replaced, which all threads share


class ArchiveError(ValueError):
    """A fault: archive, member, what is wrong and the remedy, control characters escaped; `code`, `path` as audited."""

    def __init__(self, message: str, code: str = "archive-unreadable", path: str = "") -> None:
        message, path = ("".join(c if c.isprintable() else ascii(c)[1:-1] for c in text) for text in (message, path))
        super().__init__(message)
        self.code, self.path = code, path


def features_of(config_name: str) -> datasets.Features:
    """Return the features of a config, in their order."""
    label, mask = datasets.ClassLabel(names=list(CLASS_NAMES)), datasets.Image()
    target = {"labels": label} if config_name == CONFIG_NAMES[0] else {"masks": mask}
    return datasets.Features({"image": datasets.Image(), **target, "path": datasets.Value("string")})


class RockGlacierDataset(datasets.GeneratorBasedBuilder):
    """Rock Glacier dataset: Sentinel-2 images of the Chilean Andes, cut into tiles and annotated by human curators.

    Tiles: PNG, 128 x 128 pixels, 8-bit RGBA; bands B04, B03, B02 as red, green, blue; 7,875 / 1,125 / 2,700 a split.
    Classes: `cordillera` (0), mountain without a rock glacier; `glaciar` (1), mountain with one.
    Masks: PNG of the same form; white is rock glacier, black background. That of a cordillera tile is all background.
    Configs: `image-classification` (default) with `image`, `labels`, `path`; `image-segmentation` with `image`,
    `masks`, `path`. Images and masks are the bytes of the archives. Source: the homepage and the dataset card.

    Args:
        data_dir: folder of archives, local or any URL that fsspec opens. Default: `data/` beside the loading script,
            or else `data/` on the branch `script` of the Hub dataset. All else is as in `datasets.DatasetBuilder`.

    Raises:
        ArchiveError: at the first fault. Streaming checks neither manifest.json nor for tiles in two shards.
    """

    VERSION = datasets.Version(_VERSION)
    BUILDER_CONFIGS = [datasets.BuilderConfig(name, datasets.Version(_VERSION)) for name in CONFIG_NAMES]  # noqa: RUF012
    DEFAULT_CONFIG_NAME = CONFIG_NAMES[0]
    DEFAULT_WRITER_BATCH_SIZE = 64  # tiles, some 2 MiB

    def __init__(self, *, data_dir: Any = None, base_path: Any = None, data_files: Any = None, **kwargs: Any) -> None:
        if data_files is not None:
            raise ValueError("data_files are not read; give the folder that holds the archives as data_dir")
        token, options = kwargs.get("token"), kwargs.get("storage_options") or {}
        self._download_config = datasets.DownloadConfig(token=token, storage_options=options)
        self._folder = locate(data_dir, base_path, token)
        kwargs.pop("trust_remote_code", None)  # which `datasets` < 2.16 passes on
        kwargs["config_name"] = kwargs.get("config_name") or self.DEFAULT_CONFIG_NAME  # which early versions forget
        super().__init__(base_path=base_path, data_files=find_archives(self._folder, self._download_config), **kwargs)

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(_DESCRIPTION, _CITATION, HOMEPAGE, _LICENSE, features_of(self.config.name))

    def _split_generators(self, dl_manager: datasets.DownloadManager) -> list[datasets.SplitGenerator]:
        files, whole = self.config.data_files, not dl_manager.is_streaming
        # What lies at a URL may change, but for a commit on the Hub; `datasets` would take what it downloaded before.
        dl_manager.download_config.force_download |= not self._folder.startswith("hf://datasets/")
        generators, counts, paths = list[Any](), dict[str, Any](), dict[str, str]()
        for split in SPLIT_NAMES:
            names = [*map(name_of, files[split])]
            for fault in name_faults(split, names, self._folder):
                raise fault
            archives = list(zip(names, dl_manager.download(list(files[split])), strict=True))
            counts[split] = _count_tiles(split, archives) if whole else {}
            paths.update(archives)
            generators.append(datasets.SplitGenerator(split, {"split": split, "archives": archives}))
        for fault in manifest_faults(read_manifest(files, self._download_config), counts, paths) if whole else ():
            raise fault
        return generators

    def _generate_examples(self, split: str, archives: list[tuple[str, str]]) -> Iterator[tuple[str, dict[str, Any]]]:
        _, target_name, _ = self.info.features
        for name, path in archives:
            with TileArchive(split, name, path, self._download_config) as archive:
                for fault in archive.faults or (archive.pair_faults() if target_name == "masks" else ()):
                    raise fault
                for folder, tile_id in archive.tiles:
                    image = archive.read(folder, tile_id)  # without a path, where `datasets` would look for a file
                    target: Any = CLASS_NAMES.index(folder)
                    if target_name == "masks":
                        target = archive.read(MASKS, tile_id) if folder == GLACIAR else EMPTY_MASK
                    yield (key := archive.path_of(folder, tile_id)), {"image": image, target_name: target, "path": key}

    def _prepare_split_single(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        try:
            yield from super()._prepare_split_single(*args, **kwargs)
        except DatasetGenerationError as error:  # whose cause does not come out of a process of its own
            if isinstance(error.__cause__, ArchiveError):
                raise error.__cause__ from None
            raise DatasetGenerationError(f"{error} ({error.__cause__})") from error.__cause__

    def _download_and_prepare(self, *args: Any, **kwargs: Any) -> None:
        try:
            super()._download_and_prepare(*args, **kwargs)
        except DatasetGenerationError as error:
            raise (error.__cause__ if isinstance(error.__cause__, OSError) else error) from None
        if Hasher.hash(find_archives(self._folder, self._download_config)) != Hasher.hash(self.config.data_files):
            raise ArchiveError(f"{self._folder}: was changed while it was read; load it again")


def load_archives(
    name: str | None = None, *, data_dir: Any = None, split: Any = None, streaming: bool = False, **options: Any
) -> datasets.Dataset | datasets.DatasetDict | datasets.IterableDataset | datasets.IterableDatasetDict:
    """Load the dataset from archives, on every version of `datasets`; raise ArchiveError at their first fault.

    Args:
        name: `image-classification` (default) or `image-segmentation`.
        data_dir: folder of archives, local or a URL; by default that on the branch `script` of the Hub dataset.
        split: such as `train` or `train+test[:10%]`; while streaming, the name of one. Default: all splits.
        streaming: read examples on demand, without preparing the dataset.
        **options: `num_proc`, `cache_dir`, `token`, `storage_options`, as in `datasets.load_dataset`.
    """
    num_proc = options.pop("num_proc", None)
    with _PATCHING, mock.patch.object(datasets.builder, "FileLock", _lock):
        builder = RockGlacierDataset(config_name=name, data_dir=data_dir, **options)
        if not streaming:
            builder.download_and_prepare(num_proc=num_proc)
        return (builder.as_streaming_dataset if streaming else builder.as_dataset)(split=split)


def _lock(path: str, *args: Any) -> Any:  # `datasets` locks a cache to read it, too; a read-only one needs no lock
    return FileLock(path, *args) if os.access(os.path.dirname(path), os.W_OK) else contextlib.nullcontext()


def locate(data_dir: Any, base_path: str | None = None, token: bool | str | None = None) -> str:
    """Find the folder of archives: an absolute local path, or a URL; on the Hub, at the commit that is there now."""
    endpoint = datasets.config.HF_ENDPOINT
    folder = os.path.expanduser(os.fspath(data_dir if data_dir is not None else f"{base_path or ''}/data"))
    if data_dir is None and folder.startswith(endpoint):  # beside a script on the Hub
        folder = folder.replace(endpoint, "hf:/", 1).replace("/resolve/", "@", 1)
    elif data_dir is None and not (base_path and os.path.isdir(folder)):
        folder = f"hf://datasets/{REPO_ID}@script/data"
    if match := _HUB_FOLDER.fullmatch(folder):
        api, revision = huggingface_hub.HfApi(endpoint=endpoint, token=token), urllib.parse.unquote(match[2] or "main")
        try:
            commit = api.dataset_info(match[1], revision=revision).sha
        except Exception as error:  # of kinds that differ between versions of the client
            raise _lookup_fault(folder, error) from error
        return f"hf://datasets/{match[1]}@{commit}/{match[3] or ''}".rstrip("/")
    absolute = folder if "://" in folder else os.path.abspath(folder)
    if "://" not in folder and ("::" in absolute or not os.path.isdir(folder)):
        raise ArchiveError(f"{folder!r}: no such folder or has '::'; give the folder that holds train.zip as data_dir")
    return absolute


def _lookup_fault(folder: str, error: Exception) -> ArchiveError:
    what = " ".join(f"cannot be looked up ({type(error).__name__}: {error})".split())
    return ArchiveError(f"{folder}: {what}; check address, network and permissions, or give another folder as data_dir")


def name_of(url: str) -> str:
    """Return the file name of an archive's path or URL, such as `zip://train.zip::https://example.org/all.zip`."""
    return os.path.basename(url.split("::")[0])


def find_archives(folder: str, download_config: datasets.DownloadConfig | None = None) -> DataFilesDict:
    """Find each split's archives and manifest.json; their ETags or modification times, and sizes, key the cache."""
    base_path = folder if "://" in folder else re.sub(r"([*?[])", r"[\1]", folder)
    found: dict[str, dict[str, Any]] = {key: {} for key in (*SPLIT_NAMES, MANIFEST_NAME)}
    try:
        files = DataFilesList.from_patterns(["*.zip", "*.json"], base_path, download_config=download_config)
        for url, state in sorted(zip(files, files.origin_metadata, strict=True)):
            match = ARCHIVE_NAME.fullmatch(name_of(url))
            key = {"val": "validation"}.get(match[1], match[1]) if match else name_of(url)
            if key in found:
                with xopen(url, "rb", download_config=download_config) as file:
                    found[key][url] = (*state, file.seek(0, os.SEEK_END))
    except Exception as error:  # of as many kinds as there are file systems
        raise _lookup_fault(folder, error) from error
    return DataFilesDict({key: DataFilesList([*states], [*states.values()]) for key, states in found.items()})


def name_faults(split: str, names: list[str], folder: str) -> Iterator[ArchiveError]:
    """Yield the faults of a split's set of archives, which is one archive or all of its shards."""
    first = names[0] if names else f"{split}.zip"
    stem, shards = ARCHIVE_NAME.fullmatch(first).groups()  # type: ignore[union-attr]
    expected = [f"{stem}-{shard:05d}-of-{shards}.zip" for shard in range(int(shards))] if shards else [first]
    listed = "; a web server has to list its folders" if "://" in folder else ""
    for name in sorted({*names} ^ {*expected}):
        missing = f"not in {folder}; add it, or give another folder as data_dir{listed}"
        other_set = f"does not belong with {first} in {folder}; remove one of the two"
        yield ArchiveError(f"{name}: {missing if name in expected else other_set}", path=name)


def _count_tiles(split: str, archives: list[tuple[str, str]]) -> dict[str, int]:
    tiles: set[tuple[str, str]] = set()
    for name, path in archives:
        with TileArchive(split, name, path) as archive:
            for tile in tiles.intersection(archive.tiles):
                raise archive.fault("is in another shard too", "remove one", "member-duplicate", archive.path_of(*tile))
            tiles.update(archive.tiles)
    return {name: sum(folder == name for folder, _ in tiles) for name in CLASS_NAMES}


def read_manifest(files: DataFilesDict, download_config: datasets.DownloadConfig | None = None) -> dict[str, Any]:
    """Read manifest.json: `{"splits": {split: {class: n}}, "archives": {file: {"bytes", "sha256"}}}`, or {} without."""
    for url in files[MANIFEST_NAME]:
        try:
            with xopen(url, "rb", download_config=download_config) as file:
                return dict(json.loads(file.read(_BLOCK)))
        except (ValueError, TypeError, RecursionError) as error:
            message = f"{MANIFEST_NAME}: is not a manifest ({error}); build the archives again, or remove it"
            raise ArchiveError(message, "manifest-mismatch", MANIFEST_NAME) from None
    return {}


def manifest_faults(manifest: dict[str, Any], counts: Any, paths: dict[str, str]) -> Iterator[ArchiveError]:
    """Yield what differs from the manifest: tiles of each split and class, bytes and SHA-256 of each archive's path."""
    archives = paths.items() if "archives" in manifest else ()
    digests = {name: {"bytes": os.path.getsize(path), "sha256": sha256_of_file(path)} for name, path in archives}
    found = {"splits": counts, "archives": digests}
    for key in (key for key in found if key in manifest):
        expected = manifest[key] if isinstance(manifest[key], dict) else {}
        for name in sorted(found[key].keys() | expected.keys()):
            if found[key].get(name) != expected.get(name):
                what = f"is {found[key].get(name)}, and {expected.get(name)} in {MANIFEST_NAME}"
                remedy = f"copy or download the archives and {MANIFEST_NAME} again, or build them again"
                yield ArchiveError(f"{name}: {what}; {remedy}", "manifest-mismatch", name)


def sha256_of_file(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


class TileArchive(contextlib.ExitStack):
    """An archive of a split, open for reading: the file `name` at a local path or URL. ArchiveError: it is no archive.

    Attributes:
        members: by folder (a class or `masks`) and id, in the order of the archive, without the faulty ones.
        tiles: class and id of each tile, in the same order.
        faults: an ArchiveError for each faulty member.
    """

    def __init__(self, split: str, name: str, path: str, download_config: Any = None) -> None:
        super().__init__()
        self.name, self.faults, self.members = name, list[ArchiveError](), dict[tuple[str, str], zipfile.ZipInfo]()
        self._path, self._download_config = path, download_config
        try:
            file = self._opened(_BLOCK)
            end = file.seek(0, os.SEEK_END)
            self._zip: Any = zipfile.ZipFile(file)
            if hasattr(file, "cache"):  # of fsspec, which reads ahead; the directory is not to be read again
                file.cache.size = self._zip.start_dir
        except (OSError, *_ZIP_ERRORS) as error:
            self.close()
            raise self.fault(f"cannot be read as a zip archive ({error})", _COPY_AGAIN) from error
        for member in sorted(self._zip.infolist(), key=lambda member: member.header_offset):
            path = member.orig_filename  # filename ends at a NUL
            if "__MACOSX/" in path or path.endswith(".DS_Store") or (path.endswith("/") and not member.file_size):
                continue
            match = MEMBER_NAME.fullmatch(path)
            key = (match[2], match[3]) if match and match[1] in SPLIT_FOLDERS[split] else None
            what, remedy, code, last = "", _COPY_AGAIN, "png-corrupt", end - member.compress_size
            if key is None:
                what = f"is not named {split}/<class>/<id>.png or {split}/masks/<id>.png, with an id of 1 to 18 digits"
                remedy, code = "rename it or take it out", "member-name"
            elif key in self.members:
                what, remedy, code = "is in the archive twice", "remove one", "member-duplicate"
            elif member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                what, remedy = f"is packed by method {member.compress_type}", "build the archive with stored members"
            elif max(member.file_size, member.compress_size) > _BLOCK:  # a tile's pixels are 64 KiB
                what = f"claims {max(member.file_size, member.compress_size)} bytes, too many for a tile"
            elif not 0 <= member.header_offset <= last or b"PK\1\2" in member.extra + member.comment:
                what = "is not where the archive's directory says, or the directory is damaged here"
            else:
                self.members[key] = member
            if what:
                self.faults.append(self.fault(what, remedy, code, path))
        self.tiles = [key for key in self.members if key[0] != MASKS]
        if not self.tiles:
            self.faults.append(self.fault("holds no tiles", _COPY_AGAIN))

    def _opened(self, block_size: int) -> IO[bytes]:
        options = {"block_size": block_size} if self._path.startswith(("hf://", "http")) else {}
        return self.enter_context(xopen(self._path, "rb", download_config=self._download_config, **options))

    @functools.cached_property
    def _mask_zip(self) -> zipfile.ZipFile:
        masks = copy.copy(self._zip)
        masks.fp = self._opened(_MASK_BLOCK)  # its own file, for a mask may be far from its tile
        return masks

    def path_of(self, folder: str, tile_id: str) -> str:
        """Return a member's path, such as `val/glaciar/012.png`."""
        return "/".join(self.members[folder, tile_id].orig_filename.split("/")[-3:])

    def fault(self, what: str, remedy: str, code: str = "archive-unreadable", path: str = "") -> ArchiveError:
        """Make the error that names this archive, the member, what is wrong and the remedy."""
        return ArchiveError(f"{self.name}: {path and path + ': '}{what}; {remedy}", code, path or self.name)

    def pair_faults(self) -> Iterator[ArchiveError]:
        """Yield each glaciar tile without a mask, and each mask without a glaciar tile."""
        for folder, tile_id in self.members:
            other = {GLACIAR: MASKS, MASKS: GLACIAR}.get(folder, folder)
            if (other, tile_id) not in self.members:
                path, is_tile = self.path_of(folder, tile_id), folder == GLACIAR
                remedy = "add it or move the tile to cordillera" if is_tile else "add it or remove the mask"
                code = "mask-missing" if is_tile else "mask-orphan"
                yield self.fault(f"no {path.replace(folder, other)}", remedy, code, path)

    def read(self, folder: str, tile_id: str) -> bytes:
        """Return a member's bytes; ArchiveError if it is damaged or `png_fault` finds a fault."""
        member, path = self.members[folder, tile_id], self.path_of(folder, tile_id)
        try:
            is_far = folder == MASKS and not 0 <= member.header_offset - self._zip.fp.tell() < _MASK_BLOCK
            with (self._mask_zip if is_far else self._zip).open(member) as file:
                png: bytes = file.read(member.file_size)  # no more, whatever it inflates to
        except _ZIP_ERRORS as error:
            raise self.fault(f"cannot be read ({error})", _COPY_AGAIN, "png-corrupt", path) from None
        if fault := png_fault(png):
            code = "mask-format" if folder == MASKS and fault[1] == "png-format" else fault[1]
            raise self.fault(fault[0], "save it as an 8-bit RGBA PNG of 128 x 128 pixels", code, path)
        return png


def png_fault(png: bytes) -> tuple[str, str] | None:
    """Return why a file is not an 8-bit RGBA PNG of 128 x 128 pixels (ISO/IEC 15948), and the code; decode nothing."""
    if not png.startswith(b"\x89PNG\r\n\x1a\n"):
        return "is empty" if not png else "is a JPEG" if png[:3] == b"\xff\xd8\xff" else "is no PNG", "png-corrupt"
    place, kind, headers = 8, b"", 0
    while kind != b"IEND" and place + 12 <= len(png):
        length, kind = struct.unpack_from(">L4s", png, place)
        place, headers = place + 12 + length, headers + (kind == b"IHDR")  # length, type, content, checksum
    if kind != b"IEND" or place > len(png):
        return "is a PNG cut short", "png-corrupt"
    if png[8:16] != b"\0\0\0\rIHDR" or png[29:33] != zlib.crc32(png[12:29]).to_bytes(4, "big"):
        return "is a PNG whose header is damaged", "png-corrupt"
    width, height, depth, colour_type = struct.unpack_from(">LLBB", png, 16)
    if headers > 1 or (width, height, depth, colour_type) != (TILE_SIZE, TILE_SIZE, 8, 6):
        colours = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with alpha", 6: "RGBA"}.get(colour_type, "unknown")
        also = f", with {headers} headers" * (headers > 1)
        return f"is {width} x {height}, {depth}-bit {colours}{also}", "png-format"
    return None
