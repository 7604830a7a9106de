"""The leak, measured: on ground where random folds must look better than grouped ones, and on the real tiles."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import contextlib
import csv
import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import leak_experiment
import numpy as np
import pytest
import tile_classifiers
from conftest import REPOSITORY
from cross_validation import SCHEMES, balanced_accuracy, bootstrapped, folds_of, most_folds, relabelled, validate
from leak_chart import draw_leak
from leak_experiment import LABELLINGS, read_tile_set
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from source_folders import save_tile
from tile_classifiers import CLASSIFIERS
from tile_features import features_of_tiles

from rock_glacier.parallel import Workers

ALONE = Workers(1)
TONES = [(60, 90, 150), (150, 90, 60), (90, 150, 60), (120, 60, 120), (60, 120, 120), (140, 140, 60)]


def save_toned(path: Path, seed: int, shift: int, tone: tuple[int, int, int]) -> None:
    """Save a tile whose ground has a colour of its own, by which a model may know it again."""
    save_tile(path, seed, shift)
    noise = np.asarray(Image.open(path).convert("RGB")) // 4
    Image.fromarray((noise + np.array(tone, np.uint8)).astype(np.uint8)).save(path)


@pytest.fixture(scope="module")
def leaky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six grounds of four tiles that overlap; the colours of a ground tell nothing of the class of another."""
    folder = tmp_path_factory.mktemp("leaky") / "tiles"
    for ground, tone in enumerate(TONES):
        kind = "cordillera" if ground % 2 else "glaciarRoca"
        for number in range(4):
            save_toned(folder / f"{kind}_{ground}_{number}.png", ground, 20 * number, tone)
    return folder


def measure(folder: Path, out: Path, *more: str) -> tuple[int, dict[str, Any]]:
    arguments = [str(folder), "--class", "glaciarRoca=glaciar", "--num-proc", "1", "--json", str(out), *more]
    status = leak_experiment.main(arguments)
    return status, json.loads(out.read_text()) if status == 0 else {}


@pytest.fixture(scope="module")
def tile_set(leaky: Path) -> leak_experiment.TileSet:
    return read_tile_set(leaky, {"glaciarRoca": "glaciar"}, ALONE, 1)


@pytest.fixture(scope="module")
def measured(leaky: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], list[str]]:
    """The experiment on such ground, with small forests: its folder, figures and lines."""
    folder, printed = tmp_path_factory.mktemp("measured"), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setattr(tile_classifiers, "TREES", 20)
        status, figures = measure(leaky, folder / "leak.json", "--repeats", "2", "--out", str(folder / "leak.png"))
    assert status == 0
    return folder, figures, printed.getvalue().splitlines()


def test_random_folds_score_memory_and_grouped_ones_do_not(measured):
    _, figures, _ = measured
    assert figures["tiles"] == {"cordillera": 12, "glaciar": 12}
    assert figures["groups"] == {"all": 6, "largest": 4, "cordillera": 3, "glaciar": 3}
    assert figures["folds"] == 3
    for labelling in LABELLINGS:
        for model in CLASSIFIERS:
            told = figures["scores"][labelling][model]
            assert told["random"]["balanced_accuracy"]["mean"] > 0.9
            assert told["random"]["familiar"] == 1
            assert told["grouped"]["familiar"] == 0
            assert told["grouped"]["balanced_accuracy"]["mean"] < 0.8
            assert told["difference"]["repeats"]["mean"] > 0.1
    assert "groups" in figures["scores"]["classes"]["forest"]["difference"]


def test_there_is_a_line_for_each_model_and_a_picture(measured):
    folder, _, printed = measured
    assert printed[0] == "tiles: 12 cordillera in 3 groups, 12 glaciar in 3 groups; the largest group has 4"
    assert len(printed) == 2 + len(LABELLINGS) * len(CLASSIFIERS)
    with Image.open(folder / "leak.png") as picture:
        assert picture.format == "PNG"
    assert (folder / "leak.png").stat().st_size < 300 * 1024
    assert sorted(path.name for path in folder.iterdir()) == ["leak.json", "leak.png"]


def test_the_same_figures_are_the_same_picture(measured, tmp_path):
    folder, figures, _ = measured
    draw_leak(figures, tmp_path / "again.png")
    assert (tmp_path / "again.png").read_bytes() == (folder / "leak.png").read_bytes()


class Elsewhere(Workers):
    """Works as other processes do: on copies, and not in the order that was asked for."""

    def run(self, name, function, arguments):
        function, arguments = pickle.loads(pickle.dumps((function, arguments)))
        return pickle.loads(pickle.dumps([function(*one) for one in arguments[::-1]]))[::-1]


def test_the_figures_do_not_ask_who_worked(tile_set, monkeypatch):
    monkeypatch.setattr(leak_experiment, "CLASSIFIERS", ("linear", "nearest"))  # of the forest, its own test tells it
    alone, together = (leak_experiment.experiment(tile_set, 2, 1, 7, workers) for workers in (ALONE, Elsewhere()))
    assert alone == together


@pytest.mark.parametrize("seed", range(5))
def test_grouped_folds_never_split_a_group(seed):
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, 12, 100)
    labels = rng.integers(0, 2, 100)
    tested = []
    for train, test in folds_of("grouped", labels, groups, 4, seed):
        assert not set(groups[train]) & set(groups[test])
        tested += test.tolist()
    assert sorted(tested) == list(range(100))


