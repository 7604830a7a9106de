"""Rock glaciers of the Chilean Andes: a loading script for `datasets` < 4, and a module."""

from __future__ import annotations

import base64
import contextlib
import os
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
from huggingface_hub.errors import HfHubHTTPError
from PIL import Image

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

_VERSION = "2.0.0"

# The dataset on the Hub.
REPO_ID = "alkzar90/rock-glacier-dataset"

# The first config is the default.
CONFIG_NAMES = ("image-classification", "image-segmentation")

# The position of a class is its label.
CLASS_NAMES = ("cordillera", "glaciar")

# The class whose tiles have a mask.
GLACIAR = "glaciar"

# The folder of the masks in an archive.
MASKS = "masks"

# Names of the archives and of their top folders, by split.
SPLIT_FOLDERS = {"train": ("train",), "validation": ("validation", "val"), "test": ("test",)}

# The splits in the order in which they are loaded.
SPLIT_NAMES = tuple(SPLIT_FOLDERS)

# Number of tiles in each split of the release.
RELEASE_SIZES = {"train": 7875, "validation": 1125, "test": 2700}

# Width and height of a tile and of its mask, in pixels.
TILE_SIZE = 128

# RGBA colours of a mask.
ROCK_GLACIER_COLOUR = (255, 255, 255, 255)
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

# File name of an archive, which may be one of several shards.
ARCHIVE_NAME = re.compile(r"(train|validation|val|test)(?:-\d{5}-of-((?!0{5})\d{5}))?\.zip")

# Name of a member: any folders, the split's folder, a class or "masks", the id.
MEMBER_NAME = re.compile(
    r"(?:(?!\.\./|[A-Za-z]:/)[^/\\]+/)*"
    r"(train|validation|val|test)/(cordillera|glaciar|masks)/([0-9]{1,18})\.(?i:png)"
)

# Optional file next to the archives, which the audit compares with them.
MANIFEST_NAME = "manifest.json"

# Files that operating systems, GIS and notebooks leave behind, and the curators' empty mask.
_IGNORED_NAME = re.compile(
    r"(?:.*/)?(?:__MACOSX|@eaDir|\.ipynb_checkpoints|\.git|\.svn)/.*"
    r"|(?:.*/)?(?:\.DS_Store|\._[^/]*|Thumbs\.db|ehthumbs\.db|desktop\.ini)"
    r"|(?:.*/)?(?:zeros\.png|[^/]*\.aux\.xml|[^/]*\.(?:pgw|pngw|wld|ovr))",
    re.IGNORECASE | re.DOTALL,
)

# What the code of a fault may be, in the order of reports.
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

# The archives of the release.
_DEFAULT_DATA_DIR = f"hf://datasets/{REPO_ID}@script/data"

# Address of a folder in a dataset repository: repository, revision, path.
_HUB_FOLDER = re.compile(
    r"hf://datasets/([^/@]+/[^/@]+)(?:@(refs/(?:pr|convert)/[^/]+|[^/]+))?(?:/(.+?))?/?"
)

# Address that a browser shows for a folder or a file of a dataset repository.
_BROWSER_ADDRESS = re.compile(
    r"https?://[^/]+/datasets/([^/]+/[^/]+)"
    r"(?:/(?:tree|blob|resolve|raw)/(refs%2F[^/]+|[^/]+)(?:/(.+?))?)?/?(?:\?.*)?"
)

# Bytes of a request to a remote archive. Masks may be scattered, so little is read ahead of one.
_BLOCK_SIZE = 2**20
_MASK_BLOCK_SIZE = 2**14

# The largest member, packed or not, in bytes. The pixels of a tile are 64 KiB.
_MAX_MEMBER_SIZE = 2**20

# Length of the end of a zip archive that holds its last record, in bytes.
_ZIP_END_SIZE = 2**16 + 22

# What `zipfile` raises for bytes that are not an archive.
_ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    ValueError,
    RuntimeError,
    OverflowError,
)

_COPY_AGAIN = "Copy or download the archive again, or build it again"

_SAVE_AGAIN = "Save it as an 8-bit RGBA PNG file of 128 x 128 pixels"


