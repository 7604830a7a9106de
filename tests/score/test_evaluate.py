"""The evaluation as a user runs it: what it prints and writes, and how it ends."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple, cast

import datasets
import fsspec
import numpy as np
import pytest
import yaml
from archive_contents import contents, replace_member, rewrite
from conftest import REPOSITORY
from hub.server import HubServer, client_environment
from huggingface_hub import ModelCard, ModelCardData, parse_eval_result_entries
from sklearn import metrics

from rock_glacier.masks import class_indices_to_mask, mask_to_class_indices
from rock_glacier.scoring.bootstrap import bootstrap
from rock_glacier.scoring.class_metrics import class_statistic
from rock_glacier.scoring.evaluate_command import main
from rock_glacier.scoring.mask_metrics import MASK_METRICS
from rock_glacier.scoring.predictions import write_masks, write_scores
from rock_glacier.scoring.truth import read_clusters
from rock_glacier_dataset import load_archives

CLASSES, MASKS = ["--name", "image-classification"], ["--name", "image-segmentation"]
FAST = ["--replicates", "200"]
PATHS = [f"test/{name}/{number:03d}.png" for name in ("cordillera", "glaciar") for number in range(3)]
LABELS = [0, 0, 0, 1, 1, 1]
SCORES = [0.1, 0.6, 0.3, 0.9, 0.4, 0.7]


class Ended(NamedTuple):
    """How a run ended: its status, lines, last message and JSON, and the report's values and intervals by name."""

    status: int
    lines: list[str]
    error: str
    json: dict[str, Any]
    values: dict[str, str]
    intervals: dict[str, str]

    @property
    def text(self) -> str:
        return " ".join(line.strip() for line in self.lines)


@pytest.fixture
def evaluate(sample, tmp_path, capsys):
    def run(predictions, *options, data_dir=sample) -> Ended:
        file = tmp_path / "found.json"
        arguments = [predictions, *(["--data-dir", data_dir] if data_dir else []), *options, *FAST, "--json", file]
        status = main([*map(str, arguments)])
        out, err = capsys.readouterr()
        lines = out.splitlines()
        if status == 0 and "--model-index" not in arguments:
            assert lines.pop() == f"wrote {file}"
        assert max(map(len, lines), default=0) <= 80
        table = lines[3 : lines.index("", 3)] if "" in lines else []
        found = json.loads(file.read_text()) if status == 0 else {}
        found.pop("predictions", None)
        values = {line[:22].strip(): line[22:33].strip() for line in table}
        intervals = {line[:22].strip(): line[33:].strip().split("   ")[0] for line in table}
        return Ended(status, lines, (err.splitlines() or [""])[-1], found, values, intervals)

    return run


@pytest.fixture
def scores(tmp_path):
    file = tmp_path / "scores.csv"
    file.write_text("\n".join(["path,score", *(f"{path},{score}" for path, score in zip(PATHS, SCORES, strict=True))]))
    return file


@pytest.fixture
def truth(sample):
    tiles = load_archives("image-segmentation", split="test", data_dir=sample)
    return {tile["path"]: mask_to_class_indices(tile["masks"]) for tile in tiles}


@pytest.fixture
def shifted(truth):
    """Masks that miss some of the rock glaciers, and invent more than they miss."""
    return {path: np.roll(mask, 4, axis=1) | np.roll(mask, 9, axis=1) for path, mask in truth.items()}


@pytest.fixture
def masks(tmp_path, shifted):
    write_masks(tmp_path / "masks.parquet", shifted.items())
    return tmp_path / "masks.parquet"


def write_grounds(file, grounds, paths=PATHS, blocks=None):
    places = zip(paths, grounds, blocks or [0] * len(paths), strict=True)
    rows = (f"{path},{ground},{block},0,0,0,{path}" for path, ground, block in places)
    file.write_text("\n".join(["path,ground,block,x,y,turn,source", *rows, ""]))
    return file


