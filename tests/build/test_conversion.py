"""Files into the form of archives: RGBA tiles, masks of two colours, and one clear message for what is neither."""

from __future__ import annotations

import io
import os
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from source_folders import ground, save_mask, save_tile

from rock_glacier.curation.conversion import Converted, convert_sources
from rock_glacier.curation.sources import Source, SourceError
from rock_glacier_dataset import BACKGROUND_COLOUR, ROCK_GLACIER_COLOUR


def convert(tile: Path, mask: Path | None = None, class_name: str = "glaciar") -> Converted:
    (result,) = convert_sources([Source(tile.name, class_name, None, tile, mask)])
    if isinstance(result, Exception):
        raise result
    return result


def image_of(content: bytes | None) -> Image.Image:
    assert content is not None
    return Image.open(io.BytesIO(content))


def test_rgb_tile_becomes_rgba_with_the_same_colours(tmp_path: Path) -> None:
    converted = convert(save_tile(tmp_path / "1.png", 7))
    image = image_of(converted.tile)
    assert (image.mode, image.size, converted.facts.tile_changed) == ("RGBA", (128, 128), True)
    assert (np.asarray(image)[..., :3] == ground(7, 256)[:, :128]).all()
    assert (np.asarray(image)[..., 3] == 255).all()


def test_rgba_tile_and_mask_of_two_colours_keep_their_bytes(tmp_path: Path) -> None:
    tile = save_tile(tmp_path / "1.png", 7, mode="RGBA")
    mask = save_mask(tmp_path / "m.png", mode="RGBA")
    for path in (tile, mask):
        Image.open(path).save(path, compress_level=1)  # unlike the files that are written for others
    converted = convert(tile, mask)
    assert (converted.tile, converted.mask) == (tile.read_bytes(), mask.read_bytes())
    assert converted.facts[:5] == (False, False, False, True, True)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "LA"])
def test_mask_of_any_mode_becomes_white_and_black(tmp_path: Path, mode: str) -> None:
    mask = save_mask(tmp_path / "m.png", mode=mode)
    assert Image.open(mask).mode == mode
    converted = convert(save_tile(tmp_path / "1.png", 7), mask)
    image = image_of(converted.mask)
    assert (image.mode, converted.facts.mask_changed, converted.facts.mask_cut) == ("RGBA", True, False)
    assert (image.getpixel((63, 5)), image.getpixel((64, 5))) == (ROCK_GLACIER_COLOUR, BACKGROUND_COLOUR)


def test_mask_is_laid_over_black_and_cut_at_half(tmp_path: Path) -> None:
    mask = np.full((128, 128, 4), 255, np.uint8)
    mask[0] = (255, 255, 255, 0)
    mask[1] = (127, 127, 127, 255)
    mask[2] = (128, 128, 128, 255)
    mask[3] = (255, 255, 255, 127)
    Image.fromarray(mask).save(tmp_path / "m.png")
    converted = convert(save_tile(tmp_path / "1.png", 7), tmp_path / "m.png")
    image = image_of(converted.mask)
    assert converted.facts.mask_cut
    assert [image.getpixel((9, row)) == ROCK_GLACIER_COLOUR for row in range(5)] == [False, False, True, False, True]


def test_black_mask_of_a_cordillera_tile_is_dropped(tmp_path: Path) -> None:
    mask = save_mask(tmp_path / "m.png", rock_glacier=False)
    converted = convert(save_tile(tmp_path / "1.png", 7), mask, "cordillera")
    assert (converted.mask, converted.facts.has_mask) == (None, False)


def png(array: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG", **options)
    return file.getvalue()


def flipped(content: bytes, place: int) -> bytes:
    """Damage one bit of a byte."""
    damaged = bytearray(content)
    damaged[place] ^= 1
    return bytes(damaged)


def with_size(size: int, content: bytes) -> bytes:
    """Let the header name another width and height."""
    header = content[12:16] + size.to_bytes(4, "big") * 2 + content[24:29]
    return content[:12] + header + zlib.crc32(header).to_bytes(4, "big") + content[33:]


WHOLE = png(ground(7))
SECOND_HEADER = WHOLE[:33] + with_size(13_300, WHOLE)[8:33] + WHOLE[33:]
GREY = ground(7)[..., 0]
RED = np.zeros((128, 128, 3), np.uint8) + np.array([255, 0, 0], np.uint8)


@pytest.mark.parametrize(
    ("name", "class_name", "content", "message"),
    [
        ("1.png", "glaciar", b"no image at all", "cannot be used (is no PNG); save it as an 8-bit PNG of 128 x 128"),
        ("1.png", "glaciar", flipped(WHOLE, len(WHOLE) // 2), "the checksum of its chunk b'IDAT' is wrong"),
        ("1.png", "glaciar", SECOND_HEADER, "has 2 headers"),
        ("1.png", "glaciar", png(GREY), "is neither RGB nor RGBA of 8 bits a channel; save it as one of them"),
        ("1.png", "glaciar", png(GREY.astype(np.uint16) * 257), "is 128 x 128, 16-bit grey"),
        ("m.png", "glaciar", png(GREY[:64]), "is 128 x 64"),
        ("m.png", "glaciar", png(RED), "white and the rest black, or if it is a tile give its mask"),
        (
            "m.png",
            "glaciar",
            png(GREY // 255),
            "shows no rock glacier; that is 128 to 255, and its brightest",
        ),
        ("m.png", "cordillera", png(GREY | 255), "shows rock glacier on 16,384 pixels, but its tile is cordillera; r"),
    ],
)
def test_file_that_is_no_tile_or_mask_is_reported_with_a_remedy(
    tmp_path: Path, name: str, class_name: str, content: bytes, message: str
) -> None:
    tile, mask = save_tile(tmp_path / "1.png", 7), save_mask(tmp_path / "m.png")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=f"^{re.escape(f'{tmp_path / name}: ')}.*{re.escape(message)}"):
        convert(tile, mask, class_name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes among the files there")
def test_file_that_cannot_be_read_is_reported(tmp_path: Path) -> None:
    (tmp_path / "1.png").symlink_to(tmp_path / "gone.png")
    os.mkfifo(tmp_path / "2.png")
    with (tmp_path / "3.png").open("wb") as file:
        file.truncate(2**30)
    for name, message in (
        ("1.png", r"cannot be read \(No such file or directory\); make it readable"),
        ("2.png", "is no regular file"),
        ("3.png", "has 1,073,741,824 bytes; save it with at most 1,048,576"),
    ):
        with pytest.raises(SourceError, match=f"{name}: {message}"):
            convert(tmp_path / name)


def test_each_result_is_a_tile_or_its_fault(tmp_path: Path) -> None:
    (tmp_path / "2.png").touch()
    paths = [save_tile(tmp_path / "1.png", 7), tmp_path / "2.png", save_tile(tmp_path / "3.png", 7)]
    results = convert_sources([Source(path.name, "glaciar", None, path) for path in paths])
    assert [isinstance(result, Converted) for result in results] == [True, False, True]
