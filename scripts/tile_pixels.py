"""The pixels of tiles and masks, decoded by Pillow."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image

from rock_glacier_dataset import BACKGROUND_COLOUR
from rock_glacier_dataset import ROCK_GLACIER_COLOUR

Pixels = npt.NDArray[np.uint32]
"""Shape (height, width): red in the lowest 8 bits, then green, blue and alpha."""

COLOURS = np.uint32(0xFFFFFF)
"""What of a pixel is red, green and blue."""

ROCK_GLACIER, BACKGROUND = (
    np.uint32(int.from_bytes(bytes(colour), "little")) for colour in (ROCK_GLACIER_COLOUR, BACKGROUND_COLOUR)
)

_CHUNK = struct.Struct(">L4s")  # length of the content, type; a checksum of 4 bytes follows the content
_CHECKSUM_SIZE = 4
_HEADER_SIZE = 13  # of the content of IHDR
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def decoded(png: bytes) -> Pixels:
    """Decode a PNG file.

    Raises:
        ValueError: Pillow cannot decode it.
    """
    try:
        with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
            rgba = np.asarray(image if image.mode == "RGBA" else image.convert("RGBA"))
    except MemoryError:
        raise
    except Exception as error:  # of many kinds, by what is damaged
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from error
    return np.ascontiguousarray(rgba).view("<u4")[..., 0]


def decoded_upper_rows(png: bytes, rows: int) -> Pixels:
    """Decode the upper rows of an 8-bit RGBA PNG file alone, in a fraction of the time that the file takes.

    A row of a PNG depends on those above it alone (ISO/IEC 15948, 9). So the file's first rows, taken from its
    compressed stream, are a PNG file of their own, which Pillow decodes.

    Args:
        png: the file; an interlaced one is decoded as a whole.
        rows: number of rows.

    Raises:
        ValueError, zlib.error: it is damaged.
    """
    chunks_of_file = _chunks(png)
    kind, header = next(chunks_of_file)
    if kind != b"IHDR" or len(header) != _HEADER_SIZE:
        raise ValueError("the file does not begin with a header")
    if header[-1]:  # interlaced: the first rows of its stream are not the upper ones
        return decoded(png)[:rows]
    stream, filtered = zlib.decompressobj(), b""
    wanted = rows * (1 + 4 * int.from_bytes(header[:4], "big"))
    for kind, content in chunks_of_file:
        if kind == b"IDAT":
            filtered += stream.decompress(content, wanted - len(filtered))
        if len(filtered) >= wanted:
            break
    header = header[:4] + rows.to_bytes(4, "big") + header[8:]
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(filtered, 0)), (b"IEND", b""))
    return decoded(_SIGNATURE + b"".join(_chunk(kind, content) for kind, content in chunks))


def check_chunks(png: bytes) -> None:
    """Check the lengths and checksums of a PNG file's chunks, which Pillow does not look at where it can do without.

    Raises:
        ValueError: a chunk is cut short or damaged.
    """
    place = len(_SIGNATURE)
    for kind, content in _chunks(png):
        place += _CHUNK.size + len(content) + _CHECKSUM_SIZE
        if zlib.crc32(kind + content).to_bytes(_CHECKSUM_SIZE, "big") != png[place - _CHECKSUM_SIZE : place]:
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


def _chunk(kind: bytes, content: bytes) -> bytes:
    return _CHUNK.pack(len(content), kind) + content + zlib.crc32(kind + content).to_bytes(_CHECKSUM_SIZE, "big")
