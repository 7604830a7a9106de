"""The command `score` as a user runs it: output, files and exit status."""

from __future__ import annotations

import json
import re
from typing import Any, cast

import geopandas
import numpy as np
import pandas as pd
import pytest
from factories import run_command
from huggingface_hub import ModelCard, ModelCardData
from PIL import Image
from sklearn import metrics

from rock_glacier.index import make_index, read_index, write_index
from rock_glacier.score.bootstrap import wilson_interval
from rock_glacier.score.mosaics import ground_weights
from rock_glacier.score.truth import load_truth
from rock_glacier.synthetic import make_sample

CLASSES = ("--name", "image-classification")
MASKS = ("--name", "image-segmentation")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """A sample with the true index; its test split has 20 tiles of several sites."""
    folder = tmp_path_factory.mktemp("score") / "sample"
    make_sample(folder, train=4, validation=4, test=20, overlap=0.5, outlines=True)
    (folder / "true_tiles.parquet").rename(folder / "tiles.parquet")
    return folder


@pytest.fixture(scope="module")
def index(data_dir):
    """The rows of the index for the test split."""
    table = read_index(data_dir / "tiles.parquet")
    return table[table["split"] == "test"].set_index("path")


@pytest.fixture(scope="module")
def labels(data_dir):
    truth = load_truth(CLASSES[1], "test", data_dir=str(data_dir))
    return pd.Series(truth.values, truth.paths)


@pytest.fixture(scope="module")
def masks(data_dir):
    truth = load_truth(MASKS[1], "test", data_dir=str(data_dir))
    return dict(zip(truth.paths, truth.values, strict=True))


@pytest.fixture
def score(data_dir, tmp_path, capsys):
    """Return a function that runs the command and returns the content of the JSON file."""

    def run(*arguments):
        file = tmp_path / "score.json"
        assert run_command("score", *arguments, "--data-dir", data_dir, "--json", file) == 0
        return json.loads(file.read_text())

    return run


@pytest.fixture
def write_scores(labels, tmp_path):
    """Return a function that writes random scores, which are better with more skill."""

    def write(name, skill, seed=0):
        noise = np.random.default_rng(seed).random(len(labels))
        scores = (skill * labels + (1 - skill) * noise).rename("score")
        scores.to_csv(tmp_path / name, index_label="path")
        return tmp_path / name

    return write


@pytest.fixture
def write_masks(masks, tmp_path):
    """Return a function that writes the true masks, moved to the right."""

    def write(name, shift):
        for path, mask in masks.items():
            file = tmp_path / name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.roll(mask, shift, axis=1) * 255).save(file)
        return tmp_path / name

    return write


def test_json_has_the_documented_keys(score, write_scores):
    result = score(write_scores("a.csv", 0.3), *CLASSES)
    assert list(result)[:9] == [
        "config",
        "split",
        "truth",
        "tiles",
        "clusters",
        "metrics",
        "against",
        "rock_glaciers",
        "false_predictions",
    ]
    assert (result["config"], result["split"], result["tiles"]) == (CLASSES[1], "test", 20)
    assert result["against"] is None
    for metric in result["metrics"].values():
        assert list(metric) == ["value", "low", "high", "unit"]


def test_metrics_of_scores_equal_those_of_scikit_learn(score, write_scores, labels, data_dir):
    file = write_scores("a.csv", 0.2)
    scores = pd.read_csv(file)["score"]
    result = score(file, *CLASSES)
    assert result["truth"] == str(data_dir)
    assert result["metrics"]["roc_auc"]["value"] == pytest.approx(
        metrics.roc_auc_score(labels, scores)
    )
    assert result["metrics"]["f1"]["value"] == pytest.approx(
        metrics.f1_score(labels, scores >= 0.5)
    )
    for metric in result["metrics"].values():
        assert metric["low"] <= metric["value"] <= metric["high"]


def test_metrics_of_masks_equal_those_of_scikit_learn(score, write_masks, masks):
    result = score(write_masks("a", 5), *MASKS)
    true = np.stack([*masks.values()])
    pair = true.ravel(), np.roll(true, 5, axis=2).ravel()
    assert result["metrics"]["iou"]["value"] == pytest.approx(metrics.jaccard_score(*pair))
    assert result["metrics"]["f1"]["value"] == pytest.approx(metrics.f1_score(*pair))