def test_random_folds_do_split_groups():
    labels, groups = np.tile([0, 1], 20), np.repeat([0, 1, 2, 3], 10)
    assert all(set(groups[train]) & set(groups[test]) for train, test in folds_of("random", labels, groups, 4, 0))


def test_where_one_class_alone_is_left_to_train_on_it_is_guessed():
    labels, groups = np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1])
    found = validate("linear", "grouped", np.eye(4, dtype=np.float32), labels, groups, 2, 0)
    assert not found.correct.any()
    assert np.isnan(found.auc)


def test_the_control_deals_classes_to_whole_groups():
    groups = np.repeat(np.arange(9), [50, 55, 57, 10, 10, 10, 8, 8, 4])
    labellings = [relabelled(groups, seed) for seed in range(10)]
    for labels in labellings:
        assert all(len(set(labels[groups == group])) == 1 for group in range(9))
        assert 0.25 < labels.mean() < 0.75
    assert len({labels.tobytes() for labels in labellings}) > 5
    assert np.array_equal(relabelled(groups, 3), labellings[3])


def test_the_bootstrap_draws_groups_and_not_tiles():
    labels, groups = np.repeat([0, 1], 40), np.repeat(np.arange(8), 10)
    told = (groups % 2 == 0).astype(np.float64)  # whole groups are told, or not at all
    found = bootstrapped(told, labels, groups, 0)
    assert found.mean == balanced_accuracy(told, labels) == 0.5
    assert found.high - found.low > 0.5  # of single tiles, it would be 0.22
    alike = bootstrapped(np.full(80, 0.75), labels, groups, 0)
    assert alike == (0.75, 0.75, 0.75)


@pytest.mark.parametrize(
    ("names", "more", "message"),
    [
        ((), (), "holds no tiles"),
        (("cordillera_1", "cordillera_2"), (), "holds no glaciar tiles"),
        (("cordillera_1", "cordillera_2", "glaciarRoca_1"), (), "glaciar tiles lie in 1 group of shared ground"),
        (
            ("cordillera_1", "cordillera_2", "glaciarRoca_1", "glaciarRoca_2"),
            ("--folds", "3"),
            "give --folds 2, or add",
        ),
        (("cordillera_1", "glacier_2"), (), "its class cannot be told"),
    ],
)
def test_tiles_that_do_not_do_are_told(tmp_path, capsys, names, more, message):
    (tmp_path / "tiles").mkdir()
    for seed, name in enumerate(names):
        save_tile(tmp_path / "tiles" / f"{name}.png", seed)
    assert measure(tmp_path / "tiles", tmp_path / "leak.json", *more)[0] == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert ": error: " in error
    assert message in error
    assert [path.name for path in tmp_path.iterdir()] == ["tiles"]


@pytest.mark.parametrize(
    "wrong",
    [
        ("--folds", "1"),
        ("--repeats", "0"),
        ("--seed", "-1"),
        ("--out", "leak.svg"),
        ("--out", "away/leak.png"),
        ("--class", "glaciarRoca"),
    ],
)
def test_wrong_usage_has_status_2(tmp_path, monkeypatch, wrong):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        leak_experiment.main([".", *wrong])
    assert ended.value.code == 2


def test_the_real_tiles_leak(real_archives):
    """As the committed figures say, by one nearest neighbour; the groups are those that were measured without us."""
    with (real_archives.parent / "names.csv").open() as names, (real_archives.parent / "overlaps.csv").open() as pairs:
        sources = {row["path"]: row["tile"] for row in csv.DictReader(names)}
        overlaps = [(sources[row["a"]], sources[row["b"]]) for row in csv.DictReader(pairs)]
    with zipfile.ZipFile(real_archives.parent / "raw_tiles.zip") as archive:
        tiles = {Path(name).name: archive.read(name) for name in archive.namelist() if name.endswith(".png")}
    place = {name: number for number, name in enumerate(tiles)}
    linked = coo_array((np.ones(len(overlaps)), np.transpose([[place[one] for one in pair] for pair in overlaps])))
    linked.resize(len(tiles), len(tiles))
    number, groups = connected_components(linked, directed=False)
    labels = np.array([name.startswith("glaciarRoca") for name in tiles], np.int64)
    committed = json.loads((REPOSITORY / "assets" / "leak.json").read_text())
    assert committed["tiles"] == {"cordillera": (labels == 0).sum(), "glaciar": (labels == 1).sum()}
    assert committed["groups"] == {"all": number, "largest": np.bincount(groups).max()} | most_folds(labels, groups)
    images = [np.asarray(Image.open(io.BytesIO(png)).convert("RGB")) for png in tiles.values()]
    features = features_of_tiles(np.stack(images))
    for scheme in SCHEMES:
        found = validate("nearest", scheme, features, labels, groups.astype(np.int64), committed["folds"], 0)
        told = committed["scores"]["classes"]["nearest"][scheme]["balanced_accuracy"]
        assert told["low"] - 0.05 <= balanced_accuracy(found.correct, labels) <= told["high"] + 0.05
