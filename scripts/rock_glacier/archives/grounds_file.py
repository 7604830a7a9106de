"""`grounds.csv` beside archives: the ground and block of each tile, its place there, and what it was made from."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import fsspec

from rock_glacier.console import count
from rock_glacier_dataset import ArchiveError

GROUNDS_NAME = "grounds.csv"

_REMEDY = "take the file that build_archives.py wrote with these archives"


class GroundRow(NamedTuple):
    """A row of `grounds.csv`.

    Attributes:
        path: the tile's path.
        ground: number of its ground.
        block: number of its block in the ground, from 0.
        x: column of the tile's upper left pixel in its ground, where the tile is turned by `turn`, in pixels.
        y: its row.
        turn: from 0 to 7 (`rock_glacier.grounds.turns`).
        source: the file that the tile was made from.
    """

    path: str
    ground: int
    block: int
    x: int
    y: int
    turn: int
    source: str


def write_grounds(folder: Path, rows: Iterable[GroundRow]) -> None:
    """Write the `grounds.csv` of a folder of archives."""
    with (folder / GROUNDS_NAME).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(GroundRow._fields)
        writer.writerows(rows)


def read_grounds(file: str | os.PathLike[str], tiles: Iterable[str] = ()) -> dict[str, GroundRow]:
    """Read a `grounds.csv`.

    Args:
        file: path or URL of the file; it may have further columns.
        tiles: paths of tiles that must be in it: all of a split, for other tiles of their splits are refused.

    Returns:
        the rows by path.

    Raises:
        ArchiveError: it is no such file, a tile stands in it twice, or it is of other tiles.
        OSError: it cannot be read.
    """
    rows: dict[str, GroundRow] = {}
    opener = fsspec.open if "://" in os.fspath(file) else open
    with opener(os.fspath(file), "r", encoding="utf-8-sig", newline="") as opened:
        reader = csv.DictReader(opened)
        try:
            columns = list(reader.fieldnames or ())
            for name in GroundRow._fields:
                if name not in columns:
                    raise ArchiveError(f"{file}: has no column {name}, but {', '.join(columns) or 'none'}; {_REMEDY}")
            for row in reader:
                try:
                    ground, block, x, y, turn = (int(row[name]) for name in GroundRow._fields[1:-1])
                except (TypeError, ValueError):
                    turn = -1
                if not (0 <= turn < 8 and max(ground, block, x, y) < 2**31 and min(ground, block, x, y) >= 0):
                    what = "ground, block, x and y must be whole numbers below 2**31, and turn one from 0 to 7"
                    raise ArchiveError(f"{file}: line {reader.line_num}: {what}; {_REMEDY}")
                if row["path"] in rows:
                    raise ArchiveError(f"{file}: {row['path']} stands twice; {_REMEDY}")
                rows[row["path"]] = GroundRow(row["path"], ground, block, x, y, turn, row["source"])
        except (UnicodeDecodeError, csv.Error) as error:
            raise ArchiveError(f"{file}: line {reader.line_num + 1} is no CSV ({error}); {_REMEDY}") from None
    asked = dict.fromkeys(tiles)
    splits = {path.split("/")[0] for path in asked}
    others = [path for path in rows if path not in asked and path.split("/")[0] in splits]
    if others:
        raise ArchiveError(f"{file}: names tiles that no archive holds, the first {others[0]}; {_REMEDY}")
    missing = [path for path in asked if path not in rows]
    if missing:
        raise ArchiveError(f"{file}: lacks {count(len(missing), 'tile')}, the first {missing[0]}; {_REMEDY}")
    return rows
