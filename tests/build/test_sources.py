"""Find tiles and masks in folders and in archives; files that do not fit are faults."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from factories import make_data_dir, png, replace_member

from rock_glacier.build.sources import Source, find_sources
from rock_glacier.faults import InputError
from rock_glacier_dataset import ArchiveError


def touch(folder: Path, *names: str) -> Path:
    """Create empty files; these tests do not read them."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def mask_names(sources: list[Source]) -> dict[str, str | None]:
    """Return the name of each tile's mask."""
    return {source.name: source.mask.name if source.mask else None for source in sources}


def test_tiles_are_sorted_by_class_and_natural_order(tmp_path: Path) -> None:
    names = [
        "cordillera_a_10.png",
        "cordillera_a_2.png",
        "cordillera_b_1.png",
        "cordillera_a_1.png",
    ]
    sources = find_sources(touch(tmp_path, "glaciar_1.png", "masks/glaciar_1.png", *names))
    assert [source.name for source in sources] == [
        "cordillera_a_1.png",
        "cordillera_a_2.png",
        "cordillera_a_10.png",
        "cordillera_b_1.png",
        "glaciar_1.png",
    ]


def test_class_is_a_folder_or_the_longest_prefix(tmp_path: Path) -> None:
    names = ["cordillera/x/1.png", "roca/5.png", "glaciar_2.png", "glaciarBlanco_1.png"]
    touch(tmp_path, *names, "masks/5.png", "masks/glaciar_2.png")
    sources = find_sources(tmp_path, None, {"glaciarBlanco": "cordillera", "roca": "glaciar"})
    assert {source.name: source.label for source in sources} == {
        "cordillera/x/1.png": "cordillera",
        "roca/5.png": "glaciar",
        "glaciar_2.png": "glaciar",
        "glaciarBlanco_1.png": "cordillera",
    }


def test_split_is_a_folder_above_or_below_the_class(tmp_path: Path) -> None:
    names = ["train/cordillera/1.png", "cordillera/test/1.png", "val/cordillera_2.png"]
    sources = find_sources(
        touch(tmp_path, *names, "validation/cordillera/3.png", "cordillera_4.png")
    )
    assert {source.name: source.split for source in sources} == {
        "train/cordillera/1.png": "train",
        "cordillera/test/1.png": "test",
        "val/cordillera_2.png": "validation",
        "validation/cordillera/3.png": "validation",
        "cordillera_4.png": None,
    }


def test_files_of_other_programs_are_ignored(tmp_path: Path) -> None:
    names = [
        ".DS_Store",
        "__MACOSX/a.png",
        "Thumbs.db",
        "zeros.png",
        "1.png.aux.xml",
        "@eaDir/1.png",
    ]
    sources = find_sources(touch(tmp_path / "cordillera", *names, "1.PNG").parent)
    assert [source.name for source in sources] == ["cordillera/1.PNG"]


