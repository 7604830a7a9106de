"""Maintainers' folders: what is found in them, what it becomes, and one clear message for what does not fit."""

from __future__ import annotations

import io
import os
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from source_folders import ground, save_mask, save_tile
from tile_folders import SourceTile, TileFolderError, find_tiles, list_pngs, pair_masks, read_tile

from rock_glacier_dataset import BACKGROUND_COLOUR, ROCK_GLACIER_COLOUR, class_indices_to_mask

PREFIXES = {"glaciarRoca": "glaciar"}


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def found(folder: Path, **prefixes: str) -> list[tuple[str, str, str | None]]:
    return [(tile.name, tile.class_name, tile.split) for tile in find_tiles(folder, prefixes)]


def paired(tiles: Path, masks: Path) -> dict[str, str | None]:
    pairs = pair_masks(find_tiles(tiles, PREFIXES), tiles, masks, PREFIXES)
    return {tile.name: tile.mask.relative_to(masks).as_posix() if tile.mask else None for tile in pairs}


def glaciar(path: Path, mask: Path | None = None) -> SourceTile:
    return SourceTile(path, path.name, "glaciar", mask=mask)


# ------------------------------------------------------------------------------------------------------ finding tiles


def test_tiles_come_in_natural_order(tmp_path: Path) -> None:
    names = [f"glaciar_{area}_{n}.png" for area in ("a", "b") for n in (1, 2, 9, 10, 11, 100)]
    touch(tmp_path, *sorted(names, reverse=True))
    assert list_pngs(tmp_path) == names


def test_class_is_a_folder_or_the_longest_prefix(tmp_path: Path) -> None:
    touch(tmp_path, "glaciar/1.png", "cordillera/x/1.png", "roca/5.png", "glaciar_2.png", "glaciarBlanco_1.png")
    assert found(tmp_path, glaciarBlanco="cordillera", roca="glaciar") == [
        ("cordillera/x/1.png", "cordillera", None),
        ("glaciar/1.png", "glaciar", None),
        ("glaciarBlanco_1.png", "cordillera", None),
        ("glaciar_2.png", "glaciar", None),
        ("roca/5.png", "glaciar", None),
    ]


def test_split_is_a_folder_above_or_below_the_class(tmp_path: Path) -> None:
    touch(tmp_path, "train/glaciar/1.png", "glaciar/test/1.png", "validation/glaciar_1.png")
    assert found(tmp_path) == [
        ("glaciar/test/1.png", "glaciar", "test"),
        ("train/glaciar/1.png", "glaciar", "train"),
        ("validation/glaciar_1.png", "glaciar", "validation"),
    ]


def test_hidden_files_and_those_of_other_systems_are_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, "glaciar_1.png", ".DS_Store", "__MACOSX/glaciar_2.png", "Thumbs.db", ".cache/glaciar_3.png")
    assert list_pngs(tmp_path) == ["glaciar_1.png"]


def test_tiles_behind_a_link_are_found(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere", "1.png")
    (tmp_path / "tiles").mkdir()
    (tmp_path / "tiles" / "glaciar").symlink_to(tmp_path / "elsewhere")
    assert found(tmp_path / "tiles") == [("glaciar/1.png", "glaciar", None)]


@pytest.mark.parametrize(
    ("names", "named", "message"),
    [
        (["glaciar_1.jpg"], "glaciar_1.jpg", "is no PNG file; save it as PNG"),
        (["glaciar_1.png", "notes.txt"], "notes.txt", "is no PNG file"),
        (["hielo_1.png"], "hielo_1.png", "class cannot be told.*--class hielo=glaciar"),
        (["glaciar/cordillera_1.png"], "glaciar/cordillera_1.png", "is of two classes, cordillera and glaciar"),
        (["train/test/glaciar_1.png"], "train/test/glaciar_1.png", "is of two splits, test and train"),
        (["a/glaciar_1.png", "b/glaciar_1.png"], "b/glaciar_1.png", "has the name of .*a/glaciar_1.png; remove one"),
        (["glaciar_1.png", "glaciar_1.PNG"], "glaciar_1.png", "has the name of .*glaciar_1.PNG"),
        ([".hidden"], "", "holds no tiles; give the folder"),
    ],
)
def test_folder_that_does_not_fit_is_told_with_a_remedy(
    tmp_path: Path, names: list[str], named: str, message: str
) -> None:
    touch(tmp_path / "tiles", *names)
    with pytest.raises(TileFolderError, match=message) as caught:
        find_tiles(tmp_path / "tiles", {})
    assert str(tmp_path / "tiles" / named) in str(caught.value)


def test_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TileFolderError, match="nowhere: no such folder"):
        find_tiles(tmp_path / "nowhere", {})


