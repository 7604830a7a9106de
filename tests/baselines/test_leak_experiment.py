"""The leak, measured: on ground where random folds must score better than grouped ones, and on the real tiles."""

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
    cross_validate,
    read_tiles,
)
from rock_glacier.grounds.components import number_grounds
from rock_glacier.parallel import Workers
from rock_glacier.sample.generate import make_sample_archives
from rock_glacier_dataset import load_archives

SPLITS = ("train", "validation", "test")


def write_tiles(folder: Path, grounds: int) -> Path:
    """Write archives of grounds, each of three tiles that overlap and of a colour that does not depend on its class."""
    members: dict[str, list[tuple[str, bytes]]] = {split: [] for split in SPLITS}
    for number in range(grounds):
        name = "cordillera" if number % 2 else "glaciar"
        tone = np.random.default_rng(number).integers(30, 180, 3, np.uint8)
        whole = ground(number, 256) // 4 + tone
        for tile, split in enumerate(SPLITS):
            png = io.BytesIO()
            Image.fromarray(whole[:, 20 * tile : 20 * tile + 128]).convert("RGBA").save(png, "PNG")
            members[split].append((f"{split}/{name}/{number:03d}{tile}.png", png.getvalue()))
    folder.mkdir()
    for split, of_split in members.items():
        write_archive(folder / f"{split}.zip", of_split)
    return folder


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], list[str]]:
    """The experiment on eight grounds of three tiles: the folder of archives and files, the figures and the lines."""
    folder, printed = tmp_path_factory.mktemp("measured"), io.StringIO()
    archives = write_tiles(folder / "archives", 8)
    files = ["--json", str(folder / "leak.json"), "--out", str(folder / "leak.png")]
    with contextlib.redirect_stdout(printed):
        assert main([str(archives), "--num-proc", "1", "--repeats", "2", "--folds", "2", "--seed", "7", *files]) == 0
    return folder, json.loads((folder / "leak.json").read_text()), printed.getvalue().splitlines()


def test_random_folds_score_memory_and_grouped_ones_do_not(measured):
    _, figures, lines = measured
    assert figures["tiles"] == {"cordillera": 12, "glaciar": 12}
    assert figures["grounds"] == {"all": 8, "largest": 3, "cordillera": 4, "glaciar": 4}
    for labelling in LABELLINGS:
        assert set(figures["scores"][labelling]) == {"linear", "forest", "nearest"}
        for scores in figures["scores"][labelling].values():
            random, grouped = (scores[scheme]["balanced_accuracy"]["mean"] for scheme in SCHEMES)
            assert random > 0.75
            assert random - grouped > 0.1
            assert scores["random"]["familiar"] > 0.75
            assert scores["grouped"]["familiar"] == 0
    assert lines[0] == "tiles: 12 cordillera in 4 grounds, 12 glaciar in 4 grounds; the largest ground has 3"
    assert lines[1] == "folds: 2; 2 repeats, seeds from 7"
    names = [f"{labelling} {model}" for labelling in LABELLINGS for model in figures["scores"][labelling]]
    assert [line.partition(":")[0] for line in lines[2:]] == names
    shown = [*scores["grouped"]["balanced_accuracy"].values()]
    assert "grouped {:.2f} [{:.2f}, {:.2f}], difference".format(*shown) in lines[-1]


def test_each_repeat_has_its_own_seed_and_control(measured):
    folder, figures, _ = measured
    tiles = read_tiles(str(folder / "archives"), Workers(1))
    for labelling in LABELLINGS:
        expected: dict[str, list[float]] = {scheme: [] for scheme in SCHEMES}
        for scheme, seed in itertools.product(SCHEMES, (7, 8)):
            labels = tiles.labels if labelling == "classes" else assign_classes(tiles.grounds, seed)
            expected[scheme].append(cross_validate("nearest", scheme, tiles._replace(labels=labels), 2, seed)[0])
        found = figures["scores"][labelling]["nearest"]
        difference = np.subtract(expected["random"], expected["grouped"])
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


def test_the_chart_of_the_card_shows_its_figures(tmp_path):
    draw_leak(json.loads((REPOSITORY / "assets" / "leak.json").read_text(encoding="utf-8")), tmp_path / "leak.png")
    charts = []
    for file in (tmp_path / "leak.png", REPOSITORY / "assets" / "leak.png"):
        with Image.open(file) as chart:
            charts.append(np.array(chart.convert("RGB"), np.int64))
    differing = (np.abs(charts[0] - charts[1]) > 64).any(axis=-1)
    assert differing.mean() < 0.005  # versions of matplotlib may place a letter otherwise


