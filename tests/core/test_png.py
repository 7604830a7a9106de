"""PNG files are decoded strictly and encoded the same way each time."""

from __future__ import annotations

import io

import numpy as np
import pytest
from factories import noise_scene, png
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from rock_glacier.png import decode_any, decode_tile, encode
from rock_glacier_dataset import ArchiveError

TILE = noise_scene(0)
PNG = png(TILE)


def with_sixteen_bits() -> bytes:
    file = io.BytesIO()
    Image.fromarray(TILE[..., 0].astype(np.uint16) * 257).save(file, "PNG")
    return file.getvalue()


def with_exif_orientation(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.fromarray(TILE).save(file, "PNG", exif=exif)
    return file.getvalue()


def test_a_tile_keeps_its_pixels():
    assert np.array_equal(decode_tile(PNG, "here"), TILE)


def test_encoding_gives_the_same_bytes_and_the_pixels_back():
    assert encode(TILE) == encode(Image.fromarray(TILE))
    assert np.array_equal(decode_tile(encode(TILE), "here"), TILE)


def small_png() -> bytes:
    """Return a flat tile of a few hundred bytes, with a chunk that decoders ignore."""
    text = PngInfo()
    text.add_text("Comment", "a chunk whose checksum Pillow does not need")
    file = io.BytesIO()
    Image.new("RGBA", (128, 128), (90, 80, 70, 255)).save(file, "PNG", pnginfo=text)
    return file.getvalue()


@pytest.mark.parametrize("bit", range(8))
def test_every_changed_bit_is_noticed(bit):
    place = "train.zip: train/glaciar/007.png"
    content = small_png()
    decode_tile(content, place)
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 1 << bit
        with pytest.raises(ArchiveError) as raised:
            decode_tile(bytes(damaged), place)
        assert raised.value.fault.code in ("png-corrupt", "png-format")
        assert raised.value.fault.place == place


@settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=300), kept=st.integers(0, len(PNG)))
def test_other_bytes_are_decoded_or_refused(content, kept):
    """Bytes after the end of the file are harmless; everything else is an error."""
    try:
        pixels = decode_any(PNG[:kept] + content, "here")
    except ArchiveError as error:
        assert error.fault.code == "png-corrupt"
    else:
        assert np.array_equal(pixels, TILE)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1", "LA"])
def test_other_colour_types_are_decoded_for_sources(mode):
    image = Image.fromarray(TILE).convert(mode)
    expected = np.asarray(image.convert("RGBA"))
    content = png(TILE, mode)
    assert np.array_equal(decode_any(content, "here"), expected)
    with pytest.raises(ArchiveError) as raised:
        decode_tile(content, "here", "mask-format")
    assert raised.value.fault.code == "mask-format"


@pytest.mark.parametrize(
    "content",
    [png(TILE[:127]), with_sixteen_bits(), with_exif_orientation(6)],
    ids=["size", "16 bits", "EXIF orientation"],
)
def test_sources_that_are_not_tiles_are_refused(content):
    with pytest.raises(ArchiveError) as raised:
        decode_any(content, "here")
    assert raised.value.fault.code == "png-format"


def test_an_upright_exif_orientation_is_fine():
    assert np.array_equal(decode_tile(with_exif_orientation(1), "here"), TILE)