def test_link_that_leads_in_a_circle_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "glaciar_1.png")
    (tmp_path / "again").symlink_to(tmp_path)
    with pytest.raises(TileFolderError, match="again: is a link to a folder that it lies in"):
        find_tiles(tmp_path, {})


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode there")
def test_name_that_is_not_utf_8_is_told_in_one_printable_line(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"glaciar_\xff\n.png")).touch()
    with pytest.raises(TileFolderError, match="its name is not UTF-8") as caught:
        find_tiles(tmp_path, {})
    assert str(caught.value).isprintable()


# ------------------------------------------------------------------------------------------------------ pairing masks


@pytest.mark.parametrize("mask", ["glaciarRoca_1.png", "glaciarRoca_1_m.png", "mask_glaciarRoca_1.png"])
def test_mask_has_the_tiles_stem_perhaps_with_something_about_it(tmp_path: Path, mask: str) -> None:
    tiles = touch(tmp_path / "tiles", "glaciarRoca_1.png", "cordillera_1.png")
    masks = touch(tmp_path / "masks", mask)
    assert paired(tiles, masks) == {"cordillera_1.png": None, "glaciarRoca_1.png": mask}


def test_masks_of_tiles_of_one_stem_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    tiles = touch(tmp_path / "tiles", "train/glaciar/1.png", "test/glaciar/1.png", "train/cordillera/1.png")
    masks = touch(tmp_path / "masks", "train/glaciar/1.png", "glaciar/test/mask_1.png")
    assert paired(tiles, masks) == {
        "test/glaciar/1.png": "glaciar/test/mask_1.png",
        "train/cordillera/1.png": None,
        "train/glaciar/1.png": "train/glaciar/1.png",
    }


def test_mask_in_the_folder_of_the_same_name_is_the_tiles_own(tmp_path: Path) -> None:
    tiles = touch(tmp_path / "tiles", "glaciar/1.png", "train/glaciar/1.png")
    masks = touch(tmp_path / "masks", "glaciar/1_m.png", "train/glaciar/1_m.png")
    assert paired(tiles, masks) == {f"{place}/1.png": f"{place}/1_m.png" for place in ("glaciar", "train/glaciar")}


def test_tiles_own_stem_goes_before_a_stem_with_something_about_it(tmp_path: Path) -> None:
    tiles = touch(tmp_path / "tiles", "glaciar_1.png", "glaciar_1_m.png")
    masks = touch(tmp_path / "masks", "glaciar_1.png", "glaciar_1_m.png")
    assert paired(tiles, masks) == {name: name for name in ("glaciar_1.png", "glaciar_1_m.png")}


@pytest.mark.parametrize(
    ("tiles", "masks", "named", "message"),
    [
        (["glaciar_1.png"], ["glaciar_1.png", "glaciar_1_m.png"], "tiles/glaciar_1.png", "has two masks"),
        (["glaciar_1.png"], ["glaciar_1.png", "a/glaciar_1.png"], "tiles/glaciar_1.png", "has two masks"),
        (["glaciar_1.png"], ["glaciar_2.png"], "masks/glaciar_2.png", "no tile of this name .*; remove the mask"),
        (["cordillera/1.png"], ["glaciar/1.png"], "masks/glaciar/1.png", "no tile of this name"),
        (["glaciar_1.png", "glaciar_2.png"], ["glaciar_1.png"], "tiles/glaciar_2.png", "no mask of this name"),
        (["glaciar/1.png", "cordillera/1.png"], ["1.png"], "masks/1.png", "fits several tiles.*put masks into folders"),
        (["glaciar_1.png"], ["glaciar_1.tif"], "masks/glaciar_1.tif", "is no PNG file"),
    ],
)
def test_masks_that_cannot_be_paired_are_told(
    tmp_path: Path, tiles: list[str], masks: list[str], named: str, message: str
) -> None:
    with pytest.raises(TileFolderError, match=message) as caught:
        paired(touch(tmp_path / "tiles", *tiles), touch(tmp_path / "masks", *masks))
    assert str(caught.value).startswith(f"{tmp_path / named}: ")


