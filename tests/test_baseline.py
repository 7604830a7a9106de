"""The baselines as a user runs them: what they write, that it scores, and that it is the same each time."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import functools
import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import baseline
import evaluate
import numpy as np
import pixel_classifier
import pytest
import tile_classifiers
import tile_parts
from archive_contents import rewrite
from baseline import MODELS, RECORD_NAME
from make_sample_archives import make_sample_archives
from pixel_classifier import LEVELS, NoRockGlacierError, as_levels, best_threshold, train_pixel_classifier
from predictions import MaskPredictions, read_scores
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from tile_classifiers import fitted, scores_of

from rock_glacier_dataset import CONFIG_NAMES, load_arrays

CLASSIFICATION, SEGMENTATION = CONFIG_NAMES
PLAIN = {CLASSIFICATION: "linear,forest", SEGMENTATION: "pixels"}


@pytest.fixture(scope="module", autouse=True)
def _small_models() -> Iterator[None]:
    """Fewer trees than the baselines have, which tell as much of the sample."""
    fewer = functools.partial(HistGradientBoostingClassifier, max_iter=20)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tile_classifiers, "TREES", 40)
        patch.setattr(pixel_classifier, "HistGradientBoostingClassifier", fewer)
        yield


@pytest.fixture(scope="module")
def familiar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sample whose test tiles were cut over the ground of train: what was learnt there is seen again."""
    folder = tmp_path_factory.mktemp("samples") / "familiar"
    make_sample_archives(folder, train=24, validation=4, test=8, overlap=1)
    return folder


