"""The pictures of the card show what the archives hold, are small and reproducible, and say when they show a sample."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import io
import itertools
import random
import shutil
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from archive_contents import contents, rewrite, take_curators_layout
from conftest import REPOSITORY
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from PIL import Image

from rock_glacier.audit.checks import audit
from rock_glacier.audit.mosaics import draw_grounds
from rock_glacier.audit.parts import MaskShape
from rock_glacier.console import megabytes
from rock_glacier.figures import pictures
from rock_glacier.figures.figures_command import main
from rock_glacier.figures.pictures import SYNTHETIC, WIDTH, PicturedTile, encode
from rock_glacier.figures.render import (
    choose_tiles,
    clear_masks,
    clear_overlaps,
    draw_pictures,
    read_tiles,
    write_pictures,
)
from rock_glacier.grounds.turns import INVERSE, turned
from rock_glacier.parallel import Workers
from rock_glacier.publication.picture_record import (
    GROUND,
    OVERLAP,
    PICTURES,
    PORTRAIT,
    RECORD_NAME,
    SPLITS,
    TILE_AND_MASK,
    read_record,
)
from rock_glacier.sample.faults import FAULTS
from rock_glacier.sample.generate import make_sample_archives
from rock_glacier_dataset import SPLIT_NAMES

ALONE = Workers(1)


@pytest.fixture(scope="module")
def leaky(tmp_path_factory) -> Path:
    """A sample in which half of the test tiles overlap train tiles. Not to be changed: copy it."""
    folder = tmp_path_factory.mktemp("pictures") / "leaky"
    make_sample_archives(folder, train=12, validation=4, test=6, overlap=0.5)
    return folder


@pytest.fixture(scope="module")
def audited(leaky):
    return audit(leaky, ALONE)


@pytest.fixture(scope="module")
def drawn(audited):
    return draw_pictures(audited)


@pytest.fixture(scope="module")
def rendered(leaky, tmp_path_factory) -> Path:
    """The pictures of that sample, written by the command whatever the user's settings of matplotlib."""
    out = tmp_path_factory.mktemp("pictures") / "new" / "assets"
    page = out.parents[1] / "audit.html"
    with matplotlib.rc_context({"axes.xmargin": 0.4, "patch.force_edgecolor": True, "font.size": 7}):
        assert main([str(leaky), "--out", str(out), "--html", str(page), "--num-proc", "1"]) == 0
    assert "overlap-across-splits" in page.read_text(encoding="utf-8")
    return out


