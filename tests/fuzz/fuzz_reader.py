#!/usr/bin/env python
"""Fuzz the reader of archives: whatever is changed, it raises ArchiveError or returns the members as they were written.

    PYTHONPATH=.:scripts python tests/fuzz/fuzz_reader.py --seconds 600

Each case changes an archive of a sample: its bytes, the fields of its directory and of its members' headers, or the
members themselves and their checksums. `--seed` repeats a case. pytest does not run this file.
"""

from __future__ import annotations

import functools
import io
import random
import re
import struct
import sys
import tempfile
import warnings
import zipfile
import zlib
from pathlib import Path

from harness import fuzz

from rock_glacier.arrays import decode_png
from rock_glacier.sample.generate import make_sample_archives
from rock_glacier_dataset import MASKS, MEMBER_NAME, ArchiveError, TileArchive

# Fields of a member's header, of a directory entry and of the end of the directory: offset and size in bytes.
HEADER = [(4, 2), (6, 2), (8, 2), (10, 4), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2)]
ENTRY = [(place, 2) for place in (4, 6, 8, 10, 12, 14, 28, 30, 32, 34, 36)]
ENTRY += [(place, 4) for place in (16, 20, 24, 38, 42)]
END = [(4, 2), (6, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 2)]
FIELDS = [(b"PK\3\4", HEADER), (b"PK\1\2", ENTRY), (b"PK\1\2", ENTRY), (b"PK\5\6", END)]
NAMES = ["", *"/\\\0\nñ0", "..", "C:", "__MACOSX/", ".DS_Store", "masks", "glaciar", "train", "9" * 19]

Members = dict[str, bytes]


def read(path: Path) -> Members:
    """Read an archive as the builder does, masks and all."""
    with TileArchive("test", "test.zip", str(path)) as archive:
        for fault in archive.faults or archive.pair_faults():
            raise fault
        return {archive.path_of(folder, number): archive.read(folder, number) for folder, number in archive.members}


def write(members: list[tuple[str, bytes]], chance: random.Random) -> bytes:
    """Write an archive, each member stored or deflated, some with fields that have no meaning here."""
    warnings.simplefilter("ignore")  # of names that are there twice
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members:
            member = zipfile.ZipInfo()
            member.filename = name  # the constructor would cut it at a NUL
            member.compress_type = chance.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
            member.extra = chance.choice([b"", b"", struct.pack("<HHQ", 1, 8, len(content)), b"\xfe\xca\0\0"])
            archive.writestr(member, content)
    return file.getvalue()


def places(content: bytes, signature: bytes) -> list[int]:
    return [match.start() for match in re.finditer(re.escape(signature), content)]


def change_bytes(content: bytearray, chance: random.Random) -> None:
    for _ in range(chance.choice([1, 1, 2, 8])):
        start = max(0, len(content) - 1500) if chance.random() < 0.5 else 0  # in the directory, or anywhere
        content[chance.randrange(start, len(content))] = chance.randrange(256)


def change_length(content: bytearray, chance: random.Random) -> None:
    start, place = chance.randrange(len(content)), chance.randrange(len(content))
    part = content[start : start + chance.choice([1, 4, 46, 512, 2**14])]
    match chance.randrange(4):
        case 0:
            del content[start:]
        case 1:
            del content[start : start + len(part)]
        case 2:
            content[start:start] = part
        case _:
            content[place:place] = part


def change_fields(content: bytearray, chance: random.Random) -> None:
    for _ in range(chance.choice([1, 1, 2, 4])):
        signature, fields = chance.choice(FIELDS)
        found = places(bytes(content), signature)
        if not found:
            return
        offset, size = chance.choice(fields)
        place, other = (chance.choice(found) + offset for _ in range(2))
        old = int.from_bytes(content[place : place + size], "little")
        limit = 256**size - 1
        near = [old + 1, old - 1, old ^ 1 << chance.randrange(8 * size), chance.randint(0, limit), len(content)]
        new = chance.choice([0, 1, limit, *near, int.from_bytes(content[other : other + size], "little")])
        content[place : place + size] = (new & limit).to_bytes(size, "little")


