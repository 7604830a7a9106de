"""The baselines as a user runs them: what they write, that it scores, and that it is the same each time."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from archive_contents import contents, rewrite
from sklearn.metrics import roc_auc_score

from rock_glacier.archives.writer import write_archive
from rock_glacier.arrays import to_arrays
from rock_glacier.baselines.baseline_command import main
from rock_glacier.sample.generate import make_sample_archives
from rock_glacier.scoring.predictions import read_masks, read_scores
from rock_glacier_dataset import CONFIG_NAMES, EMPTY_MASK, load_archives

CLASSIFICATION, SEGMENTATION = CONFIG_NAMES
FILES = {
    CLASSIFICATION: ["forest-test.parquet", "linear-test.parquet"],
    SEGMENTATION: ["pixels-test.parquet", "pixels-validation.parquet"],
}
SWAPPED = {"cordillera": "glaciar", "glaciar": "cordillera"}


def swap(path: str) -> str:
    split, name, file = path.split("/")
    return f"{split}/{SWAPPED[name]}/{file}"


@pytest.fixture(scope="module")
def familiar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sample whose test tiles were cut over the ground of train: what was learned there is seen again."""
    folder = tmp_path_factory.mktemp("samples") / "familiar"
    make_sample_archives(folder, train=24, validation=4, test=8, overlap=1)
    return folder


@pytest.fixture(scope="module")
def trained(familiar: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What all models write of it, in a folder for each config."""
    written = tmp_path_factory.mktemp("written")
    for config in CONFIG_NAMES:
        splits = ["--split", "validation", "--split", "test"] if config == SEGMENTATION else []
        assert main([str(familiar), str(written / config), "--name", config, "--num-proc", "1", *splits]) == 0
    return written


@pytest.mark.parametrize("config", CONFIG_NAMES)
def test_there_is_a_file_for_each_model_and_split_and_a_record(trained, config):
    assert sorted(path.name for path in (trained / config).iterdir()) == ["baseline.json", *FILES[config]]
    record = json.loads((trained / config / "baseline.json").read_text())
    assert (record["config"], record["seed"]) == (config, 0)
    assert set(record["versions"]) == {"numpy", "scikit-image", "scikit-learn"}
    assert len(record["features"]) > 20


@pytest.mark.parametrize("file", FILES[CLASSIFICATION])
def test_classifiers_recognise_ground_that_they_know(familiar, trained, file):
    paths, scores = read_scores(trained / CLASSIFICATION / file)
    truth = to_arrays(load_archives(CLASSIFICATION, split="test", data_dir=familiar))
    assert paths == truth["path"].tolist()
    assert roc_auc_score(truth["labels"], scores) > 0.8


@pytest.mark.parametrize("split", ["validation", "test"])
def test_masks_are_better_than_chance_and_their_threshold_fits_validation_best(familiar, trained, split):
    paths, found = read_masks(trained / SEGMENTATION / f"pixels-{split}.parquet")
    truth = to_arrays(load_archives(SEGMENTATION, split=split, data_dir=familiar))
    assert paths == truth["path"].tolist()
    masks, rock_glacier = np.stack(list(found)) == 1, truth["masks"] == 1
    assert rock_glacier[masks].mean() > 1.5 * rock_glacier.mean()
    if split == "validation":
        record = json.loads((trained / SEGMENTATION / "baseline.json").read_text())
        fit = (masks & rock_glacier).sum() / (masks | rock_glacier).sum()
        assert record["validation_iou"] == pytest.approx(fit, abs=1e-4)
        assert fit > rock_glacier.mean()  # which all of it would reach
        assert 0 < record["threshold"] < 1


def test_neither_the_truth_of_test_nor_the_number_of_processes_changes_predictions(familiar, trained, tmp_path):
    folder = Path(shutil.copytree(familiar, tmp_path / "without_truth"))
    members = []
    for path, png in contents(familiar, "test").items():
        split, name, file = path.split("/")
        members += [(swap(path), png)] if name in SWAPPED else []
        members += [(f"{split}/masks/{file}", EMPTY_MASK)] if name == "cordillera" else []
    for name in ("test.zip", "manifest.json"):
        (folder / name).unlink()
    write_archive(folder / "test.zip", members)
    for config, read in ((CLASSIFICATION, read_scores), (SEGMENTATION, read_masks)):
        assert main([str(folder), str(tmp_path / config), "--name", config, "--num-proc", "2"]) == 0
        for file in (name for name in FILES[config] if "test" in name):
            expected, found = (dict(zip(*read(out / config / file), strict=True)) for out in (trained, tmp_path))
            assert sorted(map(swap, found)) == sorted(expected)
            assert all(np.array_equal(of_tile, expected[swap(path)]) for path, of_tile in found.items())


def test_another_seed_gives_another_forest_and_each_file_is_printed(sample, tmp_path, capsys):
    names = ["forest-validation.parquet", "linear-validation.parquet"]
    written = []
    for seed in ("0", "1"):
        options = ["--name", CLASSIFICATION, "--split", "validation", "--seed", seed, "--num-proc", "1", "--overwrite"]
        assert main([str(sample), str(tmp_path), *options]) == 0
        assert capsys.readouterr().out.splitlines() == [f"wrote {tmp_path / name}" for name in names]
        written.append([(tmp_path / name).read_bytes() for name in names])
    assert written[0][0] != written[1][0]
    assert written[0][1] == written[1][1]


def test_an_occupied_folder_stays_as_it_is(sample, tmp_path, capsys):
    (tmp_path / "note").write_text("mine")
    assert main([str(sample), str(tmp_path), "--name", CLASSIFICATION]) == 1
    assert "not empty; name a new folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["note"]
    (tmp_path / "note").rename(tmp_path / "mine.parquet")
    assert main([str(sample), str(tmp_path), "--name", CLASSIFICATION, "--overwrite"]) == 1
    assert "holds mine.parquet; name a new folder" in capsys.readouterr().err


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


@pytest.mark.parametrize("wrong", [("--seed", "-1"), ("--seed", str(2**32)), ("--num-proc", "0"), ("--split", "val")])
def test_wrong_usage_has_status_2(tmp_path, wrong):
    with pytest.raises(SystemExit) as ended:
        main([str(tmp_path), str(tmp_path / "out"), "--name", CLASSIFICATION, *wrong])
    assert ended.value.code == 2
