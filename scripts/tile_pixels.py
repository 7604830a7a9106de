"""The pixels of tiles and masks, decoded by Pillow."""

from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image
from zlib_ng import zlib_ng

from rock_glacier_dataset import BACKGROUND_COLOUR, ROCK_GLACIER_COLOUR, TILE_SIZE

Pixels = npt.NDArray[np.uint32]
"""Shape (height, width): red in the lowest 8 bits, then green, blue and alpha."""

COLOURS = np.uint32(0xFFFFFF)
"""What of a pixel is red, green and blue."""

ROCK_GLACIER, BACKGROUND = (
    np.uint32(int.from_bytes(bytes(colour), "little")) for colour in (ROCK_GLACIER_COLOUR, BACKGROUND_COLOUR)
)

_CHUNK = struct.Struct(">L4s")  # length of the content, type; a checksum of 4 bytes follows the content
_CHECKSUM_SIZE = 4
_RGBA_BY_ROWS = bytes((8, 6, 0, 0, 0))  # of IHDR: depth, colour type, compression, filter, interlacing
_NOT_PLAIN: tuple[type[BaseException], ...] = (ValueError, zlib_ng.error)  # type: ignore[assignment]
_SMALL = 4096  # bytes that are inflated in no time
_MOST_INFLATED = 1032  # bytes that a deflated byte holds at most: https://zlib.net/zlib_tech.html
_STACKED = 16  # tiles whose upper rows are decoded at once, few enough for the processor's cache
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def decoded(png: bytes) -> Pixels:
    """Decode a PNG file.

    Half of what Pillow does for a tile is to inflate it, which zlib-ng does in half the time when it is given the whole
    stream at once. So Pillow is given the same image, inflated; and the file itself where that does not go well, or
    where it is as small as a mask.

    Raises:
        ValueError: Pillow cannot decode it.
    """
    if len(png) > _SMALL:
        with contextlib.suppress(*_NOT_PLAIN):
            return _by_pillow(_inflated(png))
    return _by_pillow(png)


def decoded_upper_rows(pngs: Sequence[bytes], rows: int) -> list[Pixels | None]:
    """Decode the upper rows of tiles, in a fraction of the time that the tiles take.

    A row of a PNG depends on those above it alone (ISO/IEC 15948, 9). So the first rows of all tiles, taken from their
    compressed streams, are one PNG file, with a row of zeros before each tile's, which is what stands above a file's
    first row; and Pillow decodes it at once.

    Args:
        pngs: the files; those that are not plain, such as interlaced ones, are decoded as a whole.
        rows: number of rows.

    Returns:
        for each file its upper rows, shape (rows, 128); None where it is damaged.
    """
    filtered = [_filtered_rows(png, rows) for png in pngs]
    plain = [number for number, content in enumerate(filtered) if content]
    upper: list[Pixels | None] = [None] * len(pngs)
    for start in range(0, len(plain), _STACKED):
        numbers = plain[start : start + _STACKED]
        with contextlib.suppress(ValueError):
            stacked = _by_pillow(_stacked([filtered[number] for number in numbers], rows))
            for number, pixels in zip(numbers, stacked.reshape(len(numbers), rows + 1, TILE_SIZE), strict=True):
                upper[number] = pixels[1:]
    for number in (number for number, pixels in enumerate(upper) if pixels is None):
        with contextlib.suppress(ValueError):
            upper[number] = _by_pillow(pngs[number])[:rows]
    return upper


def _filtered_rows(png: bytes, rows: int) -> bytes:
    """Return the upper rows of a tile as they stand in its inflated stream; nothing where that does not go well."""
    wanted = rows * (1 + 4 * TILE_SIZE)
    with contextlib.suppress(*_NOT_PLAIN):
        _, stream, _ = _taken_apart(png)
        width, height = _size(png)
        content = zlib_ng.decompressobj().decompress(stream, wanted)
        if width == TILE_SIZE and height >= rows and len(content) == wanted:
            return content
    return b""


def _stacked(filtered: Sequence[bytes], rows: int) -> bytes:
    """Make a PNG file of several tiles' rows, each after a row of zeros."""
    header = struct.pack(">LL", TILE_SIZE, len(filtered) * (rows + 1)) + _RGBA_BY_ROWS
    zeros = bytes(1 + 4 * TILE_SIZE)
    content = zlib_ng.compress(b"".join(part for rows_of_tile in filtered for part in (zeros, rows_of_tile)), 0)
    chunks = ((b"IHDR", header), (b"IDAT", content), (b"IEND", b""))
    return _SIGNATURE + b"".join(_chunk(kind, content) for kind, content in chunks)