# ------------------------------------------------------------------------------------------------------- reading tiles


def test_rgb_tile_becomes_rgba_with_the_same_colours(tmp_path: Path) -> None:
    read = read_tile(glaciar(save_tile(tmp_path / "1.png", 7)))
    image = Image.open(io.BytesIO(read.image))
    assert (image.mode, image.size, read.image_converted) == ("RGBA", (128, 128), True)
    assert (np.asarray(image)[..., :3] == ground(7, 256)[:, :128]).all()
    assert (np.asarray(image)[..., 3] == 255).all()


def test_rgba_tile_and_contract_mask_keep_their_bytes(tmp_path: Path) -> None:
    tile = save_tile(tmp_path / "1.png", 7, mode="RGBA")
    mask = save_mask(tmp_path / "m.png", mode="RGBA")
    read = read_tile(glaciar(tile, mask))
    assert (read.image, read.mask) == (tile.read_bytes(), mask.read_bytes())
    assert (read.image_converted, read.mask_converted) == (False, False)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "LA"])
def test_mask_of_any_mode_becomes_opaque_black_and_white(tmp_path: Path, mode: str) -> None:
    mask = save_mask(tmp_path / "m.png", mode=mode)
    assert Image.open(mask).mode == mode
    read = read_tile(glaciar(save_tile(tmp_path / "1.png", 7), mask))
    assert read.mask is not None
    image = Image.open(io.BytesIO(read.mask))
    assert (image.mode, read.mask_converted) == ("RGBA", True)
    assert (image.getpixel((63, 5)), image.getpixel((64, 5))) == (ROCK_GLACIER_COLOUR, BACKGROUND_COLOUR)


def test_mask_is_laid_over_black_and_cut_at_half(tmp_path: Path) -> None:
    mask = np.full((128, 128, 4), 255, np.uint8)
    mask[0] = (255, 255, 255, 0)
    mask[1] = (127, 127, 127, 255)
    mask[2] = (128, 128, 128, 255)
    mask[3] = (255, 255, 255, 127)
    Image.fromarray(mask).save(tmp_path / "m.png")
    read = read_tile(glaciar(save_tile(tmp_path / "1.png", 7), tmp_path / "m.png"))
    assert read.mask is not None
    image = Image.open(io.BytesIO(read.mask))
    assert [image.getpixel((9, row)) == ROCK_GLACIER_COLOUR for row in range(5)] == [False, False, True, False, True]


def test_empty_mask_of_a_cordillera_tile_is_kept(tmp_path: Path) -> None:
    mask = save_mask(tmp_path / "m.png", rock_glacier=False)
    tile = SourceTile(save_tile(tmp_path / "1.png", 7), "1.png", "cordillera", mask=mask)
    read = read_tile(tile)
    assert read.mask is not None
    assert Image.open(io.BytesIO(read.mask)).getextrema() == ((0, 0), (0, 0), (0, 0), (255, 255))


def test_tile_that_is_turned_or_mirrored_looks_alike(tmp_path: Path) -> None:
    tile = Image.fromarray(ground(7))
    for number, turned in enumerate((tile, *(tile.transpose(way) for way in Image.Transpose))):
        turned.save(tmp_path / f"{number}.png")
    looks = {read_tile(glaciar(tmp_path / f"{number}.png")).look for number in range(8)}
    assert len(looks) == 1
    assert read_tile(glaciar(save_tile(tmp_path / "other.png", 8))).look not in looks


