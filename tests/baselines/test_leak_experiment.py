"""The leak, measured: on ground where random folds must score better than grouped ones, and on the real tiles."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import contextlib
import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from archive_contents import contents
from conftest import REPOSITORY
from PIL import Image
from sklearn.metrics import balanced_accuracy_score
from source_folders import ground

from rock_glacier.archives.writer import write_archive
from rock_glacier.baselines.leak_chart import draw_leak
from rock_glacier.baselines.leak_command import main
from rock_glacier.baselines.leak_experiment import (
    LABELLINGS,
    SCHEMES,
    TileSet,
    accuracy_statistic,
    assign_classes,
    balanced_accuracy,
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
def leaky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve grounds of three tiles."""
    return write_tiles(tmp_path_factory.mktemp("leaky") / "archives", 12)


def measure(folder: Path, out: Path, *more: str) -> dict[str, Any]:
    arguments = [str(folder), "--num-proc", "1", "--repeats", "1", "--folds", "3", "--json", str(out), *more]
    assert main(arguments) == 0
    return json.loads(out.read_text())


@pytest.fixture(scope="module")
def measured(leaky: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], list[str]]:
    """The experiment on such ground: its folder, figures and lines."""
    folder, printed = tmp_path_factory.mktemp("measured"), io.StringIO()
    with contextlib.redirect_stdout(printed):
        figures = measure(leaky, folder / "leak.json", "--out", str(folder / "leak.png"))
    return folder, figures, printed.getvalue().splitlines()


def test_random_folds_score_memory_and_grouped_ones_do_not(measured):
    _, figures, _ = measured
    assert figures["tiles"] == {"cordillera": 18, "glaciar": 18}
    assert figures["grounds"] == {"all": 12, "largest": 3, "cordillera": 6, "glaciar": 6}
    for labelling in LABELLINGS:
        assert set(figures["scores"][labelling]) == {"linear", "forest", "nearest"}
        for scores in figures["scores"][labelling].values():
            assert scores["random"]["balanced_accuracy"]["mean"] > 0.8
            assert scores["random"]["familiar"] == 1
            assert scores["grouped"]["familiar"] == 0
            assert scores["difference"]["repeats"]["mean"] > 0.05
        grouped = [scores["grouped"]["balanced_accuracy"]["mean"] for scores in figures["scores"][labelling].values()]
        assert np.mean(grouped) < 0.75
    of_forest = figures["scores"]["classes"]["forest"]["difference"]["grounds"]
    assert of_forest["low"] < of_forest["mean"] < of_forest["high"]


def test_there_is_a_line_for_each_model_and_a_chart(measured, tmp_path):
    folder, figures, lines = measured
    assert lines[1] == "folds: 3; 1 repeat, seeds from 0"
    assert lines[0] == "tiles: 18 cordillera in 6 grounds, 18 glaciar in 6 grounds; the largest ground has 3"
    assert len(lines) == 2 + len(LABELLINGS) * 3
    assert sorted(path.name for path in folder.iterdir()) == ["leak.json", "leak.png"]
    with Image.open(folder / "leak.png") as chart:
        assert chart.format == "PNG"
    draw_leak(figures, tmp_path / "again.png")
    assert (tmp_path / "again.png").read_bytes() == (folder / "leak.png").read_bytes()


def test_the_number_of_processes_changes_nothing(leaky, measured, tmp_path):
    assert measure(leaky, tmp_path / "leak.json", "--num-proc", "2") == measured[1]


def test_grounds_csv_beside_the_archives_or_given_is_taken(leaky, tmp_path):
    folder = write_tiles(tmp_path / "archives", 4)
    overlapping = read_tiles(str(folder), None, Workers(1))
    paths = [path for split in SPLITS for path in contents(folder, split)]
    arranged = sorted(paths, key=lambda path: path.split("/")[-1])
    for file, size in ((folder / "grounds.csv", 4), (tmp_path / "other.csv", 6)):
        rows = [f"{path},{number // size}" for number, path in enumerate(arranged)]
        file.write_text("\n".join(["path,ground", *rows, ""]))
    for given, expected in ((None, 3), (tmp_path / "other.csv", 2)):
        tiles = read_tiles(str(folder), given, Workers(1))
        assert len(set(tiles.grounds.tolist())) == expected
        assert np.array_equal(tiles.features, overlapping.features)
    assert len(set(overlapping.grounds.tolist())) == 4


def random_tiles(seed: int, number: int = 100) -> TileSet:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(number, 5)).astype(np.float32)
    return TileSet(features, rng.integers(0, 2, number), rng.integers(0, 12, number))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_seed_decides_the_folds(scheme):
    tiles = random_tiles(0)
    one, same, other = (cross_validate("nearest", scheme, tiles, 4, seed) for seed in (1, 1, 2))
    assert np.array_equal(one.correct, same.correct)
    assert not np.array_equal(one.correct, other.correct)


