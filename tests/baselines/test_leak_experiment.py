"""The leak, measured: on ground where random folds must score better than others, and on the real tiles."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from archive_contents import rewrite
from conftest import REPOSITORY
from PIL import Image
from source_folders import ground

from rock_glacier.archives.writer import write_archive
from rock_glacier.baselines.leak_chart import draw_leak
from rock_glacier.baselines.leak_command import main
from rock_glacier.baselines.leak_experiment import (
    LABELLINGS,
    SCHEMES,
    TileSet,
    assign_classes,
    choose_folds,
    count_parts,
    cross_validate,
    read_tiles,
)
from rock_glacier.grounds.components import number_grounds
from rock_glacier.parallel import Workers
from rock_glacier.sample.terrain import make_ground, render_date
from rock_glacier_dataset import CLASS_NAMES, load_archives

SPLITS = ("train", "validation", "test")


def png_of(rgb: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(rgb.astype(np.uint8)).convert("RGBA").save(file, "PNG")
    return file.getvalue()


def write_members(folder: Path, members: dict[str, list[tuple[str, bytes]]]) -> Path:
    folder.mkdir()
    for split, of_split in members.items():
        write_archive(folder / f"{split}.zip", of_split)
    return folder


def write_tiles(folder: Path, grounds: int) -> Path:
    """Write archives of grounds, each of two tiles that overlap and one of a darker date.

    The colour of a ground does not depend on its class.
    """
    members: dict[str, list[tuple[str, bytes]]] = {split: [] for split in SPLITS}
    for number in range(grounds):
        name = "cordillera" if number % 2 else "glaciar"
        tone = np.random.default_rng(number).integers(30, 180, 3, np.uint8)
        whole = ground(number, 256) // 4 + tone
        for tile, split in enumerate(SPLITS):
            pixels = whole[:, 20 * tile : 20 * tile + 128] * (0.9 if tile == 2 else 1)
            members[split].append((f"{split}/{name}/{number:03d}{tile}.png", png_of(pixels)))
    return write_members(folder, members)


PLACE_TILES = 21
"""Tiles of each place of `write_places`."""


def write_places(folder: Path) -> Path:
    """Write archives of a long place of each class, whose neighbouring tiles are of other dates."""
    members: dict[str, list[tuple[str, bytes]]] = {split: [] for split in SPLITS}
    for seed, name in enumerate(CLASS_NAMES):
        rng = np.random.default_rng(seed)
        whole = render_date(rng, make_ground(rng, 768, False))[:128] / 255
        for number in range(PLACE_TILES):
            tile = 20 + 50 * (number % 4) + 80 * whole[:, 32 * number : 32 * number + 128]
            split = SPLITS[number % 3]
            members[split].append((f"{split}/{name}/{number:03d}.png", png_of(tile)))
    return write_members(folder, members)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], list[str]]:
    """The experiment on eight grounds of three tiles: the folder of archives and files, the figures and the lines."""
    folder, printed = tmp_path_factory.mktemp("measured"), io.StringIO()
    archives = write_tiles(folder / "archives", 8)
    files = ["--json", str(folder / "leak.json"), "--out", str(folder / "leak.png")]
    with contextlib.redirect_stdout(printed):
        assert main([str(archives), "--num-proc", "1", "--repeats", "2", "--folds", "2", "--seed", "7", *files]) == 0
    return folder, json.loads((folder / "leak.json").read_text()), printed.getvalue().splitlines()


def test_random_folds_score_memory_and_others_do_not(measured):
    folder, figures, lines = measured
    assert figures["tiles"] == {"cordillera": 12, "glaciar": 12}
    assert figures["places"] == figures["blocks"] == {"all": 8, "cordillera": 4, "glaciar": 4}
    assert figures["groups"] == {"all": 16, "cordillera": 8, "glaciar": 8}
    assert figures["left_out"] == 0
    for labelling in LABELLINGS:
        assert set(figures["scores"][labelling]) == {"linear", "forest", "nearest"}
        for scores in figures["scores"][labelling].values():
            random, _, blocks = (scores[scheme]["balanced_accuracy"]["mean"] for scheme in SCHEMES)
            assert random > 0.75
            assert random - blocks > 0.1
            assert scores["random"]["familiar"] > 0.75
            assert scores["groups"]["familiar"] > 0.25
            assert scores["blocks"]["familiar"] == 0
    assert lines[:4] == [
        "cordillera: 12 tiles; 4 places, 8 groups, 4 blocks",
        "glaciar: 12 tiles; 4 places, 8 groups, 4 blocks",
        "left out: 0 tiles across the lines between blocks",
        "folds: 2; 2 repeats, seeds from 7",
    ]
    names = [f"{labelling} {model}" for labelling in LABELLINGS for model in figures["scores"][labelling]]
    assert [line.partition(":")[0] for line in lines[4:-2]] == names
    assert lines[-2:] == [f"wrote {folder / name}" for name in ("leak.json", "leak.png")]
    shown = [*scores["blocks"]["balanced_accuracy"].values()]
    assert "blocks {:.2f} [{:.2f}, {:.2f}], difference".format(*shown) in lines[-3]


def test_each_repeat_has_its_own_seed_and_control(measured):
    folder, figures, _ = measured
    tiles = read_tiles(str(folder / "archives"), Workers(1))
    for labelling in LABELLINGS:
        expected: dict[str, list[float]] = {scheme: [] for scheme in SCHEMES}
        for scheme, seed in itertools.product(SCHEMES, (7, 8)):
            labels = tiles.labels if labelling == "classes" else assign_classes(tiles, seed)
            expected[scheme].append(cross_validate("nearest", scheme, tiles._replace(labels=labels), 2, seed)[0])
        found = figures["scores"][labelling]["nearest"]
        difference = np.subtract(expected["random"], expected["blocks"])
        for values, numbers in (
            *((expected[scheme], found[scheme]["balanced_accuracy"]) for scheme in SCHEMES),
            (difference, found["difference"]),
        ):
            ends = np.quantile(values, [0.025, 0.975])
            assert [*numbers.values()] == pytest.approx([np.mean(values), *ends], abs=1e-4)


def test_there_is_a_chart_beside_the_figures(measured):
    folder, *_ = measured
    assert sorted(path.name for path in folder.iterdir()) == ["archives", "leak.json", "leak.png"]
    with Image.open(folder / "leak.png") as chart:
        assert chart.format == "PNG"


def test_the_chart_of_the_card_shows_its_figures():
    drawn = draw_leak(json.loads((REPOSITORY / "assets" / "leak.json").read_text(encoding="utf-8")))
    charts = []
    for file in (io.BytesIO(drawn), REPOSITORY / "assets" / "leak.png"):
        with Image.open(file) as chart:
            charts.append(np.array(chart.convert("RGB"), np.int64))
    differing = (np.abs(charts[0] - charts[1]) > 64).any(axis=-1)
    assert differing.mean() < 0.005  # versions of matplotlib may place a letter otherwise


def random_tiles(seed: int, number: int = 100) -> TileSet:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(number, 5)).astype(np.float32)
    grounds = rng.integers(0, 12, number)
    return TileSet(features, rng.integers(0, 2, number), grounds, grounds, grounds)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_seed_decides_the_folds(scheme):
    tiles = random_tiles(0, 200)
    one, same, other = (cross_validate("nearest", scheme, tiles, 4, seed) for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_tiles_are_tested_by_models_that_were_not_trained_on_them():
    tiles = random_tiles(3, 400)  # whose classes only memory can tell
    accuracy, familiar = cross_validate("nearest", "random", tiles, 4, 0)
    assert accuracy < 0.6
    assert familiar == 1


def test_where_only_one_class_is_left_to_train_on_it_is_predicted():
    classes = np.array([0, 0, 1, 1])
    tiles = TileSet(np.eye(4, dtype=np.float32), classes, classes, classes, classes)
    assert cross_validate("linear", "blocks", tiles, 2, 0) == (0, 0)


@pytest.mark.parametrize("sizes", [[50, 55, 57, 10, 10, 10, 8, 8, 4], [162, 46, 92]])
def test_the_control_assigns_whole_places_of_each_class_to_both_classes(sizes):
    places = np.repeat(np.arange(len(sizes)), sizes)
    own = (places >= len(sizes) // 3).astype(np.int64)
    tiles = TileSet(np.zeros((len(own), 1), np.float32), own, places, places, places)
    assigned = [assign_classes(tiles, seed) for seed in range(10)]
    for labels in assigned:
        assert all(len(set(labels[places == one])) == 1 for one in range(len(sizes)))
        assert set(labels[own == 1]) == {0, 1}
        assert 0.15 < labels.mean() < 0.85
    assert len({labels.tobytes() for labels in assigned}) > len(sizes) // 2


def on_grounds(grounds: int, groups: int = 40) -> TileSet:
    numbers = np.repeat(np.arange(grounds), 2)
    return TileSet(np.zeros((2 * grounds, 1), np.float32), numbers % 2, numbers % (2 * groups), numbers, numbers)


@pytest.mark.parametrize(("grounds", "folds"), [(4, 2), (7, 3), (40, 5)])
def test_there_are_as_many_folds_as_a_class_has_blocks_or_groups_up_to_five(grounds, folds):
    assert choose_folds(on_grounds(grounds), None) == folds
    assert choose_folds(on_grounds(grounds), 2) == 2
    assert choose_folds(on_grounds(grounds, groups=2), None) == 2


@pytest.mark.parametrize(
    ("grounds", "folds", "message"),
    [
        (3, None, "the glaciar tiles lie in 1 block, too few for 2 folds; add tiles of other ground"),
        (4, 3, "tiles lie in 2 blocks, too few for 3 folds; give --folds 2, or add tiles"),
    ],
)
def test_too_few_grounds_are_named(grounds, folds, message):
    with pytest.raises(ValueError, match=message):
        choose_folds(on_grounds(grounds), folds)


@pytest.mark.parametrize(
    "wrong",
    [
        ("--folds", "1"),
        ("--repeats", "0"),
        ("--seed", "-1"),
        ("--out", "leak.svg"),
        ("--out", "away/leak.png"),
        ("--out", "leak.png", "--json", "./leak.png"),
    ],
)
def test_wrong_usage_has_status_2(tmp_path, monkeypatch, wrong):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main([".", *wrong])
    assert ended.value.code == 2


def test_a_place_is_cut_into_blocks_and_tiles_across_a_line_are_left_out(tmp_path):
    """The twin of the next test: two places of one class each, larger than a tile."""
    folder = write_places(tmp_path / "places")
    tiles = read_tiles(str(folder), Workers(1))
    counts = count_parts(tiles)
    assert counts["places"] == {"all": 2, "cordillera": 1, "glaciar": 1}
    assert counts["blocks"]["cordillera"] == counts["blocks"]["glaciar"] == 3
    assert tiles.left_out > 0
    assert len(tiles.labels) + tiles.left_out == 2 * PLACE_TILES
    assert choose_folds(tiles, None) == 3
    assert cross_validate("nearest", "blocks", tiles, 3, 0)[1] == 0
    assert cross_validate("nearest", "groups", tiles, 3, 0)[1] > 0.5


def test_the_real_tiles_leak(real_archives, tmp_path):
    """A quarter of the tiles; their groups are those measured independently."""
    folder = Path(shutil.copytree(real_archives, tmp_path / "real"))
    for archive in folder.glob("*.zip"):
        rewrite(archive, lambda members: [one for one in members if "/masks/" not in one[0].filename][::4])
    tiles = read_tiles(str(folder), Workers(1))
    with (real_archives.parent / "overlaps.csv").open() as pairs:
        named = [(row["a"], row["b"]) for row in csv.DictReader(pairs)]
    paths = load_archives(data_dir=folder, split="+".join(SPLITS))["path"]
    numbers = {path: number for number, path in enumerate(paths)}
    overlaps = [(numbers[a], numbers[b]) for a, b in named if a in numbers and b in numbers]
    counts = count_parts(tiles)
    assert counts["groups"]["all"] <= len(set(number_grounds(len(numbers), overlaps)))
    assert counts["places"]["all"] <= counts["blocks"]["all"]
    assert len(tiles.labels) + tiles.left_out == len(numbers)
    folds = choose_folds(tiles, None)
    random, _, blocks = (
        np.mean([cross_validate("nearest", scheme, tiles, folds, seed)[0] for seed in range(3)]) for scheme in SCHEMES
    )
    assert random - blocks > 0.05
