"""Strict decoding and deterministic encoding of PNG files.

Pillow skips the checksums of some chunks and accepts truncated files in places. Here every chunk
is checked first (ISO/IEC 15948, section 5.3: length, type, content, checksum), then Pillow decodes.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

from rock_glacier_dataset import ArchiveError, Fault, check_png

_SIGNATURE_SIZE = 8  # bytes
_GET_AGAIN = "Replace the file, or copy or download the archive again"


@dataclass(frozen=True)
class _Chunk:
    kind: bytes
    content: bytes
    checksum: int


def decode_tile(png: bytes, place: str, format_code: str = "png-format") -> npt.NDArray[np.uint8]:
    """Decode a tile or a mask of an archive.

    Args:
        png: An 8-bit RGBA PNG file of 128 x 128 pixels.
        place: Place of the file in the error.
        format_code: Code of the fault if the file is a PNG file of another format.

    Returns:
        uint8 array of shape (128, 128, 4), values in [0, 255]: red, green, blue, alpha.

    Raises:
        ArchiveError: If the file is damaged or has another format.
    """
    fault = check_png(png, place, format_code)
    if fault:
        raise ArchiveError(fault)
    return _decode(png, place, format_code)


def decode_any(png: bytes, place: str) -> npt.NDArray[np.uint8]:
    """Decode a PNG file of any colour type, with 1 to 8 bits per channel.

    Args:
        png: A PNG file of 128 x 128 pixels.
        place: Place of the file in the error.

    Returns:
        uint8 array of shape (128, 128, 4), values in [0, 255]. Alpha is 255 if the file has no
        transparency.

    Raises:
        ArchiveError: If the file is damaged, has another size, has 16 bits per channel, or asks
            viewers to rotate it (EXIF).
    """
    fault = check_png(png, place, any_colours=True)
    if fault:
        raise ArchiveError(fault)
    return _decode(png, place, "png-format")


def encode(image: Image.Image | npt.NDArray[np.uint8], compress_level: int = 6) -> bytes:
    """Encode an image as a PNG file; the same image gives the same bytes.

    Args:
        image: A Pillow image, or a uint8 array of shape (height, width[, 3 or 4]).
        compress_level: From 0 (fast) to 9 (small), as in zlib.
    """
    if not isinstance(image, Image.Image):
        image = Image.fromarray(image)
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=compress_level)
    return file.getvalue()


def _decode(png: bytes, place: str, format_code: str) -> npt.NDArray[np.uint8]:
    for chunk in _chunks(png):
        if zlib.crc32(chunk.kind + chunk.content) != chunk.checksum:
            name = chunk.kind.decode("latin-1")
            raise ArchiveError(
                Fault(
                    "png-corrupt", place, f"the checksum of its chunk {name} is wrong", _GET_AGAIN
                )
            )
    try:
        with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
            orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
            pixels = np.array(image.convert("RGBA"))
    except MemoryError:
        raise
    except Exception as error:  # Pillow raises many types, depending on the damage
        problem = f"cannot be decoded ({' '.join(str(error).split())})"
        raise ArchiveError(Fault("png-corrupt", place, problem, _GET_AGAIN)) from error
    if orientation != 1:
        problem = "has an EXIF orientation, which some programs apply and others do not"
        fix = "Rotate its pixels as they should be, and save it without EXIF data"
        raise ArchiveError(Fault(format_code, place, problem, fix))
    return pixels


def _chunks(png: bytes) -> Iterator[_Chunk]:
    """Yield the chunks of a file that `check_png` found to be complete, up to IEND."""
    start = _SIGNATURE_SIZE
    kind = b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">L4s", png, start)
        end = start + 8 + length
        (checksum,) = struct.unpack_from(">L", png, end)
        yield _Chunk(kind, png[start + 8 : end], checksum)
        start = end + 4
