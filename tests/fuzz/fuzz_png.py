#!/usr/bin/env python
"""Fuzz the decoding of tiles and masks: a changed PNG is a ValueError in one line, or gives the pixels it had.

    PYTHONPATH=.:scripts python tests/fuzz/fuzz_png.py --seconds 600

Where a change mends the checksums as well, the pixels may be others, of the same shape. `--seed` repeats a case. pytest
does not run this file.
"""

from __future__ import annotations

import io
import random
import re
import struct
import sys
import warnings
import zlib

import numpy as np
from harness import change_bytes, fuzz
from PIL import Image

from rock_glacier.arrays import decode_any_png, decode_png
from rock_glacier.masks import mask_to_class_indices

MODES = ("RGBA", "RGB", "LA", "L", "P", "1", "I;16")
KINDS = (b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"iCCP", b"tEXt", b"zTXt", b"eXIf", b"acTL", b"fdAT")


def make_png(chance: random.Random) -> bytes:
    """Make a PNG of any mode and, seldom, of another size."""
    size = (128, 128) if chance.random() < 0.9 else (chance.randrange(1, 300), chance.randrange(1, 300))
    pixels = np.random.default_rng(chance.randrange(100)).integers(0, 256, (size[1], size[0], 4), np.uint8)
    if chance.random() < 0.5:
        pixels[:] = np.where(pixels[:1, :, :1] < 128, [0, 0, 0, 255], [255, 255, 255, 255])
    image, mode = Image.fromarray(pixels), chance.choice(MODES)
    file = io.BytesIO()
    (image.convert("L").convert("I;16") if mode == "I;16" else image.convert(mode)).save(file, "PNG")
    return file.getvalue()


def change_chunk(png: bytes, chance: random.Random) -> bytes:
    """Change a chunk's content and its checksum with it, or add one."""
    starts = [match.start() for match in re.finditer(b"|".join(KINDS[:4]), png)]
    start = chance.choice(starts)
    length = int.from_bytes(png[start - 4 : start], "big")
    content = bytearray(png[start + 4 : start + 4 + length])
    kind = png[start : start + 4]
    if content and chance.random() < 0.7:
        content[chance.randrange(len(content))] = chance.randrange(256)
    else:
        kind, content = chance.choice(KINDS), bytearray(chance.randbytes(chance.choice([0, 1, 13, 300])))
    chunk = struct.pack(">L", len(content)) + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")
    end = start + length + 8 if chance.random() < 0.7 else start - 4
    return png[: start - 4] + chunk + png[end:]


def try_case(chance: random.Random) -> str:
    """Try one case; return how it ended."""
    png = make_png(chance)
    mends = chance.random() < 0.5
    changed = change_chunk(png, chance) if mends else change_bytes(png, chance)
    warnings.simplefilter("ignore")  # of Pillow, about animations
    ends = []
    for decode in (decode_any_png, decode_png):
        try:
            pixels = decode(changed)
        except ValueError as error:
            assert str(error).isprintable(), repr(str(error))
            ends.append("refused")
            continue
        assert pixels.shape == (128, 128, 4)
        if not mends:
            assert (pixels == decode(png)).all(), "other pixels than were written"
        ends.append("decoded")
        try:
            assert mask_to_class_indices(pixels).max() <= 1
        except ValueError as error:
            assert str(error).isprintable(), repr(str(error))
    return f"any PNG {ends[0]}, tile {ends[1]}"


if __name__ == "__main__":
    sys.exit(fuzz((__doc__ or "").partition("\n")[0], try_case))