@pytest.fixture(scope="module")
def trained(familiar: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What the plain models write of it, by config."""
    written = {}
    for config, models in PLAIN.items():
        written[config] = tmp_path_factory.mktemp("written") / "out"
        arguments = [str(familiar), str(written[config]), "--name", config, "--models", models, "--num-proc", "1"]
        assert baseline.main(arguments) == 0
    return written


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.parquet")}


@pytest.mark.parametrize("config", CONFIG_NAMES)
def test_there_is_a_file_for_each_model_and_a_record(trained, config):
    names = {f"{model}-test.parquet" for model in PLAIN[config].split(",")}
    assert {path.name for path in trained[config].iterdir()} == {*names, RECORD_NAME}
    record = json.loads((trained[config] / RECORD_NAME).read_text())
    assert record["config"] == config
    assert record["seed"] == 0
    assert record["tiles"] == {"train": 24, "validation": 4, "test": 8}
    assert {"python", "numpy", "scipy", "scikit-learn"} == set(record["versions"])
    for told in record["models"].values():
        assert len(told["features"]) > 20
        assert told["validation"]
        assert all(seconds >= 0 for seconds in told["seconds"].values())


@pytest.mark.parametrize("model", ["linear", "forest"])
def test_classifiers_tell_ground_that_they_know(familiar, trained, model):
    paths, scores = read_scores(trained[CLASSIFICATION] / f"{model}-test.parquet")
    truth = load_arrays(CLASSIFICATION, split="test", data_dir=familiar)
    assert paths == truth["path"].tolist()
    assert roc_auc_score(truth["labels"], scores) > 0.8


def test_pixels_are_told_better_than_by_chance(familiar, trained):
    truth = load_arrays(SEGMENTATION, split="test", data_dir=familiar)
    found = dict(MaskPredictions(trained[SEGMENTATION] / "pixels-test.parquet"))
    assert list(found) == truth["path"].tolist()
    masks = np.stack(list(found.values())).astype(bool)
    rock_glacier = truth["masks"] == 1
    assert masks.any()
    assert rock_glacier[masks].mean() > 1.5 * rock_glacier.mean()


def test_the_command_that_is_printed_scores(sample, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for config, models in PLAIN.items():
        out = f"out of {config}"
        arguments = [str(sample), out, "--name", config, "--models", models, "--split", "validation"]
        assert baseline.main([*arguments, "--num-proc", "1"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.split(":")[0] for line in lines] == models.split(",")
        for line in lines:
            program, script, *arguments = shlex.split(line.split("; ")[1])
            assert (program, script) == ("python", "scripts/evaluate.py")
            assert evaluate.main([*arguments, "--replicates", "100"]) == 0
        assert "4 tiles" in capsys.readouterr().out


def test_the_same_seed_gives_the_same_bytes_however_many_work(familiar, trained, tmp_path, monkeypatch):
    monkeypatch.setattr(tile_parts, "PART", 8)  # so that there is something to deal
    again = [str(familiar), str(tmp_path / "again"), "--name", SEGMENTATION, "--models", "pixels", "--num-proc", "2"]
    assert baseline.main(again) == 0
    assert files_of(tmp_path / "again") == files_of(trained[SEGMENTATION])


@pytest.mark.parametrize("model", ["linear", "forest"])
def test_classifiers_give_the_same_scores_however_many_threads_work(model):
    rng = np.random.default_rng(0)
    # Tiles that look alike and are of both classes: each tree gives a fraction, whose sum depends on the order.
    features, labels = rng.integers(0, 2, (500, 8)).astype(np.float32), rng.integers(0, 2, 500)
    alone, together = (scores_of(fitted(model, features, labels, 0, threads), features) for threads in (1, 4))
    assert alone.tobytes() == together.tobytes()


def test_another_seed_gives_another_forest(familiar, trained, tmp_path):
    other = [str(familiar), str(tmp_path / "out"), "--name", CLASSIFICATION, "--models", "forest", "--seed", "1"]
    assert baseline.main([*other, "--num-proc", "1"]) == 0
    assert files_of(tmp_path / "out")["forest-test.parquet"] != files_of(trained[CLASSIFICATION])["forest-test.parquet"]


def test_test_labels_are_not_looked_at(familiar, trained, tmp_path):
    """With the classes of the test tiles changed about, their predictions stay."""
    assert set(files_of(trained[CLASSIFICATION])) == {"linear-test.parquet", "forest-test.parquet"}
    truth = load_arrays(CLASSIFICATION, split="test", data_dir=familiar)
    _, scores = read_scores(trained[CLASSIFICATION] / "linear-test.parquet")
    arrays = {split: load_arrays(CLASSIFICATION, split=split, data_dir=familiar) for split in ("train", "validation")}
    swapped = truth | {"labels": 1 - truth["labels"]}
    (tmp_path / "out").mkdir()
    task = baseline.Task(CLASSIFICATION, arrays | {"test": swapped}, ("test",), tmp_path / "out", 0, 1)
    list(baseline._run_models(task, ["linear"]))
    assert np.array_equal(read_scores(tmp_path / "out" / "linear-test.parquet").scores, scores)


def test_a_folder_that_is_there_stays_as_it_is(sample, tmp_path, capsys):
    (tmp_path / "note").write_text("mine")
    assert baseline.main([str(sample), str(tmp_path), "--name", CLASSIFICATION, "--models", "linear"]) == 1
    assert "not empty; name a new folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["note"]


def test_train_with_nothing_to_learn_is_told(sample_copy, tmp_path, capsys):
    (sample_copy / "manifest.json").unlink()
    rewrite(sample_copy / "train.zip", lambda members: [one for one in members if "cordillera" not in one[0].filename])
    arguments = [str(sample_copy), str(tmp_path / "out"), "--name", CLASSIFICATION, "--num-proc", "1"]
    assert baseline.main(arguments) == 1
    assert "train: has no cordillera tiles, so that there is nothing to learn" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_masks_with_nothing_to_learn_are_told(sample):
    train = load_arrays(SEGMENTATION, split="train", data_dir=sample)
    with pytest.raises(NoRockGlacierError, match="train: no pixels are rock glacier"):
        train_pixel_classifier(train["image"][:2], np.zeros_like(train["masks"][:2]), 0, 1)


def test_no_archives_are_told(tmp_path, capsys):
    assert baseline.main([str(tmp_path), str(tmp_path / "out"), "--name", CLASSIFICATION]) == 1
    assert ": error: " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "wrong", [("--models", "unet"), ("--models", "linear,oak"), ("--seed", "-1"), ("--num-proc", "0")]
)
def test_wrong_usage_has_status_2(sample, tmp_path, wrong):
    with pytest.raises(SystemExit) as ended:
        baseline.main([str(sample), str(tmp_path / "out"), "--name", CLASSIFICATION, *wrong])
    assert ended.value.code == 2


def test_without_torch_nets_are_left_out_and_named(sample, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(baseline, "has_torch", lambda: False)
    assert baseline.main([str(sample), str(tmp_path / "out"), "--name", CLASSIFICATION, "--num-proc", "1"]) == 0
    assert "cnn was left out, for PyTorch is not here; install it" in capsys.readouterr().err
    assert "cnn-test.parquet" not in files_of(tmp_path / "out")
    arguments = [str(sample), str(tmp_path / "net"), "--name", CLASSIFICATION, "--models", "cnn"]
    assert baseline.main(arguments) == 1
    assert "cnn asks for PyTorch, which is not here" in capsys.readouterr().err


@pytest.mark.parametrize("config", CONFIG_NAMES)
def test_nets_learn_and_are_the_same_each_time(sample, tmp_path, monkeypatch, config):
    torch_baselines = pytest.importorskip("torch_baselines", reason="left out: PyTorch is not here")
    net = MODELS[config][-1]
    monkeypatch.setitem(torch_baselines.EPOCHS, net, 1)
    for name in ("one", "other"):
        arguments = [str(sample), str(tmp_path / name), "--name", config, "--models", net, "--num-proc", "1"]
        assert baseline.main(arguments) == 0
    assert files_of(tmp_path / "one") == files_of(tmp_path / "other")
    record = json.loads((tmp_path / "one" / RECORD_NAME).read_text())
    assert record["models"][net]["epoch"] == 1
    assert "torch" in record["versions"]


def test_the_threshold_is_the_one_that_fits_best():
    masks = np.zeros((2, 128, 128), np.uint8)
    masks[0, :64] = 1
    levels = np.full(masks.shape, 10, np.uint8)
    levels[0, :80] = 100  # too much of it
    levels[0, :60] = 200
    assert best_threshold(iter([levels[:1], levels[1:]]), masks) == (101, 60 / 64)
    assert best_threshold(iter([levels]), np.zeros_like(masks)) == (LEVELS // 2, 0)


def test_levels_keep_the_order_of_probabilities():
    levels = as_levels(np.linspace(0, 1, 1001))
    assert levels[0] == 0
    assert levels[-1] == LEVELS - 1
    assert (np.diff(levels.astype(int)) >= 0).all()
