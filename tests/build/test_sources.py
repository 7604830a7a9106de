"""Folders of tiles and masks: what is found in them, and one clear message for what does not fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from rock_glacier.curation.sources import SourceError, find_sources


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def found(folder: Path, **prefixes: str) -> list[tuple[str, str, str | None]]:
    return [(source.name, source.class_name, source.split) for source in find_sources(folder, prefixes=prefixes)]


def paired(tiles: Path, masks: Path | None = None) -> dict[str, str | None]:
    sources = find_sources(tiles, masks, {"glaciarRoca": "glaciar"} if any(tiles.rglob("glaciarRoca*")) else {})
    return {
        source.name: source.mask.relative_to(masks or tiles).as_posix() if isinstance(source.mask, Path) else None
        for source in sources
    }


def test_tiles_come_by_class_and_in_natural_order(tmp_path: Path) -> None:
    names = [f"{kind}_{area}_{n}.png" for kind in ("cordillera", "glaciar") for area in "ab" for n in (1, 2, 10, 100)]
    touch(tmp_path, *sorted(names, reverse=True))
    assert [name for name, _, _ in found(tmp_path)] == names


def test_class_is_a_folder_or_the_longest_prefix(tmp_path: Path) -> None:
    touch(tmp_path, "glaciar/1.png", "cordillera/x/1.png", "roca/5.png", "glaciar_2.png", "glaciarBlanco_1.png")
    assert found(tmp_path, glaciarBlanco="cordillera", roca="glaciar") == [
        ("cordillera/x/1.png", "cordillera", None),
        ("glaciarBlanco_1.png", "cordillera", None),
        ("glaciar/1.png", "glaciar", None),
        ("glaciar_2.png", "glaciar", None),
        ("roca/5.png", "glaciar", None),
    ]


def test_split_is_a_folder_above_or_below_the_class(tmp_path: Path) -> None:
    touch(tmp_path, "train/glaciar/1.png", "glaciar/test/1.png", "validation/glaciar_1.png", "val/glaciar/2.png")
    assert found(tmp_path) == [
        ("glaciar/test/1.png", "glaciar", "test"),
        ("train/glaciar/1.png", "glaciar", "train"),
        ("val/glaciar/2.png", "glaciar", "validation"),
        ("validation/glaciar_1.png", "glaciar", "validation"),
    ]


def test_files_of_systems_are_passed_over_and_links_are_followed(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere", "1.png")
    tiles = touch(tmp_path / "tiles", ".DS_Store", "__MACOSX/glaciar_2.png", "Thumbs.db", ".cache/x.png", "zeros.png")
    (tiles / "glaciar").symlink_to(tmp_path / "elsewhere")
    assert found(tiles) == [("glaciar/1.png", "glaciar", None)]


@pytest.mark.parametrize("name", ["glaciar_1.png", "glaciar/1.PNG"])
def test_tiles_beside_archives_are_named(tmp_path: Path, name: str) -> None:
    touch(tmp_path, "train.zip", "zeros.png", "assets/leak.png", name)
    with pytest.raises(SourceError, match=f"{name}: lies beside archives, which are read alone; move it, or them"):
        find_sources(tmp_path)


def test_link_that_leads_in_a_circle_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "glaciar_1.png")
    (tmp_path / "again").symlink_to(tmp_path)
    with pytest.raises(SourceError, match="again: is a link to a folder that it lies in"):
        find_sources(tmp_path)


@pytest.mark.parametrize(
    ("tiles", "expected"),
    [
        (["cordillera_1.png"], {"glaciarRoca_1.png": "glaciarRoca_1.png"}),
        (["cordillera_1.png"], {"glaciarRoca_1.png": "glaciarRoca_1_m.png"}),
        (["cordillera_1.png"], {"glaciarRoca_1.png": "mask_glaciarRoca_1_m.png"}),
        ([], {"glaciar_1.png": "glaciar_1.png", "glaciar_1_m.png": "glaciar_1_m.png"}),
        ([], {"glaciar/1.png": "glaciar/1_m.png", "train/glaciar/1.png": "train/glaciar/1_m.png"}),
        (
            ["train/cordillera/1.png"],
            {"test/glaciar/1.png": "glaciar/test/mask_1.png", "train/glaciar/1.png": "train/glaciar/1.png"},
        ),
    ],
)
def test_mask_is_paired_by_folder_then_by_stem(tmp_path: Path, tiles: list[str], expected: dict[str, str]) -> None:
    touch(tmp_path / "tiles", *tiles, *expected)
    touch(tmp_path / "masks", *expected.values())
    touch(tmp_path, "script/data/val.zip")  # archives beside the folders are not theirs
    assert paired(tmp_path / "tiles", tmp_path / "masks") == {**dict.fromkeys(tiles), **expected}


def test_masks_lie_among_the_tiles_as_the_curators_have_them(tmp_path: Path) -> None:
    names = [f"{split}/{kind}/1.png" for split in ("train", "val") for kind in ("cordillera", "glaciar", "masks")]
    masks = {f"{split}/glaciar/1.png": f"{split}/masks/1.png" for split in ("train", "val")}
    assert paired(touch(tmp_path, *names)) == {"train/cordillera/1.png": None, "val/cordillera/1.png": None, **masks}


@pytest.mark.parametrize(
    ("tiles", "masks", "named", "message"),
    [
        (["glaciar_1.png", "notes.txt"], None, "tiles/notes.txt", "is no PNG file; move it elsewhere, or"),
        (["glaciar_\udcff\n.png"], None, r"tiles/glaciar_\udcff\n.png", "has a name that cannot be printed; rename it"),
        (["hielo_1.png"], None, "tiles/hielo_1.png", "with --class PREFIX=CLASS, such as hielo=glaciar"),
        (["glaciar/cordillera_1.png"], None, "tiles/glaciar/cordillera_1.png", "is of two classes, cordillera and gl"),
        (["train/test/glaciar_1.png"], None, "tiles/train/test/glaciar_1.png", "is of two splits, test and train"),
        (["a/glaciar_1.png", "b/glaciar_1.png"], None, "tiles/b/glaciar_1.png", "has the name of .*a/glaciar_1.png; r"),
        (["glaciar_1.png", "glaciar_1.PNG"], None, "tiles/glaciar_1.png", "has the name of .*glaciar_1.PNG"),
        ([".hidden"], None, "tiles", "holds no tiles; give the folder"),
        ([], None, "tiles", "no such folder; give the folder that holds tiles or archives"),
        (["glaciar_1.png"], [], "masks", "no such folder; give the folder that holds the PNG files"),
        (["glaciar_1.png"], ["glaciar_1.png", "glaciar_1_m.png"], "masks/glaciar_1_m.png", "is the second mask of"),
        (["glaciar_1.png"], ["glaciar_2.png"], "masks/glaciar_2.png", "no tile has its name; remove the mask"),
        (["cordillera/1.png"], ["glaciar/1.png"], "masks/glaciar/1.png", "no tile has its name"),
        (["glaciar_1.png", "glaciar_2.png"], ["glaciar_1.png"], "masks", "no masks of 1 glaciar tile: glaciar_2.png;"),
        (["train/glaciar/1.png", "test/glaciar/1.png"], ["1.png"], "masks/1.png", "fits several tiles.*put masks into"),
        (["glaciar_1.png"], ["glaciar_1.tif"], "masks/glaciar_1.tif", "is no PNG file"),
        (
            ["glaciar_1.png", "hielo_1.png", "d.txt", "c.txt", "b.txt", "a.txt"],
            None,
            "tiles/a.txt",
            r"is no PNG file; .* tile or mask \(and 3 more: .*/tiles/b.txt, .*/tiles/c.txt, ...; 1 other fault\)",
        ),
        (
            ["glaciar_1.png"],
            [f"glaciar_{number}.png" for number in range(1, 5)],
            "masks/glaciar_2.png",
            r"no tile has its name; .* \(and 2 more: .*_3.png, .*_4.png\)",
        ),
    ],
)
def test_folders_that_do_not_fit_are_reported_with_a_remedy(
    tmp_path: Path, tiles: list[str], masks: list[str] | None, named: str, message: str
) -> None:
    touch(tmp_path / "tiles", *tiles)
    touch(tmp_path / "masks", *(masks or []))
    with pytest.raises(SourceError, match=message) as caught:
        find_sources(tmp_path / "tiles", None if masks is None else tmp_path / "masks")
    assert str(caught.value).startswith(f"{tmp_path / named}: ")


@pytest.mark.parametrize("name", ["masks", "annotations"])
def test_folder_of_masks_may_lie_in_that_of_tiles(tmp_path: Path, name: str) -> None:
    touch(tmp_path, "glaciar_1.png", f"{name}/glaciar_1.png")
    assert paired(tmp_path, tmp_path / name) == {"glaciar_1.png": "glaciar_1.png"}