def texts(figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def images(figure) -> list[np.ndarray]:
    return [np.asarray(axes.images[0].get_array()) for axes in figure.axes if axes.images]


def test_pictures_are_small_and_of_one_width(rendered):
    assert {path.name for path in rendered.iterdir()} == {*PICTURES, RECORD_NAME}
    for folder, name in itertools.product((rendered, REPOSITORY / "assets"), PICTURES):
        assert (folder / name).stat().st_size <= 300 * 1024
        with Image.open(folder / name) as picture:
            assert picture.format == {".webp": "WEBP", ".png": "PNG"}[Path(name).suffix]
            assert picture.width == WIDTH


@pytest.mark.parametrize("name", [TILE_AND_MASK, SPLITS])
def test_same_archives_give_the_same_bytes_whatever_the_users_settings(drawn, rendered, name):
    assert encode(drawn[name].figure, name) == (rendered / name).read_bytes()


def test_pictures_of_a_sample_say_so_and_those_of_the_curators_archives_do_not(leaky, drawn, tmp_path):
    assert list(drawn) == list(PICTURES)
    for figure, alt, caption in drawn.values():
        assert SYNTHETIC in texts(figure)
        assert alt.endswith(f". {SYNTHETIC}.")
        assert caption.endswith(". Synthetic sample.")
    take_curators_layout(released := Path(shutil.copytree(leaky, tmp_path / "released")))
    found = draw_pictures(audit(released, ALONE))
    assert list(found) == list(PICTURES)
    assert not any("ynthetic" in texts(figure) + alt + caption for figure, alt, caption in found.values())
    assert "validation\n4 tiles" in texts(found[SPLITS].figure)


def test_the_record_tells_what_was_drawn(drawn, rendered):
    record = read_record(rendered)
    assert record.of_sample
    assert record.tiles["train"] == {"cordillera": 6, "glaciar": 6}
    assert record.texts == {name: picture[1:] for name, picture in drawn.items()}
    assert "11 of class cordillera, without a rock glacier; on the right 11 of class" in record.texts[PORTRAIT].alt
    assert "train with 6 cordillera and 6 glaciar tiles, validation with 2 cord" in record.texts[SPLITS].alt
    assert "`train/" in record.texts[OVERLAP].caption


def test_numbers_are_those_of_the_archives(leaky, drawn):
    for split in SPLIT_NAMES:
        members = contents(leaky, split)
        masks = [np.asarray(Image.open(io.BytesIO(members[path]))) for path in members if "/masks/" in path]
        assert f"{split}\n{len(members) - len(masks)} tiles" in texts(drawn[SPLITS].figure)
        median = 100 * np.median([(mask[..., 0] == 255).mean() for mask in masks])
        assert f"median {median:.0f} %" in texts(drawn[SPLITS].figure)


def test_bars_are_as_long_as_the_shares():
    counts = {"train": (1500, 500), "validation": (9, 1), "test": (1, 3)}
    by_class = {split: dict(zip(("cordillera", "glaciar"), pair, strict=True)) for split, pair in counts.items()}
    coverages = {split: np.array([0.02, 0.04, 0.32, 1.0]) for split in SPLIT_NAMES}
    figure = pictures.draw_splits(by_class, coverages).figure
    bars = [[patch for patch in axes.patches if isinstance(patch, Rectangle)] for axes in figure.axes]
    shares = [[(bar.get_x(), bar.get_width()) for bar in two] for two in bars[::2]]
    assert np.allclose(shares, [[(0, share), (share, 1 - share)] for share in (0.75, 0.9, 0.25)])
    for columns in bars[1::2]:
        heights = {round(bar.get_x(), 1): round(bar.get_height() / 20, 6) for bar in columns if bar.get_height()}
        assert heights == {0.0: 0.5, 0.3: 0.25, 1.0: 0.25}  # of the tiles, in 20 columns
    assert all(text in texts(figure) for text in ("2,000 tiles", "1,500 (75 %)", "1 (25 %)", "median 18 %"))


def test_plate_shows_the_tile_its_mask_and_its_outline():
    mask = np.zeros((128, 128), bool)
    mask[10:30, 40:128] = True
    rgb = np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8)
    figure, _, caption = pictures.draw_tile_and_mask(PicturedTile("train/glaciar/0.png", rgb, mask))
    assert caption == "`train/glaciar/0.png` and its mask, which covers 11 % of it."
    assert all(np.array_equal(shown, rgb) for shown in images(figure)[::2])
    assert np.array_equal(images(figure)[1] == 255, np.stack([mask] * 3, -1))
    assert [len(axes.collections) for axes in figure.axes] == [0, 0, 1]
    (outline,) = figure.axes[2].collections[0].get_paths()
    assert np.allclose(outline.get_extents().get_points(), [[40, 10], [128, 30]])


def test_tiles_are_read_with_their_masks(leaky, audited):
    paths = ["test/glaciar/000.png", "train/cordillera/000.png"]
    with_mask, without = read_tiles(audited.listing, paths).values()
    stored = contents(leaky, "test")
    tile, mask = (np.array(Image.open(io.BytesIO(stored[path]))) for path in (paths[0], "test/masks/000.png"))
    assert with_mask.path == paths[0]
    assert np.array_equal(with_mask.rgb, tile[..., :3])
    assert np.array_equal(with_mask.mask, mask[..., 0] == 255)
    assert without.mask.shape == (128, 128)
    assert not without.mask.any()