def test_scores_are_judged_as_scikit_learn_judges_them(evaluate, scores):
    found = evaluate(scores, *CLASSES)
    assert (found.status, found.lines[0]) == (0, "image-classification, split test: 6 tiles, grounds not known")
    predicted = np.array(SCORES) >= 0.5
    expected = {
        "accuracy": metrics.accuracy_score(LABELS, predicted),
        "balanced accuracy": metrics.balanced_accuracy_score(LABELS, predicted),
        "precision of glaciar": metrics.precision_score(LABELS, predicted),
        "recall of glaciar": metrics.recall_score(LABELS, predicted),
        "F1 of glaciar": metrics.f1_score(LABELS, predicted),
        "average precision": metrics.average_precision_score(LABELS, SCORES),
        "ROC AUC": metrics.roc_auc_score(LABELS, SCORES),
        "Brier score": metrics.brier_score_loss(LABELS, SCORES),
    }
    assert found.values == {name: f"{value:.4f}" for name, value in expected.items()}
    for name, interval in found.intervals.items():
        low, high = map(float, interval.split(" to "))
        assert low <= expected[name] <= high
    matrix = [line.split() for line in found.lines if line.startswith(("cordillera", "glaciar"))]
    assert matrix == [["cordillera", "(no", "rock", "glacier)", "2", "1"], ["glaciar", "(rock", "glacier)", "1", "2"]]
    assert found.json["confusion_matrix"]["counts"] == [[2, 1], [1, 2]]
    assert "Note: The intervals are too narrow: without a grounds.csv each tile is drawn by" in found.lines
    assert (found.json["grounds"], found.json["bootstrap"]["over"]) == (None, "tiles")
    undefined = found.json["metrics"]["roc_auc"]["undefined_replicates"]
    assert 0 < undefined < 30  # of 200, each without a class with the chance 2 / 2 ** 6
    assert "Note: Not defined in some of 200 replicates, which the intervals leave out; where these " in found.text
    assert f"ROC AUC in {undefined}" in found.text


def test_a_tile_is_glaciar_from_the_threshold_up(evaluate, scores):
    found = evaluate(scores, *CLASSES, "--threshold", "0.7")
    assert found.json["confusion_matrix"]["counts"] == [[3, 0], [1, 2]]
    assert "A tile is glaciar from a score of 0.7 up." in found.text


def test_masks_are_judged_over_pixels_and_over_tiles(evaluate, masks, truth, shifted):
    found = evaluate(masks, *MASKS)
    true, predicted = (np.stack([of[path] for path in PATHS]) for of in (truth, shifted))
    pixels = true.ravel(), predicted.ravel()
    expected: dict[str, float] = {
        "accuracy over pixels": metrics.accuracy_score(*pixels),
        "precision over pixels": metrics.precision_score(*pixels),
        "recall over pixels": metrics.recall_score(*pixels),
        "mIoU over pixels": metrics.jaccard_score(*pixels, average="macro"),
    }
    for name, score in (("IoU", metrics.jaccard_score), ("Dice", metrics.f1_score)):
        # The cordillera tiles show no rock glacier in either mask, and are left out of the mean.
        of_tiles = [score(*map(np.ravel, pair)) for pair in zip(true[3:], predicted[3:], strict=True)]
        expected |= {f"{name} over pixels": score(*pixels)}
        expected |= {f"{name} over tiles": np.mean(of_tiles)}
    assert 0 < float(found.values.pop("boundary F1")) < 1
    assert found.values == {name: f"{value:.4f}" for name, value in expected.items()}
    assert "rock glacier, 3 of 6 tiles; boundary F1 those where neither has a boundary, 3." in found.text
    confusion = metrics.confusion_matrix(*pixels)
    assert found.json["confusion_matrix"]["counts"] == confusion.tolist()


def test_the_grounds_beside_the_archives_are_taken_and_others_where_they_are_given(
    evaluate, sample_copy, scores, tmp_path
):
    write_grounds(sample_copy / "grounds.csv", [3, 3, 5, 3, 9, 9])
    beside = evaluate(scores, *CLASSES, data_dir=sample_copy)
    assert beside.lines[0] == "image-classification, split test: 6 tiles in 3 blocks of 3 grounds"
    assert "seed 0: 3 blocks, effectively 2.6 by their sizes." in beside.text
    few = (
        "Note: The intervals are unreliable and come out too narrow: 3 blocks are effectively 2.6 by their sizes, fewer"
    )
    assert few in beside.text
    others = write_grounds(tmp_path / "others.csv", [1, 2, 3, 4, 5, 6])
    given = evaluate(scores, *CLASSES, "--grounds", others, data_dir=sample_copy)
    assert (beside.json["grounds"], given.json["grounds"]) == (3, 6)
    assert beside.values == given.values
    assert beside.intervals != given.intervals
    one = evaluate(scores, *CLASSES, "--grounds", write_grounds(others, [7] * 6), data_dir=sample_copy)
    assert set(one.intervals.values()) == {"none"}
    assert "Note: There are no intervals: all tiles are of one block" in one.text
    assert one.json["metrics"]["f1"]["low"] is None