def test_tiles_are_tested_by_models_that_were_not_trained_on_them():
    tiles = random_tiles(3, 400)  # whose classes only memory can tell
    assert balanced_accuracy(cross_validate("nearest", "random", tiles, 4, 0).correct, tiles.labels) < 0.6


def test_where_only_one_class_is_left_to_train_on_it_is_predicted():
    classes = np.array([0, 0, 1, 1])
    found = cross_validate("linear", "grouped", TileSet(np.eye(4, dtype=np.float32), classes, classes), 2, 0)
    assert not found.correct.any()
    assert np.isnan(found.auc)


def test_the_control_assigns_classes_to_whole_grounds():
    grounds = np.repeat(np.arange(9), [50, 55, 57, 10, 10, 10, 8, 8, 4])
    assigned = [assign_classes(grounds, seed) for seed in range(10)]
    for labels in assigned:
        assert all(len(set(labels[grounds == one])) == 1 for one in range(9))
        assert 0.25 < labels.mean() < 0.75
    assert len({labels.tobytes() for labels in assigned}) > 5
    assert np.array_equal(assign_classes(grounds, 3), assigned[3])


def test_balanced_accuracy_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    labels, predicted, weights = rng.integers(0, 2, 50), rng.integers(0, 2, 50), rng.integers(0, 3, (4, 50))
    found = accuracy_statistic(labels == predicted, labels)(weights.astype(np.float64))[:, 0]
    expected = [balanced_accuracy_score(labels, predicted, sample_weight=row) for row in weights]
    assert found.tolist() == pytest.approx(expected)


@pytest.mark.parametrize(("grounds", "folds"), [(4, 2), (7, 3), (40, 5)])
def test_there_are_as_many_folds_as_the_rarer_class_has_grounds_up_to_five(grounds, folds):
    numbers = np.repeat(np.arange(grounds), 2)
    assert choose_folds(TileSet(np.zeros((2 * grounds, 1), np.float32), numbers % 2, numbers), None) == folds


@pytest.mark.parametrize(
    ("grounds", "more", "message"),
    [
        (3, (), "the cordillera tiles lie in 1 ground, too few for 2 folds; add tiles of other grounds"),
        (4, ("--folds", "3"), "lie in 2 grounds, too few for 3 folds; give --folds 2, or add tiles"),
        (4, ("--grounds", "away.csv"), "away.csv"),
    ],
)
def test_tiles_that_do_not_fit_are_named(tmp_path, capsys, grounds, more, message):
    folder = write_tiles(tmp_path / "archives", grounds)
    assert main([str(folder), "--num-proc", "1", "--json", str(tmp_path / "leak.json"), *more]) == 1
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["archives"]


@pytest.mark.parametrize(
    "wrong", [("--folds", "1"), ("--repeats", "0"), ("--seed", "-1"), ("--out", "leak.svg"), ("--out", "away/leak.png")]
)
def test_wrong_usage_has_status_2(tmp_path, monkeypatch, wrong):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main([".", *wrong])
    assert ended.value.code == 2


def test_tiles_of_a_sample_that_overlap_are_of_one_ground(tmp_path):
    """The twin of the next test."""
    make_sample_archives(tmp_path / "sample", train=6, validation=2, test=4, overlap=1)
    tiles = read_tiles(str(tmp_path / "sample"), None, Workers(1))
    assert len(tiles.features) == 12
    assert np.isin(tiles.grounds[6:], tiles.grounds[:6]).all()  # validation and test were cut over the ground of train


def test_the_real_tiles_leak(real_archives):
    """As the committed figures say, by one nearest neighbour; the grounds are those measured independently."""
    tiles = read_tiles(str(real_archives), None, Workers(1))
    paths = load_archives(data_dir=real_archives, split="+".join(SPLITS))["path"]
    places = {path: number for number, path in enumerate(paths)}
    with (real_archives.parent / "overlaps.csv").open() as pairs:
        overlaps = [(places[row["a"]], places[row["b"]]) for row in csv.DictReader(pairs)]
    assert tiles.grounds.tolist() == number_grounds(len(places), overlaps)
    committed = json.loads((REPOSITORY / "assets" / "leak.json").read_text())
    for scheme in SCHEMES:
        found = cross_validate("nearest", scheme, tiles, committed["folds"], 0)
        expected = committed["scores"]["classes"]["nearest"][scheme]["balanced_accuracy"]
        accuracy = balanced_accuracy(found.correct, tiles.labels)
        assert expected["low"] - 0.05 <= accuracy <= expected["high"] + 0.05