def _by_pillow(png: bytes) -> Pixels:
    try:
        with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
            rgba = np.asarray(image if image.mode == "RGBA" else image.convert("RGBA"))
    except MemoryError:
        raise
    except Exception as error:  # of many kinds, by what is damaged
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from error
    return np.ascontiguousarray(rgba).view("<u4")[..., 0]


def _inflated(png: bytes) -> bytes:
    """Make a PNG file of the same image, whose pixels are stored and not deflated.

    All else stays as it is in the file, for Pillow refuses some files for a chunk beside the pixels.

    Raises:
        ValueError, zlib_ng.error: the file is damaged, or not 8-bit RGBA, row by row, in one stream.
    """
    before, stream, after = _taken_apart(png)
    width, height = _size(png)
    wanted = height * (1 + 4 * width)
    # What a header claims, and what a short stream can swell to, are no sizes to take memory by.
    if not 0 < wanted <= _MOST_INFLATED * len(stream) or len(stream) > wanted + _SMALL:
        raise ValueError("its pixels are too few or too many")
    filtered = zlib_ng.decompress(stream, bufsize=wanted)
    if len(filtered) != wanted:
        raise ValueError("its pixels are too few or too many")
    return b"".join((before, _chunk(b"IDAT", zlib_ng.compress(filtered, 0)), after))


def _taken_apart(png: bytes) -> tuple[bytes, bytes, bytes]:
    """Return what stands before the compressed stream of an 8-bit RGBA file, the stream, and what stands after it.

    Raises:
        ValueError: the file is cut short, or not 8-bit RGBA, row by row, in one stream.
    """
    chunks = list(_chunks(png))
    kinds = [kind for kind, _ in chunks]
    kind, header = chunks[0]
    first, count = kinds.index(b"IDAT"), kinds.count(b"IDAT")
    if kind != b"IHDR" or header[8:] != _RGBA_BY_ROWS or set(kinds[first : first + count]) != {b"IDAT"}:
        raise ValueError("not a plain RGBA file")
    start = len(_SIGNATURE) + _size_of(chunks[:first])
    end = start + _size_of(chunks[first : first + count])
    return png[:start], b"".join(content for _, content in chunks[first : first + count]), png[end:]


def _size(png: bytes) -> tuple[int, int]:
    """Return the width and the height that a file's header claims."""
    return int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")


def check_chunks(png: bytes) -> None:
    """Check the lengths and checksums of a PNG file's chunks, which Pillow does not look at where it can do without.

    Raises:
        ValueError: a chunk is cut short or damaged.
    """
    place = len(_SIGNATURE)
    for kind, content in _chunks(png):
        place += _size_of([(kind, content)])
        if _checksum(kind, content) != png[place - _CHECKSUM_SIZE : place]:
            raise ValueError(f"the checksum of its chunk {kind!r} is wrong")


def turned_alike(pixels: Pixels) -> bytes:
    """Return the same bytes for a tile as for the tile turned by quarters or mirrored, and other bytes for any other.

    Example:
        >>> tile = np.arange(16, dtype=np.uint32).reshape(4, 4)
        >>> turned_alike(tile) == turned_alike(np.rot90(tile)) == turned_alike(tile[:, ::-1])
        True
        >>> turned_alike(tile) == turned_alike(tile + np.uint32(1))
        False
    """
    return min(np.rot90(side, turns).tobytes() for side in (pixels, pixels[::-1]) for turns in range(4))


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the type and the content of each chunk, up to the last."""
    place, kind = len(_SIGNATURE), b""
    while kind != b"IEND":
        if place + _CHUNK.size > len(png):
            raise ValueError("the file ends before its last chunk")
        length, kind = _CHUNK.unpack_from(png, place)
        place += _CHUNK.size
        if place + length > len(png):
            raise ValueError(f"its chunk {kind!r} is cut short")
        yield kind, png[place : place + length]
        place += length + _CHECKSUM_SIZE


def _size_of(chunks: list[tuple[bytes, bytes]]) -> int:
    return sum(_CHUNK.size + len(content) + _CHECKSUM_SIZE for _, content in chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return b"".join((_CHUNK.pack(len(content), kind), content, _checksum(kind, content)))


def _checksum(kind: bytes, content: bytes) -> bytes:
    return zlib_ng.crc32(content, zlib_ng.crc32(kind)).to_bytes(_CHECKSUM_SIZE, "big")