def test_blocks_of_few_grounds_are_drawn_and_their_effective_number_is_told(evaluate, scores, tmp_path):
    file = tmp_path / "grounds.csv"
    whole = evaluate(scores, *CLASSES, "--grounds", write_grounds(file, [0, 0, 0, 1, 1, 1]))
    cut = evaluate(scores, *CLASSES, "--grounds", write_grounds(file, [0, 0, 0, 1, 1, 1], blocks=[0, 0, 1, 0, 2, 2]))
    for found, clusters, effective in ((whole, 2, 2.0), (cut, 4, 3.6)):
        bootstrap = found.json["bootstrap"]
        assert (bootstrap["over"], bootstrap["clusters"], bootstrap["effective_clusters"]) == (
            "blocks",
            clusters,
            effective,
        )
        assert found.lines[0].endswith(f"6 tiles in {clusters} blocks of 2 grounds")
    assert whole.intervals != cut.intervals


@pytest.mark.parametrize(("grounds", "over", "clusters"), [(29, "blocks", 58), (30, "grounds", 30)])
def test_grounds_are_drawn_where_they_are_many(tmp_path, grounds, over, clusters):
    paths = [f"test/glaciar/{number}.png" for number in range(2 * grounds)]
    numbers = [number // 2 for number in range(2 * grounds)]
    file = write_grounds(tmp_path / "grounds.csv", numbers, paths, blocks=[0, 1] * grounds)
    read = read_clusters(file, str(tmp_path), paths[::-1])
    assert (read.over, read.grounds) == (over, grounds)
    expected = numbers[::-1] if over == "grounds" else list(range(clusters))[::-1]
    assert read.numbers.tolist() == expected


def test_two_models_are_compared_tile_by_tile(evaluate, scores, tmp_path):
    others = [0.2, 0.1, 0.6, 0.8, 0.7, 0.3]
    write_scores(tmp_path / "others.parquet", PATHS[::-1], np.array(others[::-1]))
    grounds = ["--grounds", write_grounds(tmp_path / "grounds.csv", [0, 1, 2, 0, 1, 2])]
    alone = evaluate(scores, *CLASSES, *grounds)
    found = evaluate(scores, *CLASSES, *grounds, "--against", tmp_path / "others.parquet")
    assert found.json["metrics"] == alone.json["metrics"]
    against = found.json["against"]
    assert against["metrics"] == evaluate(tmp_path / "others.parquet", *CLASSES, *grounds).json["metrics"]

    def difference(weights):
        first, second = (class_statistic(np.array(LABELS), np.array(one), 0.5)(weights) for one in (SCORES, others))
        return first - second

    expected = bootstrap(difference, np.array([0, 1, 2, 0, 1, 2]), 200)
    for (key, metric), interval in zip(against["difference"].items(), expected, strict=True):
        values = found.json["metrics"][key]["value"] - against["metrics"][key]["value"]
        ends = (metric["value"], metric["low"], metric["high"])
        assert ends == pytest.approx((values, interval.low, interval.high)), key
    auc = against["difference"]["roc_auc"]
    (line,) = (one for one in found.lines[10:] if one.startswith("ROC AUC"))
    shown = [f"{against['metrics']['roc_auc']['value']:.4f}", *(f"{auc[end]:+.4f}" for end in ("value", "low", "high"))]
    assert line.replace(" to ", " ").split()[2:] == shown


def test_a_model_against_itself_differs_by_nothing(evaluate, masks):
    found = evaluate(masks, *MASKS, "--against", masks)
    for metric in found.json["against"]["difference"].values():
        assert [metric[end] for end in ("value", "low", "high")] == [0, 0, 0]
    assert found.json["against"]["metrics"] == found.json["metrics"]
    assert "Against masks.parquet:" in found.lines


def test_notes_on_two_models_name_whom_they_are_about(evaluate, scores, masks, tmp_path):
    write_scores(tmp_path / "others.parquet", PATHS, np.full(6, 0.5))
    found = evaluate(scores, *CLASSES, "--against", tmp_path / "others.parquet").json
    notes = [note for note in found["notes"] if "Not defined in some of 200 replicates" in note]
    assert [note.split(": ")[0] for note in notes] == ["scores.csv", "others.parquet", "Difference"]
    assert f"ROC AUC in {found['against']['difference']['roc_auc']['undefined_replicates']}" in notes[2]
    half = (np.indices((128, 128))[0] < 64).astype(np.uint8)
    write_masks(tmp_path / "half.parquet", ((path, half) for path in PATHS))  # so that means leave no tile out
    notes = evaluate(masks, *MASKS, "--against", tmp_path / "half.parquet").json["notes"]
    assert [note.split(":")[0] for note in notes if "Means over tiles leave out" in note] == ["masks.parquet"]


def test_faults_of_the_other_model_name_its_file(evaluate, scores, tmp_path):
    write_scores(tmp_path / "others.parquet", PATHS[1:], np.full(5, 0.5))
    found = evaluate(scores, *CLASSES, "--against", tmp_path / "others.parquet")
    assert (found.status, found.lines) == (1, [])
    assert f"error: {tmp_path / 'others.parquet'}: 1 path ({PATHS[0]}) is not predicted" in found.error


def test_the_grounds_are_found_wherever_the_archives_are(evaluate, sample_copy, scores, monkeypatch):
    monkeypatch.setenv("HOME", str(sample_copy.parent))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)  # it forbids URLs of memory as well
    write_grounds(sample_copy / "grounds.csv", [3, 3, 5, 3, 9, 9])
    memory = fsspec.filesystem("memory")
    memory.put(str(sample_copy), "/evaluated", recursive=True)
    for data_dir in (f"~/{sample_copy.name}/", "memory://evaluated"):
        assert evaluate(scores, *CLASSES, data_dir=data_dir).json["grounds"] == 3, data_dir
    memory.rm("/evaluated/grounds.csv")
    assert evaluate(scores, *CLASSES, data_dir="memory://evaluated").json["grounds"] is None


