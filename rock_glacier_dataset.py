"""Rock glaciers of the Chilean Andes: a loading script for `datasets` < 4, and a module."""

from __future__ import annotations

import base64
import contextlib
import glob
import os
import posixpath
import re
import struct
import urllib.parse
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

import datasets
import huggingface_hub
from datasets.builder import DatasetGenerationError
from datasets.data_files import DataFilesDict, DataFilesList
from datasets.download.streaming_download_manager import xgetsize, xopen

logger = datasets.utils.logging.get_logger(__name__)

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
Sentinel-2 images of rock glaciers in the Chilean Andes, cut into tiles of 128 x 128 pixels and
annotated by human curators. Two tasks: image classification (does the tile show a rock glacier?)
and image segmentation (which pixels show one?).
"""

HOMEPAGE = "https://github.com/alcazar90/rock-glacier-detection"
_LICENSE = "MIT"
_VERSION = "3.0.0"

REPO_ID = "alkzar90/rock-glacier-dataset"  # on the Hub
CONFIG_NAMES = ("image-classification", "image-segmentation")
CLASS_NAMES = ("cordillera", "glaciar")  # the position of a class is its label
GLACIAR = "glaciar"  # the class whose tiles have masks
MASKS = "masks"  # the folder of the masks
SPLIT_FOLDERS = {"train": ("train",), "validation": ("validation", "val"), "test": ("test",)}
SPLIT_NAMES = tuple(SPLIT_FOLDERS)
RELEASE_SIZES = {"train": 7875, "validation": 1125, "test": 2700}  # tiles
TILE_SIZE = 128  # width and height of a tile and of its mask, in pixels
ROCK_GLACIER_COLOUR = (255, 255, 255, 255)  # RGBA, in a mask
BACKGROUND_COLOUR = (0, 0, 0, 255)

# The mask of a cordillera tile, opaque black. It is a constant because encoders differ.
EMPTY_MASK = base64.b64decode(
    """
    iVBORw0KGgoAAAANSUhEUgAAAIAAAACACAYAAADDPmHLAAABlUlEQVR4Ae3BAQEAAAgCIPw/2oYYBPVmBfVmBfVmBfVm
    BfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVm
    BfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVm
    BfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVm
    BfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVm
    BfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVm
    BfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmBfVmHQwNgAHSc8LwAAAAAElFTkSuQmCC
    """
)

# An archive is one file, such as train.zip, or one of several shards.
ARCHIVE_NAME = re.compile(r"(train|validation|val|test)(?:-\d{5}-of-(\d{5}))?\.zip")

# Only the last three parts of a member's name count. They are its path.
MEMBER_NAME = re.compile(
    r"(?:.*/)?((train|validation|val|test)/(cordillera|glaciar|masks)/[0-9]{1,18}\.(?:png|PNG))"
)

MANIFEST_NAME = "manifest.json"  # an optional file next to the archives, read by the audit

# Files and folders that operating systems, GIS and notebooks leave behind, and the curators' empty
# mask.
_IGNORED_FOLDERS = {"__macosx", "@eadir", ".ipynb_checkpoints", ".git"}
_IGNORED_FILES = re.compile(
    r"\.ds_store|\._.*|thumbs\.db|desktop\.ini|.*\.aux\.xml|.*\.(pgw|pngw|wld|ovr)|zeros\.png"
)

# Fault codes, in the order of reports.
FAULT_CODES = (
    "archive-unreadable",
    "member-name",
    "member-duplicate",
    "png-corrupt",
    "png-format",
    "mask-missing",
    "mask-orphan",
    "mask-format",
    "mask-values",
    "mask-empty",
    "duplicate-pixels",
    "overlap-across-splits",
    "match-across-splits",
    "mask-conflict",
    "mask-unrelated",
    "label-conflict",
    "location-conflict",
    "manifest-mismatch",
    "index-mismatch",
)

# A folder on the Hub: hf://datasets/<repo>[@<revision>]/<folder>.
_HUB_FOLDER = re.compile(
    r"hf://datasets/(?P<repo_id>[^/@]*(?:/[^/@]+)?)"
    r"(?:@(?P<revision>refs/pr/[^/]+|[^/]*))?(?:/(?P<path>.*?))?/?"
)
_DEFAULT_DATA_DIR = f"hf://datasets/{REPO_ID}@script/data"

# The address that a browser shows for a folder or an archive of a dataset repository.
_HUB_PAGE = re.compile(
    r"https://huggingface\.co/(?P<repo>datasets/[^/]+/[^/]+)/(?:tree|blob|resolve)/"
    r"(?P<revision>[^/?]+)(?P<path>(?:/[^/?]+)*?)(?:/[^/?]*\.zip)?/?(?:\?.*)?"
)

_BLOCK_SIZE = 2**20  # bytes per request to a remote archive
_MASK_BLOCK_SIZE = 2**14  # bytes per request for masks, which are scattered
_MAX_MEMBER_SIZE = 2**20  # bytes; the pixels of a tile are 64 KiB

# Errors that `zipfile` raises for damaged archives.
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, RuntimeError)

_COPY_AGAIN = "Copy or download the archive again, or build it again"
_JOIN_PARTS = "If it was split, join its parts with `zip -s 0 PARTS.zip --out train.zip`"
_SAVE_AGAIN = "Save it as an 8-bit RGBA PNG file of 128 x 128 pixels"

# First bytes of a file that is not an archive, with problem and fix. The first match is reported.
_NOT_ARCHIVES = {
    b"version https://git-lfs": ("is a Git LFS pointer, not the archive", "Run `git lfs pull`"),
    b"<": ("is a web page, not the archive", "Log in if the page asks for it, and download again"),
    b"PK": ("is incomplete", f"Download it again. {_JOIN_PARTS}"),
    b"": ("is not a zip archive", _COPY_AGAIN),
}


@dataclass(frozen=True)
class Fault:
    """Something wrong with the data.

    Attributes:
        code: One of FAULT_CODES.
        place: Archive, member ("train.zip: train/glaciar/007.png"), file or path.
        problem: Description of the problem.
        fix: Advice, a sentence without its full stop; may be empty.
    """

    code: str
    place: str
    problem: str
    fix: str = ""

    def __str__(self) -> str:
        """Return `<place>: <problem>. <Fix>.` with control characters escaped."""
        text = f"{self.place}: {self.problem}."
        if self.fix:
            text += f" {self.fix}."
        return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class ArchiveError(ValueError):
    """Raised if archives have a fault, which is in the attribute `fault`."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault)
        self.fault = fault