def test_links_to_folders_are_followed(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere", "1.png")
    (tmp_path / "tiles").mkdir()
    (tmp_path / "tiles" / "cordillera").symlink_to(tmp_path / "elsewhere")
    sources = find_sources(tmp_path / "tiles")
    assert [source.name for source in sources] == ["cordillera/1.png"]


@pytest.mark.parametrize(
    ("tiles", "masks"),
    [
        # The curators' names of the early tiles and masks.
        (["glaciarRoca_a_1_2.png"], ["glaciarRoca_a_1_2.png"]),
        (["glaciar/138.png"], ["glaciar_mask/138_m.png"]),
        (["test/glaciar/1.png", "train/glaciar/1.png"], ["glaciar/test/1.png", "train/1.png"]),
        (["glaciar/1.png"], ["1.PNG"]),
    ],
)
def test_masks_are_paired_by_name_and_folders(
    tmp_path: Path, tiles: list[str], masks: list[str]
) -> None:
    touch(tmp_path / "tiles", *tiles)
    touch(tmp_path / "masks", *masks)
    sources = find_sources(tmp_path / "tiles", tmp_path / "masks")
    assert mask_names(sources) == dict(zip(tiles, masks, strict=True))


def test_masks_may_be_among_the_tiles(tmp_path: Path) -> None:
    """In the release's layout, tiles of both classes have the same names."""
    names = [
        f"{split}/{folder}/1.png"
        for split in ("train", "val")
        for folder in ("cordillera", "glaciar", "masks")
    ]
    assert mask_names(find_sources(touch(tmp_path, *names))) == {
        "train/cordillera/1.png": None,
        "val/cordillera/1.png": None,
        "train/glaciar/1.png": "train/masks/1.png",
        "val/glaciar/1.png": "val/masks/1.png",
    }


def test_folder_of_masks_may_be_below_the_tiles(tmp_path: Path) -> None:
    touch(tmp_path, "glaciar_1.png", "annotations/glaciar_1.png")
    sources = find_sources(tmp_path, tmp_path / "annotations")
    assert mask_names(sources) == {"glaciar_1.png": "glaciar_1.png"}


def test_names_are_compared_in_composed_form(tmp_path: Path) -> None:
    """macOS stores accents separately from their letters."""
    tile = unicodedata.normalize("NFD", "cañón_1.png")
    touch(tmp_path / "tiles", tile)
    touch(tmp_path / "masks", unicodedata.normalize("NFC", tile))
    sources = find_sources(tmp_path / "tiles", tmp_path / "masks", {"cañón": "glaciar"})
    assert sources[0].label == "glaciar"
    assert sources[0].mask is not None


@pytest.mark.parametrize(
    ("files", "code", "place"),
    [
        (["tiles/notes.txt", "tiles/glaciar_1.png"], "member-name", "tiles/notes.txt"),
        (["tiles/hielo_1.png"], "member-name", "tiles/hielo_1.png"),
        (["tiles/glaciar/cordillera_1.png"], "member-name", "tiles/glaciar/cordillera_1.png"),
        (["tiles/cordillera_1.png", "masks/a.tif"], "member-name", "masks/a.tif"),
        (["tiles/glaciar_1.png"], "mask-missing", "tiles/glaciar_1.png"),
        (["tiles/cordillera_1.png", "masks/glaciar_2.png"], "mask-orphan", "masks/glaciar_2.png"),
        (["tiles/cordillera/1.png", "masks/glaciar/1.png"], "mask-orphan", "masks/glaciar/1.png"),
        (
            ["tiles/train/glaciar/1.png", "tiles/test/glaciar/1.png", "masks/1.png"],
            "mask-orphan",
            "masks/1.png",
        ),
        (
            ["tiles/glaciar_1.png", "masks/glaciar_1.png", "masks/glaciar_1_m.png"],
            "member-duplicate",
            "masks/glaciar_1_m.png",
        ),
    ],
)
def test_a_file_that_does_not_fit_is_a_fault(
    tmp_path: Path, files: list[str], code: str, place: str
) -> None:
    touch(tmp_path, *files)
    (tmp_path / "masks").mkdir(exist_ok=True)
    with pytest.raises(ArchiveError) as raised:
        find_sources(tmp_path / "tiles", tmp_path / "masks")
    assert raised.value.fault.code == code
    assert raised.value.fault.place == str(tmp_path / place)


def test_a_fault_explains_how_to_name_the_class(tmp_path: Path) -> None:
    touch(tmp_path, "hielo_1.png", "roca_1.png")
    with pytest.raises(ArchiveError) as raised:
        find_sources(tmp_path)
    assert str(raised.value) == (
        f"{tmp_path}/hielo_1.png: neither its folders nor its name begin with cordillera or "
        "glaciar (and one more fault). "
        "Give its class: --class hielo=CLASS, with cordillera or glaciar."
    )


def test_a_folder_without_tiles_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no tiles"):
        find_sources(tmp_path)


def test_tiles_of_archives_have_their_split_and_mask(tmp_path: Path) -> None:
    tiles = [
        "train/cordillera/10.png",
        "train/cordillera/9.png",
        "val/glaciar/1.png",
        "test/glaciar/1.png",
    ]
    data_dir = make_data_dir(tmp_path / "data", dict.fromkeys(tiles, png(0)))
    sources = find_sources(data_dir)
    assert [source.name for source in sources] == [
        "train.zip: train/cordillera/9.png",
        "train.zip: train/cordillera/10.png",
        "test.zip: test/glaciar/1.png",
        "val.zip: val/glaciar/1.png",
    ]
    assert [source.split for source in sources] == ["train", "train", "test", "validation"]
    assert [source.mask.name for source in sources if source.mask] == [
        "test/masks/1.png",
        "val/masks/1.png",
    ]


def test_options_for_folders_are_refused_for_archives(sample: Path) -> None:
    with pytest.raises(InputError, match="--masks and --class"):
        find_sources(sample, None, {"glaciarRoca": "glaciar"})


def test_archives_without_a_mask_have_a_fault(sample_copy: Path) -> None:
    replace_member(sample_copy / "train.zip", "train/glaciar/777.png", png(0))
    with pytest.raises(ArchiveError) as raised:
        find_sources(sample_copy)
    assert raised.value.fault.code == "mask-missing"
    assert raised.value.fault.place == "train.zip: train/glaciar/777.png"
