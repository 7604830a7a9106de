#!/usr/bin/env python
"""Fuzz the reading of predictions and grounds.csv: a changed file is one error in one line, or holds what it says.

    PYTHONPATH=.:scripts python tests/fuzz/fuzz_tables.py --seconds 600

What is read from a CSV file is compared with what the standard library reads from it. `--seed` repeats a case. pytest
does not run this file.
"""

from __future__ import annotations

import csv
import functools
import io
import math
import random
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from harness import change_bytes, fuzz

from rock_glacier.archives.grounds_file import read_grounds
from rock_glacier.arrays import encode_png
from rock_glacier.masks import class_indices_to_mask
from rock_glacier.scoring.predictions import PredictionError, read_masks, read_scores
from rock_glacier_dataset import ArchiveError

SMALL = [*(bytes([byte]) for byte in b',;"\n\r0_e- \t\0\xff'), b"\r\n", b"nan", b"1e-400"]
COLUMNS = ("path", "ground", "block", "x", "y", "turn", "source")
FIELDS = ["0,9", "1_0e-1", "\u0660.\u0665", "0x1p-1", "+0.5", "1e-1", ".5", "inf", "-0", '"0.5"', "", "0.5.1", "1e309"]


def scores_csv(chance: random.Random) -> bytes:
    """Make a CSV file of scores with a strange field here and there."""
    lines = ["path,score", *(f"test/glaciar/{number:03d}.png,{chance.random():.3f}" for number in range(5))]
    for _ in range(chance.choice([0, 1, 2])):
        number = chance.randrange(1, len(lines))
        lines[number] = lines[number].split(",")[0] + "," + chance.choice(FIELDS)
    return (chance.choice(["\n", "\r\n"]).join(lines) + "\n").encode(chance.choice(["utf-8", "utf-8", "utf-8-sig"]))


def grounds_csv(chance: random.Random) -> bytes:
    rows = [f"test/glaciar/{number:03d}.png,{number // 2},0,{number},3,{number % 8},a.png\n" for number in range(5)]
    return (",".join(COLUMNS) + "\n" + "".join(rows)).encode()


def scatter(content: bytes, chance: random.Random) -> bytes:
    """Put some of the bytes that matter in a CSV file somewhere, or change any."""
    if chance.random() < 0.3:
        return change_bytes(content, chance)
    for _ in range(chance.choice([0, 1, 1, 2, 4])):
        place = chance.randrange(len(content) + 1)
        content = content[:place] + chance.choice(SMALL) + content[place + chance.choice([0, 0, 1]) :]
    return content


def plain_rows(content: bytes, columns: tuple[str, ...]) -> list[list[str]]:
    """Read columns by the standard library, where pyarrow has read the file: it may have read nothing else."""
    header, *rows = [row for row in csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")) if row]
    assert all(len(row) == len(header) for row in rows), "a row has other fields than the header"
    return [[row[header.index(column)] for column in columns] for row in rows]


def try_scores(file: Path, chance: random.Random) -> str:
    content = scatter(scores_csv(chance), chance)
    file = file.with_suffix(".csv")
    file.write_bytes(content)
    paths, scores = read_scores(file)
    assert len(paths) == len(scores)
    assert all(0 <= score <= 1 for score in scores)
    plain = plain_rows(content, ("path", "score"))
    assert [row[0] for row in plain] == paths
    assert all(row[1].isascii() and "_" not in row[1] for row in plain)
    assert all(math.isclose(float(row[1]), score) for row, score in zip(plain, scores, strict=True))
    return "scores"


def try_grounds(file: Path, chance: random.Random) -> str:
    content = scatter(grounds_csv(chance), chance)
    file = file.with_suffix(".csv")
    file.write_bytes(content)
    rows = list(read_grounds(file).values())
    plain = plain_rows(content, COLUMNS)
    assert [[row.path, row.source] for row in rows] == [[row[0], row[-1]] for row in plain]
    numbers = [[int(field, 16 if "x" in field.lower() else 10) for field in row[1:-1]] for row in plain]
    assert [list(row[1:-1]) for row in rows] == numbers
    return "grounds"


def try_parquet(file: Path, chance: random.Random) -> str:
    file = file.with_suffix(".parquet")
    paths = [f"test/glaciar/{number:03d}.png" for number in range(chance.choice([1, 5, 40]))]
    of_masks = chance.random() < 0.5
    indices = np.random.default_rng(chance.randrange(100)).integers(0, 2, (128, 128))
    png = encode_png(class_indices_to_mask(indices), compress_level=1)
    column = [png] * len(paths) if of_masks else [chance.random() for _ in paths]
    table = pa.table({"path": paths, "mask" if of_masks else "score": column})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression=chance.choice(["none", "snappy", "zstd"]), use_dictionary=False)
    content = buffer.getvalue()
    if chance.random() < 0.5:  # the footer, which says what the file holds
        cut = max(4, len(content) - 1200)
        content = content[:cut] + change_bytes(content[cut:], chance)
    file.write_bytes(change_bytes(content, chance))
    if of_masks:
        found, masks = read_masks(file)
        for mask in masks:
            assert mask.shape == (128, 128)
            assert mask.max() <= 1
    else:
        found, scores = read_scores(file)
        assert len(found) == len(scores)
        assert ((scores >= 0) & (scores <= 1)).all()
    assert all(found)
    return "masks" if of_masks else "scores of Parquet"


def try_case(file: Path, chance: random.Random) -> str:
    """Try one case; return how it ended."""
    attempt = chance.choice([try_scores, try_scores, try_grounds, try_parquet])
    try:
        return attempt(file, chance) + " read"
    except (PredictionError, ArchiveError) as error:
        assert str(error).startswith(str(file.parent)), str(error)
        assert str(error).isprintable(), repr(str(error))
        return f"{attempt.__name__[4:]} refused"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="rock-glacier-fuzz-") as folder:
        sys.exit(fuzz((__doc__ or "").partition("\n")[0], functools.partial(try_case, Path(folder, "table"))))
