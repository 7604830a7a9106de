"""Tiles and masks as decoded arrays."""

from __future__ import annotations

import io
import zlib

import numpy as np
import numpy.typing as npt
from PIL import Image

from rock_glacier_dataset import png_fault

_SIGNATURE_SIZE = 8  # bytes


def decode_png(png: bytes) -> npt.NDArray[np.uint8]:
    """Decode a tile or a mask, and check every chunk of the file, which Pillow does not.

    Args:
        png: an 8-bit RGBA PNG file of 128 x 128 pixels.

    Returns:
        uint8 array of shape (128, 128, 4), values in [0, 255]: red, green, blue, alpha.

    Raises:
        ValueError: the file is another, or damaged.
    """
    if fault := png_fault(png):  # before anything is decoded, for a second header may claim any size
        raise ValueError(fault[0])
    place, kind = _SIGNATURE_SIZE, b""
    while kind != b"IEND":  # ISO/IEC 15948, 5.3: length, type, content, checksum of type and content
        end = place + 8 + int.from_bytes(png[place : place + 4], "big")
        kind = png[place + 4 : place + 8]
        if zlib.crc32(png[place + 4 : end]).to_bytes(4, "big") != png[end : end + 4]:
            raise ValueError(f"the checksum of its chunk {kind!r} is wrong")
        place = end + 4
    try:
        with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
            return np.array(image.convert("RGBA"))
    except MemoryError:
        raise
    except Exception as error:  # of many kinds, by what is damaged
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from error
