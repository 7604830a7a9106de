"""The command `smoke-load`."""

from __future__ import annotations

import os
import subprocess
import sys

import datasets
import pytest
from factories import REPOSITORY, run_command, tile_paths
from loopback_hub import LoopbackHub, client_environment
from PIL import Image

from rock_glacier.cli.smoke_load import check_dataset
from rock_glacier.faults import InputError
from rock_glacier_dataset import CONFIG_NAMES, SPLIT_NAMES, load_archives

SEGMENTATION = "image-segmentation"
# Packages of the extras, which loading does not need.
EXTRAS = ("cv2", "geopandas", "jinja2", "joblib", "matplotlib", "rich", "scipy", "sklearn")


def rows_of(text: str) -> list[list[str]]:
    """Return the cells of the printed rows, without the headings."""
    return [line.split() for line in text.splitlines()[1:]]


def expected_rows(sizes: dict[str, int], paths: dict[str, str]) -> list[list[str]]:
    return [
        [config, split, way, str(sizes[split]), paths[split]]
        for config in CONFIG_NAMES
        for way in ("whole", "streaming")
        for split in SPLIT_NAMES
    ]


def test_sample_is_loaded_without_any_extra(tmp_path):
    for package in EXTRAS:
        (tmp_path / f"{package}.py").write_text("raise ModuleNotFoundError('not needed')")
    paths = os.pathsep.join([str(tmp_path), str(REPOSITORY)])
    code = "import sys; from rock_glacier.cli import main; sys.exit(main(['smoke-load']))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": paths},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    sizes = {tuple(row[1:4:2]) for row in rows_of(done.stdout)}
    assert sizes == {("train", "14"), ("validation", "4"), ("test", "6")}


def test_folder_is_loaded(real_archives, capsys):
    assert run_command("smoke-load", real_archives) == 0
    sizes = {"train": 200, "validation": 30, "test": 70}
    paths = {split: tile_paths(real_archives, split)[0] for split in SPLIT_NAMES}
    assert rows_of(capsys.readouterr().out) == expected_rows(sizes, paths)


def test_faulty_folder_has_status_1(sample_copy, capsys):
    (sample_copy / "test.zip").unlink()
    assert run_command("smoke-load", sample_copy) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("Error: test.zip: ")


@pytest.mark.parametrize("data_dir", ["nowhere", "nope://x", "zip://x::file", "a::b"])
def test_folder_without_archives_has_status_1(data_dir, capsys):
    assert run_command("smoke-load", data_dir) == 1
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert data_dir in error


@pytest.mark.parametrize(
    "arguments", [["folder", "--repo-id", "a/b"], ["--revision", "v1"], ["--repo-id", "a b"]]
)
def test_wrong_usage_has_status_2(arguments):
    assert run_command("smoke-load", *arguments) == 2


def test_local_folder_is_not_taken_for_a_repository(sample, tmp_path, capsys):
    (tmp_path / "somebody").mkdir()
    (tmp_path / "somebody" / "tiles").symlink_to(sample)
    assert run_command("smoke-load", "--repo-id", "somebody/tiles", cwd=tmp_path) == 1
    assert "somebody/tiles" in capsys.readouterr().err


def test_repository_is_loaded_at_a_revision(sample, tmp_path):
    """The Parquet files are written by `datasets`; other tests load those that `stage` writes."""
    card = "---\nconfigs:\n"
    files = {}
    for config in CONFIG_NAMES:
        card += f"- config_name: {config}\n  data_files:\n"
        for split, examples in load_archives(config, data_dir=sample).items():
            file = tmp_path / f"{config}-{split}.parquet"
            examples.to_parquet(file)
            files[f"{config}/{split}.parquet"] = file
            card += f"  - split: {split}\n    path: {config}/{split}.parquet\n"
    files["README.md"] = f"{card}---\n".encode()
    with LoopbackHub() as hub:
        repository = hub.add_repository("somebody/tiles", files)
        repository.create_tag("v1")
        repository.commit({}, delete=[name for name in files if name.endswith(".parquet")])
        arguments = ["smoke-load", "--repo-id", "somebody/tiles", "--revision", "v1"]
        code = f"import sys; from rock_glacier.cli import main; sys.exit(main({arguments}))"
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**client_environment(hub, tmp_path / "home"), "PYTHONPATH": str(REPOSITORY)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    sizes = {"train": 12, "validation": 4, "test": 6}
    paths = {split: tile_paths(sample, split)[0] for split in SPLIT_NAMES}
    assert rows_of(done.stdout) == expected_rows(sizes, paths)


def changed(split, **columns):
    """Return a function that sets columns of a split to a value."""

    def change(loaded):
        features = loaded[split].features
        examples = loaded[split].map(lambda _: columns, features=features)
        return datasets.DatasetDict({**loaded, split: examples})

    return change


@pytest.mark.parametrize(
    "change",
    [
        lambda loaded: loaded.rename_column("path", "file"),
        lambda loaded: loaded.select_columns(["path", "image", "masks"]),
        lambda loaded: {split: loaded[split] for split in ("train", "test")},
        lambda loaded: loaded.filter(lambda _: False),
        changed("test", path="train/glaciar/1.png"),
        changed("test", path="test/masks/1.png"),
        changed("test", path="test/glaciar/1.png"),
        changed("test", image=Image.new("RGB", (128, 128))),
        changed("test", masks=Image.new("RGBA", (128, 64))),
        changed("test", masks=Image.new("RGBA", (128, 128), (9, 9, 9, 255))),
    ],
)
def test_differences_from_the_data_sheet(change, sample):
    loaded = load_archives(SEGMENTATION, data_dir=sample)
    with pytest.raises(ValueError, match=SEGMENTATION):
        check_dataset(change(loaded), SEGMENTATION)


def test_wrong_label(sample):
    loaded = changed("test", labels=1)(load_archives(data_dir=sample))
    with pytest.raises(InputError, match="label"):
        check_dataset(loaded, "image-classification")
