"""What the archives of a folder hold, read with `zipfile`: the other side of what the tests compare."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets

from rock_glacier.archives.listing import Listing
from rock_glacier.publication.picture_record import PICTURES, PictureRecord, PictureText, write_record
from rock_glacier_dataset import CLASS_NAMES, EMPTY_MASK, SPLIT_NAMES

Members = list[tuple[zipfile.ZipInfo, bytes]]


def contents(data_dir: Path, split: str) -> dict[str, bytes]:
    """Return the tiles and masks of a split by path, in the order in which they stand in its archives."""
    found = {}
    stems = ("validation", "val") if split == "validation" else (split,)
    for path in sorted(data_dir.glob("*.zip")):
        if path.name.partition(".")[0].partition("-")[0] in stems:
            with zipfile.ZipFile(path) as archive:
                found.update({"/".join(name.split("/")[-3:]): archive.read(name) for name in archive.namelist()})
    return found


def tile_paths(data_dir: Path, split: str) -> list[str]:
    """Return the paths of a split's tiles, in the order in which they stand."""
    return [path for path in contents(data_dir, split) if "/masks/" not in path]


def undecoded(dataset: Any) -> Any:
    """Give the images' bytes instead of the images."""
    for column, feature in dataset.features.items():
        if isinstance(feature, datasets.Image):
            dataset = dataset.cast_column(column, datasets.Image(decode=False))
    return dataset


def assert_holds(dataset: Any, data_dir: Path, split: str) -> None:
    """Assert that a loaded split is what the split's archives hold, byte for byte and in their order."""
    members = contents(data_dir, split)
    examples = list(undecoded(dataset))
    assert [example["path"] for example in examples] == tile_paths(data_dir, split)
    for example in examples:
        path = example["path"]
        folder = path.split("/")[1]
        assert example["image"]["bytes"] == members[path]
        if "labels" in example:
            assert CLASS_NAMES[example["labels"]] == folder
        else:
            mask = members[path.replace("glaciar", "masks")] if folder == "glaciar" else EMPTY_MASK
            assert example["masks"]["bytes"] == mask


def assert_holds_all(loaded: Any, data_dir: Path) -> None:
    """Assert that each split of a loaded dataset is what its archives hold."""
    assert list(loaded) == list(SPLIT_NAMES)
    for split in SPLIT_NAMES:
        assert_holds(loaded[split], data_dir, split)


def rewrite(archive: Path, change: Callable[[Members], Members | None]) -> None:
    """Change the members of an archive, in place or by returning others, and drop the manifest beside it."""
    with zipfile.ZipFile(archive) as opened:
        members = [(member, opened.read(member)) for member in opened.infolist()]
    members = change(members) or members
    with zipfile.ZipFile(archive, "w") as opened:
        for member, content in members:
            opened.writestr(member, content, member.compress_type)
    (archive.parent / "manifest.json").unlink(missing_ok=True)


def replace_member(archive: Path, name: str, content: bytes) -> None:
    """Replace the content of a member."""
    rewrite(archive, lambda members: [(member, content if member.filename == name else old) for member, old in members])


def change_manifest(data_dir: Path, change: Callable[[dict], None]) -> None:  # type: ignore[type-arg]
    """Change the manifest of a folder."""
    manifest = json.loads((data_dir / "manifest.json").read_text())
    change(manifest)
    (data_dir / "manifest.json").write_text(json.dumps(manifest))


def take_curators_layout(data_dir: Path) -> None:
    """Give a sample the curators' layout: no manifest or grounds.csv, and tiles of validation below val in val.zip."""
    (data_dir / "grounds.csv").unlink(missing_ok=True)
    members = contents(data_dir, "validation").items()
    for name in ("validation.zip", "manifest.json"):
        (data_dir / name).unlink()
    with zipfile.ZipFile(data_dir / "val.zip", "w") as archive:
        for path, png in members:
            archive.writestr(path.replace("validation/", "val/"), png)


def write_pictures_of(data_dir: Path, folder: Path, *, of_sample: bool) -> Path:
    """Write what `render_assets.py` writes, with other bytes for the pictures, and return the folder."""
    folder.mkdir(parents=True)
    for name in PICTURES:
        (folder / name).write_bytes(f"{name} of {data_dir.name}".encode())
    texts = {name: PictureText(f"Shows {name}.", f"Caption of {name}.") for name in PICTURES}
    write_record(folder, PictureRecord(of_sample, Listing(data_dir).counts(), texts))
    return folder
