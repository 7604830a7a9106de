"""The smoke load: what it prints, and what it finds fault with."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import datasets
import pytest
import smoke_load
from conftest import REPOSITORY, SAMPLE_SIZES
from hub.server import HubServer, client_environment
from PIL import Image
from smoke_load import LoadedSplit, Origin

from rock_glacier_dataset import CONFIG_NAMES, SPLIT_NAMES, load_dataset

SCRIPT = REPOSITORY / "scripts" / "smoke_load.py"


def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, check=False, **options
    )


def expected_lines(sizes: dict[str, int], ways: tuple[str, ...] = ("whole", "streaming")) -> list[str]:
    """The table's headings, and a row for each config, way and split."""
    rows = [
        f"{config:22}{split:12}{way:9}{sizes[split]:10}  cordillera/0.png"
        for config in ("image-classification", "image-segmentation")
        for way in ways
        for split in SPLIT_NAMES
    ]
    return ["config                split       loaded     examples  first example", *rows]


PACKAGES_OF_EXTRAS = ("jinja2", "joblib", "matplotlib", "natsort", "rich", "sklearn", "zlib_ng")


def test_without_arguments_it_loads_a_sample_and_prints_a_line_for_each(tmp_path):
    for package in PACKAGES_OF_EXTRAS:  # which a newcomer has not
        (tmp_path / f"{package}.py").write_text("raise ImportError('not needed to load')")
    done = run(env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == expected_lines(smoke_load.SAMPLE_SIZES)


def test_a_folder_is_loaded_in_the_configs_and_ways_asked_for(sample, capsys):
    assert smoke_load.main(["--data-dir", str(sample), "--name", "image-segmentation", "--streaming"]) == 0
    headings, *rows = expected_lines(SAMPLE_SIZES, ("streaming",))
    assert capsys.readouterr().out.splitlines() == [headings, *rows[3:]]


@pytest.mark.parametrize("number", ["0", "1512", "9" * 18])
def test_a_row_fits_a_terminal_of_80_columns(number):
    path = f"validation/glaciar/{number}.png"
    row = str(LoadedSplit("image-classification", "validation", "streaming", 11_700_000, path))
    assert len(row) <= 80
    assert row.isprintable()
    assert row.split()[:4] == ["image-classification", "validation", "streaming", "11700000"]
    assert row.endswith(f"{number[-5:]}.png")


def test_real_archives_pass(real_archives, capsys):
    assert smoke_load.main(["--data-dir", str(real_archives)]) == 0
    assert capsys.readouterr().out.splitlines() == expected_lines({"train": 200, "validation": 30, "test": 70})


def test_a_faulty_folder_gives_one_line_and_status_1(sample_copy, capsys):
    (sample_copy / "test_masks.zip").unlink()
    assert smoke_load.main(["--data-dir", str(sample_copy)]) == 1
    out, err = capsys.readouterr()
    assert out.splitlines() == expected_lines(SAMPLE_SIZES)[:7]
    record, fault = err.splitlines()
    assert "not audited" in record
    assert fault.partition(": error: ")[2].startswith("test_masks.zip: not in")


@pytest.mark.parametrize(
    "arguments",
    [["--data-dir", "a", "--repo-id", "b/c"], ["--name", "image-detection"], ["--revision", "main"], ["data"]],
)
def test_wrong_usage_has_status_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        smoke_load.main(arguments)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_help_explains_the_options_and_the_exit_status(capsys):
    with pytest.raises(SystemExit) as caught:
        smoke_load.main(["--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert all(word in out for word in ("--data-dir", "--repo-id", "--revision", "--name", "--streaming", "status"))


def wrong_features(loaded):
    return datasets.DatasetDict({split: examples.rename_column("path", "file") for split, examples in loaded.items()})


def wrong_order(loaded):
    columns = ["path", "image", "masks"]
    return datasets.DatasetDict({split: examples.select_columns(columns) for split, examples in loaded.items()})


def missing_split(loaded):
    del loaded["test"]
    return loaded


def with_paths(change):
    def apply(loaded):
        paths = [change(path) for path in loaded["test"]["path"]]
        features = loaded["test"].features
        loaded["test"] = loaded["test"].remove_columns("path").add_column("path", paths).select_columns([*features])
        return loaded

    return apply


def with_image(column, image):
    def apply(loaded):
        features = loaded["test"].features
        loaded["test"] = loaded["test"].map(lambda _: {column: image}, features=features)
        return loaded

    return apply


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (wrong_features, "train whole: the features are"),
        (wrong_order, "train whole: the features are"),
        (missing_split, "the splits are train, validation; they should be"),
        (with_paths(lambda path: path.replace("test", "train")), "test/<class>/<id>.png"),
        (with_paths(lambda path: path.replace("cordillera", "mountain")), "test/<class>/<id>.png"),
        (with_paths(lambda path: "test/glaciar/1.png"), "stands twice"),
        (with_image("image", Image.new("RGB", (128, 128))), "image is RGB of 128 x 128"),
        (with_image("masks", Image.new("RGBA", (128, 64))), "masks is RGBA of 128 x 64"),
        (with_image("masks", Image.new("RGBA", (128, 128), (9, 9, 9, 255))), "two colours"),
        (lambda loaded: loaded.filter(lambda path: False, input_columns="path"), "no examples"),
        (lambda loaded: loaded.filter(lambda path: "/0" not in path, input_columns="path"), "examples; 12 expected"),
    ],
)
def test_what_is_not_as_the_contract_says_is_told(change, said, sample, tmp_path, monkeypatch, capsys):
    sound = load_dataset("image-segmentation", data_dir=sample, cache_dir=tmp_path / "cache")
    monkeypatch.setattr(smoke_load, "_load", lambda *arguments: change(sound))
    origin = Origin(str(sample), sizes=SAMPLE_SIZES)
    with pytest.raises(smoke_load.SmokeError) as caught:
        list(smoke_load.smoke_load(origin, ["image-segmentation"], ["whole"], str(tmp_path)))
    assert said in str(caught.value)


def test_a_wrong_label_is_told(sample, tmp_path, monkeypatch):
    sound = load_dataset(data_dir=sample, cache_dir=tmp_path / "cache")
    wrong = sound.map(lambda example: {"labels": 1 - example["labels"]}, features=sound["train"].features)
    monkeypatch.setattr(smoke_load, "_load", lambda *arguments: wrong)
    with pytest.raises(smoke_load.SmokeError, match=r"train/cordillera/0\.png has the label 1, glaciar"):
        list(smoke_load.smoke_load(Origin(str(sample)), ["image-classification"], ["whole"], str(tmp_path)))


def test_the_hub_is_loaded_by_plain_datasets(sample, tmp_path):
    card = ["---", "configs:"]
    for config in CONFIG_NAMES:
        card += [f"- config_name: {config}", "  data_files:"]
        for split, examples in load_dataset(config, data_dir=sample).items():
            file = f"{config}/{split}-00000-of-00001.parquet"
            (tmp_path / "repository" / config).mkdir(parents=True, exist_ok=True)
            examples.to_parquet(str(tmp_path / "repository" / file))
            card += [f"  - split: {split}", f"    path: {file}"]
    (tmp_path / "repository" / "README.md").write_text("\n".join([*card, "---", ""]))
    with HubServer() as hub:
        hub.add_repository("somebody/tiles", tmp_path / "repository").create_tag("v1")
        for extra in ([], ["--revision", "v1", "--streaming"]):
            environment = {**client_environment(hub, tmp_path), "PYTHONPATH": str(REPOSITORY)}
            done = run("--repo-id", "somebody/tiles", *extra, env=environment)
            assert done.returncode == 0, done.stderr
            ways = ("streaming",) if extra else ("whole", "streaming")
            assert done.stdout.splitlines() == expected_lines(SAMPLE_SIZES, ways)