@dataclass(frozen=True)
class Fault:
    """Something wrong with the data.

    Attributes:
        code: one of FAULT_CODES.
        place: archive, member ("train.zip: train/glaciar/007.png"), file or path.
        problem: what is wrong.
        fix: what to do; may be empty.
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
    """The archives have a fault, which is the attribute `fault`."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault)
        self.fault = fault


def features_of(config_name: str) -> datasets.Features:
    """Return the features of a config, in their order."""
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
    `image-segmentation` with `image`, `masks` and `path`. Images and masks are the bytes of the
    archives, and examples are in the order of the archives.

    Args:
        data_dir: folder of archives, local or any URL that fsspec opens. By default the folder
            `data` next to the loading script, or else on the branch `script` of the Hub dataset.
        splits: names of the splits to prepare. Only their archives are needed.
        base_path: folder of the loading script.
        **kwargs: as in `datasets.DatasetBuilder`.

    Raises:
        ArchiveError: an archive is missing or faulty.
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
            raise ValueError(
                "data_files are not supported; pass the folder of archives as data_dir"
            )
        # `datasets` < 2.16 passes this option on, and its first versions forget the default config.
        kwargs.pop("trust_remote_code", None)
        kwargs["config_name"] = kwargs.get("config_name") or self.DEFAULT_CONFIG_NAME
        token = kwargs.get("token")
        kwargs["storage_options"] = _storage_options(kwargs.get("storage_options"))
        self.download_config = datasets.DownloadConfig(
            token=token, storage_options=kwargs["storage_options"]
        )
        self.folder = locate(data_dir, base_path, token)
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
            archives = list(zip(names, paths, strict=True))
            arguments = {"split": split, "archives": archives}
            generators.append(datasets.SplitGenerator(name=split, gen_kwargs=arguments))
        return generators

    def _generate_examples(
        self, split: str, archives: list[tuple[str, str]]
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        with_masks = "masks" in self.info.features
        for _name, path in archives:
            with ArchiveReader(split, path, self.download_config, name=_name) as archive:
                faults = archive.faults
                if with_masks:
                    faults = faults + archive.find_pair_faults()
                if faults:
                    raise ArchiveError(faults[0])
                for tile in archive.tiles:
                    # Only the bytes: `datasets` would look for a file of the name given as path.
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
        data_dir: folder of archives, local or any URL that fsspec opens. By default the folder
            `data` on the branch `script` of the Hub dataset. If the Hub cannot be reached, the
            archives that were downloaded before are used.
        split: such as `train` or `train+test[:10%]`; while streaming, the name of one split.
            By default all splits. Only the archives of these splits are needed.
        streaming: read examples on demand, without preparing the dataset.
        num_proc: number of processes that prepare the dataset; useful if archives are sharded.
        **options: `cache_dir`, `token`, `storage_options`, as in `datasets.load_dataset`.

    Returns:
        Dataset or IterableDataset of `split`, or a dictionary of them for all splits.

    Raises:
        ArchiveError: an archive is missing or faulty. With `num_proc`, `datasets` may raise
            DatasetGenerationError instead.
        OSError: an archive cannot be opened, or the cache cannot be written.
    """
    splits = _splits_of(split)
    try:
        if not streaming:
            data_dir = _download_from_hub(data_dir, splits, options.get("token"))
        builder = RockGlacierDataset(config_name=name, data_dir=data_dir, splits=splits, **options)
        if streaming:
            return builder.as_streaming_dataset(split=split)
        builder.download_and_prepare(
            num_proc=num_proc, download_config=_download_config(builder, num_proc, options)
        )
        return builder.as_dataset(split=split)
    except DatasetGenerationError as error:
        cause = error.__cause__
        if isinstance(cause, ArchiveError | OSError):
            raise cause from None
        raise
    except PermissionError as error:
        if not str(error.filename).endswith(".lock"):
            raise
        message = "cannot lock the cache. Choose a folder that you can write to as cache_dir"
        raise PermissionError(error.errno, message, error.filename) from error


def _splits_of(split: Any) -> list[str]:
    """Return the splits that a split expression names, or all splits."""
    words = re.findall(r"\w+", str(split))
    return [name for name in SPLIT_NAMES if name in words] or list(SPLIT_NAMES)


def _download_config(
    builder: RockGlacierDataset, num_proc: int | None, options: dict[str, Any]
) -> datasets.DownloadConfig:
    """Make the options to download archives, which may have changed since the last time."""
    cache_dir = options.get("cache_dir")
    return datasets.DownloadConfig(
        cache_dir=os.path.join(os.path.expanduser(cache_dir), "downloads") if cache_dir else None,
        force_download=True,
        use_etag=False,
        num_proc=num_proc,
        token=builder.token,
        storage_options=builder.storage_options,
    )


def _endpoint() -> str:
    """Return the address of the Hub without a slash at its end, which some clients do not allow."""
    return str(datasets.config.HF_ENDPOINT).rstrip("/")


def _storage_options(options: dict[str, Any] | None) -> dict[str, Any]:
    return {"hf": {"endpoint": _endpoint()}, **(options or {})}


def _download_from_hub(
    data_dir: str | os.PathLike[str] | None, splits: Sequence[str], token: bool | str | None
) -> str | os.PathLike[str] | None:
    """Download the archives of a folder on the Hub, and return the local folder.

    Any other folder is returned unchanged.
    """
    address = os.fspath(data_dir if data_dir is not None else _DEFAULT_DATA_DIR)
    match = _HUB_FOLDER.fullmatch(address)
    if match is None:
        return data_dir
    repo_id, revision, folder = match.groups()
    locate(address, token=token)
    stems = [stem for split in splits for stem in SPLIT_FOLDERS[split]]
    prefix = f"{folder}/" if folder else ""
    patterns = [f"{prefix}{stem}{end}" for stem in stems for end in (".zip", "-*.zip")]
    try:
        # The name of the revision is recorded in the cache, so that it is found without a network.
        snapshot = huggingface_hub.snapshot_download(
            repo_id,
            repo_type="dataset",
            revision=urllib.parse.unquote(revision or "main"),
            allow_patterns=patterns,
            endpoint=_endpoint(),
            token=token,
        )
    except OSError:
        raise
    except Exception as error:
        raise _lookup_error(address, error) from error
    return os.path.join(snapshot, folder or "")


def locate(
    data_dir: str | os.PathLike[str] | None,
    base_path: str | None = None,
    token: bool | str | None = None,
) -> str:
    """Find a folder of archives.

    Args:
        data_dir: local folder or URL; by default the folder `data` next to the loading script in
            `base_path`, or else the folder of the release on the Hub.
        base_path: folder or URL of the loading script.
        token: as in `datasets.load_dataset`.

    Returns:
        An absolute local path or a URL. A revision on the Hub is replaced by its commit.

    Raises:
        ArchiveError: the folder does not exist or cannot be looked up.
    """
    if data_dir is not None:
        folder = os.path.expanduser(os.fspath(data_dir))
    else:
        folder = _default_folder(base_path)
    match = _HUB_FOLDER.fullmatch(folder)
    if match:
        repo_id, revision, path = match.groups()
        commit = _find_commit(repo_id, urllib.parse.unquote(revision or "main"), folder, token)
        return f"hf://datasets/{repo_id}@{commit}/{path or ''}".rstrip("/")
    match = _BROWSER_ADDRESS.fullmatch(folder)
    if match:
        repo_id, revision, path = match.groups()
        path = re.sub(r"(^|/)[^/]*\.zip$", "", path or "")
        address = f"hf://datasets/{repo_id}@{revision or 'main'}/{path}".rstrip("/")
        problem = "is the address of a page, not of a folder"
        raise ArchiveError(Fault("archive-unreadable", folder, problem, f"Use {address}"))
    if "://" in folder:
        return folder
    if "::" in folder or not os.path.isdir(folder):
        problem = "is not a folder"
        fix = "Pass the folder that holds train.zip as data_dir"
        raise ArchiveError(Fault("archive-unreadable", folder, problem, fix))
    return os.path.abspath(folder)


def _default_folder(base_path: str | None) -> str:
    """Return the folder `data` next to the loading script, or that of the release."""
    if base_path and base_path.startswith(_endpoint()):
        path = base_path[len(_endpoint()) :].strip("/")
        return f"hf://{path}/data".replace("/resolve/", "@", 1)
    folder = os.path.join(base_path or "", "data")
    if base_path and os.path.isdir(folder):
        return folder
    return _DEFAULT_DATA_DIR


def _find_commit(repo_id: str, revision: str, folder: str, token: bool | str | None) -> str:
    """Find the commit of a revision on the Hub or, if it cannot be reached, in the cache."""
    if re.fullmatch("[0-9a-f]{40}", revision):
        return revision
    api = huggingface_hub.HfApi(endpoint=_endpoint(), token=token)
    try:
        return str(api.dataset_info(repo_id, revision=revision).sha)
    except HfHubHTTPError as error:
        raise _lookup_error(folder, error) from error
    except Exception as error:  # Its type depends on the version of huggingface_hub.
        try:
            snapshot = huggingface_hub.snapshot_download(
                repo_id, repo_type="dataset", revision=revision, local_files_only=True
            )
        except Exception:
            raise _lookup_error(folder, error) from error
    commit = os.path.basename(snapshot)
    logger.warning(f"{folder}: the Hub cannot be reached. Using the cached commit {commit}.")
    return commit


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
    match = ARCHIVE_NAME.fullmatch(path) or MEMBER_NAME.fullmatch(path)
    if match is None:
        return None
    return "validation" if match[1] == "val" else match[1]


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
    """Say whether a file, with or without its folders, is none of the dataset's and harmless."""
    return _IGNORED_NAME.fullmatch(name) is not None


def find_archives(
    folder: str,
    splits: Sequence[str] = SPLIT_NAMES,
    download_config: datasets.DownloadConfig | None = None,
) -> DataFilesDict:
    """Find the archives of splits in a folder that `locate` returned.

    Returns:
        The paths or URLs of each split, sorted by name. The cache of prepared datasets depends on
        their ETags or modification times, and sizes.

    Raises:
        ArchiveError: the folder cannot be listed.
    """
    base_path = folder if "://" in folder else re.sub(r"([*?[])", r"[\1]", folder)
    archives: dict[str, dict[str, Any]] = {split: {} for split in splits}
    try:
        files = DataFilesList.from_patterns(
            ["*.zip"], base_path=base_path, download_config=download_config
        )
        for url, metadata in sorted(zip(files, files.origin_metadata, strict=True)):
            split = split_of(_name_of(url))
            if split in archives:
                size = xgetsize(url, download_config=download_config)
                archives[split][url] = (*metadata, str(size))
    except Exception as error:  # Its type depends on the file system.
        raise _lookup_error(folder, error) from error
    return DataFilesDict(
        {split: DataFilesList(list(urls), list(urls.values())) for split, urls in archives.items()}
    )


def find_archive_faults(split: str, names: Sequence[str], folder: str) -> list[Fault]:
    """Find what is wrong with a split's set of archives, which is one archive or all its shards."""
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
            if "://" in folder:
                fix += ". A web server has to list its folders"
        else:
            problem = f"does not belong with {first} in {folder}"
            fix = "Remove one of the two"
        faults.append(Fault("archive-unreadable", name, problem, fix))
    return faults


class ArchiveReader:
    """Read an archive of a split; a context manager.

    Args:
        split: name of the split.
        path: local path or URL of the archive.
        download_config: token and storage options of a URL.
        name: file name of the archive, if it is not that of the path.

    Attributes:
        name: file name of the archive.
        members: tiles and masks by path, in the order of the archive, without faulty ones.
        tiles: paths of the tiles, in that order.
        faults: faults of the archive's directory.

    Raises:
        ArchiveError: the file is not a zip archive.
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
        self.tiles: list[str] = []
        self.faults: list[Fault] = []
        self._split = split
        self._path = path
        self._download_config = download_config
        self._files = contextlib.ExitStack()
        self._position = 0
        self._mask_zip: zipfile.ZipFile | None = None
        with contextlib.ExitStack() as files:
            file = files.enter_context(self._open_file(_BLOCK_SIZE))
            self._size = file.seek(0, os.SEEK_END)
            self._zip = files.enter_context(self._open_zip(file))
            self._read_directory()
            self._files = files.pop_all()

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
            return zipfile.ZipFile(file)
        except _ZIP_ERRORS as error:
            raise ArchiveError(self._describe_file(file, str(error))) from error

    def _describe_file(self, file: IO[bytes], problem: str) -> Fault:
        """Find out what a file is that `zipfile` cannot read."""
        file.seek(0)
        start = file.read(100)
        fix = _COPY_AGAIN
        if start.startswith(b"version https://git-lfs"):
            problem = "is a Git LFS pointer, not the archive"
            fix = "Run `git lfs pull`, or download the archive from its page"
        elif start.lstrip().startswith(b"<"):
            problem = "is a web page, not the archive"
            fix = "Download it again, and log in first if its page asks for it"
        elif start.startswith((b"PK\3\4", b"PK\7\x08")):
            problem = "is incomplete: a partial download, or one part of a split zip archive"
            fix = "Download it again, or join the parts with `zip -s 0 PART --out train.zip`"
        else:
            problem = f"is not a zip archive ({problem})"
        return Fault("archive-unreadable", self.name, problem, fix)

    def _read_directory(self) -> None:
        infos = sorted(self._zip.infolist(), key=lambda info: info.header_offset)
        for info in infos:
            # Unlike `filename`, this one does not end at a NUL character.
            name = info.orig_filename
            if is_ignored(name) or (name.endswith("/") and not info.file_size):
                continue
            path = self._path_of(name)
            fault = self._check_member(path, info)
            if fault:
                self.faults.append(fault)
            elif path:
                self.members[path] = info
        self.tiles = [path for path in self.members if class_of(path) != MASKS]
        if not self.tiles:
            fault = Fault("archive-unreadable", self.name, "holds no tiles", _COPY_AGAIN)
            self.faults.append(fault)

    def _path_of(self, name: str) -> str | None:
        """Return the last three parts of a member's name, or None if it does not fit."""
        match = MEMBER_NAME.fullmatch(name)
        if match is None or match[1] not in SPLIT_FOLDERS[self._split]:
            return None
        return f"{match[1]}/{match[2]}/{match[3]}.png"

    def _check_member(self, path: str | None, info: zipfile.ZipInfo) -> Fault | None:
        place = f"{self.name}: {info.orig_filename}"
        size = max(info.file_size, info.compress_size)
        last_offset = self._size - info.compress_size
        if path is None:
            split = self._split
            problem = f"is not named {split}/<class>/<id>.png or {split}/masks/<id>.png"
            fix = "Rename or remove it; an id has 1 to 18 digits"
            return Fault("member-name", place, problem, fix)
        if path in self.members:
            return Fault("member-duplicate", place, "is in the archive twice", "Remove one")
        if info.flag_bits & 1:
            problem = "is encrypted"
            return Fault("png-corrupt", place, problem, "Make the archive without a password")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            problem = f"is compressed by method {info.compress_type}"
            return Fault("png-corrupt", place, problem, "Make the archive with stored members")
        if size > _MAX_MEMBER_SIZE:
            return Fault(
                "png-corrupt", place, f"has {size} bytes, too many for a tile", _COPY_AGAIN
            )
        # The signature of an entry within another one shows that a length between them is wrong.
        if not 0 <= info.header_offset <= last_offset or b"PK\1\2" in info.extra + info.comment:
            problem = "is not where the archive's directory says"
            return Fault("png-corrupt", place, problem, _COPY_AGAIN)
        return None

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
            ArchiveError: it is damaged, or not an 8-bit RGBA PNG file of 128 x 128 pixels.
        """
        info = self.members[path]
        place = f"{self.name}: {path}"
        is_mask = class_of(path) == MASKS
        try:
            with self._choose_zip(info, is_mask).open(info) as file:
                # Never more than the directory says, whatever the member inflates to.
                png = file.read(info.file_size)
        except _ZIP_ERRORS as error:
            fault = Fault("png-corrupt", place, f"cannot be read ({error})", _COPY_AGAIN)
            raise ArchiveError(fault) from error
        format_fault = check_png(png, place, "mask-format" if is_mask else "png-format")
        if format_fault:
            raise ArchiveError(format_fault)
        return png

    def _choose_zip(self, info: zipfile.ZipInfo, is_mask: bool) -> zipfile.ZipFile:
        """Choose the file to read a member from, so that little is read twice from a URL.

        Reading a mask that is far from its tile would discard what was read ahead of the tiles.
        """
        is_far = not 0 <= info.header_offset - self._position < _MASK_BLOCK_SIZE
        if is_mask and is_far and "://" in self._path:
            if self._mask_zip is None:
                file = self._files.enter_context(self._open_file(_MASK_BLOCK_SIZE))
                self._mask_zip = self._files.enter_context(zipfile.ZipFile(file))
            return self._mask_zip
        self._position = info.header_offset + info.compress_size
        return self._zip


def check_png(png: bytes, place: str, format_code: str = "png-format") -> Fault | None:
    """Check that a file is an 8-bit RGBA PNG file of 128 x 128 pixels, without decoding it.

    Args:
        png: content of the file.
        place: place of the fault.
        format_code: code of a fault of the format; `mask-format` for a mask.

    Returns:
        A fault of the code `png-corrupt` or `format_code`, or None.
    """
    problem = _find_damage(png)
    if problem:
        return Fault("png-corrupt", place, problem, _SAVE_AGAIN)
    problem = _find_wrong_format(png)
    if problem:
        return Fault(format_code, place, problem, _SAVE_AGAIN)
    return None


def _find_damage(png: bytes) -> str:
    """Say why a file is not a complete PNG file; see ISO/IEC 15948. Empty if it is one."""
    if not png:
        return "is empty"
    if png.startswith(b"\xff\xd8\xff"):
        return "is a JPEG file"
    if not png.startswith(b"\x89PNG\r\n\x1a\n"):
        return "is not a PNG file"
    chunks = _chunks_of(png)
    if not chunks or chunks[-1][0] != b"IEND":
        return "is a PNG file that is cut short"
    if png[8:16] != b"\0\0\0\rIHDR" or png[29:33] != zlib.crc32(png[12:29]).to_bytes(4, "big"):
        return "is a PNG file with a damaged header"
    return ""


def _find_wrong_format(png: bytes) -> str:
    """Say how the format of a PNG file differs from that of a tile. Empty if it does not."""
    width, height, depth, colour_type = struct.unpack_from(">LLBB", png, 16)
    if (width, height, depth, colour_type) != (TILE_SIZE, TILE_SIZE, 8, 6):
        names = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with alpha", 6: "RGBA"}
        colours = names.get(colour_type, "unknown")
        return f"is {width} x {height}, {depth}-bit {colours}"
    kinds = [kind for kind, _ in _chunks_of(png)]
    if kinds.count(b"IHDR") > 1:
        return f"has {kinds.count(b'IHDR')} headers"
    for kind, content in _chunks_of(png):
        if kind == b"eXIf" and _orientation_of(content) != 1:
            return "has an EXIF orientation, which some programs apply and others do not"
    return ""


def _chunks_of(png: bytes) -> list[tuple[bytes, bytes]]:
    """Return the type and content of the complete chunks of a PNG file, up to IEND."""
    chunks = []
    start = 8
    kind = b""
    while kind != b"IEND" and start + 12 <= len(png):
        length, kind = struct.unpack_from(">L4s", png, start)
        end = start + 12 + length
        if end > len(png):
            break
        chunks.append((kind, png[start + 8 : end - 4]))
        start = end
    return chunks


def _orientation_of(exif: bytes) -> int:
    """Return the EXIF orientation, 1 to 8; 1 is upright, 0 if it cannot be read."""
    tags = Image.Exif()
    try:
        tags.load(exif)
        return int(tags.get(0x0112, 1))
    except (SyntaxError, ValueError, TypeError, struct.error):
        return 0
