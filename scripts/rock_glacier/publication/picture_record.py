"""The record beside the card's pictures: what they were drawn from, and the alternative text and caption of each."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from rock_glacier.files import write_file

RECORD_NAME = "pictures.json"

PORTRAIT, TILE_AND_MASK, SPLITS = "portrait.webp", "tile_and_mask.webp", "splits.png"
OVERLAP, GROUND = "overlap.webp", "ground.webp"
PICTURES = (PORTRAIT, TILE_AND_MASK, SPLITS, OVERLAP, GROUND)
"""The pictures that are drawn from the archives."""

Counts = Mapping[str, Mapping[str, int]]
"""Number of tiles in each split and class."""


class PicturesError(ValueError):
    """Pictures that do not show what is staged: names the folder, what is wrong and the command that draws others."""


class PictureText(NamedTuple):
    """What a picture shows, for those who do not see it, and the line below it."""

    alt: str
    caption: str


class PictureRecord(NamedTuple):
    """What pictures were drawn from, and their texts.

    Attributes:
        of_sample: whether they show a synthetic sample.
        tiles: number of tiles in each split and class.
        texts: texts of each picture, by file name; a picture that the archives have nothing for is not there.
    """

    of_sample: bool
    tiles: Counts
    texts: Mapping[str, PictureText]


def write_record(folder: Path, record: PictureRecord) -> None:
    """Write the record into the folder of the pictures.

    Raises:
        OSError: it cannot be written.
    """
    texts = {name: text._asdict() for name, text in record.texts.items()}
    content = json.dumps(record._asdict() | {"texts": texts}, indent=2, ensure_ascii=False)
    write_file(folder / RECORD_NAME, content + "\n")


def read_record(folder: Path, data_dir: str) -> PictureRecord:
    """Read the record of a folder of pictures.

    Args:
        folder: the folder.
        data_dir: the archives that are staged, for the message.

    Raises:
        PicturesError: there is none, it is damaged, or a picture is missing.
    """
    try:
        content = json.loads((folder / RECORD_NAME).read_text(encoding="utf-8"))
        texts = {name: PictureText(**text) for name, text in content.pop("texts").items()}
        record = PictureRecord(**content, texts=texts)
    except FileNotFoundError:
        raise PicturesError(f"{folder}: holds no {RECORD_NAME}; {_remedy(data_dir)}") from None
    except (ValueError, TypeError, AttributeError, KeyError):
        raise PicturesError(f"{folder / RECORD_NAME}: is damaged; {_remedy(data_dir)}") from None
    for name in texts:
        if name not in PICTURES or not (folder / name).is_file():
            raise PicturesError(f"{folder}: {RECORD_NAME} names {name}, which is missing; {_remedy(data_dir)}")
    return record


def check_pictures(folder: Path, record: PictureRecord, data_dir: str, of_sample: bool, tiles: Counts) -> None:
    """Check that pictures show what is staged. Those of any sample go with a sample.

    Raises:
        PicturesError: they show a sample and the archives are none, or the other way round, or another dataset.
    """
    if record.of_sample != of_sample:
        shown, staged = ("a synthetic sample", "is none") if record.of_sample else ("no sample", "is one")
        raise PicturesError(f"{folder}: its pictures show {shown}, and {data_dir} {staged}; {_remedy(data_dir)}")
    if not of_sample and record.tiles != tiles:
        raise PicturesError(
            f"{folder}: its pictures were drawn from another number of tiles in a split or class than {data_dir} has; "
            f"{_remedy(data_dir)}"
        )


def _remedy(data_dir: str) -> str:
    draw = f"python scripts/render_assets.py {shlex.quote(data_dir)} --out pictures"
    return f"draw others with `{draw}`, then stage with --assets pictures"