def test_intervals_are_over_sites_of_the_index(score, write_scores, data_dir, tmp_path):
    file = write_scores("a.csv", 0.2)
    index = pd.read_parquet(data_dir / "tiles.parquet")
    sites = index.loc[index["split"] == "test", "site"].nunique()
    result = score(file, *CLASSES)
    assert result["clusters"]["site"]["number"] == sites
    assert 1 < result["clusters"]["site"]["effective"] <= sites
    assert {metric["unit"] for metric in result["metrics"].values()} == {"site"}
    blocks = make_index(index.assign(block=np.arange(len(index)) % 2))
    write_index(blocks, tmp_path / "blocks.parquet")
    with_blocks = score(file, *CLASSES, "--index", tmp_path / "blocks.parquet")
    assert with_blocks["clusters"]["block"]["number"] > sites
    assert with_blocks["metrics"]["f1"]["low"] != result["metrics"]["f1"]["low"]


def test_ground_metrics_of_scores_are_weighted_by_ground(score, write_scores, labels, data_dir):
    file = write_scores("a.csv", 0.2)
    weights = ground_weights(load_truth(CLASSES[1], "test", data_dir=str(data_dir)))
    assert weights.min() < 0.5
    scores = pd.read_csv(file)["score"]
    result = score(file, *CLASSES)["metrics"]
    expected = metrics.roc_auc_score(labels, scores, sample_weight=weights)
    assert result["ground_roc_auc"]["value"] == pytest.approx(expected)
    expected = metrics.accuracy_score(labels, scores >= 0.5, sample_weight=weights)
    assert result["ground_accuracy"]["value"] == pytest.approx(expected)


def test_sites_are_found_by_the_mean_score_of_their_tiles(score, write_scores, labels, index):
    file = write_scores("a.csv", 0.2)
    scores = pd.read_csv(file, index_col="path")["score"]
    is_glaciar = index["label"] == "glaciar"
    means = scores[is_glaciar.index[is_glaciar]].groupby(index["site"]).mean()
    result = score(file, *CLASSES)["metrics"]["site_recall"]
    assert 0 < result["value"] < 1
    assert result["value"] == pytest.approx((means >= 0.5).mean())


def test_intervals_over_tiles_come_with_a_note(write_scores, data_dir, capsys, tmp_path):
    for name in ("train.zip", "validation.zip", "test.zip"):
        (tmp_path / name).write_bytes((data_dir / name).read_bytes())
    file = write_scores("a.csv", 0.2)
    assert run_command("score", file, *CLASSES, "--data-dir", tmp_path) == 0
    assert "--index" in capsys.readouterr().out


@pytest.mark.parametrize(("threshold", "recall"), [("0", 1), ("1", 0)])
def test_the_threshold_decides_which_tiles_are_glaciar(score, write_scores, threshold, recall):
    result = score(write_scores("a.csv", 0.2), *CLASSES, "--threshold", threshold)
    assert result["metrics"]["recall"]["value"] == recall
    assert (result["metrics"]["precision"]["value"] is None) == (recall == 0)


def test_another_model_is_compared_on_the_same_replicates(score, write_scores):
    good = write_scores("good.csv", 0.4)
    bad = write_scores("bad.csv", 0.1, seed=1)
    alone = score(good, *CLASSES)
    other = score(bad, *CLASSES)
    result = score(good, *CLASSES, "--against", bad)
    assert result["metrics"] == alone["metrics"]
    assert result["against"]["predictions"] == str(bad)
    for name, difference in result["against"]["differences"].items():
        values = [report["metrics"][name]["value"] for report in (alone, other)]
        assert difference["value"] == pytest.approx(values[0] - values[1])
        assert difference["low"] <= difference["value"] <= difference["high"]


def test_a_model_does_not_differ_from_itself(score, write_masks):
    folder = write_masks("a", 3)
    differences = score(folder, *MASKS, "--against", folder)["against"]["differences"]
    for difference in differences.values():
        assert difference["value"] == 0
        assert {difference["low"], difference["high"]} in ({0}, {None})


def test_models_are_compared_on_the_same_rock_glaciers(score, write_masks):
    first, second = (write_masks(name, shift) for name, shift in (("a", 3), ("b", 40)))
    reports = [score(folder, *MASKS)["metrics"] for folder in (first, second)]
    differences = score(first, *MASKS, "--against", second)["against"]["differences"]
    assert list(differences) == list(reports[0])
    for name, difference in differences.items():
        values = [report[name]["value"] for report in reports]
        if None not in values:
            assert difference["value"] == pytest.approx(values[0] - values[1])
    assert differences["landform_recall_50"]["low"] > 0
    assert differences["boundary_distance_m"]["high"] < 0


