"""The evaluation as a user runs it: what it prints and writes, and how it ends."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import cast

import datasets
import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from archive_contents import contents, rewrite
from conftest import REPOSITORY
from hub.server import HubServer, client_environment
from huggingface_hub import ModelCard, ModelCardData
from sklearn import metrics

from rock_glacier.masks import class_indices_to_mask, mask_to_class_indices
from rock_glacier.scoring.evaluate_command import main
from rock_glacier.scoring.predictions import write_masks, write_scores
from rock_glacier_dataset import load_archives

SCRIPT = REPOSITORY / "scripts" / "evaluate.py"
CLASSES = ["--name", "image-classification"]
MASKS = ["--name", "image-segmentation"]
FAST = ["--replicates", "200"]
PATHS = [f"test/{name}/{number:03d}.png" for name in ("cordillera", "glaciar") for number in range(3)]
LABELS = [0, 0, 0, 1, 1, 1]
SCORES = [0.1, 0.6, 0.3, 0.9, 0.4, 0.7]


@pytest.fixture
def scores(tmp_path):
    write_scores(tmp_path / "scores.csv", PATHS, SCORES)
    return tmp_path / "scores.csv"


@pytest.fixture
def truth(sample):
    tiles = load_archives("image-segmentation", split="test", data_dir=sample)
    found = {tile["path"]: mask_to_class_indices(tile["masks"]) for tile in tiles}
    assert sorted(found) == PATHS
    return found


@pytest.fixture
def shifted(truth):
    return {path: np.roll(mask, 4, axis=1) for path, mask in truth.items()}


@pytest.fixture
def masks(tmp_path, shifted):
    write_masks(tmp_path / "masks.parquet", shifted.items())
    return tmp_path / "masks.parquet"


def write_grounds(file, grounds, paths=PATHS):
    with file.open("w", newline="") as opened:
        csv.writer(opened).writerows([("path", "ground"), *zip(paths, grounds, strict=True)])
    return file


def run(capsys, *arguments):
    """Run it in this process; return the exit status, the lines of the report, and the last of the messages."""
    status = main([*map(str, arguments), *FAST])
    out, err = capsys.readouterr()
    return status, out.splitlines(), (err.splitlines() or [""])[-1]


def as_json(tmp_path, *arguments):
    """What the JSON holds, but for the name of the file of predictions."""
    assert main([*map(str, arguments), *FAST, "--json", str(tmp_path / "all.json")]) == 0
    found = json.loads((tmp_path / "all.json").read_text())
    del found["predictions"]
    return found


def values(lines):
    """The metrics of a report: value and interval by name."""
    table = lines[3 : lines.index("", 3)]
    return {line[:22].strip(): (line[22:33].strip(), line[33:].strip().split("   ")[0]) for line in table}


def test_scores_are_judged_as_scikit_learn_judges_them(sample, scores, capsys):
    status, lines, _ = run(capsys, scores, "--data-dir", sample, *CLASSES)
    assert (status, lines[0]) == (0, "image-classification, test: 6 tiles")
    assert max(map(len, lines)) <= 80
    predicted = np.array(SCORES) >= 0.5
    expected = {
        "balanced accuracy": metrics.balanced_accuracy_score(LABELS, predicted),
        "F1 of glaciar": metrics.f1_score(LABELS, predicted),
        "average precision": metrics.average_precision_score(LABELS, SCORES),
        "ROC AUC": metrics.roc_auc_score(LABELS, SCORES),
        "Brier score": metrics.brier_score_loss(LABELS, SCORES),
    }
    found = values(lines)
    assert {name: value for name, (value, _) in found.items()} == {name: f"{one:.4f}" for name, one in expected.items()}
    for value, interval in found.values():
        low, high = map(float, interval.split(" to "))
        assert low <= float(value) <= high
    matrix = [line.split() for line in lines if line.startswith(("cordillera", "glaciar"))]
    assert matrix == [["cordillera", "(no", "rock", "glacier)", "2", "1"], ["glaciar", "(rock", "glacier)", "1", "2"]]


def test_the_report_says_that_intervals_without_grounds_are_too_narrow(sample, scores, tmp_path, capsys):
    _, lines, _ = run(capsys, scores, "--data-dir", sample, *CLASSES)
    assert "Note: The intervals are too narrow: without a grounds.csv each tile is drawn by" in lines
    found = as_json(tmp_path, scores, "--data-dir", sample, *CLASSES)
    assert (found["grounds"], found["bootstrap"]["over"]) == (None, "tiles")
    assert "too narrow" in found["notes"][0]


def test_the_grounds_beside_the_archives_are_taken_and_others_where_they_are_given(
    sample_copy, scores, tmp_path, capsys
):
    write_grounds(sample_copy / "grounds.csv", [3, 3, 5, 3, 9, 9])
    status, lines, _ = run(capsys, scores, "--data-dir", sample_copy, *CLASSES)
    assert (status, lines[0]) == (0, "image-classification, test: 6 tiles in 3 grounds")
    assert "Note: The intervals are unreliable: 3 grounds are few" in "\n".join(lines)
    beside = as_json(tmp_path, scores, "--data-dir", sample_copy, *CLASSES)
    others = write_grounds(tmp_path / "others.csv", [1, 2, 3, 4, 5, 6])
    given = as_json(tmp_path, scores, "--data-dir", sample_copy, *CLASSES, "--grounds", others)
    assert (beside["grounds"], given["grounds"]) == (3, 6)
    assert beside["metrics"]["roc_auc"]["value"] == given["metrics"]["roc_auc"]["value"]
    assert beside["metrics"]["roc_auc"] != given["metrics"]["roc_auc"]


def test_the_grounds_are_found_wherever_the_archives_are(sample_copy, scores, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(sample_copy.parent))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)  # it forbids URLs of memory as well
    write_grounds(sample_copy / "grounds.csv", [3, 3, 5, 3, 9, 9])
    fsspec.filesystem("memory").put(str(sample_copy), "/evaluated", recursive=True)
    for data_dir in (sample_copy.as_uri(), f"~/{sample_copy.name}/", "memory://evaluated"):
        _, lines, error = run(capsys, scores, "--data-dir", data_dir, *CLASSES)
        assert lines[:1] == ["image-classification, test: 6 tiles in 3 grounds"], (data_dir, error)
    fsspec.filesystem("memory").rm("/evaluated/grounds.csv")
    assert run(capsys, scores, "--data-dir", "memory://evaluated", *CLASSES)[1][0] == lines[0][:-13]


def test_one_ground_has_no_intervals(sample, scores, tmp_path, capsys):
    options = [scores, "--data-dir", sample, *CLASSES, "--grounds", write_grounds(tmp_path / "one.csv", [7] * 6)]
    _, lines, _ = run(capsys, *options)
    assert {interval for _, interval in values(lines).values()} == {"none"}
    assert "Note: There are no intervals: all tiles are of one ground" in "\n".join(lines)
    assert as_json(tmp_path, *options)["metrics"]["f1"]["low"] is None


@pytest.mark.parametrize("text", ["", "path,ground\n", f"path,ground\n{PATHS[0]},1\n"])
def test_grounds_that_do_not_fit_are_named(sample, scores, tmp_path, capsys, text):
    (tmp_path / "grounds.csv").write_text(text)
    for file in (tmp_path / "grounds.csv", tmp_path / "away.csv"):
        status, lines, error = run(capsys, scores, "--data-dir", sample, *CLASSES, "--grounds", file)
        assert (status, lines) == (1, [])
        assert str(file) in error


def test_the_order_of_rows_and_the_form_of_predictions_change_nothing(sample, scores, masks, shifted, tmp_path):
    write_scores(tmp_path / "turned.csv", PATHS[::-1], SCORES[::-1])
    write_scores(tmp_path / "scores.parquet", PATHS, SCORES)
    write_masks(tmp_path / "turned.parquet", list(shifted.items())[::-1])
    arrays = pa.table({"masks": [mask.tolist() for mask in shifted.values()], "path": list(shifted)})
    pq.write_table(arrays, tmp_path / "arrays.parquet")
    for path, mask in shifted.items():
        file = tmp_path / "folder" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        class_indices_to_mask(mask).save(file)
    for config, first, others in (
        (CLASSES, scores, ("turned.csv", "scores.parquet")),
        (MASKS, masks, ("turned.parquet", "arrays.parquet", "folder")),
    ):
        expected = as_json(tmp_path, first, "--data-dir", sample, *config)
        for name in others:
            assert as_json(tmp_path, tmp_path / name, "--data-dir", sample, *config) == expected


def test_masks_are_judged_over_pixels_and_over_tiles(sample, masks, truth, shifted, capsys):
    status, lines, _ = run(capsys, masks, "--data-dir", sample, *MASKS)
    assert status == 0
    assert max(map(len, lines)) <= 80
    true, predicted = (np.stack([of[path] for path in PATHS]) for of in (truth, shifted))
    expected: dict[str, float] = {}
    for name, score in (("IoU", metrics.jaccard_score), ("Dice", metrics.f1_score)):
        # The cordillera tiles show no rock glacier in either mask, and are left out of the mean.
        of_tiles = [score(*map(np.ravel, pair)) for pair in zip(true[3:], predicted[3:], strict=True)]
        expected |= {f"{name} over pixels": score(true.ravel(), predicted.ravel())}
        expected |= {f"{name} over tiles": np.mean(of_tiles)}
    found = {name: value for name, (value, _) in values(lines).items()}
    assert 0 < float(found.pop("boundary F1")) < 1
    assert found == {name: f"{value:.4f}" for name, value in expected.items()}
    assert "rock glacier, 3 of 6 tiles" in " ".join(line.strip() for line in lines)


def test_perfect_predictions_are_perfect(sample, truth, tmp_path, capsys):
    write_masks(tmp_path / "masks.parquet", truth.items())
    write_scores(tmp_path / "scores.parquet", PATHS, LABELS)
    _, lines, _ = run(capsys, tmp_path / "masks.parquet", "--data-dir", sample, *MASKS)
    assert set(values(lines).values()) == {("1.0000", "1.0000 to 1.0000")}
    _, lines, _ = run(capsys, tmp_path / "scores.parquet", "--data-dir", sample, *CLASSES)
    assert [value for value, _ in values(lines).values()] == ["1.0000"] * 4 + ["0.0000"]


def test_a_wider_tolerance_finds_more_of_the_boundary(sample, masks, tmp_path):
    options = [masks, "--data-dir", sample, *MASKS, "--boundary-tolerance"]
    found = [as_json(tmp_path, *options, pixels) for pixels in (0, 2, 500)]
    none, some, everything = (one["metrics"]["boundary_f1"]["value"] for one in found)
    assert none < some < everything == 1
    assert [one["boundary_tolerance"] for one in found] == [0, 2, 500]


def test_masks_of_probabilities_count_from_the_threshold_up(sample, masks, shifted, tmp_path, capsys):
    soft = pa.table({"path": list(shifted), "mask": [(0.3 + mask * 0.4).tolist() for mask in shifted.values()]})
    pq.write_table(soft, tmp_path / "soft.parquet")
    _, hard, _ = run(capsys, masks, "--data-dir", sample, *MASKS)
    _, lines, _ = run(capsys, tmp_path / "soft.parquet", "--data-dir", sample, *MASKS)
    assert values(lines) == values(hard)
    assert "Note: The predicted masks are floats: a pixel is rock glacier from 0.5 up." in lines
    _, lines, _ = run(capsys, tmp_path / "soft.parquet", "--data-dir", sample, *MASKS, "--threshold", "0.2")
    assert values(lines) != values(hard)


def test_a_split_of_one_class_leaves_metrics_undefined(sample_copy, tmp_path, capsys):
    rewrite(sample_copy / "test.zip", lambda members: [one for one in members if "cordillera" in one[0].filename])
    write_scores(tmp_path / "scores.csv", PATHS[:3], [0.1, 0.2, 0.3])
    options = [tmp_path / "scores.csv", "--data-dir", sample_copy, *CLASSES]
    status, lines, _ = run(capsys, *options)
    assert status == 0
    assert [value for value, _ in values(lines).values()][:4] == ["not defined"] * 4
    text = " ".join(line.strip() for line in lines)
    assert "Not defined, for lack of a class in the truth: balanced accuracy, F1 of glaciar, average precision," in text
    found = as_json(tmp_path, *options)["metrics"]
    assert found["roc_auc"] == {"value": None, "low": None, "high": None, "undefined_replicates": 200}
    assert found["brier_score"]["value"] == pytest.approx(0.14 / 3)


def test_replicates_without_a_class_are_left_out_and_counted(sample, scores, tmp_path, capsys):
    _, lines, _ = run(capsys, scores, "--data-dir", sample, *CLASSES)
    undefined = as_json(tmp_path, scores, "--data-dir", sample, *CLASSES)["metrics"]["roc_auc"]["undefined_replicates"]
    assert 0 < undefined < 30  # of 200, each without a class with the chance 2 / 2 ** 6
    assert f"Note: Not defined in {undefined} of 200 replicates, which the intervals leave" in "\n".join(lines)


def test_the_seed_decides_the_intervals(sample, scores, tmp_path):
    options = [scores, "--data-dir", sample, *CLASSES, "--seed"]
    one, same, other = (as_json(tmp_path, *options, seed) for seed in (1, 1, 2))
    assert one == same
    assert one["metrics"] != other["metrics"]


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (PATHS[1:], f"1 path ({PATHS[0]}) is not predicted; predict every tile of the split test"),
        (PATHS + PATHS[:1], f"1 path ({PATHS[0]}) is predicted more than once"),
        (
            [path.replace("test", "train") for path in PATHS],
            "6 paths (train/cordillera/000.png, train/cordillera/001.png, train/cordillera/002.png, ...) are of no "
            "tile of the split test, whose paths are such as test/",
        ),
    ],
)
def test_paths_that_do_not_fit_the_split_are_named(sample, tmp_path, capsys, paths, expected):
    mask = np.zeros((128, 128), np.uint8)
    write_scores(tmp_path / "scores.csv", paths, [0.5] * len(paths))
    write_masks(tmp_path / "masks.parquet", ((path, mask) for path in paths))
    for name, config in (("scores.csv", CLASSES), ("masks.parquet", MASKS)):
        options = [tmp_path / name, "--data-dir", sample, *config, "--json", tmp_path / "a.json"]
        status, lines, error = run(capsys, *options)
        assert (status, lines) == (1, [])
        assert f"error: {tmp_path / name}: {expected}" in error
    assert not (tmp_path / "a.json").exists()


def test_scores_for_masks_and_masks_for_scores_are_refused(sample, scores, masks, capsys):
    for file, config, expected in (
        (scores, MASKS, "scores.csv: its name does not end in .parquet; give such a file of masks, or a folder"),
        (masks, CLASSES, "masks.parquet: has no column score; its columns are path, mask"),
    ):
        status, lines, error = run(capsys, file, "--data-dir", sample, *config)
        assert (status, lines) == (1, [])
        assert expected in error


def test_a_true_mask_of_other_colours_is_named(sample_copy, truth, masks, capsys):
    tile = next(path for path, mask in truth.items() if mask.any())
    with (sample_copy / "grey.png").open("wb") as file:
        class_indices_to_mask(truth[tile]).point(lambda value: value // 2 + 127).save(file, "PNG")
    grey = (sample_copy / "grey.png").read_bytes()
    rewrite(
        sample_copy / "test.zip",
        lambda members: [(name, grey if "masks" in name.filename else png) for name, png in members],
    )
    status, _, error = run(capsys, masks, "--data-dir", sample_copy, *MASKS)
    assert status == 1
    assert "its true mask cannot be used (a mask has the colours" in error
    assert "audit the archives" in error


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["a.csv"],
        ["a.csv", "--data-dir", "a", "--revision", "main", *CLASSES],
        ["a.csv", "--name", "detection"],
        ["a.csv", *CLASSES, "--split", "all"],
        ["a.csv", *CLASSES, "--threshold", "50"],
        ["a.csv", *CLASSES, "--threshold", "nan"],
        ["a.csv", *CLASSES, "--boundary-tolerance", "2"],
        ["a.csv", *MASKS, "--boundary-tolerance", "-1"],
        ["a.csv", *CLASSES, "--replicates", "10"],
        ["a.csv", *CLASSES, "--seed", "-1"],
        ["a.csv", *CLASSES, "--model-index"],
        ["a.csv", *CLASSES, "--model-name", "mine"],
        ["a.csv", *CLASSES, "--json", "away/a.json"],
    ],
)
def test_wrong_usage_has_status_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


def read_by_the_hub_client(block):
    """Put a block into a model card, and return the model's name and results as `huggingface_hub` reads them."""
    data = cast(ModelCardData, ModelCard(f"---\nlicense: mit\n{block}---\n", ignore_metadata_errors=False).data)
    return data.model_name, data.eval_results or []