def features_of(config_name: str) -> datasets.Features:
    """Return the features of a config, in order."""
    features = {"image": datasets.Image()}
    if config_name == "image-classification":
        features["labels"] = datasets.ClassLabel(names=list(CLASS_NAMES))
    else:
        features["masks"] = datasets.Image()
    features["path"] = datasets.Value("string")
    return datasets.Features(features)


class RockGlacierDataset(datasets.GeneratorBasedBuilder):
    """Rock Glacier dataset: Sentinel-2 tiles of the Chilean Andes, with labels and masks.

    Tiles are PNG files of 128 x 128 pixels, 8-bit RGBA, with the bands B04, B03 and B02 as red,
    green and blue. There are 7,875 / 1,125 / 2,700 tiles for training, validation and test.

    Classes: `cordillera` (0), mountain without a rock glacier; `glaciar` (1), mountain with one.

    Masks have the format of tiles: white is rock glacier, black is background. The mask of a
    `cordillera` tile is all background.

    Configs: `image-classification` (default) with `image`, `labels` and `path`;
    `image-segmentation` with `image`, `masks` and `path`. Images and masks are the bytes in the
    archives, unchanged, and examples are in the order of the archives.

    Args:
        data_dir: Folder of archives, local or any URL that fsspec opens. By default the folder
            `data` next to the loading script, or else on the branch `script` of the Hub dataset.
        splits: Names of the splits to prepare. Only their archives are needed.
        base_path: Folder of the loading script.
        **kwargs: Other arguments of `datasets.DatasetBuilder`.

    Raises:
        ArchiveError: If an archive is missing or faulty.
    """

    VERSION = datasets.Version(_VERSION)
    BUILDER_CONFIGS = [  # noqa: RUF012
        datasets.BuilderConfig(name=name, version=datasets.Version(_VERSION))
        for name in CONFIG_NAMES
    ]
    DEFAULT_CONFIG_NAME = "image-classification"
    DEFAULT_WRITER_BATCH_SIZE = 64  # tiles, about 2 MiB

    def __init__(
        self,
        *,
        data_dir: str | os.PathLike[str] | None = None,
        splits: Sequence[str] = SPLIT_NAMES,
        base_path: str | None = None,
        **kwargs: Any,
    ) -> None:
        if kwargs.pop("data_files", None) is not None:
            raise ValueError("Pass the folder of archives as data_dir, instead of data_files")
        # `datasets` < 2.16 passes this option on, and some versions do not set the default config.
        kwargs.pop("trust_remote_code", None)
        kwargs["config_name"] = kwargs.get("config_name") or self.DEFAULT_CONFIG_NAME
        # Unlike `datasets`, huggingface_hub drops a trailing slash from the Hub's address.
        hub_options = {"endpoint": huggingface_hub.constants.ENDPOINT}
        kwargs["storage_options"] = {"hf": hub_options, **(kwargs.get("storage_options") or {})}
        self.download_config = datasets.DownloadConfig(
            force_download=True,  # The file at a URL may have changed since the last download.
            use_etag=False,
            token=kwargs.get("token"),
            storage_options=kwargs["storage_options"],
        )
        self.folder = locate(data_dir, base_path, kwargs.get("token"))
        data_files = find_archives(self.folder, splits, self.download_config)
        super().__init__(base_path=base_path, data_files=data_files, **kwargs)

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            homepage=HOMEPAGE,
            license=_LICENSE,
            features=features_of(self.config.name),
        )

    def _split_generators(
        self, dl_manager: datasets.DownloadManager
    ) -> list[datasets.SplitGenerator]:
        generators = []
        for split, urls in self.config.data_files.items():
            names = [_name_of(url) for url in urls]
            faults = find_archive_faults(split, names, self.folder)
            if faults:
                raise ArchiveError(faults[0])
            paths = dl_manager.download(list(urls))
            arguments = {"split": split, "names": names, "paths": paths}
            generators.append(datasets.SplitGenerator(name=split, gen_kwargs=arguments))
        return generators

    def _generate_examples(
        self, split: str, names: list[str], paths: list[str]
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        with_masks = "masks" in self.info.features
        for name, path in zip(names, paths, strict=True):
            with ArchiveReader(split, path, self.download_config, name=name) as archive:
                faults = archive.faults
                if with_masks:
                    faults = faults + archive.find_pair_faults()
                if faults:
                    raise ArchiveError(faults[0])
                for tile in archive.tiles:
                    # Give bytes without a path: `datasets` would look for a file at that path.
                    example: dict[str, Any] = {"image": archive.read(tile), "path": tile}
                    label = class_of(tile)
                    if not with_masks:
                        example["labels"] = CLASS_NAMES.index(label)
                    elif label == GLACIAR:
                        example["masks"] = archive.read(mask_path(tile))
                    else:
                        example["masks"] = EMPTY_MASK
                    yield tile, example


def load_archives(
    name: str | None = None,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    split: Any = None,
    streaming: bool = False,
    num_proc: int | None = None,
    **options: Any,
) -> Any:
    """Load the dataset from a folder of archives, with any version of `datasets`.

    Args:
        name: `image-classification` (default) or `image-segmentation`.
        data_dir: Folder of archives, local or any URL that fsspec opens. By default the folder
            `data` on the branch `script` of the Hub dataset. If the Hub cannot be reached,
            previously downloaded archives are used.
        split: Split, such as `train` or `train+test[:10%]`; with `streaming`, the name of one
            split. Default: all splits. The archives of other splits are not needed.
        streaming: Read examples on demand, without preparing the dataset.
        num_proc: Number of processes that prepare the dataset; useful if archives are sharded.
        **options: `cache_dir`, `token`, `storage_options`, as in `datasets.load_dataset`.

    Returns:
        Dataset or IterableDataset of `split`, or a dictionary of all splits.

    Raises:
        ArchiveError: If an archive is missing or faulty. With `num_proc`, `datasets` may raise
            DatasetGenerationError instead.
        OSError: If an archive cannot be opened, or the cache cannot be written.
    """
    words = re.findall(r"\w+", str(split))
    splits = [name for name in SPLIT_NAMES if name in words] or SPLIT_NAMES
    folder = _DEFAULT_DATA_DIR if data_dir is None else os.fspath(data_dir)
    if folder.startswith("hf://datasets/") and not streaming:
        folder = download_archives(folder, splits, options.get("token"))
    try:
        builder = RockGlacierDataset(config_name=name, data_dir=folder, splits=splits, **options)
        if streaming:
            return builder.as_streaming_dataset(split=split)
        builder.download_and_prepare(num_proc=num_proc, download_config=builder.download_config)
        return builder.as_dataset(split=split)
    except DatasetGenerationError as error:
        if isinstance(error.__cause__, ArchiveError | OSError):
            raise error.__cause__ from None
        raise
    except PermissionError as error:
        if not str(error.filename).endswith(".lock"):
            raise
        message = "cannot lock the cache. Pass a folder that you can write to as cache_dir"
        raise PermissionError(error.errno, message, error.filename) from error


def download_archives(
    address: str, splits: Sequence[str] = SPLIT_NAMES, token: bool | str | None = None
) -> str:
    """Download archives from the Hub, with the manifest and the tile index if they exist.

    Args:
        address: `hf://datasets/<repo>[@<revision>]/<folder>`.
        splits: Names of the splits whose archives are downloaded.
        token: As in `datasets.load_dataset`.

    Returns:
        Folder in the local cache of the Hub. If the Hub cannot be reached, it is the last one that
        was downloaded from that revision.

    Raises:
        ArchiveError: If the archives cannot be found.
    """
    place = _parse_address(address)
    patterns = [MANIFEST_NAME, "tiles.parquet"]
    for split in splits:
        for stem in SPLIT_FOLDERS[split]:
            patterns += [f"{stem}.zip", f"{stem}-*.zip"]
    try:
        snapshot = huggingface_hub.snapshot_download(
            place["repo_id"],
            repo_type="dataset",
            revision=place["revision"],
            allow_patterns=[posixpath.join(place["path"], pattern) for pattern in patterns],
            token=token,
        )
    except Exception as error:  # Its type depends on the version of huggingface_hub.
        raise _lookup_error(address, error) from error
    folder = os.path.join(snapshot, place["path"])
    if not os.path.isdir(folder):
        problem = f"has no archives of {' and '.join(splits)}"
        raise ArchiveError(Fault("archive-unreadable", address, problem, "Check the address"))
    try:
        locate(address, token=token)
    except ArchiveError as error:
        commit = os.path.basename(snapshot)
        logger.warning(f"{error} Using the archives of commit {commit}, downloaded earlier.")
    return folder


def locate(
    data_dir: str | os.PathLike[str] | None,
    base_path: str | None = None,
    token: bool | str | None = None,
) -> str:
    """Find a folder of archives.

    Args:
        data_dir: Local folder or URL; by default the folder `data` next to the loading script in
            `base_path`, or else the folder of the release on the Hub.
        base_path: Folder or URL of the loading script.
        token: As in `datasets.load_dataset`.

    Returns:
        An absolute local path or a URL. A revision on the Hub is replaced by its commit.

    Raises:
        ArchiveError: If the folder does not exist or cannot be found.
    """
    if data_dir is not None:
        folder = os.path.expanduser(os.fspath(data_dir))
    else:
        folder = _default_folder(base_path or "")
    hub_page = _HUB_PAGE.fullmatch(folder)
    if hub_page:
        fix = f"Use hf://{hub_page['repo']}@{hub_page['revision']}{hub_page['path']}"
        problem = "is the address of a page, not of a folder"
        raise ArchiveError(Fault("archive-unreadable", folder, problem, fix))
    if folder.startswith("hf://datasets/"):
        place = _parse_address(folder)
        commit = place["revision"]
        if not re.fullmatch("[0-9a-f]{40}", commit):
            try:
                api = huggingface_hub.HfApi(token=token)
                commit = str(api.dataset_info(place["repo_id"], revision=commit).sha)
            except Exception as error:  # Its type depends on the version of huggingface_hub.
                raise _lookup_error(folder, error) from error
        return f"hf://datasets/{place['repo_id']}@{commit}/{place['path']}".rstrip("/")
    if "://" in folder:
        return folder
    if not os.path.isdir(folder):
        fix = "Pass the folder that holds train.zip as data_dir"
        raise ArchiveError(Fault("archive-unreadable", folder, "is not a folder", fix))
    return os.path.abspath(folder)


def _default_folder(base_path: str) -> str:
    """Return the folder `data` next to the loading script, or the folder of the release."""
    script_folder = re.fullmatch(r"https?://.*/(datasets/[^/]+/[^/]+)/resolve/([^/]+)/?", base_path)
    if script_folder:
        return f"hf://{script_folder[1]}@{script_folder[2]}/data"
    if base_path and os.path.isdir(os.path.join(base_path, "data")):
        return os.path.join(base_path, "data")
    return _DEFAULT_DATA_DIR


def _parse_address(address: str) -> dict[str, str]:
    """Return `repo_id`, `revision` and `path` of a folder on the Hub."""
    match = _HUB_FOLDER.fullmatch(address)
    assert match is not None
    place = match.groupdict(default="")
    place["revision"] = urllib.parse.unquote(place["revision"]) or "main"
    return place


def _lookup_error(folder: str, error: Exception) -> ArchiveError:
    problem = " ".join(f"cannot be listed ({type(error).__name__}: {error})".split())
    fix = "Check the address, the network and your permissions, or pass another folder as data_dir"
    return ArchiveError(Fault("archive-unreadable", folder, problem, fix))


def _name_of(url: str) -> str:
    """Return the file name of a path or URL, such as `zip://train.zip::https://host/all.zip`."""
    return os.path.basename(url.split("::")[0])


def split_of(path: str) -> str | None:
    """Return the split of a tile's path or of an archive's name.

    Example:
        >>> split_of("val/glaciar/007.png"), split_of("train-00000-of-00004.zip")
        ('validation', 'train')
    """
    if ARCHIVE_NAME.fullmatch(path):
        stem = re.split("[-.]", path)[0]
    elif MEMBER_NAME.fullmatch(path):
        stem = path.split("/")[-3]
    else:
        return None
    return "validation" if stem == "val" else stem


def class_of(path: str) -> str:
    """Return `cordillera`, `glaciar` or `masks`, the second part of a member's path."""
    return path.split("/")[1]


def mask_path(path: str) -> str:
    """Return the path of a glaciar tile's mask.

    Example:
        >>> mask_path("train/glaciar/007.png")
        'train/masks/007.png'
    """
    folder, _, name = path.split("/")
    return f"{folder}/{MASKS}/{name}"


def is_ignored(name: str) -> bool:
    """Return whether a file is harmless but not part of the dataset; its name may have folders."""
    *folders, file = name.lower().split("/")
    return not _IGNORED_FOLDERS.isdisjoint(folders) or bool(_IGNORED_FILES.fullmatch(file))


def find_archives(
    folder: str,
    splits: Sequence[str] = SPLIT_NAMES,
    download_config: datasets.DownloadConfig | None = None,
) -> DataFilesDict:
    """Find the archives of splits in a folder that `locate` returned.

    Returns:
        The paths or URLs of each split, sorted by name. The key of a prepared dataset in the cache
        depends on their sizes and on their ETags or modification times.

    Raises:
        ArchiveError: If the folder cannot be listed.
    """
    archives: dict[str, dict[str, Any]] = {split: {} for split in splits}
    try:
        for url, metadata in _list_zip_files(folder, download_config):
            split = split_of(_name_of(url))
            if split in archives:
                size = xgetsize(url, download_config=download_config)
                archives[split][url] = (*metadata, str(size))
    except Exception as error:  # Its type depends on the file system.
        raise _lookup_error(folder, error) from error
    return DataFilesDict(
        {split: DataFilesList(list(urls), list(urls.values())) for split, urls in archives.items()}
    )


def _list_zip_files(
    folder: str, download_config: datasets.DownloadConfig | None
) -> list[tuple[str, tuple[str, ...]]]:
    """Return the paths or URLs of the zip files in a folder, with ETags or modification times."""
    if "://" in folder:
        files = DataFilesList.from_patterns(["*.zip"], folder, download_config=download_config)
        return sorted(zip(files, files.origin_metadata, strict=True))
    # The Hub's cache consists of links, which early versions of `datasets` do not follow.
    paths = glob.glob(os.path.join(glob.escape(folder), "*.zip"))
    return [
        (path, (str(os.path.getmtime(path)),)) for path in sorted(paths) if os.path.isfile(path)
    ]


def find_archive_faults(split: str, names: Sequence[str], folder: str) -> list[Fault]:
    """Find faults in a split's set of archives: one archive, or all of its shards."""
    first = names[0] if names else f"{split}.zip"
    match = ARCHIVE_NAME.fullmatch(first)
    expected = {first}
    if match and match[2]:
        shards = int(match[2])
        expected = {f"{match[1]}-{shard:05d}-of-{shards:05d}.zip" for shard in range(shards)}
    faults = []
    for name in sorted(expected.symmetric_difference(names)):
        if name in expected:
            problem = f"is not in {folder}"
            fix = "Add it, or pass another folder as data_dir"
        else:
            problem = f"does not belong with {first} in {folder}"
            fix = "Remove one of the two"
        faults.append(Fault("archive-unreadable", name, problem, fix))
    return faults


class ArchiveReader:
    """Read an archive of a split; a context manager.

    Args:
        split: Name of the split.
        path: Local path or URL of the archive.
        download_config: Token and storage options of a URL.
        name: File name of the archive, if it differs from the one in the path.

    Attributes:
        name: File name of the archive.
        members: Tiles and masks by path, in the order of the archive, without faulty ones.
        tiles: Paths of the tiles, in that order.
        faults: Faults of the archive's directory.

    Raises:
        ArchiveError: If the file is not a zip archive.
    """

    def __init__(
        self,
        split: str,
        path: str,
        download_config: datasets.DownloadConfig | None = None,
        *,
        name: str | None = None,
    ) -> None:
        self.name = name or _name_of(path)
        self.members: dict[str, zipfile.ZipInfo] = {}
        self.faults: list[Fault] = []
        self._path = path
        self._download_config = download_config
        self._mask_zip: zipfile.ZipFile | None = None
        with contextlib.ExitStack() as files:
            file = files.enter_context(self._open_file(_BLOCK_SIZE))
            self._zip = files.enter_context(self._open_zip(file))
            self._files = files.pop_all()
        self._read_directory(split)
        self.tiles = [path for path in self.members if class_of(path) != MASKS]
        if not self.tiles:
            self.faults.append(self._fault("holds no tiles", _COPY_AGAIN))

    def __enter__(self) -> ArchiveReader:
        return self

    def __exit__(self, *exception: object) -> None:
        self._files.close()

    def _open_file(self, block_size: int) -> IO[bytes]:
        options = {}
        if self._path.startswith(("hf://", "http://", "https://")):
            options["block_size"] = block_size
        file: IO[bytes] = xopen(self._path, "rb", download_config=self._download_config, **options)
        return file

    def _open_zip(self, file: IO[bytes]) -> zipfile.ZipFile:
        try:
            archive = zipfile.ZipFile(file)
        except _ZIP_ERRORS as error:
            file.seek(0)
            content = file.read(100).lstrip()
            reasons = (row for start, row in _NOT_ARCHIVES.items() if content.startswith(start))
            problem, fix = next(reasons)
            raise ArchiveError(self._fault(f"{problem} ({error})", fix)) from error
        if any(info.volume for info in archive.infolist()):
            raise ArchiveError(self._fault("is one part of a split zip archive", _JOIN_PARTS))
        if any(info.flag_bits & 1 for info in archive.infolist()):
            raise ArchiveError(self._fault("is encrypted", "Make the archive without a password"))
        return archive

    def _fault(self, problem: str, fix: str) -> Fault:
        return Fault("archive-unreadable", self.name, problem, fix)

    def _read_directory(self, split: str) -> None:
        for info in self._zip.infolist():
            if info.filename.endswith("/") or is_ignored(info.filename):
                continue
            match = MEMBER_NAME.fullmatch(info.filename)
            code = "png-corrupt"
            fix = _COPY_AGAIN
            if match is None or match[2] not in SPLIT_FOLDERS[split]:
                code = "member-name"
                problem = f"is not named {split}/<class>/<id>.png or {split}/masks/<id>.png"
                fix = "Rename or remove it; an id has 1 to 18 digits"
            elif match[1] in self.members:
                code = "member-duplicate"
                problem = "is in the archive twice"
                fix = "Remove one of the two"
            elif info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                problem = f"is compressed by method {info.compress_type}"
                fix = "Make the archive with stored members"
            elif info.header_offset < 0 or info.file_size > _MAX_MEMBER_SIZE:
                problem = "has an impossible position or size in the archive"
            else:
                self.members[match[1]] = info
                continue
            self.faults.append(Fault(code, f"{self.name}: {info.filename}", problem, fix))

    def find_pair_faults(self) -> list[Fault]:
        """Find glaciar tiles without a mask, and masks without a glaciar tile."""
        faults = []
        for path in self.members:
            place = f"{self.name}: {path}"
            mask = mask_path(path)
            tile = path.replace(f"/{MASKS}/", f"/{GLACIAR}/")
            if class_of(path) == GLACIAR and mask not in self.members:
                problem = f"its mask {mask} is missing"
                fix = "Add the mask, or move the tile to cordillera"
                faults.append(Fault("mask-missing", place, problem, fix))
            elif class_of(path) == MASKS and tile not in self.members:
                problem = f"its tile {tile} is missing"
                fix = "Add the tile, or remove the mask"
                faults.append(Fault("mask-orphan", place, problem, fix))
        return faults

    def read(self, path: str) -> bytes:
        """Return the bytes of a tile or mask.

        Raises:
            ArchiveError: If it is damaged, or not an 8-bit RGBA PNG file of 128 x 128 pixels.
        """
        info = self.members[path]
        place = f"{self.name}: {path}"
        is_mask = class_of(path) == MASKS
        archive = self._open_masks() if is_mask else self._zip
        try:
            with archive.open(info) as file:
                # Never read more than the directory declares: a zip bomb would fill the memory.
                png = file.read(info.file_size)
        except _ZIP_ERRORS as error:
            fault = Fault("png-corrupt", place, f"cannot be read ({error})", _COPY_AGAIN)
            raise ArchiveError(fault) from error
        format_fault = check_png(png, place, "mask-format" if is_mask else "png-format")
        if format_fault:
            raise ArchiveError(format_fault)
        return png

    def _open_masks(self) -> zipfile.ZipFile:
        """Open a URL a second time for the masks, which may be far from their tiles.

        Reading them through the handle of the tiles would discard the bytes that it read ahead.
        """
        if "://" not in self._path:
            return self._zip
        if self._mask_zip is None:
            file = self._files.enter_context(self._open_file(_MASK_BLOCK_SIZE))
            self._mask_zip = self._files.enter_context(zipfile.ZipFile(file))
        return self._mask_zip


def check_png(
    png: bytes, place: str, format_code: str = "png-format", *, any_colours: bool = False
) -> Fault | None:
    """Check that a file is an 8-bit RGBA PNG file of 128 x 128 pixels, without decoding it.

    Args:
        png: Content of the file.
        place: Place of the file in the fault.
        format_code: Code of a format fault; `mask-format` for a mask.
        any_colours: Whether other colour types, of 1 to 8 bits per channel, are accepted too.

    Returns:
        A fault with the code `png-corrupt` or `format_code`, or None.
    """
    code = "png-corrupt"
    chunks = _chunk_types(png)
    if not png.startswith(b"\x89PNG\r\n\x1a\n"):
        problem = "is not a PNG file"
    elif chunks[:1] != [b"IHDR"] or chunks[-1] != b"IEND":
        problem = "is a PNG file that is damaged or cut short"
    else:
        code = format_code
        width, height, depth, colour_type = struct.unpack_from(">LLBB", png, 16)
        has_format = (depth, colour_type) == (8, 6) or (any_colours and depth <= 8)
        if width != TILE_SIZE or height != TILE_SIZE or not has_format:
            colours = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with alpha", 6: "RGBA"}
            problem = f"is {width} x {height}, {depth}-bit {colours.get(colour_type, 'unknown')}"
        else:
            return None
    return Fault(code, place, problem, _SAVE_AGAIN)


def _chunk_types(png: bytes) -> list[bytes]:
    """Return the types of the complete chunks of a PNG file up to IEND (ISO/IEC 15948)."""
    types = []
    start = 8
    kind = b""
    while kind != b"IEND" and start + 12 <= len(png):
        length, kind = struct.unpack_from(">L4s", png, start)
        start += 12 + length  # length, type, content, checksum
        if start <= len(png):
            types.append(kind)
    return types
