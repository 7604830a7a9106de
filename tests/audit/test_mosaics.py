"""The largest grounds are drawn where their tiles lie, with the blocks of grounds.csv in colour."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from rock_glacier.archives.grounds_file import GroundRow, write_grounds
from rock_glacier.archives.writer import write_archive
from rock_glacier.arrays import encode_png
from rock_glacier.audit.checks import audit
from rock_glacier.audit.mosaics import draw_grounds
from rock_glacier.audit.page import report_page
from rock_glacier.grounds.turns import turned
from rock_glacier.parallel import Workers
from rock_glacier.sample.terrain import make_ground, render_date

RNG = np.random.default_rng(0)
SCENE = render_date(RNG, make_ground(RNG, 384, rock_glaciers=False))
PLACES = {
    "train/cordillera/0.png": (10, 20, 0),
    "train/cordillera/1.png": (74, 40, 3),
    "test/cordillera/2.png": (100, 130, 6),
    "test/cordillera/3.png": (250, 20, 0),
}


def at(x: int, y: int) -> np.ndarray:
    """Return the pixels of the scene at a place."""
    return SCENE[y : y + 128, x : x + 128]


def cut(folder: Path, places: dict[str, tuple[int, int, int]]) -> Path:
    """Write archives of tiles of the scene: x, y, and the turn after which a tile is stored, by path."""
    for split in ("train", "test"):
        tiles = {path: turned(at(x, y), turn) for path, (x, y, turn) in places.items() if path.startswith(split)}
        pngs = {path: encode_png(Image.fromarray(tile).convert("RGBA")) for path, tile in tiles.items()}
        write_archive(folder / f"{split}.zip", pngs.items())
    return folder


def test_ground_is_drawn_as_it_lies(tmp_path):
    (mosaic,) = draw_grounds(audit(cut(tmp_path, PLACES), Workers(1)), 3)
    expected = np.full(SCENE.shape, 128, np.uint8)
    for x, y, _ in [*PLACES.values()][:3]:
        expected[y : y + 128, x : x + 128] = at(x, y)
    assert (mosaic.tiles, mosaic.blocks) == (3, 1)
    assert np.array_equal(np.array(mosaic.image), expected[20:258, 10:228])


def test_grounds_and_blocks_are_those_of_grounds_csv_where_there_is_one(tmp_path):
    rows = [GroundRow(path, place // 2, place % 2, 500 - 128 * place, 0, 0, "") for place, path in enumerate(PLACES)]
    write_grounds(cut(tmp_path, PLACES), rows)
    found = audit(tmp_path, Workers(1))
    mosaic, _ = draw_grounds(found, 3)
    assert (mosaic.tiles, mosaic.blocks, mosaic.image.size) == (2, 2, (256, 128))
    tinted = 0.75 * at(10, 20) + 0.25 * np.array([0xE6, 0x9F, 0])
    assert np.abs(np.array(mosaic.image)[:, 128:] - tinted).max() <= 1
    assert "2 tiles: 2 train cordillera; 2 blocks" in report_page(found)
