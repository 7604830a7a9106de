"""The groups of tiles that share ground, as groups.csv names them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from group_bootstrap import group_numbers

GROUPS_NAME = "groups.csv"

_REMEDY = "take the file that build_archives.py wrote with these archives"


def groups_of_tiles(file: Path, tiles: Sequence[str]) -> list[int]:
    """Read the group of each tile.

    Args:
        file: a CSV file with the columns `path` and `group`; other columns, and tiles of other splits, are passed over.
        tiles: the tiles' paths.

    Returns:
        the number of each tile's group, from 0 on without a gap.

    Raises:
        ValueError: it is no such file, a tile stands twice in it, or one of `tiles` has no group.
        OSError: it cannot be read.
    """
    groups: dict[str, str] = {}
    with file.open(encoding="utf-8-sig", newline="") as opened:
        reader = csv.DictReader(opened)
        try:
            columns = list(reader.fieldnames or ())
            for name in ("path", "group"):
                if name not in columns:
                    raise ValueError(f"{file}: has no column {name}; its columns are {', '.join(columns) or 'none'}")
            for row in reader:
                if not row["path"] or not row["group"]:
                    raise ValueError(f"{file}: line {reader.line_num} has no path or no group; {_REMEDY}")
                if row["path"] in groups:
                    raise ValueError(f"{file}: {row['path']} stands twice; {_REMEDY}")
                groups[row["path"]] = row["group"]
        except (UnicodeDecodeError, csv.Error) as error:
            raise ValueError(f"{file}: line {reader.line_num + 1} is no CSV ({error}); {_REMEDY}") from None
    lacking = [path for path in tiles if path not in groups]
    if lacking:
        raise ValueError(f"{file}: has no group of {len(lacking)} tiles: {', '.join(lacking[:3])}; {_REMEDY}")
    numbers: list[int] = group_numbers([groups[path] for path in tiles]).tolist()
    return numbers
