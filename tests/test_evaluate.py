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
import evaluate
import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from archive_contents import contents, rewrite
from conftest import REPOSITORY
from hub.server import HubServer, client_environment
from huggingface_hub import ModelCard, ModelCardData
from predictions import write_masks, write_scores
from sklearn import metrics
from test_audit_archives import changed

from rock_glacier_dataset import REPO_ID, class_indices_to_mask, load_dataset, mask_to_class_indices

SCRIPT = REPOSITORY / "scripts" / "evaluate.py"
CLASSES = ["--name", "image-classification"]
MASKS = ["--name", "image-segmentation"]
FAST = ["--replicates", "200"]
PATHS = [f"test/{name}/{number}.png" for name in ("cordillera", "glaciar") for number in range(3)]
LABELS = [0, 0, 0, 1, 1, 1]
SCORES = [0.1, 0.6, 0.3, 0.9, 0.4, 0.7]


@pytest.fixture
def scores(tmp_path):
    write_scores(tmp_path / "scores.csv", PATHS, SCORES)
    return tmp_path / "scores.csv"


@pytest.fixture
def truth(sample):
    tiles = load_dataset("image-segmentation", split="test", data_dir=sample)
    return {tile["path"]: mask_to_class_indices(tile["masks"]) for tile in tiles}


@pytest.fixture
def shifted(truth):
    return {path: np.roll(mask, 4, axis=1) for path, mask in truth.items()}


@pytest.fixture
def masks(tmp_path, shifted):
    write_masks(tmp_path / "masks.parquet", shifted.items())
    return tmp_path / "masks.parquet"


def write_groups(file, groups, paths=PATHS):
    with file.open("w", newline="") as opened:
        csv.writer(opened).writerows(
            [("path", "group", "source"), *((*row, "a.png") for row in zip(paths, groups, strict=True))]
        )
    return file


def run(capsys, *arguments):
    """Run it in this process; return the exit status, the lines of the report, and the last of the messages."""
    status = evaluate.main([*map(str, arguments), *([] if "--replicates" in arguments else FAST)])
    out, err = capsys.readouterr()
    return status, out.splitlines(), (err.splitlines() or [""])[-1]


def everything(tmp_path, *arguments):
    """What the JSON holds, but for what names the file of predictions."""
    assert evaluate.main([*map(str, arguments), *FAST, "--json", str(tmp_path / "all.json")]) == 0
    found = json.loads((tmp_path / "all.json").read_text())
    del found["predictions"]
    return found


def values(lines):
    """The metrics of a report: name, value and interval."""
    table = lines[3 : lines.index("", 3)]
    return {line[:22].strip(): (line[22:33].strip(), line[33:].strip().split("   ")[0]) for line in table}


def test_scores_are_judged_as_scikit_learn_judges_them(sample, scores, capsys):
    status, lines, _ = run(capsys, scores, "--data-dir", sample, *CLASSES)
    assert status == 0
    assert lines[0] == "image-classification, test: 6 tiles"
    assert max(map(len, lines)) <= 80
    predicted = np.array(SCORES) >= 0.5
    expected = {
        "balanced accuracy": metrics.balanced_accuracy_score(LABELS, predicted),
        "F1 of glaciar": metrics.f1_score(LABELS, predicted),
        "average precision": metrics.average_precision_score(LABELS, SCORES),
        "ROC AUC": metrics.roc_auc_score(LABELS, SCORES),
        "Brier score": metrics.brier_score_loss(LABELS, SCORES),
    }
    assert {name: float(value) for name, (value, _) in values(lines).items()} == {
        name: round(value, 4) for name, value in expected.items()
    }
    for value, interval in values(lines).values():
        low, high = map(float, interval.split(" to "))
        assert low <= float(value) <= high
    matrix = [line.split() for line in lines if line.startswith(("cordillera", "glaciar"))]
    assert matrix == [["cordillera", "(no", "rock", "glacier)", "2", "1"], ["glaciar", "(rock", "glacier)", "1", "2"]]


def test_without_groups_it_says_that_the_intervals_are_too_narrow(sample, scores, tmp_path, capsys):
    _, lines, _ = run(capsys, scores, "--data-dir", sample, *CLASSES)
    assert "Note: The intervals are too narrow: there are no groups" in "\n".join(lines)
    found = everything(tmp_path, scores, "--data-dir", sample, *CLASSES)
    assert (found["groups"], found["bootstrap"]["over"]) == (None, "tiles")
    assert "too narrow" in found["notes"][0]


