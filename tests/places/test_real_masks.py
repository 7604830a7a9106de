"""Real masks locate tiles of synthetic scenes. `real_scenes` says how to measure all masks."""

from __future__ import annotations

from pathlib import Path

import factories
from places.real_scenes import compare, make_real_scenes

from rock_glacier.index import read_index

# A group of 36 masks, which overlap each other, at 33.2 S, 69.8 W.
IDS = """
015 038 049 1046 1130 1192 150 158 163 164 229 252 303 371 387 460 495 553 582 585 601 675 697
718 726 777 828 841 851 876 900 916 932 939 952 972
"""


def test_real_masks_locate_tiles_of_three_dates(real: Path, tmp_path: Path) -> None:
    truth = make_real_scenes(tmp_path / "data", real, cordillera=60, ids=IDS.split())
    index = tmp_path / "tiles.parquet"
    outlines = real / "outlines"
    command: list[object] = ["audit", tmp_path / "data", "--outlines", outlines, "--index", index]
    assert factories.run_command(*command, "--num-proc=1") == 1  # the other splits are empty
    result = compare(read_index(index), truth)
    assert result["glaciar located"] == 1
    assert result["cordillera connected"] > 40
    assert result["connected cordillera located"] >= 0.98
    assert result["wrong"] <= 0.01
    assert result["median error"] <= 20


def test_real_masks_are_not_located_without_their_outlines(real: Path, tmp_path: Path) -> None:
    make_real_scenes(tmp_path / "data", real, cordillera=0, ids=IDS.split()[:12])
    others = factories.copy(real / "outlines", tmp_path / "outlines")
    for file in others.glob("glaciar_t_*"):
        file.unlink()
    index = tmp_path / "tiles.parquet"
    command: list[object] = ["audit", tmp_path / "data", "--outlines", others, "--index", index]
    assert (
        factories.run_command(*command, "--no-matches", "--num-proc=1") == 1
    )  # the other splits are empty
    assert read_index(index)["longitude"].isna().all()
