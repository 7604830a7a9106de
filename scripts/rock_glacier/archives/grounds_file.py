"""`grounds.csv` beside archives: the ground and the source of each tile."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import fsspec

from rock_glacier.console import count
from rock_glacier_dataset import ArchiveError

GROUNDS_NAME = "grounds.csv"

_COLUMNS = ("path", "ground", "source")
_REMEDY = "take the file that build_archives.py wrote with these archives"


def write_grounds(folder: Path, rows: Iterable[tuple[str, int, str]]) -> None:
    """Write `grounds.csv`.

    Args:
        folder: folder of the archives.
        rows: for each tile its path, the number of its ground, and the file that it was made from.
    """
    with (folder / GROUNDS_NAME).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows(rows)


def read_grounds(file: str | os.PathLike[str], tiles: Iterable[str] = ()) -> Mapping[str, str]:
    """Read the ground of each tile.

    Args:
        file: path or URL of a CSV file with the columns `path` and `ground`, and perhaps others.
        tiles: paths of tiles that must be in it.

    Returns:
        the ground's name or number by the tile's path.

    Raises:
        ArchiveError: it is no such file, a tile stands in it twice, or one of `tiles` is missing.
        OSError: it cannot be read.
    """
    grounds: dict[str, str] = {}
    opener = fsspec.open if "://" in os.fspath(file) else open
    with opener(os.fspath(file), "r", encoding="utf-8-sig", newline="") as opened:
        reader = csv.DictReader(opened)
        try:
            columns = list(reader.fieldnames or ())
            for name in ("path", "ground"):
                if name not in columns:
                    raise ArchiveError(f"{file}: has no column {name}, but {', '.join(columns) or 'none'}; {_REMEDY}")
            for row in reader:
                if not row["path"] or not row["ground"]:
                    raise ArchiveError(f"{file}: line {reader.line_num} has no path or no ground; {_REMEDY}")
                if row["path"] in grounds:
                    raise ArchiveError(f"{file}: {row['path']} stands twice; {_REMEDY}")
                grounds[row["path"]] = row["ground"]
        except (UnicodeDecodeError, csv.Error) as error:
            raise ArchiveError(f"{file}: line {reader.line_num + 1} is no CSV ({error}); {_REMEDY}") from None
    missing = [path for path in tiles if path not in grounds]
    if missing:
        raise ArchiveError(f"{file}: lacks {count(len(missing), 'tile')}, the first {missing[0]}; {_REMEDY}")
    return grounds