def test_the_groups_beside_the_archives_are_taken_and_others_where_they_are_given(
    sample_copy, scores, tmp_path, capsys
):
    write_groups(sample_copy / "groups.csv", [3, 3, 5, 3, 9, 9])
    status, lines, _ = run(capsys, scores, "--data-dir", sample_copy, *CLASSES)
    assert (status, lines[0]) == (0, "image-classification, test: 6 tiles in 3 groups")
    assert "Note: The intervals are not to be relied on: 3 groups are few" in "\n".join(lines)
    beside = everything(tmp_path, scores, "--data-dir", sample_copy, *CLASSES)
    others = write_groups(tmp_path / "others.csv", [1, 2, 3, 4, 5, 6])
    given = everything(tmp_path, scores, "--data-dir", sample_copy, *CLASSES, "--groups", others)
    assert (beside["groups"], given["groups"]) == (3, 6)
    assert (beside["bootstrap"]["over"], given["bootstrap"]["over"]) == ("groups", "groups")
    assert beside["metrics"]["roc_auc"]["value"] == given["metrics"]["roc_auc"]["value"]
    assert beside["metrics"]["roc_auc"] != given["metrics"]["roc_auc"]


def test_the_groups_beside_archives_are_taken_wherever_these_are(sample_copy, scores, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(sample_copy.parent))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)  # under which a URL of memory is refused too
    memory = fsspec.filesystem("memory")
    for groups in ([3, 3, 5, 3, 9, 9], None):
        if groups is None:
            (sample_copy / "groups.csv").unlink()
            memory.rm("/evaluated", recursive=True)
        else:
            write_groups(sample_copy / "groups.csv", groups)
        memory.put(str(sample_copy), "/evaluated", recursive=True)
        for data_dir in (sample_copy.as_uri(), f"~/{sample_copy.name}/", "memory://evaluated"):
            _, lines, error = run(capsys, scores, "--data-dir", data_dir, *CLASSES)
            expected = "image-classification, test: 6 tiles" + (" in 3 groups" if groups else "")
            assert lines[:1] == [expected], (data_dir, error)


def test_one_group_has_no_intervals(sample, scores, tmp_path, capsys):
    groups = write_groups(tmp_path / "groups.csv", [7] * 6)
    _, lines, _ = run(capsys, scores, "--data-dir", sample, *CLASSES, "--groups", groups)
    assert {interval for _, interval in values(lines).values()} == {"none"}
    assert "Note: There are no intervals: all tiles are of one group" in "\n".join(lines)
    assert (
        everything(tmp_path, scores, "--data-dir", sample, *CLASSES, "--groups", groups)["metrics"]["f1"]["low"] is None
    )


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (
            [(path, 1) for path in PATHS[2:]],
            "has no group of 2 tiles: test/cordillera/0.png, test/cordillera/1.png; take",
        ),
        ([(path, 1) for path in PATHS] + [(PATHS[0], 2)], "test/cordillera/0.png stands twice"),
        ([(path, "") for path in PATHS], "line 2 has no path or no group"),
        (None, "has no column path; its columns are none"),
        ("path,area\n", "has no column group; its columns are path, area"),
        (b"path,group\n\xff,1\n", "is no CSV"),
    ],
)
def test_groups_that_do_not_fit_are_told(sample, scores, tmp_path, capsys, rows, said):
    file = tmp_path / "groups.csv"
    if isinstance(rows, list):
        write_groups(file, [group for _, group in rows], [path for path, _ in rows])
    else:
        file.write_bytes(rows if isinstance(rows, bytes) else (rows or "").encode())
    status, lines, error = run(capsys, scores, "--data-dir", sample, *CLASSES, "--groups", file)
    assert (status, lines) == (1, [])
    assert error.partition(": error: ")[2].startswith(f"{file}: ")
    assert said in error


def test_the_order_of_rows_and_the_kind_of_file_change_nothing(sample, scores, tmp_path):
    options = ["--data-dir", sample, *CLASSES]
    expected = everything(tmp_path, scores, *options)
    write_scores(tmp_path / "turned.csv", PATHS[::-1], SCORES[::-1])
    write_scores(tmp_path / "scores.parquet", PATHS, SCORES)
    for name in ("turned.csv", "scores.parquet"):
        assert everything(tmp_path, tmp_path / name, *options) == expected


