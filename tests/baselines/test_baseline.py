"""The baselines as a user runs them: what they write, that it scores, and that it is the same each time."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from archive_contents import contents, rewrite
from sklearn.metrics import roc_auc_score

from rock_glacier.archives.writer import write_archive
from rock_glacier.arrays import to_arrays
from rock_glacier.baselines import MODELS
from rock_glacier.baselines.baseline import RECORD_NAME
from rock_glacier.baselines.baseline_command import main
from rock_glacier.sample.generate import make_sample_archives
from rock_glacier.scoring import evaluate_command
from rock_glacier.scoring.predictions import MaskPredictions, read_scores
from rock_glacier_dataset import CONFIG_NAMES, EMPTY_MASK, load_archives

CLASSIFICATION, SEGMENTATION = CONFIG_NAMES
SPLITS = {CLASSIFICATION: ("test",), SEGMENTATION: ("validation", "test")}


@pytest.fixture(scope="module")
def familiar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sample whose test tiles were cut over the ground of train: what was learned there is seen again."""
    folder = tmp_path_factory.mktemp("samples") / "familiar"
    make_sample_archives(folder, train=36, validation=4, test=8, overlap=1)
    return folder


@pytest.fixture(scope="module")
def trained(familiar: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What all models write of it, by config."""
    written = {config: tmp_path_factory.mktemp("written") / "out" for config in CONFIG_NAMES}
    for config, out in written.items():
        splits = ["--split", "validation", "--split", "test"] if config == SEGMENTATION else []
        assert main([str(familiar), str(out), "--name", config, "--num-proc", "1", *splits]) == 0
    return written


@pytest.mark.parametrize("config", CONFIG_NAMES)
def test_there_is_a_file_for_each_model_and_a_record(trained, config):
    names = {f"{model}-{split}.parquet" for model in MODELS[config] for split in SPLITS[config]}
    assert {path.name for path in trained[config].iterdir()} == {*names, RECORD_NAME}
    record = json.loads((trained[config] / RECORD_NAME).read_text())
    assert (record["config"], record["seed"]) == (config, 0)
    tiles = {"train": 36, "validation": 4, "test": 8}
    assert record["tiles"] == {split: tiles[split] for split in record["tiles"]}
    assert {"python", "numpy", "scikit-image", "scikit-learn"} == set(record["versions"])
    for model in record["models"].values():
        assert len(model["features"]) > 20
        assert model["validation"] == ("not used" if config == CLASSIFICATION else "chose the threshold of masks")


@pytest.mark.parametrize("model", MODELS[CLASSIFICATION])
def test_classifiers_recognise_ground_that_they_know(familiar, trained, model):
    paths, scores = read_scores(trained[CLASSIFICATION] / f"{model}-test.parquet")
    truth = to_arrays(load_archives(CLASSIFICATION, split="test", data_dir=familiar))
    assert paths == truth["path"].tolist()
    assert roc_auc_score(truth["labels"], scores) > 0.8


def test_masks_are_better_than_chance_and_their_threshold_fits_validation_best(familiar, trained):
    for split in SPLITS[SEGMENTATION]:
        found = dict(MaskPredictions(trained[SEGMENTATION] / f"pixels-{split}.parquet"))
        truth = to_arrays(load_archives(SEGMENTATION, split=split, data_dir=familiar))
        assert list(found) == truth["path"].tolist()
        masks, rock_glacier = np.stack(list(found.values())) == 1, truth["masks"] == 1
        assert rock_glacier[masks].mean() > 1.5 * rock_glacier.mean()
        if split == "validation":
            record = json.loads((trained[SEGMENTATION] / RECORD_NAME).read_text())["models"]["pixels"]
            fit = (masks & rock_glacier).sum() / (masks | rock_glacier).sum()
            assert record["validation_iou"] == pytest.approx(fit, abs=1e-4)
            assert fit > rock_glacier.mean()  # which all of it would reach
            assert 0 < record["threshold"] < 1


def test_the_printed_command_scores(sample, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = [str(sample), "out folder", "--name", CLASSIFICATION, "--split", "validation", "--num-proc", "1"]
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == list(MODELS[CLASSIFICATION])
    for line in lines:
        program, script, *arguments = shlex.split(line.split("; ")[1])
        assert (program, script) == ("python", "scripts/evaluate.py")
        assert evaluate_command.main([*arguments, "--replicates", "100"]) == 0
    assert "validation: 4 tiles" in capsys.readouterr().out


SWAPPED = {"cordillera": "glaciar", "glaciar": "cordillera"}


def swap(path: str) -> str:
    split, name, file = path.split("/")
    return f"{split}/{SWAPPED[name]}/{file}"


@pytest.fixture(scope="module")
def without_truth(familiar: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample with the classes of its test tiles swapped and their masks empty."""
    folder = Path(shutil.copytree(familiar, tmp_path_factory.mktemp("samples") / "without_truth"))
    members = []
    for path, png in contents(familiar, "test").items():
        split, name, file = path.split("/")
        members += [(swap(path), png)] if name in SWAPPED else []
        members += [(f"{split}/masks/{file}", EMPTY_MASK)] if name == "cordillera" else []
    for name in ("test.zip", "manifest.json"):
        (folder / name).unlink()
    write_archive(folder / "test.zip", members)
    return folder


def test_neither_the_truth_of_test_nor_the_number_of_processes_changes_predictions(without_truth, trained, tmp_path):
    for config in CONFIG_NAMES:
        out = tmp_path / config
        assert main([str(without_truth), str(out), "--name", config, "--num-proc", "2"]) == 0
        for model in MODELS[config]:
            files = [folder / f"{model}-test.parquet" for folder in (trained[config], out)]
            if config == CLASSIFICATION:
                expected, found = (dict(zip(*read_scores(file), strict=True)) for file in files)
            else:
                expected, found = ({path: mask.tobytes() for path, mask in MaskPredictions(file)} for file in files)
            assert {swap(path): of_tile for path, of_tile in found.items()} == expected


def test_another_seed_gives_another_forest(familiar, trained, tmp_path):
    arguments = [str(familiar), str(tmp_path / "out"), "--name", CLASSIFICATION, "--models", "forest", "--seed", "1"]
    assert main([*arguments, "--num-proc", "1"]) == 0
    name = "forest-test.parquet"
    assert (tmp_path / "out" / name).read_bytes() != (trained[CLASSIFICATION] / name).read_bytes()


def test_an_occupied_folder_stays_as_it_is(sample, tmp_path, capsys):
    (tmp_path / "note").write_text("mine")
    assert main([str(sample), str(tmp_path), "--name", CLASSIFICATION, "--models", "linear"]) == 1
    assert "not empty; name a new folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["note"]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (CLASSIFICATION, "train: has no cordillera tiles, so there is nothing to learn"),
        (SEGMENTATION, "train: no pixels are rock glacier, so there is nothing to learn"),
    ],
)
def test_train_with_nothing_to_learn_is_named(sample_copy, tmp_path, capsys, config, expected):
    def change(members):
        if config == CLASSIFICATION:
            return [one for one in members if "cordillera" not in one[0].filename]
        return [(member, EMPTY_MASK if "masks" in member.filename else png) for member, png in members]

    rewrite(sample_copy / "train.zip", change)
    assert main([str(sample_copy), str(tmp_path / "out"), "--name", config, "--num-proc", "1"]) == 1
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_without_archives_is_named(tmp_path, capsys):
    assert main([str(tmp_path), str(tmp_path / "out"), "--name", CLASSIFICATION]) == 1
    assert f"train.zip: not in {tmp_path}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "wrong", [("--models", "pixels"), ("--models", "linear,oak"), ("--seed", "-1"), ("--num-proc", "0")]
)
def test_wrong_usage_has_status_2(sample, tmp_path, wrong):
    with pytest.raises(SystemExit) as ended:
        main([str(sample), str(tmp_path / "out"), "--name", CLASSIFICATION, *wrong])
    assert ended.value.code == 2
