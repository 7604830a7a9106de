"""`grounds.csv` beside archives: the ground and block of each tile, its place there, and what it was made from."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import fsspec
import pyarrow as pa

from rock_glacier.console import count
from rock_glacier.files import read_csv
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


_NUMBERS = ((name, pa.int32()) for name in GroundRow._fields[1:-1])
_TYPES = pa.schema([("path", pa.string()), *_NUMBERS, ("source", pa.string())])


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
        ArchiveError: it is no such file or cannot be read, a tile stands in it twice, or it is of other tiles.
        FileNotFoundError: there is none.
    """
    try:
        with (fsspec.open if "://" in os.fspath(file) else open)(os.fspath(file), "rb") as opened:
            table = read_csv(opened, _TYPES)
    except FileNotFoundError:
        raise FileNotFoundError(f"{file}: no such file; {_REMEDY}") from None
    except OSError as error:
        raise ArchiveError(f"{file}: cannot be read ({error.strerror or error}); {_REMEDY}") from None
    except ValueError as error:
        raise ArchiveError(f"{file}: {error}; {_REMEDY}") from None
    rows: dict[str, GroundRow] = {}
    columns = (table[name].to_pylist() for name in GroundRow._fields)
    for number, row in enumerate(map(GroundRow, *columns), 2):
        if None in row or min(row[1:-1]) < 0 or row.turn > 7:
            what = "ground, block, x and y must be whole numbers from 0 up, and turn one from 0 to 7"
            raise ArchiveError(f"{file}: row {number}: {what}; {_REMEDY}")
        if row.path in rows:
            raise ArchiveError(f"{file}: {row.path} stands twice; {_REMEDY}")
        rows[row.path] = row
    asked = dict.fromkeys(tiles)
    splits = {path.split("/")[0] for path in asked}
    others = [path for path in rows if path not in asked and path.split("/")[0] in splits]
    if others:
        raise ArchiveError(f"{file}: names tiles that no archive holds, the first {others[0]}; {_REMEDY}")
    missing = [path for path in asked if path not in rows]
    if missing:
        raise ArchiveError(f"{file}: lacks {count(len(missing), 'tile')}, the first {missing[0]}; {_REMEDY}")
    return rows