def random_tiles(seed: int, number: int = 100) -> TileSet:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(number, 5)).astype(np.float32)
    return TileSet(features, rng.integers(0, 2, number), rng.integers(0, 12, number))


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
    tiles = TileSet(np.eye(4, dtype=np.float32), classes, classes)
    assert cross_validate("linear", "grouped", tiles, 2, 0) == (0, 0)


def test_the_control_assigns_classes_to_whole_grounds():
    grounds = np.repeat(np.arange(9), [50, 55, 57, 10, 10, 10, 8, 8, 4])
    assigned = [assign_classes(grounds, seed) for seed in range(10)]
    for labels in assigned:
        assert all(len(set(labels[grounds == one])) == 1 for one in range(9))
        assert 0.25 < labels.mean() < 0.75
    assert len({labels.tobytes() for labels in assigned}) > 5


def on_grounds(grounds: int) -> TileSet:
    numbers = np.repeat(np.arange(grounds), 2)
    return TileSet(np.zeros((2 * grounds, 1), np.float32), numbers % 2, numbers)


@pytest.mark.parametrize(("grounds", "folds"), [(4, 2), (7, 3), (40, 5)])
def test_there_are_as_many_folds_as_the_rarer_class_has_grounds_up_to_five(grounds, folds):
    assert choose_folds(on_grounds(grounds), None) == folds
    assert choose_folds(on_grounds(grounds), 2) == 2


@pytest.mark.parametrize(
    ("grounds", "folds", "message"),
    [
        (3, None, "the glaciar tiles lie in 1 ground, too few for 2 folds; add tiles of other grounds"),
        (4, 3, "tiles lie in 2 grounds, too few for 3 folds; give --folds 2, or add tiles"),
    ],
)
def test_too_few_grounds_are_named(grounds, folds, message):
    with pytest.raises(ValueError, match=message):
        choose_folds(on_grounds(grounds), folds)


@pytest.mark.parametrize(
    "wrong", [("--folds", "1"), ("--repeats", "0"), ("--seed", "-1"), ("--out", "leak.svg"), ("--out", "away/leak.png")]
)
def test_wrong_usage_has_status_2(tmp_path, monkeypatch, wrong):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main([".", *wrong])
    assert ended.value.code == 2


def test_grounds_csv_beside_the_archives_goes_before_the_tiles_that_overlap(tmp_path):
    """The twin of the next test."""
    folder = tmp_path / "sample"
    make_sample_archives(folder, train=4, validation=2, test=2, overlap=1)
    tiles = read_tiles(str(folder), Workers(1))
    assert np.isin(tiles.grounds[4:], tiles.grounds[:4]).all()  # validation and test were cut over the ground of train
    paths = load_archives(data_dir=folder, split="+".join(SPLITS))["path"]
    rows = [f"{path},{number // 3}" for number, path in enumerate(paths)]
    (folder / "grounds.csv").write_text("\n".join(["path,ground", *rows[::-1], ""]))
    beside = read_tiles(str(folder), Workers(1))
    assert beside.grounds.tolist() == [0, 0, 0, 1, 1, 1, 2, 2]
    assert np.array_equal(beside.features, tiles.features)


def test_the_real_tiles_leak(real_archives, tmp_path):
    """A quarter of the tiles; their grounds are those measured independently."""
    folder = Path(shutil.copytree(real_archives, tmp_path / "real"))
    for archive in folder.glob("*.zip"):
        rewrite(archive, lambda members: [one for one in members if "/masks/" not in one[0].filename][::4])
    tiles = read_tiles(str(folder), Workers(1))
    paths = load_archives(data_dir=folder, split="+".join(SPLITS))["path"]
    places = {path: number for number, path in enumerate(paths)}
    with (real_archives.parent / "overlaps.csv").open() as pairs:
        named = [(row["a"], row["b"]) for row in csv.DictReader(pairs)]
    overlaps = [(places[a], places[b]) for a, b in named if a in places and b in places]
    assert tiles.grounds.tolist() == number_grounds(len(places), overlaps)
    random, grouped = (
        np.mean([cross_validate("nearest", scheme, tiles, 3, seed)[0] for seed in range(5)]) for scheme in SCHEMES
    )
    assert random - grouped > 0.05