@pytest.mark.parametrize("text", [None, f"path,ground\n{PATHS[0]},1\n"])
def test_grounds_that_do_not_fit_are_named(evaluate, scores, tmp_path, text):
    file = tmp_path / "grounds.csv"
    if text is not None:
        file.write_text(text)
    status, lines, error, *_ = evaluate(scores, *CLASSES, "--grounds", file)
    assert (status, lines) == (1, [])
    assert str(file) in error


def test_the_order_of_rows_and_the_form_of_predictions_change_nothing(evaluate, scores, masks, shifted, tmp_path):
    write_scores(tmp_path / "turned.parquet", PATHS[::-1], np.array(SCORES[::-1]))
    assert evaluate(tmp_path / "turned.parquet", *CLASSES) == evaluate(scores, *CLASSES)
    write_masks(tmp_path / "turned.parquet", list(shifted.items())[::-1])
    for path, mask in shifted.items():
        file = tmp_path / "folder" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        class_indices_to_mask(mask).save(file)
    expected = evaluate(masks, *MASKS)
    assert all(evaluate(tmp_path / name, *MASKS) == expected for name in ("turned.parquet", "folder"))


def test_the_seed_decides_the_intervals_and_nothing_else(evaluate, scores):
    one, same, other = (evaluate(scores, *CLASSES, "--seed", seed) for seed in (1, 1, 2))
    assert one == same
    assert one.values == other.values
    assert one.intervals != other.intervals