def test_the_order_and_the_kind_of_masks_change_nothing(sample, masks, shifted, tmp_path):
    options = ["--data-dir", sample, *MASKS]
    expected = everything(tmp_path, masks, *options)
    write_masks(tmp_path / "turned.parquet", list(shifted.items())[::-1])
    arrays = pa.table({"masks": [mask.tolist() for mask in shifted.values()], "path": list(shifted)})
    pq.write_table(arrays, tmp_path / "arrays.parquet")
    for path, mask in shifted.items():
        file = tmp_path / "folder" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        class_indices_to_mask(mask).save(file)
    for name in ("turned.parquet", "arrays.parquet", "folder"):
        assert everything(tmp_path, tmp_path / name, *options) == expected


def test_masks_are_judged_over_pixels_and_over_tiles(sample, masks, truth, shifted, capsys):
    status, lines, _ = run(capsys, masks, "--data-dir", sample, *MASKS)
    assert status == 0
    assert max(map(len, lines)) <= 80
    true, predicted = (np.stack([of[path] for path in PATHS]) for of in (truth, shifted))
    glaciar = slice(3, 6)  # the others show no rock glacier in either mask
    expected = {
        "IoU over pixels": metrics.jaccard_score(true.ravel(), predicted.ravel()),
        "Dice over pixels": metrics.f1_score(true.ravel(), predicted.ravel()),
        "IoU over tiles": np.mean(
            [
                metrics.jaccard_score(*map(np.ravel, pair))
                for pair in zip(true[glaciar], predicted[glaciar], strict=True)
            ]
        ),
        "Dice over tiles": np.mean(
            [metrics.f1_score(*map(np.ravel, pair)) for pair in zip(true[glaciar], predicted[glaciar], strict=True)]
        ),
    }
    found = {name: float(value) for name, (value, _) in values(lines).items()}
    assert 0 < found.pop("boundary F1") < 1
    assert found == {name: round(float(value), 4) for name, value in expected.items()}
    assert "rock glacier, 3 of 6" in " ".join(line.strip() for line in lines)


def test_perfect_predictions_are_perfect(sample, truth, tmp_path, capsys):
    write_masks(tmp_path / "masks.parquet", truth.items())
    write_scores(tmp_path / "scores.parquet", PATHS, LABELS)
    _, lines, _ = run(capsys, tmp_path / "masks.parquet", "--data-dir", sample, *MASKS)
    assert set(values(lines).values()) == {("1.0000", "1.0000 to 1.0000")}
    _, lines, _ = run(capsys, tmp_path / "scores.parquet", "--data-dir", sample, *CLASSES)
    assert [value for value, _ in values(lines).values()] == ["1.0000"] * 4 + ["0.0000"]


def test_a_wider_tolerance_finds_more_of_the_boundary(sample, masks, tmp_path):
    found = [
        everything(tmp_path, masks, "--data-dir", sample, *MASKS, "--boundary-tolerance", pixels)
        for pixels in (0, 2, 4, 500)
    ]
    boundary_f1 = [one["metrics"]["boundary_f1"]["value"] for one in found]
    assert boundary_f1 == sorted(boundary_f1)
    assert (boundary_f1[0] < boundary_f1[1], boundary_f1[-1]) == (True, 1)
    assert [one["boundary_tolerance"] for one in found] == [0, 2, 4, 500]


def test_masks_of_probabilities_count_from_the_threshold_up_and_it_says_so(sample, masks, shifted, tmp_path, capsys):
    soft = pa.table({"path": list(shifted), "mask": [(0.3 + mask * 0.4).tolist() for mask in shifted.values()]})
    pq.write_table(soft, tmp_path / "soft.parquet")
    _, hard, _ = run(capsys, masks, "--data-dir", sample, *MASKS)
    _, lines, _ = run(capsys, tmp_path / "soft.parquet", "--data-dir", sample, *MASKS)
    assert values(lines) == values(hard)
    assert "Note: The predicted masks are floats: a pixel is rock glacier from 0.5 up." in lines
    _, lines, _ = run(capsys, tmp_path / "soft.parquet", "--data-dir", sample, *MASKS, "--threshold", "0.2")
    assert values(lines) != values(hard)