def png(array: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG", **options)
    return file.getvalue()


def flipped(content: bytes, place: int) -> bytes:
    """Damage one bit of a byte."""
    damaged = bytearray(content)
    damaged[place] ^= 1
    return bytes(damaged)


def claiming(width: int, content: bytes) -> bytes:
    header = content[12:16] + width.to_bytes(4, "big") * 2 + content[24:29]
    return content[:12] + header + zlib.crc32(header).to_bytes(4, "big") + content[33:]


WHOLE = png(ground(7))  # whose last 16 bytes are the checksum of the pixels and the chunk at the end


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"no image at all", "is no PNG"),
        (b"\xff\xd8\xff\xe0 a photo", "is a JPEG under the name of a PNG"),
        (WHOLE[:3000], "is a PNG cut short"),
        (flipped(WHOLE, len(WHOLE) // 2), "cannot be decoded"),
        (flipped(WHOLE, -16), r"cannot be decoded \(the checksum"),
        (claiming(60_000, WHOLE), "has 60000 x 60000 pixels; a tile has 128 x 128"),
        (png(ground(7)[:64]), "has 128 x 64 pixels"),
        (png(ground(7)[..., 0]), "is 8-bit grey; save it as 8-bit RGB or RGBA"),
        (png(ground(7)[..., 0].astype(np.uint16) * 257), "is 16-bit grey"),
        (png(np.dstack([ground(7), ground(8)[..., 0]])), "pixels that are not opaque"),
        (png(np.zeros((128, 128, 3), np.uint8), transparency=(0, 0, 0)), "has 16384 pixels that are not opaque"),
    ],
)
def test_file_that_is_no_tile_is_told_with_a_remedy(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "1.png").write_bytes(content)
    with pytest.raises(TileFolderError, match=message) as caught:
        read_tile(glaciar(tmp_path / "1.png"))
    assert str(caught.value).startswith(f"{tmp_path / '1.png'}: ")
    assert "; " in str(caught.value)
    assert "\n" not in str(caught.value)


RED = np.zeros((128, 128, 3), np.uint8) + np.array([255, 0, 0], np.uint8)


@pytest.mark.parametrize(
    ("class_name", "content", "message"),
    [
        ("glaciar", png(np.zeros((64, 64), np.uint8)), "has 64 x 64 pixels; a mask has 128 x 128"),
        ("glaciar", png(np.zeros((128, 128), np.uint16)), "is 16-bit grey"),
        ("glaciar", png(RED), "has 16384 pixels that are coloured; draw rock glacier white"),
        ("glaciar", png(np.ones((128, 128), np.uint8)), "shows no rock glacier, .* its brightest pixel being 1;"),
        ("cordillera", png(np.full((128, 128), 255, np.uint8)), "shows rock glacier on 16384 pixels, but its tile"),
    ],
)
def test_file_that_is_no_mask_is_told_with_a_remedy(
    tmp_path: Path, class_name: str, content: bytes, message: str
) -> None:
    (tmp_path / "m.png").write_bytes(content)
    tile = SourceTile(save_tile(tmp_path / "1.png", 7), "1.png", class_name, mask=tmp_path / "m.png")
    with pytest.raises(TileFolderError, match=message) as caught:
        read_tile(tile)
    assert str(caught.value).startswith(f"{tmp_path / 'm.png'}: ")


def test_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "1.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(TileFolderError, match=r"1.png: cannot be read \(No such file or directory\); make it readable"):
        read_tile(glaciar(tmp_path / "1.png"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes among the files there")
def test_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "1.png")
    with pytest.raises(TileFolderError, match="is no regular file"):
        read_tile(glaciar(tmp_path / "1.png"))


def test_large_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "1.png").open("wb") as file:
        file.truncate(2**30)
    with pytest.raises(TileFolderError, match="has 1073741824 bytes, too many for a tile"):
        read_tile(glaciar(tmp_path / "1.png"))


def test_metadata_too_large_for_an_archive_is_left_behind(tmp_path: Path) -> None:
    save_tile(tmp_path / "1.png", 7, mode="RGBA")
    content = (tmp_path / "1.png").read_bytes()
    text = b"tEXt" + b"Comment\0" + b"x" * 2**20
    chunk = (len(text) - 4).to_bytes(4, "big") + text + zlib.crc32(text).to_bytes(4, "big")
    (tmp_path / "1.png").write_bytes(content[:-12] + chunk + content[-12:])
    read = read_tile(glaciar(tmp_path / "1.png"))
    assert (len(read.image) < 2**17, read.image_converted) == (True, True)


def test_mask_is_what_the_module_would_write(tmp_path: Path) -> None:
    indices = np.zeros((128, 128), np.uint8)
    indices[:, :64] = 1
    read = read_tile(glaciar(save_tile(tmp_path / "1.png", 7), save_mask(tmp_path / "m.png")))
    assert read.mask is not None
    assert (np.asarray(Image.open(io.BytesIO(read.mask))) == np.asarray(class_indices_to_mask(indices))).all()
