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


class PictureText(NamedTuple):
    """What a picture shows, for those who do not see it, and the line below it."""

    alt: str
    caption: str

    def paragraphs(self, name: str) -> str:
        """Return the picture of this name, and its caption, as they stand in the card."""
        return f"![{self.alt}](assets/{name})\n\n*{self.caption}*\n\n"


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


def read_record(folder: Path) -> PictureRecord:
    """Read the record of a folder of pictures.

    Raises:
        ValueError: there is none, it is damaged, or a picture is missing.
        OSError: it cannot be read.
    """
    try:
        content = json.loads((folder / RECORD_NAME).read_text(encoding="utf-8"))
        texts = {name: PictureText(**text) for name, text in content.pop("texts").items()}
        record = PictureRecord(**content, texts=texts)
    except FileNotFoundError:
        raise ValueError(f"{folder}: holds no {RECORD_NAME}") from None
    except (ValueError, TypeError, AttributeError, KeyError):
        raise ValueError(f"{folder / RECORD_NAME}: is damaged") from None
    for name in texts:
        if name not in PICTURES or not (folder / name).is_file():
            raise ValueError(f"{folder}: {RECORD_NAME} names {name}, which is missing")
    return record


def read_fitting_record(folder: Path, data_dir: str, of_sample: bool, tiles: Counts) -> PictureRecord:
    """Read the record of pictures that show what is staged. Those of any sample go with a sample.

    Raises:
        ValueError: there is none, it is damaged, or the pictures show a sample and the archives are none, the other way
            round, or another dataset; it names the command that draws others.
    """
    try:
        record = read_record(folder)
        if record.of_sample != of_sample:
            shown, staged = ("a synthetic sample", "is none") if record.of_sample else ("no sample", "is one")
            raise ValueError(f"{folder}: its pictures show {shown}, and {data_dir} {staged}")
        if not of_sample and record.tiles != tiles:
            raise ValueError(f"{folder}: its pictures show other numbers of tiles than {data_dir} has")
    except ValueError as error:
        draw = f"python scripts/render_assets.py {shlex.quote(data_dir)} --out pictures"
        raise ValueError(f"{error}; draw others with `{draw}`, then stage with --assets pictures") from None
    return record