def test_frames_hold_the_ground_that_two_tiles_share(audited):
    assert audited.overlaps
    for found, turn in itertools.product(audited.overlaps, (0, 3, 6)):
        a, b = read_tiles(audited.listing, [found["a"], found["b"]]).values()
        pair, b = found | {"turn": turn}, b._replace(rgb=turned(turned(b.rgb, found["turn"]), INVERSE[turn]))
        figure = pictures.draw_overlap(pair, a, b).figure
        framed: list[np.ndarray] = []
        for axes in figure.axes[:2]:
            (frame,) = (patch for patch in axes.patches if isinstance(patch, Rectangle))
            (x, y), width, height = frame.get_xy(), int(frame.get_width()), int(frame.get_height())
            assert width * height == pair["pixels"]
            framed.append(images(figure)[len(framed)][int(y) :, int(x) :][:height, :width])
        assert np.array_equal(framed[0], framed[1])
        dx, dy = pair["dx"], pair["dy"]
        assert list(figure.axes[2].images[0].get_extent()) == [dx, dx + 128, dy + 128, dy]
        assert f"{100 * pair['pixels'] / 128**2:.0f} % of each tile" in texts(figure)


def test_overlaps_within_a_split_are_not_shown_and_turned_ones_go_last():
    def pair(a, b, dx, dy, turn=0):
        pixels = (128 - dx) * (128 - dy)
        return {"a": f"{a}.png", "b": f"{b}.png", "turn": turn, "dx": dx, "dy": dy, "pixels": pixels}

    across = [pair("train/glaciar/1", "test/glaciar/1", 40, 30), pair("train/glaciar/2", "test/glaciar/2", 90, 80)]
    straight = [pair("train/glaciar/3", "test/glaciar/3", 64, 0)]
    within = [pair("val/glaciar/4", "val/glaciar/5", 38, 38)]
    of_turns = [pair("train/glaciar/6", "test/glaciar/6", 38, 38, turn=3)]
    for seed in range(4):
        assert clear_overlaps(random.Random(seed).sample(across + straight + within + of_turns, 5)) == across
    assert clear_overlaps(straight + within) == straight
    assert clear_overlaps(within) == []
    assert clear_overlaps(of_turns + within) == of_turns


def test_dark_and_blown_out_tiles_are_stretched_and_others_are_not(audited):
    grey = np.linspace(0, 1, 128 * 128).reshape(128, 128, 1) * np.array([1, 0.9, 0.8])
    dark, snow, clear = ((255 * shades).astype(np.uint8) for shades in (0.2 * grey + 0.1, 1 - 0.3 * grey, grey))
    assert pictures.stretch(clear) is clear
    for tile in (dark, snow):
        stretched = pictures.stretch(tile).astype(float)
        assert np.ptp(stretched[..., 0]) > 180 > 2 * np.ptp(tile[..., 0])
        assert np.all(np.diff(stretched[..., 0].ravel()) * np.diff(tile[..., 0].ravel().astype(float)) >= 0)
    ratios = stretched[64] / snow[64]
    assert np.allclose(ratios[:, 0], ratios[:, 2], atol=0.02)  # the hue stays
    flat = np.full((128, 128, 3), 7, np.uint8)
    assert pictures.stretch(flat) is flat
    tiles = {"cordillera": [PicturedTile("train/cordillera/0.png", dark, np.zeros((128, 128), bool))], "glaciar": []}
    assert pictures.draw_portrait(tiles).caption.endswith(
        " The brightness of 1 dark or blown-out tile is stretched for display."
    )


def test_the_largest_ground_is_drawn_with_the_number_of_its_tiles(audited, drawn):
    (mosaic,) = draw_grounds(audited, 1)
    assert f"A ground of {mosaic.tiles} tiles" in texts(drawn[GROUND].figure)
    assert np.array_equal(images(drawn[GROUND].figure)[0], np.array(mosaic.image))


def test_portrait_shows_no_ground_twice_while_there_is_another(audited):
    glaciar = [path for path in audited.grounds if "/glaciar/" in path]
    grounds = {audited.grounds[path] for path in glaciar}
    assert len(grounds) < len(glaciar)
    chosen = choose_tiles(audited, "glaciar")
    assert {audited.grounds[path] for path in chosen[: len(grounds)]} == grounds
    assert chosen == choose_tiles(audited, "glaciar")
    assert chosen != choose_tiles(audited, "glaciar", seed=1)
    assert sorted(chosen) == sorted(glaciar)