def test_a_split_of_one_class_leaves_undefined_what_is(sample_copy, tmp_path, capsys):
    (sample_copy / "manifest.json").unlink()
    rewrite(sample_copy / "test.zip", lambda members: [one for one in members if "cordillera" in one[0].filename])
    write_scores(tmp_path / "scores.csv", PATHS[:3], [0.1, 0.2, 0.3])
    options = [tmp_path / "scores.csv", "--data-dir", sample_copy, *CLASSES]
    status, lines, _ = run(capsys, *options)
    assert status == 0
    assert [value for value, _ in values(lines).values()][:4] == ["not defined"] * 4
    told = " ".join(line.strip() for line in lines)
    assert "Not defined, for want of a class in the truth: balanced accuracy, F1 of glaciar, average precision," in told
    found = everything(tmp_path, *options)["metrics"]
    assert found["roc_auc"] == {"value": None, "low": None, "high": None, "undefined_replicates": 200}
    assert found["brier_score"]["value"] == pytest.approx(0.14 / 3)


def test_replicates_without_a_class_are_left_out_and_counted(sample, scores, tmp_path, capsys):
    _, lines, _ = run(capsys, scores, "--data-dir", sample, *CLASSES)
    found = everything(tmp_path, scores, "--data-dir", sample, *CLASSES)["metrics"]
    undefined = found["roc_auc"]["undefined_replicates"]
    assert 0 < undefined < 30  # of 200, each without a class with the chance 2 / 2 ** 6
    assert f"Note: Not defined in {undefined} of 200 replicates, which the intervals leave" in "\n".join(lines)


def test_the_same_seed_gives_the_same_and_another_seed_other_intervals(sample, scores, tmp_path):
    options = [scores, "--data-dir", sample, *CLASSES]
    one, same, other = (everything(tmp_path, *options, "--seed", seed) for seed in (1, 1, 2))
    assert one == same
    assert one["metrics"] != other["metrics"]


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        (PATHS[1:], "1 path (test/cordillera/0.png) is not predicted"),
        (PATHS + PATHS[:1], "1 path (test/cordillera/0.png) is predicted more than once"),
        ([path.replace("test", "train") for path in PATHS], "6 paths (train/cordillera/0.png, train/cordillera/1.png,"),
    ],
)
def test_paths_that_do_not_fit_the_split_are_told(sample, tmp_path, capsys, paths, said):
    mask = np.zeros((128, 128), np.uint8)
    write_scores(tmp_path / "scores.csv", paths, [0.5] * len(paths))
    write_masks(tmp_path / "masks.parquet", ((path, mask) for path in paths))
    for name, config in (("scores.csv", CLASSES), ("masks.parquet", MASKS)):
        status, lines, error = run(
            capsys, tmp_path / name, "--data-dir", sample, *config, "--json", tmp_path / "a.json"
        )
        assert (status, lines) == (1, [])
        assert f"error: {tmp_path / name}: {said}" in error
    assert not (tmp_path / "a.json").exists()


def test_scores_for_masks_and_masks_for_scores_are_told(sample, scores, masks, capsys):
    status, lines, error = run(capsys, scores, "--data-dir", sample, *MASKS)
    assert (status, lines) == (1, [])
    assert "scores.csv: is no .parquet file by its name; give one of masks, or a folder of PNG files" in error
    status, lines, error = run(capsys, masks, "--data-dir", sample, *CLASSES)
    assert (status, lines) == (1, [])
    assert "masks.parquet: has no column score; its columns are path, mask" in error