def test_models_that_predict_at_different_places_are_compared(score, write_masks, masks):
    first, second = (write_masks(name, 40) for name in ("a", "b"))
    for path in list(masks)[::2]:
        Image.fromarray(0 * masks[path]).save(first / path)
    reports = [score(folder, *MASKS)["metrics"] for folder in (first, second)]
    differences = score(first, *MASKS, "--against", second)["against"]["differences"]
    for name in ("area_users_accuracy", "landform_precision_25", "ground_iou"):
        values = [report[name]["value"] for report in reports]
        assert differences[name]["value"] == pytest.approx(values[0] - values[1])
        assert differences[name]["low"] < differences[name]["value"] < differences[name]["high"]


def test_json_lists_rock_glaciers_and_false_predictions(score, write_masks, index):
    result = score(write_masks("a", 70), *MASKS)
    table = pd.DataFrame(result["rock_glaciers"])
    assert list(table) == [
        "site",
        "outlines",
        "longitude",
        "latitude",
        "area_km2",
        "iou",
        "found",
        "found_25",
        "at_edge",
    ]
    shares = {name: metric["value"] for name, metric in result["metrics"].items()}
    assert shares["landform_recall_50"] == table["found"].mean() < table["found_25"].mean()
    assert shares["landform_recall_25"] == table["found_25"].mean()
    number = result["clusters"]["predicted rock glacier"]["number"]
    false = len(result["false_predictions"])
    assert shares["landform_precision_25"] == pytest.approx(1 - false / number)
    centres = index.groupby("site")[["longitude", "latitude"]].agg(["min", "max"])
    for row in [*result["rock_glaciers"], *result["false_predictions"]]:
        for name in ("longitude", "latitude"):
            low, high = centres.loc[row["site"], name]
            assert low - 0.01 < row[name] < high + 0.01


def test_wilson_intervals_are_those_of_the_counts(score, write_masks):
    result = score(write_masks("a", 70), *MASKS)
    found = [row["found"] for row in result["rock_glaciers"]]
    expected = wilson_interval(sum(found), len(found))
    recall = result["metrics"]["landform_recall_50"]
    assert (recall["low"], recall["high"]) == (expected.low, expected.high)
    units = {name: metric["unit"] for name, metric in result["metrics"].items()}
    assert units["landform_recall_50"] == units["area_producers_accuracy"] == "rock glacier"
    assert units["area_users_accuracy"] == "prediction group"
    assert units["landform_precision_50"] == "predicted rock glacier"
    assert units["ground_iou"] == units["agreement"] == "site"
    assert set(result["clusters"]) == set(units.values())


def test_outlines_name_the_rock_glaciers(score, write_masks, data_dir):
    folder = write_masks("a", 0)
    outlines = data_dir / "outlines.geojson"
    result = score(folder, *MASKS, "--outlines", outlines)
    names = [name for row in result["rock_glaciers"] for name in row["outlines"]]
    assert len(names) == len(set(names)) == len(result["rock_glaciers"]) > 3
    assert set(names) <= set(geopandas.read_file(outlines)["name"])
    assert result["metrics"]["landform_recall_50"]["value"] == 1
    assert result["metrics"]["area_producers_accuracy"]["value"] > 0.99


def test_outlines_of_other_tiles_come_with_a_note(score, write_masks, data_dir, tmp_path):
    folder = write_masks("a", 0)
    outlines = geopandas.read_file(data_dir / "outlines.geojson")
    moved = outlines.set_geometry(outlines.translate(0.005, 0.005))
    moved.to_file(tmp_path / "moved.geojson")
    right = score(folder, *MASKS, "--outlines", data_dir / "outlines.geojson")["notes"]
    wrong = score(folder, *MASKS, "--outlines", tmp_path / "moved.geojson")["notes"]
    assert any(note.startswith("The outlines hardly fit") for note in wrong)
    assert not any(note.startswith("The outlines hardly fit") for note in right)