def test_tile_with_an_empty_mask_is_not_in_the_portrait_and_does_not_stop_the_pictures(sample_copy):
    path = FAULTS["mask-empty"](sample_copy).replace("masks", "glaciar")
    audited = audit(sample_copy, ALONE)
    shown = choose_tiles(audited, "glaciar")
    assert sorted([*shown, path]) == sorted(tile for tile in audited.grounds if "/glaciar/" in tile)
    assert PORTRAIT in draw_pictures(audited)


def test_masks_that_reach_the_border_go_last_and_empty_ones_are_left_out():
    shapes = {"cut": MaskShape(0.25, 0.3), "whole": MaskShape(0.35, 0.0), "tiny": MaskShape(0.01, 0.0)}
    assert clear_masks(shapes | {"empty": MaskShape(0.0, 0.0)}) == ["whole", "tiny", "cut"]


def test_what_cannot_be_shown_is_left_out_and_the_earlier_picture_removed(sample_copy, tmp_path, capsys):
    for path in sample_copy.glob("*.zip"):
        rewrite(path, lambda members: [member for member in members if "/masks/" not in member[0].filename])
    out = tmp_path / "assets"
    out.mkdir()
    for name in (OVERLAP, GROUND, "notes.txt"):
        (out / name).write_bytes(b"of an earlier run")
    assert main([str(sample_copy), "--out", str(out), "--num-proc", "1"]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["notes.txt", RECORD_NAME, PORTRAIT, SPLITS]
    assert list(read_record(out).texts) == [PORTRAIT, SPLITS]
    said, messages = capsys.readouterr()
    lines = [f"{out / name}: {megabytes((out / name).stat().st_size)}, of the dataset" for name in (PORTRAIT, SPLITS)]
    assert said.splitlines() == lines
    assert f"{OVERLAP}: left out, no two tiles of two splits overlap" in messages
    assert f"{GROUND}: left out, no two tiles show the same ground" in messages
    assert f"{TILE_AND_MASK}: left out, no mask shows a rock glacier" in messages
    figures = draw_pictures(audit(sample_copy, ALONE))
    assert not any(axes.collections for axes in figures[PORTRAIT].figure.findobj(Axes))
    assert "outlined" not in texts(figures[PORTRAIT].figure)
    assert "mask" not in texts(figures[SPLITS].figure)


def grey_masks(folder: Path) -> None:
    file = io.BytesIO()
    Image.new("RGBA", (128, 128), (127, 127, 127, 255)).save(file, "PNG")
    grey = file.getvalue()
    rewrite(folder / "test.zip", lambda members: [(m, grey if "/masks/" in m.filename else png) for m, png in members])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "test.zip").write_bytes(b"PK"), "test.zip: cannot be read"),
        (lambda folder: (folder / "test.zip").unlink(), "test.zip: not in"),
        (grey_masks, "test/masks/"),
    ],
)
def test_fault_of_the_archives_is_one_message_and_the_pictures_stay(sample_copy, tmp_path, capsys, spoil, message):
    spoil(sample_copy)
    out = tmp_path / "assets"
    out.mkdir()
    (out / OVERLAP).write_bytes(b"of an earlier run")
    assert main([str(sample_copy), "--out", str(out), "--num-proc", "1"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {OVERLAP: b"of an earlier run"}


def test_picture_that_cannot_be_written_leaves_nothing_half_written(audited, drawn, tmp_path):
    (tmp_path / SPLITS).mkdir()
    with pytest.raises(OSError, match=SPLITS):
        write_pictures(audited, {SPLITS: drawn[SPLITS]}, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [SPLITS]


@pytest.mark.parametrize("arguments", [["--num-proc", "0"], ["--seed", "-1"], ["--ouput", "x"]])
def test_wrong_usage_has_status_2(leaky, arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(leaky), *arguments])
    assert ended.value.code == 2