def test_a_split_of_one_class_leaves_metrics_undefined(evaluate, sample_copy, tmp_path, capsys):
    rewrite(sample_copy / "test.zip", lambda members: [one for one in members if "cordillera" in one[0].filename])
    write_scores(tmp_path / "scores.parquet", PATHS[:3], np.array([0.1, 0.2, 0.3]))
    found = evaluate(tmp_path / "scores.parquet", *CLASSES, data_dir=sample_copy)
    assert [name for name, value in found.values.items() if value != "not defined"] == ["accuracy", "Brier score"]
    names = "balanced accuracy, precision of glaciar, recall of glaciar, F1 of glaciar, average precision, ROC AUC."
    expected = f"Not defined, for lack of a class in the truth or the predictions: {names}"
    assert expected in found.text
    undefined = {"value": None, "low": None, "high": None, "undefined_replicates": 200}
    assert found.json["metrics"]["roc_auc"] == undefined
    assert found.json["metrics"]["brier_score"]["value"] == pytest.approx(0.14 / 3)
    options = ["--data-dir", str(sample_copy), "--model-index", "--model-name", "mine"]
    assert main([str(tmp_path / "scores.parquet"), *CLASSES, *FAST, *options]) == 0
    _, results = read_by_the_hub_client(capsys.readouterr().out)
    assert [result.metric_type for result in results] == ["accuracy", "brier_score"]
    options = ["--data-dir", str(sample_copy), "--eval-results"]
    assert main([str(tmp_path / "scores.parquet"), *CLASSES, *FAST, *options]) == 1
    assert "balanced accuracy is not defined here" in capsys.readouterr().err


FOREIGN = [path.replace("test", "train") for path in PATHS]
PATH_FAULTS = [
    (PATHS[1:], f"1 path ({PATHS[0]}) is not predicted; predict every tile of the split test"),
    (PATHS + PATHS[:1], f"1 path ({PATHS[0]}) is predicted more than once"),
    (
        FOREIGN,
        f"6 paths ({', '.join(FOREIGN[:3])}, ...) are of no tile of the split test, whose paths are such as test/",
    ),
]


@pytest.mark.parametrize(("paths", "expected"), PATH_FAULTS)
def test_paths_that_do_not_fit_the_split_are_named(evaluate, tmp_path, paths, expected):
    write_scores(tmp_path / "scores.parquet", paths, np.full(len(paths), 0.5))
    status, lines, error, *_ = evaluate(tmp_path / "scores.parquet", *CLASSES)
    assert (status, lines) == (1, [])
    assert f"error: {tmp_path / 'scores.parquet'}: {expected}" in error
    assert not (tmp_path / "found.json").exists()


def test_a_true_mask_of_other_colours_is_named(evaluate, sample_copy, masks):
    image = contents(sample_copy, "test")[PATHS[0]]
    replace_member(sample_copy / "test.zip", "test/masks/001.png", image)
    found = evaluate(masks, *MASKS, data_dir=sample_copy)
    assert found.status == 1
    assert f"error: {PATHS[4]}: its true mask cannot be used (a mask has the colours" in found.error


@pytest.mark.parametrize(
    "wrong",
    [
        "--data-dir a --revision main",
        "--threshold 50",
        "--threshold nan",
        "--replicates 0",
        "--replicates 100001",
        "--model-index",
        "--model-index --model-name mine --against b.csv",
        "--eval-results --against b.csv",
        "--eval-results --split train",
        "--eval-results --model-index --model-name mine",
        "--eval-results --model-name mine",
        "--model-name mine",
        "--json away/a.json",
        "--json -",
    ],
)
def test_wrong_usage_has_status_2(wrong, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["a.csv", *CLASSES, *wrong.split()])
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


def read_by_the_hub_client(block):
    """Put a block into a model card, and return the model's name and results as `huggingface_hub` reads them."""
    data = cast(ModelCardData, ModelCard(f"---\nlicense: mit\n{block}\n---\n", ignore_metadata_errors=False).data)
    return data.model_name, data.eval_results or []


def test_the_hub_client_reads_the_model_index(sample, masks, capsys):
    options = [str(masks), "--data-dir", str(sample), *MASKS, *FAST, "--model-index", "--model-name", "mine"]
    assert main([*options, "--repo-id", "somebody/glaciers"]) == 0
    out, err = capsys.readouterr()
    name, results = read_by_the_hub_client(out)
    assert name == "mine"
    assert [result.metric_type for result in results] == list(MASK_METRICS)
    for one in results:
        assert (one.task_type, one.task_name) == ("image-segmentation", "Image Segmentation")
        assert (one.dataset_type, one.dataset_name) == ("somebody/glaciers", "RockGlacier")
        assert (one.dataset_config, one.dataset_split) == ("image-segmentation", "test")
    assert [one.metric_type for one in results if "boundary_tolerance" in one.metric_args] == ["boundary_f1"]
    low, high = results[0].metric_args["confidence_interval"]
    assert low <= results[0].metric_value <= high
    assert "The intervals are too narrow" in err
    assert f"text names the dataset somebody/glaciers; make sure that {sample} holds it" in err