def test_a_true_mask_of_other_colours_is_told(sample_copy, truth, tmp_path, capsys):
    rewrite(
        sample_copy / "test_masks.zip",
        lambda members: [(name, changed(png, lambda pixels: pixels // 2)) for name, png in members],
    )
    write_masks(tmp_path / "masks.parquet", truth.items())
    status, _, error = run(capsys, tmp_path / "masks.parquet", "--data-dir", sample_copy, *MASKS)
    assert status == 1
    assert "error: test/glaciar/0.png: the true mask cannot be used (a mask has the two colours" in error


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["a.csv", "--data-dir", "a"],
        ["a.csv", *CLASSES],
        ["a.csv", "--data-dir", "a", "--repo-id", "b/c", *CLASSES],
        ["a.csv", "--data-dir", "a", "--revision", "main", *CLASSES],
        ["a.csv", "--data-dir", "a", "--name", "detection"],
        ["a.csv", "--data-dir", "a", *CLASSES, "--split", "all"],
        ["a.csv", "--data-dir", "a", *CLASSES, "--threshold", "50"],
        ["a.csv", "--data-dir", "a", *CLASSES, "--threshold", "nan"],
        ["a.csv", "--data-dir", "a", *CLASSES, "--boundary-tolerance", "2"],
        ["a.csv", "--data-dir", "a", *MASKS, "--boundary-tolerance", "-1"],
        ["a.csv", "--data-dir", "a", *CLASSES, "--replicates", "10"],
        ["a.csv", "--data-dir", "a", *CLASSES, "--seed", "-1"],
        ["a.csv", "--data-dir", "a", *CLASSES, "--model-index"],
        ["a.csv", "--data-dir", "a", *CLASSES, "--model-name", "mine"],
        ["a.csv", "--data-dir", "a", *CLASSES, "--json", "away/a.json"],
    ],
)
def test_wrong_usage_has_status_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        evaluate.main(arguments)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


def read_by_the_hub_client(block):
    """Put a block into a model card, and return the model's name and results as `huggingface_hub` reads them."""
    data = cast(ModelCardData, ModelCard(f"---\nlicense: mit\n{block}---\n", ignore_metadata_errors=False).data)
    return data.model_name, data.eval_results or []


def test_the_model_index_is_what_the_hub_client_reads(sample, masks, capsys):
    assert (
        evaluate.main([str(masks), "--data-dir", str(sample), *MASKS, *FAST, "--model-index", "--model-name", "mine"])
        == 0
    )
    out, err = capsys.readouterr()
    name, results = read_by_the_hub_client(out)
    assert name == "mine"
    assert [result.metric_type for result in results] == ["iou", "dice", "iou_tiles", "dice_tiles", "boundary_f1"]
    assert {
        (one.task_type, one.dataset_type, one.dataset_name, one.dataset_config, one.dataset_split) for one in results
    } == {("image-segmentation", REPO_ID, "RockGlacier", "image-segmentation", "test")}
    assert all(isinstance(result.metric_value, float) for result in results)
    low, high = results[0].metric_args["confidence_interval"]
    assert low <= results[0].metric_value <= high
    assert "the intervals are too narrow" in err.lower()
    assert f"see that {sample} holds its archives" in err


def test_it_takes_the_truth_and_the_groups_from_the_hub_and_then_from_the_cache(staged_copy, masks, capsys):
    everyone = [path for split in ("train", "validation", "test") for path in contents(staged_copy / "data", split)]
    write_groups(staged_copy / "data" / "groups.csv", np.arange(len(everyone)) // 2, everyone)
    repo_id = "somebody/glaciers"
    with HubServer() as hub:
        commit = hub.add_repository(repo_id, staged_copy).find("main").sha
        done = subprocess.run(
            [sys.executable, SCRIPT, masks, *MASKS, *FAST, "--repo-id", repo_id],
            env=client_environment(hub, Path(os.environ["HF_HOME"])),  # the cache of this process, which is offline
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "image-segmentation, test: 6 tiles in 3 groups"
    status, lines, error = run(capsys, masks, *MASKS, "--repo-id", repo_id)
    assert (status, lines) == (0, done.stdout.splitlines()), error
    assert run(capsys, masks, *MASKS, "--repo-id", repo_id, "--revision", commit)[:2] == (0, lines)
    of_model = ["--model-index", "--model-name", "mine", "--repo-id", repo_id]
    status, block, _ = run(capsys, masks, *MASKS, *of_model)
    _, results = read_by_the_hub_client("\n".join([*block, ""]))
    assert {(one.dataset_type, one.dataset_revision) for one in results} == {(repo_id, commit)}


def test_without_the_hub_and_its_cache_it_says_what_to_do(scores, capsys):
    status, lines, error = run(capsys, scores, "--repo-id", "somebody/away", *CLASSES)
    assert (status, lines) == (1, [])
    assert "somebody/away: the Hub cannot be reached, and its cache does not hold this dataset; connect, or" in error


def test_real_archives_are_evaluated(real_archives, tmp_path, capsys):
    tiles = load_dataset(split="test", data_dir=real_archives)
    labels = np.array(tiles["labels"])
    write_scores(tmp_path / "scores.csv", list(tiles["path"]), np.where(np.arange(70) % 5 == 0, 1 - labels, labels))
    status, lines, _ = run(capsys, tmp_path / "scores.csv", "--data-dir", real_archives, *CLASSES)
    assert (status, lines[0]) == (0, "image-classification, test: 70 tiles")
