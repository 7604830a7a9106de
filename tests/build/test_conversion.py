"""Convert tiles to RGBA and masks to two colours; what cannot be converted is a fault."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from factories import half_mask, noise_scene, png, read_members
from PIL import Image

from rock_glacier.build.conversion import Converted, convert_sources
from rock_glacier.build.sources import PngFile, Source, find_sources
from rock_glacier_dataset import BACKGROUND_COLOUR, ROCK_GLACIER_COLOUR, Fault

GREY = noise_scene(7)[..., 0]


def convert(
    folder: Path, tile: bytes, mask: bytes | None = None, label: str = "glaciar"
) -> Converted | Fault:
    """Convert a tile tile.png with a mask mask.png."""
    mask_file = None
    (folder / "tile.png").write_bytes(tile)
    if mask is not None:
        (folder / "mask.png").write_bytes(mask)
        mask_file = PngFile(folder, "mask.png")
    source = Source("tile.png", label, None, PngFile(folder, "tile.png"), mask_file)
    return convert_sources([source])[0]


def convert_mask(folder: Path, mask: bytes) -> Image.Image:
    """Convert a mask, and return the resulting image."""
    result = convert(folder, png(7), mask)
    assert isinstance(result, Converted)
    assert result.mask is not None
    return Image.open(io.BytesIO(result.mask))


def test_rgb_tile_becomes_rgba(tmp_path: Path) -> None:
    result = convert(tmp_path, png(7, "RGB"))
    assert isinstance(result, Converted)
    image = Image.open(io.BytesIO(result.tile))
    assert image.mode == "RGBA"
    assert np.array_equal(np.asarray(image), noise_scene(7))


def test_rgba_tile_and_two_coloured_mask_keep_their_bytes(tmp_path: Path) -> None:
    files = []
    for content in (png(7), half_mask()):
        file = io.BytesIO()
        # Our own encoder uses another level.
        Image.open(io.BytesIO(content)).save(file, "PNG", compress_level=1)
        files.append(file.getvalue())
    result = convert(tmp_path, files[0], files[1])
    assert isinstance(result, Converted)
    assert (result.tile, result.mask, result.has_greys) == (files[0], files[1], False)
    assert np.array_equal(result.pixels, noise_scene(7))
    assert result.rock_glacier.sum() == 128 * 64


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "LA"])
def test_mask_of_any_mode_becomes_white_and_black(tmp_path: Path, mode: str) -> None:
    file = io.BytesIO()
    Image.open(io.BytesIO(half_mask())).convert(mode).save(file, "PNG")
    image = convert_mask(tmp_path, file.getvalue())
    assert image.mode == "RGBA"
    assert image.getpixel((63, 5)) == ROCK_GLACIER_COLOUR
    assert image.getpixel((64, 5)) == BACKGROUND_COLOUR


def test_greys_of_a_mask_become_white_or_black(tmp_path: Path) -> None:
    mask = np.full((128, 128, 4), 255, np.uint8)
    mask[0] = (255, 255, 255, 0)
    mask[1] = (127, 127, 127, 255)
    mask[2] = (128, 128, 128, 255)
    mask[3] = (255, 255, 255, 127)
    result = convert(tmp_path, png(7), png(mask))
    assert isinstance(result, Converted)
    assert result.has_greys
    rows = np.asarray(convert_mask(tmp_path, png(mask)))[:5, 0, 0]
    assert rows.tolist() == [0, 0, 255, 0, 255]


def test_black_mask_of_a_cordillera_tile_is_dropped(tmp_path: Path) -> None:
    result = convert(tmp_path, png(7), png(np.zeros_like(GREY)), "cordillera")
    assert isinstance(result, Converted)
    assert (result.tile, result.mask, result.has_greys) == (png(7), None, False)


def with_orientation() -> bytes:
    """Return a tile that viewers rotate."""
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    Image.fromarray(noise_scene(7)).save(file, "PNG", exif=exif)
    return file.getvalue()


@pytest.mark.parametrize(
    ("tile", "code"),
    [
        (b"not an image", "png-corrupt"),
        (png(7)[:-20], "png-corrupt"),
        (png(GREY, "L"), "png-format"),
        (png(noise_scene(7, 64)), "png-format"),
        (with_orientation(), "png-format"),
    ],
    ids=["text", "truncated", "grey", "size", "orientation"],
)
def test_a_file_that_is_not_a_tile_is_a_fault(tmp_path: Path, tile: bytes, code: str) -> None:
    result = convert(tmp_path, tile, half_mask())
    assert isinstance(result, Fault)
    assert result.code == code
    assert result.place == str(tmp_path / "tile.png")


@pytest.mark.parametrize(
    ("mask", "label", "code"),
    [
        (png(GREY[:64], "L"), "glaciar", "png-format"),
        (png(7), "glaciar", "mask-values"),
        (png(GREY // 4, "L"), "glaciar", "mask-empty"),
        # Masks of cordillera tiles in the curators' repository are white.
        (png(np.full_like(GREY, 255), "L"), "cordillera", "mask-orphan"),
    ],
    ids=["size", "coloured", "dark", "cordillera"],
)
def test_a_file_that_is_not_a_mask_is_a_fault(
    tmp_path: Path, mask: bytes, label: str, code: str
) -> None:
    result = convert(tmp_path, png(7), mask, label)
    assert isinstance(result, Fault)
    assert result.code == code
    assert result.place == str(tmp_path / "mask.png")


def test_members_of_archives_keep_their_bytes(sample: Path) -> None:
    members = read_members(sample)
    sources = find_sources(sample)
    for source, result in zip(sources, convert_sources(sources), strict=True):
        assert isinstance(result, Converted)
        assert result.tile == members[source.tile.name]
        assert result.mask == (members[source.mask.name] if source.mask else None)
