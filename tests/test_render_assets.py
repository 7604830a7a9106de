"""The pictures of the card: what they show is in the archives, and they are small, the same each time and honest."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import io
import random
import shutil
import zipfile
import zlib
from pathlib import Path

import card_pictures
import matplotlib
import numpy as np
import picture_panel
import pytest
import render_assets
from archive_audit import audit
from archive_contents import change_manifest, contents, rewrite
from archive_survey import MaskShape, PicturedTile, read_tiles, survey
from card_pictures import SYNTHETIC
from conftest import REPOSITORY
from make_sample_archives import make_sample_archives
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from picture_panel import MOST_BYTES, PANEL, WIDTH, percent
from PIL import Image, ImageColor
from render_assets import OVERLAP, PICTURES, PORTRAIT, SPLITS, TILE_AND_MASK, draw_pictures
from tile_choice import draw_tiles, plainest_masks, plainest_pairs
from tile_outlines import outline_edges

from rock_glacier.parallel import Workers
from rock_glacier_dataset import SPLIT_NAMES

ALONE = Workers(1)


@pytest.fixture(scope="module")
def leaky(tmp_path_factory) -> Path:
    """A sample in which half of the test tiles share ground with train. Not to be changed: copy it."""
    folder = tmp_path_factory.mktemp("pictures") / "leaky"
    make_sample_archives(folder, train=12, validation=4, test=6, overlap=0.5)
    return folder


@pytest.fixture(scope="module")
def drawn(leaky) -> render_assets.Drawn:
    return draw_pictures(leaky, ALONE)


@pytest.fixture(scope="module")
def rendered(leaky, tmp_path_factory) -> Path:
    """The folder of pictures of that sample."""
    out = tmp_path_factory.mktemp("pictures") / "new" / "assets"
    assert render_assets.main([str(leaky), "--out", str(out), "--num-proc", "1"]) == 0
    return out


@pytest.fixture
def leaky_copy(leaky, tmp_path) -> Path:
    return Path(shutil.copytree(leaky, tmp_path / "leaky"))


@pytest.fixture
def _uncompressed(monkeypatch) -> None:
    """Leave out the compression, where the files' bytes are not looked at."""
    monkeypatch.setattr(render_assets, "encoded_picture", lambda name, figure: f"{name} {figure.bbox.size}".encode())


def texts(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.texts)


def lines(axes: Axes) -> list[LineCollection]:
    return [drawn for drawn in axes.collections if isinstance(drawn, LineCollection)]


def black_and_white(split: str, folder: Path) -> dict[str, np.ndarray]:
    """The masks of a split, decoded by Pillow alone."""
    return {
        path: np.asarray(Image.open(io.BytesIO(png)).convert("L")) > 0
        for path, png in contents(folder, split, "_masks").items()
    }