@pytest.mark.parametrize("config", [CLASSES, MASKS])
def test_the_hub_client_reads_the_eval_results(config, evaluate, sample, scores, masks, tmp_path, capsys):
    predictions = scores if config is CLASSES else masks
    grounds = ["--grounds", str(write_grounds(tmp_path / "grounds.csv", [0, 0, 1, 1, 2, 2]))]
    found = evaluate(predictions, *config, *grounds).json["metrics"][
        "balanced_accuracy" if config is CLASSES else "iou"
    ]
    options = [str(predictions), "--data-dir", str(sample), *config, *FAST, *grounds, "--eval-results"]
    assert main([*options, "--repo-id", "somebody/glaciers"]) == 0
    (entry,) = parse_eval_result_entries(yaml.safe_load(capsys.readouterr().out))
    assert (entry.dataset_id, entry.task_id, entry.dataset_revision) == ("somebody/glaciers", config[1], None)
    assert entry.value == round(found["value"], 4)
    name = "balanced accuracy" if config is CLASSES else "IoU over pixels"
    interval = f"95 % interval {found['low']:.4f} to {found['high']:.4f}"
    assert entry.notes == f"{name}; {config[1]}, split test: 6 tiles in 3 blocks of 3 grounds; {interval}"


def test_truth_and_grounds_come_from_the_hub_and_then_from_the_cache(evaluate, staged_copy, masks, capsys):
    data = staged_copy / "script" / "data"
    everyone = [
        path for split in ("train", "validation", "test") for path in contents(data, split) if "masks" not in path
    ]
    write_grounds(staged_copy / "main" / "grounds.csv", np.arange(len(everyone)) // 2, everyone)
    of_hub = ["--repo-id", "somebody/glaciers", "--revision", "v1"]
    with HubServer() as hub:
        repository = hub.add_repository(of_hub[1], staged_copy / "main")
        repository.create_tag("v1")
        commit = repository.find("v1").sha
        repository.commit({}, delete=["grounds.csv"])
        done = subprocess.run(
            [sys.executable, REPOSITORY / "scripts" / "evaluate.py", masks, *MASKS, *FAST, *of_hub],
            env=client_environment(hub, Path(os.environ["HF_HOME"])),  # the cache of this process, which is offline
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("image-segmentation, split test: 6 tiles in ")
    found = evaluate(masks, *MASKS, *of_hub, data_dir=None)
    assert found.lines == done.stdout.splitlines()
    assert found.json["dataset"] == {"repo_id": of_hub[1], "revision": commit}
    assert main([str(masks), *MASKS, *FAST, "--model-index", "--model-name", "mine", *of_hub]) == 0
    _, results = read_by_the_hub_client(capsys.readouterr().out)
    assert {(one.dataset_type, one.dataset_revision) for one in results} == {(of_hub[1], commit)}
    assert main([str(masks), *MASKS, *FAST, "--eval-results", *of_hub]) == 0
    (entry,) = parse_eval_result_entries(yaml.safe_load(capsys.readouterr().out))
    assert (entry.dataset_id, entry.dataset_revision) == (of_hub[1], commit)


def test_without_the_hub_and_its_cache_the_remedy_is_named(evaluate, scores):
    found = evaluate(scores, "--repo-id", "somebody/away", *CLASSES, data_dir=None)
    assert found.status == 1
    assert "somebody/away: the Hub cannot be reached and its cache does not hold this dataset; connect" in found.error


def test_real_archives_are_evaluated(evaluate, real_archives, tmp_path):
    tiles = load_archives(split="validation", data_dir=real_archives)
    write_scores(tmp_path / "scores.parquet", list(tiles["path"]), np.abs(np.array(tiles["labels"]) - 0.1))
    found = evaluate(tmp_path / "scores.parquet", *CLASSES, "--split", "validation", data_dir=real_archives)
    assert found.lines[0] == "image-classification, split validation: 30 tiles, grounds not known"
    assert (found.values["ROC AUC"], found.intervals["ROC AUC"]) == ("1.0000", "1.0000 to 1.0000")