def test_the_hub_client_reads_the_model_index(sample, masks, capsys):
    options = [str(masks), "--data-dir", str(sample), *MASKS, *FAST, "--model-index", "--model-name", "mine"]
    assert main([*options, "--repo-id", "somebody/glaciers"]) == 0
    out, err = capsys.readouterr()
    name, results = read_by_the_hub_client(out)
    assert name == "mine"
    assert [result.metric_type for result in results] == ["iou", "dice", "iou_tiles", "dice_tiles", "boundary_f1"]
    for one in results:
        assert (one.task_type, one.task_name) == ("image-segmentation", "Image Segmentation")
        assert (one.dataset_type, one.dataset_name) == ("somebody/glaciers", "RockGlacier")
        assert (one.dataset_config, one.dataset_split) == ("image-segmentation", "test")
    low, high = results[0].metric_args["confidence_interval"]
    assert low <= results[0].metric_value <= high
    assert "The intervals are too narrow" in err
    assert f"names the dataset somebody/glaciers; make sure that {sample} holds it" in err


def test_truth_and_grounds_come_from_the_hub_and_then_from_the_cache(staged_copy, masks, capsys):
    everyone = [
        path
        for split in ("train", "validation", "test")
        for path in contents(staged_copy / "script" / "data", split)
        if "/masks/" not in path
    ]
    write_grounds(staged_copy / "main" / "grounds.csv", np.arange(len(everyone)) // 2, everyone)
    repo_id = "somebody/glaciers"
    with HubServer() as hub:
        commit = hub.add_repository(repo_id, staged_copy / "main").find("main").sha
        done = subprocess.run(
            [sys.executable, SCRIPT, masks, *MASKS, *FAST, "--repo-id", repo_id],
            env=client_environment(hub, Path(os.environ["HF_HOME"])),  # the cache of this process, which is offline
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("image-segmentation, test: 6 tiles in ")
    assert run(capsys, masks, *MASKS, "--repo-id", repo_id)[:2] == (0, lines)
    assert run(capsys, masks, *MASKS, "--repo-id", repo_id, "--revision", commit)[:2] == (0, lines)
    _, block, _ = run(capsys, masks, *MASKS, "--model-index", "--model-name", "mine", "--repo-id", repo_id)
    _, results = read_by_the_hub_client("\n".join([*block, ""]))
    assert {(one.dataset_type, one.dataset_revision) for one in results} == {(repo_id, commit)}


def test_without_the_hub_and_its_cache_the_remedy_is_named(scores, capsys):
    status, lines, error = run(capsys, scores, "--repo-id", "somebody/away", *CLASSES)
    assert (status, lines) == (1, [])
    assert "somebody/away: the Hub cannot be reached and its cache does not hold this dataset; connect, or" in error


def test_real_archives_are_evaluated(real_archives, tmp_path, capsys):
    for split, number in (("test", 70), ("validation", 30)):
        tiles = load_archives(split=split, data_dir=real_archives)
        write_scores(tmp_path / "scores.csv", list(tiles["path"]), np.abs(np.array(tiles["labels"]) - 0.1))
        options = [tmp_path / "scores.csv", "--data-dir", real_archives, *CLASSES, "--split", split]
        status, lines, _ = run(capsys, *options)
        assert (status, lines[0]) == (0, f"image-classification, {split}: {number} tiles")
        assert values(lines)["ROC AUC"] == ("1.0000", "1.0000 to 1.0000")