def change_png(png: bytes, chance: random.Random) -> bytes:
    """Change a PNG so that only its chunks' checksums, or not even these, tell."""
    content = bytearray(png)
    if len(png) < 64:
        return png
    start = chance.choice(places(png, chance.choice([b"IHDR", b"IDAT", b"IEND"])) or [12])
    length = min(int.from_bytes(png[start - 4 : start], "big"), len(png) - start - 8)
    chunk = png[start - 4 : start + length + 8]
    match chance.randrange(5):
        case 0:
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        case 1:
            content[start - 4 : start - 4] = chunk
        case 2:
            del content[start - 4 : start + length + 8]
        case 3:
            place = start + chance.randrange(length + 4)
            content[place] ^= 1 << chance.randrange(8)
            checksum = zlib.crc32(content[start : start + length + 4])
            content[start + length + 4 : start + length + 8] = checksum.to_bytes(4, "big")
        case _:
            content[start - 4 : start] = chance.choice([0, 1, 2**31 - 1, 2**32 - 1, length + 12]).to_bytes(4, "big")
    return bytes(content)


def change_members(members: Members, chance: random.Random) -> tuple[bytes, Members]:
    """Return an archive with changed members, and what may be read from it."""
    changed = list(members.items())
    for _ in range(chance.choice([1, 1, 3])):
        place = chance.randrange(len(changed))
        name, content = changed[place]
        match chance.randrange(6):
            case 0 if len(changed) > 1:
                del changed[place]
            case 1:
                changed.insert(chance.randrange(len(changed)), changed[place])
            case 2:
                at = chance.randrange(len(name) + 1)
                changed[place] = (name[:at] + chance.choice(NAMES) + name[at + chance.randrange(4) :], content)
            case 3:
                changed[place] = (name, bytes(chance.choice([0, 1, 100, 2**20, 2**23])))
            case _:
                changed[place] = (name, change_png(content, chance))
    matches = [(MEMBER_NAME.fullmatch(name), name, content) for name, content in changed]
    expected = {"/".join(name.split("/")[-3:]): content for match, name, content in matches if match}
    return write(changed, chance), expected


def try_case(members: Members, file: Path, chance: random.Random) -> str:
    """Try one case; return how it ended."""
    if chance.random() < 0.3:
        content, expected = change_members(members, chance)
    else:
        expected, changed = members, bytearray(write(list(members.items()), chance))
        change = chance.choice([change_bytes, change_length, change_fields, change_fields])
        change(changed, chance)
        content = bytes(changed)
    file.write_bytes(content)
    try:
        found = read(file)
    except ArchiveError as error:
        message = str(error)
        assert message.startswith("test.zip: "), message
        assert message.isprintable(), repr(message)
        return error.code
    assert found.items() <= expected.items(), "other members than were written"
    if expected is members:
        assert list(found) == list(members), "members are missing, or in another order"
    for path, png in found.items():
        try:
            assert decode_png(png).shape == (128, 128, 4)
        except ValueError:
            assert expected is not members, f"{path} cannot be decoded"
    tiles = {path for path in found if path.split("/")[1] != MASKS}
    assert {path.replace("glaciar", MASKS) for path in tiles if "glaciar" in path} == found.keys() - tiles
    return "read"


def main() -> int:
    """Fuzz for some time; return 1 where a rule was broken."""
    with tempfile.TemporaryDirectory(prefix="rock-glacier-fuzz-") as folder:
        make_sample_archives(f"{folder}/sample", train=1, validation=1, test=4, num_proc=1)
        members, file = read(Path(folder, "sample", "test.zip")), Path(folder, "test.zip")
        return fuzz((__doc__ or "").partition("\n")[0], functools.partial(try_case, members, file))


if __name__ == "__main__":
    sys.exit(main())