def test_every_picture_is_small_and_as_wide_as_the_others(rendered):
    assert sorted(path.name for path in rendered.iterdir()) == sorted(PICTURES)
    for name in PICTURES:
        assert (rendered / name).stat().st_size <= MOST_BYTES == 300 * 1024
        with Image.open(rendered / name) as picture:
            assert picture.format == {".webp": "WEBP", ".png": "PNG"}[Path(name).suffix]
            assert picture.width == WIDTH
            pixels = picture.convert("RGBA")
        assert pixels.getpixel((0, 0))[3] == 0  # outside of the round corner
        panel = pixels.getpixel((WIDTH // 2, 4))
        assert panel == pytest.approx((*ImageColor.getrgb(PANEL), 255), abs=2)  # compression changes it that much


def test_the_same_archives_give_the_same_bytes_whatever_the_users_settings_are(leaky, rendered, tmp_path):
    with matplotlib.rc_context({"axes.xmargin": 0.4, "patch.force_edgecolor": True, "text.antialiased": False}):
        assert render_assets.main([str(leaky), "--out", str(tmp_path), "--num-proc", "1"]) == 0
    for name in PICTURES:
        assert (tmp_path / name).read_bytes() == (rendered / name).read_bytes()


@pytest.mark.usefixtures("_uncompressed")
def test_a_line_is_printed_for_each_picture(leaky, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("stays")
    assert render_assets.main([str(leaky), "--out", str(tmp_path), "--num-proc", "1", "--seed", "3"]) == 0
    lines = [f"{tmp_path / name}: {(tmp_path / name).stat().st_size} bytes, of a synthetic sample" for name in PICTURES]
    assert capsys.readouterr().out.splitlines() == lines
    assert {path.name for path in tmp_path.iterdir()} == {*PICTURES, "notes.txt"}


def test_pictures_of_a_sample_say_so_and_others_do_not(drawn, leaky_copy):
    assert list(drawn.figures) == list(PICTURES)
    assert all(SYNTHETIC in texts(figure) for figure in drawn.figures.values())
    change_manifest(leaky_copy, lambda manifest: manifest.update(version="1.0.0"))
    released = draw_pictures(leaky_copy, ALONE)
    for name, figure in released.figures.items():
        assert "ynthetic" not in texts(figure)
        assert figure.bbox.height < drawn.figures[name].bbox.height


@pytest.mark.usefixtures("_uncompressed")
def test_a_folder_without_a_manifest_is_taken_for_the_dataset_and_that_is_said(leaky_copy, tmp_path, capsys):
    (leaky_copy / "manifest.json").unlink()
    assert render_assets.main([str(leaky_copy), "--out", str(tmp_path / "out"), "--num-proc", "1"]) == 0
    printed = capsys.readouterr()
    assert "has no manifest.json, which would tell a sample" in printed.err
    assert printed.out.count(", of the dataset\n") == len(PICTURES)


def test_the_real_archives_are_pictured_without_the_words_for_a_sample(real_archives):
    found = draw_pictures(real_archives, ALONE)
    assert list(found.figures) == list(PICTURES)
    assert not any("ynthetic" in texts(figure) for figure in found.figures.values())
    assert "200 tiles" in texts(found.figures[SPLITS])


def test_the_numbers_are_those_of_the_archives(leaky, drawn):
    found = survey(leaky)
    for split in SPLIT_NAMES:
        tiles, masks = contents(leaky, split), black_and_white(split, leaky)
        glaciar = sum("/glaciar/" in path for path in tiles)
        assert found.counts()[split] == {"cordillera": len(tiles) - glaciar, "glaciar": glaciar}
        assert found.coverages()[split].tolist() == [mask.mean() for mask in masks.values()]
        assert f"{len(tiles)} tiles" in texts(drawn.figures[SPLITS])
        median = np.median([mask.mean() for mask in masks.values()])
        assert f"median {percent(float(median))}" in texts(drawn.figures[SPLITS])


def test_bars_are_as_long_as_the_shares():
    counts = {"train": (1500, 500), "validation": (9, 1), "test": (1, 3)}
    by_class = {split: dict(zip(("cordillera", "glaciar"), pair, strict=True)) for split, pair in counts.items()}
    coverages = {split: np.array([0.02, 0.04, 0.32, 1.0]) for split in SPLIT_NAMES}
    figure = card_pictures.splits(by_class, coverages, synthetic=False)
    bars = [[patch for patch in axes.patches if isinstance(patch, Rectangle)] for axes in figure.axes]
    shares = [
        [bar.get_width() / axes.get_xlim()[1] for bar in two] for axes, two in zip(figure.axes, bars, strict=True)
    ]
    assert shares[::2] == [pytest.approx(pair) for pair in ([0.75, 0.25], [0.9, 0.1], [0.25, 0.75])]
    assert all(cordillera.get_x() + cordillera.get_width() == glaciar.get_x() for cordillera, glaciar in bars[::2])
    for columns in bars[1::2]:
        heights = {round(bar.get_x(), 2): bar.get_height() for bar in columns if bar.get_height()}
        assert heights == {0.0: 0.5, 0.3: 0.25, 0.95: 0.25}
    assert "2,000 tiles" in texts(figure)
    assert "75 %" in texts(figure)
    assert "median 18 %" in texts(figure)


@pytest.mark.parametrize("seed", range(3))
def test_outlines_run_along_the_edges_of_the_pixels(seed):
    mask = np.random.default_rng(seed).random((128, 128)) < 0.4
    edges = outline_edges(mask).astype(int)
    assert len({tuple(map(tuple, edge)) for edge in edges.tolist()}) == len(edges)
    across, along = np.zeros_like(mask), np.zeros_like(mask)
    for (x0, y0), (x1, y1) in edges.tolist():
        if x0 == x1:
            across[y0:y1, x0:] ^= True  # what lies behind an upright edge changes sides
        else:
            along[y0:, x0:x1] ^= True
    assert np.array_equal(across, mask)
    assert np.array_equal(along, mask)


def test_the_outline_of_a_block_is_its_four_sides():
    mask = np.zeros((128, 128), bool)
    mask[10:30, 40:128] = True
    sides = {((40, 10), (128, 10)), ((40, 30), (128, 30)), ((40, 10), (40, 30)), ((128, 10), (128, 30))}
    assert {tuple(map(tuple, edge)) for edge in outline_edges(mask).tolist()} == sides
    assert outline_edges(np.zeros((128, 128), bool)).shape == (0, 2, 2)


def test_the_plate_shows_the_tile_its_mask_and_its_outline():
    mask = np.zeros((128, 128), bool)
    mask[5:9, 7] = True
    rgb = np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8)
    figure = card_pictures.tile_and_mask(PicturedTile("train/glaciar/0.png", rgb, mask), synthetic=True)
    shown = [np.asarray(axes.images[0].get_array()) for axes in figure.axes]
    assert np.array_equal(shown[0], rgb)
    assert np.array_equal(shown[1] == 255, np.stack([mask] * 3, -1))
    assert np.array_equal(shown[2], rgb)
    assert [len(lines(axes)) for axes in figure.axes] == [0, 0, 2]  # the line and its casing
    assert len(lines(figure.axes[2])[1].get_segments()) == 4
    assert "128 x 128 pixels" in texts(figure)


def test_frames_hold_the_ground_that_two_tiles_share(leaky):
    pairs = audit(leaky, ALONE).overlaps
    tiles = read_tiles(survey(leaky), {path for pair in pairs for path in (pair["a"], pair["b"])})
    assert pairs
    for pair in pairs:
        a, b = tiles[pair["a"]].rgb, tiles[pair["b"]].rgb
        (xa, ya, width, height), (xb, yb, *_) = card_pictures.shared_rectangles(pair)
        assert width * height == pair["pixels"]
        assert np.array_equal(a[ya : ya + height, xa : xa + width], b[yb : yb + height, xb : xb + width])
        together, (x, y) = card_pictures.laid_together(pair, a, b)
        assert np.array_equal(together[y : y + 128, x : x + 128], a)
        x, y = x + pair["dx"], y + pair["dy"]
        assert np.array_equal(together[y : y + 128, x : x + 128], b)
        figure = card_pictures.overlap(pair, tiles[pair["a"]], tiles[pair["b"]], synthetic=False)
        assert f"{percent(width * height / 128**2)} of each tile" in texts(figure)
        upper_edge = lines(figure.axes[1])[1].get_segments()[0]
        assert upper_edge.tolist() == [[xb, yb], [xb + width, yb]]


def test_a_pair_of_two_splits_goes_before_one_within_a_split_whatever_the_order():
    def pair(a, b, dx, dy):
        return {"a": f"{a}.png", "b": f"{b}.png", "dx": dx, "dy": dy, "pixels": (128 - dx) * (128 - dy)}

    across = [pair("train/glaciar/1", "test/glaciar/1", 40, 30), pair("train/glaciar/2", "test/glaciar/2", 90, 80)]
    straight = [pair("train/glaciar/3", "test/glaciar/3", 64, 0)]
    within = [pair("train/glaciar/4", "train/glaciar/5", 38, 38)]
    for seed in range(4):
        shuffled = random.Random(seed).sample(across + straight + within, 4)
        assert plainest_pairs(shuffled) == across
    assert plainest_pairs(straight + within) == straight
    assert plainest_pairs(within) == within
    assert plainest_pairs([]) == []


def test_the_portrait_shows_no_ground_twice_while_there_is_other(leaky):
    found, groups = survey(leaky), audit(leaky, ALONE).groups
    tiles = [path for path in found.paths if "/glaciar/" in path]
    number = len({groups[path] for path in tiles})
    assert number < len(tiles)
    drawn = draw_tiles(found, "glaciar", number, groups)
    assert len({groups[path] for path in drawn}) == number
    assert drawn == draw_tiles(found, "glaciar", number, groups)
    assert drawn != draw_tiles(found, "glaciar", number, groups, seed=1)
    assert sorted(draw_tiles(found, "glaciar", 99, groups)) == sorted(tiles)


def test_a_mask_that_reaches_the_border_is_not_the_plainest():
    shapes = {"cut": MaskShape(0.25, 0.3), "whole": MaskShape(0.35, 0.0), "tiny": MaskShape(0.01, 0.0)}
    assert plainest_masks(shapes | {"empty": MaskShape(0.0, 0.0)}) == ["whole", "tiny", "cut"]


@pytest.mark.usefixtures("_uncompressed")
def test_what_cannot_be_shown_is_left_out_and_its_old_picture_removed(sample_copy, rendered, tmp_path, capsys):
    for path in sample_copy.glob("*_masks.zip"):
        path.unlink()
    (sample_copy / "manifest.json").unlink()
    out = Path(shutil.copytree(rendered, tmp_path / "assets"))
    assert render_assets.main([str(sample_copy), "--out", str(out), "--num-proc", "1"]) == 0
    assert sorted(path.name for path in out.iterdir()) == [PORTRAIT, SPLITS]
    told = capsys.readouterr().err
    gone = "; the one of an earlier run was removed"
    assert f"{OVERLAP}: left out, no two tiles share ground{gone}" in told
    assert f"{TILE_AND_MASK}: left out, there are no masks that show a rock glacier{gone}" in told


def test_without_masks_nothing_is_said_of_them(sample_copy):
    for path in sample_copy.glob("*_masks.zip"):
        path.unlink()
    (sample_copy / "manifest.json").unlink()
    figures = draw_pictures(sample_copy, ALONE).figures
    assert not any(lines(axes) for axes in figures[PORTRAIT].axes)
    assert "outlined" not in texts(figures[PORTRAIT])
    assert "mask" not in texts(figures[SPLITS])


def undecodable(png: bytes) -> bytes:
    garbage = b"IDAT" + bytes(9)
    return png[:33] + bytes([0, 0, 0, 9]) + garbage + zlib.crc32(garbage).to_bytes(4, "big") + png[-12:]


def grey(png: bytes) -> bytes:
    file = io.BytesIO()
    Image.open(io.BytesIO(png)).point(lambda value: value // 2 + 127).save(file, "PNG")
    return file.getvalue()


def cut_short(folder: Path) -> None:
    (folder / "validation.zip").write_bytes((folder / "validation.zip").read_bytes()[:5000])
    (folder / "manifest.json").unlink()


def spoil(archive: str, change):
    def spoil_members(folder: Path) -> None:
        rewrite(folder / archive, lambda members: [(zipfile.ZipInfo(m.filename), change(png)) for m, png in members])

    return spoil_members


@pytest.mark.parametrize(
    ("spoil_folder", "message"),
    [
        (cut_short, "validation.zip: is cut short"),
        (lambda folder: (folder / "test.zip").unlink(), "test.zip: not in"),
        (lambda folder: [path.unlink() for path in folder.iterdir()], "train.zip: not in"),
        (shutil.rmtree, "no such folder"),
        (spoil("train.zip", undecodable), ".png cannot be decoded"),
        (spoil("test_masks.zip", undecodable), "test/glaciar/0.png: its mask cannot be decoded"),
        (spoil("test_masks.zip", grey), "test/glaciar/0.png: its mask has colours other than white and black"),
    ],
)
def test_a_fault_of_the_archives_is_one_message_and_the_pictures_stay(
    sample_copy, tmp_path, capsys, spoil_folder, message
):
    spoil_folder(sample_copy)
    out = tmp_path / "assets"
    out.mkdir()
    (out / OVERLAP).write_bytes(b"of an earlier run")
    assert render_assets.main([str(sample_copy), "--out", str(out), "--num-proc", "1"]) == 1
    (error,) = [line for line in capsys.readouterr().err.replace("\r", "\n").splitlines() if "error: " in line]
    assert message in error
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {OVERLAP: b"of an earlier run"}


def test_a_picture_that_does_not_become_small_enough_is_a_failure(leaky, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(picture_panel, "MOST_BYTES", 1000)
    monkeypatch.setattr(picture_panel, "WEBP_SETTINGS", picture_panel.WEBP_SETTINGS[-2:])
    assert render_assets.main([str(leaky), "--out", str(tmp_path / "assets"), "--num-proc", "1"]) == 1
    assert f"{PORTRAIT}: has " in capsys.readouterr().err
    assert not (tmp_path / "assets").exists()


@pytest.mark.usefixtures("_uncompressed")
def test_a_picture_that_cannot_be_written_is_a_failure_and_leaves_nothing_half_written(leaky, tmp_path, capsys):
    (tmp_path / PORTRAIT).mkdir()
    assert render_assets.main([str(leaky), "--out", str(tmp_path), "--num-proc", "1"]) == 1
    assert PORTRAIT in capsys.readouterr().err.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == [PORTRAIT]


def test_wrong_usage_has_status_2(leaky, tmp_path):
    (tmp_path / "file").touch()
    in_file = (["--out", str(tmp_path / "file")], ["--out", str(tmp_path / "file" / "assets")])
    for arguments in (["--num-proc", "0"], ["--seed", "-1"], *in_file, ["--ouput", "x"]):
        with pytest.raises(SystemExit) as ended:
            render_assets.main([str(leaky), *arguments])
        assert ended.value.code == 2


@pytest.mark.parametrize("name", PICTURES)
def test_the_projects_own_pictures_fit_the_card(name):
    path = REPOSITORY / "assets" / name
    assert path.stat().st_size <= MOST_BYTES
    with Image.open(path) as picture:
        assert picture.width == WIDTH
