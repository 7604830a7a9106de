"""Pixels are those that Pillow decodes, whatever the way to them."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
import tile_pixels
from archive_contents import contents
from PIL import Image, PngImagePlugin
from tile_pixels import decoded, decoded_upper_rows

from rock_glacier_dataset import TILE_SIZE


def by_pillow(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGBA")).view("<u4")[..., 0]


def saved(image: Image.Image, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", **options)
    return file.getvalue()


def noise(mode: str = "RGBA") -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (TILE_SIZE, TILE_SIZE, 4), np.uint8)
    return Image.fromarray(pixels, "RGBA").convert(mode)


@pytest.mark.parametrize("archive", ["train", "train_masks"])
def test_tiles_and_masks_are_decoded_as_by_pillow(sample, archive):
    pngs = [*contents(sample, archive).values()]
    for png, upper in zip(pngs, decoded_upper_rows(pngs, 16), strict=True):
        assert np.array_equal(decoded(png), by_pillow(png))
        assert upper is not None
        assert np.array_equal(np.asarray(upper), by_pillow(png)[:16])


@pytest.mark.parametrize("broken", [b"", b"\x05", b"\xff"])
def test_upper_rows_are_found_beside_tiles_that_are_damaged_or_odd(broken):
    """The first row of a tile is filtered as if there were zeros above, whatever stands beside it."""
    sound = [saved(noise()), saved(Image.new("RGBA", (TILE_SIZE, TILE_SIZE), (9, 8, 7, 255)))]
    rows = broken + bytes(512) + bytes(513 * 127) if broken else b""
    header = struct.pack(">LL", TILE_SIZE, TILE_SIZE) + bytes((8, 6, 0, 0, 0))
    damaged = saved(noise())[:8] + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    odd = saved(noise().crop((0, 0, TILE_SIZE, 9)))
    first, none, small, last = decoded_upper_rows([sound[0], damaged, odd, sound[1]], 16)
    assert none is None
    for upper, png in ((first, sound[0]), (small, odd), (last, sound[1])):
        assert np.array_equal(np.asarray(upper), by_pillow(png)[:16])


def test_no_files_have_no_rows():
    assert decoded_upper_rows([], 16) == []


@pytest.mark.parametrize("mode", ["RGBA", "RGB", "L", "P", "1", "LA", "I;16"])
def test_other_files_are_decoded_as_by_pillow(mode):
    image = noise("L").convert("I").convert("I;16") if mode == "I;16" else noise(mode)
    assert np.array_equal(decoded(saved(image)), by_pillow(saved(image)))


def test_odd_files_of_the_right_kind_are_decoded_as_by_pillow():
    text = PngImagePlugin.PngInfo()
    text.add_text("comment", "x" * 9999)
    odd = [
        saved(noise(), compress_level=0),
        saved(noise(), pnginfo=text),
        saved(noise().crop((0, 0, 100, 60))),
    ]
    assert [kind for kind, _ in tile_pixels._chunks(odd[0])].count(b"IDAT") > 1
    for png in odd:
        assert np.array_equal(decoded(png), by_pillow(png))


@pytest.mark.parametrize("share", [0.99, 0.5, 0.05])
def test_a_file_that_is_cut_short_is_what_pillow_makes_of_it(share):
    png = saved(noise().resize((TILE_SIZE, TILE_SIZE), Image.Resampling.BICUBIC, box=(0, 0, 40, 40)))
    cut = png[: int(len(png) * share)]
    with pytest.raises(ValueError, match="truncated"):
        decoded(cut)
    with pytest.raises(OSError, match="truncated"):
        by_pillow(cut)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">L4s", len(content), kind) + content + struct.pack(">L", zlib.crc32(kind + content))


def outcome(decode, png: bytes):
    """The pixels, or that there are none."""
    try:
        return decode(png).tolist()
    except ValueError:
        return None


@pytest.mark.parametrize(
    "odd",
    [
        chunk(b"zTXt", b"comment\0\0" + zlib.compress(bytes(2**21))),
        chunk(b"gAMA", b""),
        chunk(b"tEXt", b"comment\0x")[:-1],
        chunk(b"IHDR", struct.pack(">LLBBBBB", 64, 64, 8, 6, 0, 0, 0)),
        chunk(b"tEXt", b"comment\0x"),
    ],
    ids=["text too long", "empty", "cut short", "another header", "sound"],
)
def test_what_pillow_makes_of_a_chunk_beside_the_pixels_is_not_hidden(odd):
    png = saved(noise())
    for before in (33, len(png) - 12):
        png_with_it = png[:before] + odd + png[before:]
        assert outcome(decoded, png_with_it) == outcome(tile_pixels._by_pillow, png_with_it)


@pytest.mark.parametrize("place", [1, 20, 30])
def test_a_damaged_signature_or_header_is_not_hidden(place):
    png = bytearray(saved(noise()))
    png[place] ^= 1
    assert outcome(decoded, bytes(png)) is None


@pytest.mark.parametrize(
    "size", [(2**31 - 1, 2**31 - 1), (2**20, 2**20), (2**31 - 1, 1), (0, TILE_SIZE), (TILE_SIZE, 0)]
)
def test_a_size_that_no_file_can_hold_is_no_more_than_an_error(size):
    png = saved(noise())
    png = png[:8] + chunk(b"IHDR", struct.pack(">LL", *size) + png[24:29]) + png[33:]
    assert outcome(decoded, png) is None
    assert decoded_upper_rows([png], 16) == [None]


def test_pixels_that_swell_take_no_more_memory_than_those_that_the_header_claims():
    png = saved(noise().crop((0, 0, 8, 8)))
    stream = zlib.compress(zlib.decompress(png[41:-16]) + bytes(2**23))
    swelling = png[:33] + chunk(b"IDAT", stream) + png[-12:]
    tracemalloc.start()
    try:
        pixels = decoded(swelling)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
    assert np.array_equal(pixels, by_pillow(png))


def test_a_file_whose_last_checksums_are_lost_is_what_pillow_makes_of_it():
    png = saved(noise())[:-20]
    assert np.array_equal(decoded(png), by_pillow(png))


def test_pillow_is_given_a_tile_inflated(sample, monkeypatch):
    png = next(iter(contents(sample, "train").values()))
    read = []
    original = tile_pixels._by_pillow

    def by_pillow_as_told(png):
        read.append(len(png))
        return original(png)

    monkeypatch.setattr(tile_pixels, "_by_pillow", by_pillow_as_told)
    decoded(png)
    assert len(read) == 1
    assert read[0] > 4 * TILE_SIZE**2 > len(png)
