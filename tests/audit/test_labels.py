"""Labels and masks of the same ground are checked against each other, and against outlines."""

from __future__ import annotations

import geopandas
import numpy as np
import pandas as pd
import pytest
import shapely
from factories import make_data_dir, mask_png, noise_scene, png

from rock_glacier.audit.labels import find_conflicts

FIRST = "train/glaciar/0.png"
SECOND = "train/glaciar/1.png"
CORDILLERA = "train/cordillera/1.png"
ZONE = 32719


def audit_neighbours(folder, audit, mask, other_mask=None, orientation=0):
    """Audit two tiles of a scene, 64 columns apart; without a mask, the second is cordillera."""
    scene = noise_scene(0, 128, 192)
    second = np.rot90(scene[:, 64:], orientation)
    tiles = {FIRST: png(scene[:, :128])}
    masks = {"train/masks/0.png": mask_png(mask)}
    if other_mask is None:
        tiles[CORDILLERA] = png(second)
    else:
        tiles[SECOND] = png(second)
        masks["train/masks/1.png"] = mask_png(np.rot90(other_mask, orientation))
    # The third tile fills the split, far away.
    tiles |= {"val/cordillera/0.png": png(8), "test/cordillera/0.png": png(9)}
    return audit(make_data_dir(folder / "archives", tiles, masks))


def conflicts_of(audit):
    return [(fault.code, fault.place) for fault in audit.faults if fault.code.endswith("conflict")]


def make_mask(pixels):
    """Return a mask whose left half, and a number of pixels right of it, are rock glacier."""
    mask = np.zeros((128, 128), np.uint8)
    mask[:, :64] = 1
    columns, rest = divmod(pixels, 128)
    mask[:, 64 : 64 + columns] = 1
    mask[:rest, 64 + columns] = 1
    return mask


@pytest.mark.parametrize("orientation", [0, 1])
@pytest.mark.parametrize(("pixels", "differs"), [(81, False), (82, True), (3_000, True)])
def test_masks_may_differ_on_one_percent(tmp_path, audit, orientation, pixels, differs):
    """The common rectangle is 64 pixels wide: 1 % of it are 81.92 pixels."""
    other = np.roll(make_mask(0), -64, axis=1)
    other[:, :64] = 0
    result = audit_neighbours(tmp_path, audit, make_mask(pixels), other, orientation)
    assert conflicts_of(result) == [("mask-conflict", f"train.zip: {FIRST}")] * differs
    if differs:
        (conflict,) = result.conflicts.itertuples()
        assert (conflict.pixels, conflict.share) == (pixels, pixels / 64 / 128)
    assert result.errors == 0


@pytest.mark.parametrize("orientation", [0, 1])
@pytest.mark.parametrize(("pixels", "differs"), [(0, False), (99, False), (100, True)])
def test_cordillera_on_rock_glacier_is_a_conflict(tmp_path, audit, orientation, pixels, differs):
    result = audit_neighbours(tmp_path, audit, make_mask(pixels), orientation=orientation)
    assert conflicts_of(result) == [("label-conflict", f"train.zip: {CORDILLERA}")] * differs
    if differs:
        (conflict,) = result.conflicts.itertuples()
        assert (conflict.pixels, conflict.share) == (100, 100 / 128**2)


def test_only_the_worst_conflict_of_a_tile_is_reported(tmp_path, audit):
    scene = noise_scene(0, 128, 400)
    tiles = {f"train/glaciar/{n}.png": png(scene[:, 40 * n :][:, :128]) for n in range(3)}
    tiles[CORDILLERA] = png(scene[:, 100:228])
    tiles |= {"val/cordillera/0.png": png(8), "test/cordillera/0.png": png(9)}
    full = mask_png(np.ones((128, 128), np.uint8))
    masks = {f"train/masks/{n}.png": full for n in range(3)}
    result = audit(make_data_dir(tmp_path / "archives", tiles, masks))
    assert conflicts_of(result) == [("label-conflict", f"train.zip: {CORDILLERA}")]
    assert "train/glaciar/2.png" in result.faults[0].problem
    assert f"{108 * 128:,}" in result.faults[0].problem


def test_duplicates_with_other_labels_are_one_fault(tmp_path, audit):
    tiles = {FIRST: png(0), CORDILLERA: png(0)}
    tiles |= {"val/cordillera/0.png": png(8), "test/cordillera/0.png": png(9)}
    result = audit(make_data_dir(tmp_path / "archives", tiles))
    assert [fault.code for fault in result.faults] == ["duplicate-pixels"]


def find_on_outline(*widths):
    """Find conflicts of a located cordillera tile with outlines 10 m high, `widths` wide."""
    table = pd.DataFrame(
        {"label": ["cordillera"], "has_mask": False, "mask_group": -1, "epsg": [ZONE]}
    )
    table = table.assign(easting=400_000.0, northing=6_300_000.0)
    shapes = [shapely.box(400_200, 6_299_000, 400_200 + width, 6_299_010) for width in widths]
    names = [f"glaciar_{width}" for width in widths]
    outlines = geopandas.GeoDataFrame({"name": names}, geometry=shapes, crs=ZONE).to_crs(4326)
    pairs = pd.DataFrame(columns=["a", "b", "kind", "orientation", "dx", "dy"], dtype=int)
    return find_conflicts(table, np.zeros((1, 128, 128), np.uint8), pairs, outlines)


def test_outline_in_a_cordillera_tile_is_a_conflict():
    (conflict,) = find_on_outline(990, 1_050, 1_000).itertuples()
    assert (conflict.code, conflict.outline) == ("label-conflict", "glaciar_1050")
    assert (conflict.tile, conflict.pair, conflict.pixels) == (0, -1, 105)


def test_a_sliver_of_an_outline_is_no_conflict():
    assert find_on_outline(990).empty