def test_scores_and_masks_are_thresholded(score, masks, tmp_path):
    """A pixel with the score 0.6 is rock glacier from 0.5, but not from 0.7."""
    for path, mask in masks.items():
        file = tmp_path / "soft" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask * 153 + (1 - mask) * 80).save(file)
    assert score(tmp_path / "soft", *MASKS)["metrics"]["iou"]["value"] == 1
    result = score(tmp_path / "soft", *MASKS, "--threshold", "0.7")
    assert result["metrics"]["recall"]["value"] == 0
    assert result["metrics"]["precision"]["value"] is None


@pytest.mark.parametrize("option", ["--map", "--outlines"])
def test_an_index_without_locations_is_an_error(option, write_masks, data_dir, capsys, tmp_path):
    index = read_index(data_dir / "tiles.parquet")
    columns = ["longitude", "latitude", "epsg", "easting", "northing", "located_by", "geometry"]
    write_index(make_index(index.drop(columns=columns)), tmp_path / "tiles.parquet")
    file = tmp_path / "map.gpkg" if option == "--map" else data_dir / "outlines.geojson"
    arguments = ("--data-dir", data_dir, "--index", tmp_path / "tiles.parquet", option, file)
    assert run_command("score", write_masks("a", 3), *MASKS, *arguments) == 1
    error = capsys.readouterr().err
    assert option in error
    assert "audit DATA_DIR --outlines PATH --index FILE" in error
    assert not (tmp_path / "map.gpkg").exists()


def test_the_page_shows_each_rock_glacier_worst_first(score, write_masks, tmp_path):
    file = tmp_path / "page.html"
    result = score(write_masks("a", 30), *MASKS, "--html", file)
    page = file.read_text(encoding="utf-8")
    shown = [float(iou) for iou in re.findall(r"IoU (\d\.\d\d)", page)]
    number = len(result["rock_glaciers"])
    assert len(shown) == page.count("<img ") == number + len(result["false_predictions"])
    assert shown[:number] == sorted(round(row["iou"], 2) for row in result["rock_glaciers"])
    assert "<script" not in page
    assert str(tmp_path) not in page


def test_the_page_compares_models(score, write_masks, tmp_path):
    file = tmp_path / "page.html"
    result = score(write_masks("a", 30), *MASKS, "--against", write_masks("b", 3), "--html", file)
    page = file.read_text(encoding="utf-8")
    assert "Difference from b" in page
    assert page.count('<th scope="row">') == 2 * len(result["metrics"])
    assert str(tmp_path) not in page


def test_the_table_shows_every_metric(write_masks, data_dir, capsys):
    assert run_command("score", write_masks("a", 3), *MASKS, "--data-dir", data_dir) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split()[0] for line in lines if line]
    assert {"iou", "miou", "precision", "recall", "f1"} < set(rows)
    assert any(line.startswith("Note: ") and str(data_dir) in line for line in lines)


def test_the_model_card_is_read_by_the_hub_s_client(score, write_masks, capsys):
    result = score(write_masks("my_model", 3), *MASKS, "--model-card")
    card = ModelCard(f"---\n{capsys.readouterr().out}---\n", ignore_metadata_errors=False)
    data = cast(ModelCardData, card.data)
    assert data.model_name == "my_model"
    results = {result.metric_type: result for result in data.eval_results or []}
    assert list(results) == list(result["metrics"])
    iou = result["metrics"]["iou"]
    arguments: Any = results["iou"].metric_args
    assert results["iou"].metric_value == round(iou["value"], 4)
    ends = [round(iou["low"], 4), round(iou["high"], 4)]
    assert arguments["confidence_interval"] == ends
    assert results["iou"].dataset_split == "test"
    assert "synthetic" in results["iou"].dataset_name


def test_wrong_predictions_end_with_status_1(write_scores, data_dir, capsys, tmp_path):
    file = write_scores("a.csv", 0.2)
    file.write_text(file.read_text().replace("glaciar/", "glacier/"))
    output = tmp_path / "score.json"
    assert run_command("score", file, *CLASSES, "--data-dir", data_dir, "--json", output) == 1
    assert str(file) in capsys.readouterr().err
    assert not output.exists()


@pytest.mark.parametrize(
    "options",
    [
        "--data-dir a --revision main",
        "--threshold 50",
        "--model-card --against b.csv",
        "--map a.gpkg",
        "--html a.html",
        "--outlines a.gpkg",
        "--map a.shp",
    ],
)
def test_options_that_do_not_fit_end_with_status_2(options):
    assert run_command("score", "a.csv", *CLASSES, *options.split()) == 2
