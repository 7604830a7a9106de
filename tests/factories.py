"""Make and read PNG files, archives and folders of archives for tests, and run commands."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from PIL import Image

from rock_glacier import cli
from rock_glacier.index import make_index, write_index
from rock_glacier.tiles import ArrayFiles
from rock_glacier_dataset import CLASS_NAMES, EMPTY_MASK, SPLIT_NAMES, class_of, mask_path, split_of

REPOSITORY = Path(__file__).resolve().parent.parent


def noise_scene(seed: int, height: int = 128, width: int = 128) -> npt.NDArray[np.uint8]:
    """Return an opaque RGBA scene of noise: uint8 of shape (height, width, 4)."""
    scene = np.full((height, width, 4), 255, np.uint8)
    scene[..., :3] = np.random.default_rng(seed).integers(0, 256, (height, width, 3))
    return scene


def png(image: npt.NDArray[np.uint8] | int, mode: str = "RGBA") -> bytes:
    """Encode an array, or the noise tile of a seed, as a PNG file of a mode of Pillow."""
    array = noise_scene(image) if isinstance(image, int) else image
    file = io.BytesIO()
    Image.fromarray(array).convert(mode).save(file, "PNG")
    return file.getvalue()


def mask_png(indices: npt.NDArray[Any]) -> bytes:
    """Encode a mask in the dataset's colours: white for 1 (rock glacier), black for 0."""
    mask = np.zeros((*indices.shape, 4), np.uint8)
    mask[indices != 0] = 255
    mask[..., 3] = 255
    return png(mask)


def half_mask() -> bytes:
    """Return a mask with rock glacier in its left half."""
    indices = np.zeros((128, 128), np.uint8)
    indices[:, :64] = 1
    return mask_png(indices)


def write_zip(path: Path, members: Mapping[str, bytes], compress: int = zipfile.ZIP_STORED) -> Path:
    """Write a zip archive, with the members in the order given."""
    with zipfile.ZipFile(path, "w", compress) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def make_data_dir(
    folder: Path, tiles: Mapping[str, bytes], masks: Mapping[str, bytes] | None = None
) -> Path:
    """Write train.zip, val.zip and test.zip; a split without members gets an empty archive.

    Args:
        folder: Folder to create.
        tiles: PNG files by path, such as `val/glaciar/007.png`.
        masks: PNG files by path, such as `val/masks/007.png`. Default: a half mask for each
            glaciar tile.
    """
    folder.mkdir(parents=True)
    if masks is None:
        masks = {mask_path(path): half_mask() for path in tiles if class_of(path) == "glaciar"}
    members = {**tiles, **masks}
    for stem in ("train", "val", "test"):
        split = split_of(f"{stem}.zip")
        write_zip(
            folder / f"{stem}.zip",
            {path: content for path, content in members.items() if split_of(path) == split},
        )
    return folder


def write_index_of(
    file: Path, paths: Sequence[str], sites: Sequence[int], blocks: Sequence[int] | int = 0
) -> Path:
    """Write a tile index of tiles by path, with the site and the block of each."""
    table = pd.DataFrame({"path": paths, "site": sites, "block": blocks})
    table["split"] = [split_of(path) for path in paths]
    table["label"] = [class_of(path) for path in paths]
    table[["x", "y", "orientation", "mask_share"]] = 0
    write_index(make_index(table), file)
    return file


def read_members(data_dir: Path, split: str | None = None) -> dict[str, bytes]:
    """Return tiles and masks by path, of one split or all, in the order of the archives."""
    members = {}
    for name in sorted(os.listdir(data_dir)):
        if name.endswith(".zip") and split in (None, split_of(name)):
            with zipfile.ZipFile(data_dir / name) as archive:
                for member in archive.namelist():
                    members["/".join(member.split("/")[-3:])] = archive.read(member)
    return members


def tile_paths(data_dir: Path, split: str | None = None) -> list[str]:
    """Return the paths of tiles, of one split or all, in the order of the archives."""
    return [path for path in read_members(data_dir, split) if class_of(path) in CLASS_NAMES]


def replace_member(archive: Path, path: str, content: bytes | None) -> None:
    """Replace, add or, with None, remove a member; drop the manifest, which no longer fits."""
    with zipfile.ZipFile(archive) as opened:
        members: dict[str, bytes | None] = {name: opened.read(name) for name in opened.namelist()}
    members[path] = content
    write_zip(archive, {name: member for name, member in members.items() if member is not None})
    (archive.parent / "manifest.json").unlink(missing_ok=True)


def files_of(folder: Path) -> dict[str, bytes]:
    """Return the content of all files below a folder, by relative path."""
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def undecoded(dataset: Any) -> Any:
    """Return a dataset that gives the bytes of its images."""
    for column, feature in dataset.features.items():
        if isinstance(feature, datasets.Image):
            dataset = dataset.cast_column(column, datasets.Image(decode=False))
    return dataset


def assert_holds(dataset: Any, data_dir: Path, split: str) -> None:
    """Assert that a loaded split has the bytes and the order of the split's archives."""
    members = read_members(data_dir, split)
    examples = list(undecoded(dataset))
    assert [example["path"] for example in examples] == tile_paths(data_dir, split)
    for example in examples:
        path = example["path"]
        assert example["image"]["bytes"] == members[path]
        if "labels" in example:
            assert CLASS_NAMES[example["labels"]] == class_of(path)
        elif class_of(path) == "glaciar":
            assert example["masks"]["bytes"] == members[mask_path(path)]
        else:
            assert example["masks"]["bytes"] == EMPTY_MASK


def assert_holds_all(loaded: Any, data_dir: Path) -> None:
    """Assert that each split of a loaded dataset is what its archives hold."""
    assert list(loaded) == list(SPLIT_NAMES)
    for split in SPLIT_NAMES:
        assert_holds(loaded[split], data_dir, split)


def run_command(*arguments: object, cwd: Path | None = None) -> int:
    """Run a command in this process, for example `run_command("audit", folder)`.

    Returns:
        Its exit status, which is 2 for wrong usage.
    """
    with pytest.MonkeyPatch.context() as patch:
        if cwd is not None:
            patch.chdir(cwd)
        try:
            return cli.main([str(argument) for argument in arguments])
        except SystemExit as exit_:
            assert isinstance(exit_.code, int)
            return exit_.code


@contextlib.contextmanager
def limited_file_size(size: int) -> Iterator[None]:
    """Let this process write no file of more than `size` bytes, as if the disk were full."""
    resource = pytest.importorskip("resource", reason="Windows does not limit the size of files")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def real_folder() -> Path:
    """Return the folder of real tiles, or skip the test: they are not part of the project."""
    folder = REPOSITORY.parent / "shared" / "real"
    if not folder.is_dir():
        pytest.skip("needs the real tiles in ../shared/real, which are not part of the project")
    return folder


def copy(folder: Path, target: Path) -> Path:
    """Copy a folder, and return the copy."""
    return Path(shutil.copytree(folder, target))


def array_files(folder: Path, images: Any) -> ArrayFiles:
    """Write RGBA images to the files that site search reads.

    Args:
        folder: Existing folder for the files.
        images: uint8 array of shape (n, 128, 128, 4), or a list of n such images.
    """
    images = np.asarray(images, np.uint8).reshape(-1, 128, 128, 4)
    files = ArrayFiles(folder / "images", folder / "masks", len(images))
    files.images.write_bytes(images.tobytes())
    files.masks.write_bytes(bytes(len(images) * 128 * 128))
    return files
