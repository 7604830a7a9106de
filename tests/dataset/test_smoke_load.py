"""The smoke load: what it prints, and which faults it finds."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import itertools
import os
import subprocess
import sys

import datasets
import pytest
from archive_contents import change_manifest, tile_paths
from conftest import REPOSITORY, SAMPLE_SIZES
from hub.server import HubServer, client_environment
from PIL import Image

from rock_glacier.smoke_load import LoadedSplit, SmokeError, main, smoke_load
from rock_glacier_dataset import CONFIG_NAMES, SPLIT_NAMES, load_archives

NOTICE = "These are synthetic sample tiles, none of the dataset's."
HEADINGS = "config                split       loaded     examples  first example"


def run(*arguments: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    script = str(REPOSITORY / "scripts" / "smoke_load.py")
    return subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True, check=False, env=env)


def rows(sizes, data_dir, ways=("whole", "streaming"), configs=CONFIG_NAMES):
    """The table's headings, and a row for each config, way and split."""
    first = {split: tile_paths(data_dir, split)[0].partition("/")[2] for split in SPLIT_NAMES}
    return [HEADINGS] + [
        f"{config:22}{split:12}{way:9}{sizes[split]:10}  {first[split]}"
        for config, way, split in itertools.product(configs, ways, SPLIT_NAMES)
    ]


PACKAGES_OF_EXTRAS = ("jinja2", "joblib", "matplotlib", "natsort", "rich", "scipy", "skimage", "sklearn", "zlib_ng")


def test_without_arguments_a_sample_is_loaded_without_any_extra(tmp_path):
    for package in PACKAGES_OF_EXTRAS:
        (tmp_path / f"{package}.py").write_text("raise ModuleNotFoundError('not needed to load')")
    paths = [tmp_path, REPOSITORY, REPOSITORY / "scripts"]
    done = run(env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))})
    said = [line for line in done.stderr.splitlines() if "google storage" not in line]  # what datasets 2.14 says
    assert (done.returncode, said) == (0, [])
    notice, headings, *found = done.stdout.splitlines()
    assert (notice, headings) == (NOTICE, HEADINGS)
    expected = itertools.product(
        CONFIG_NAMES, ("whole", "streaming"), {"train": 14, "validation": 4, "test": 6}.items()
    )
    assert [row.split()[:4] for row in found] == [[name, split, way, str(n)] for name, way, (split, n) in expected]


def test_folder_is_loaded_in_the_config_and_way_asked_for(sample, capsys):
    assert main([str(sample), "--name", "image-segmentation", "--streaming"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        NOTICE,
        *rows(SAMPLE_SIZES, sample, ("streaming",), ["image-segmentation"]),
    ]


def test_real_archives_are_loaded_and_the_missing_audit_is_reported(real_archives, capsys):
    assert main([str(real_archives)]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == rows({"train": 200, "validation": 30, "test": 70}, real_archives)
    assert "records an audit" in err


@pytest.mark.parametrize("number", ["0", "1512", "9" * 18])
def test_row_fits_a_terminal_of_80_columns(number):
    path = f"validation/glaciar/{number}.png"
    row = str(LoadedSplit("image-classification", "validation", "streaming", 11_700_000, path))
    assert len(row) <= 80
    assert row.split()[:4] == ["image-classification", "validation", "streaming", "11700000"]
    assert row.endswith(f"{number[-5:]}.png")


def test_faulty_folder_gives_one_line_and_status_1(sample_copy, capsys):
    change_manifest(sample_copy, lambda manifest: manifest.update(version="2.0.0"))
    (sample_copy / "test.zip").unlink()
    assert main([str(sample_copy)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    record, fault = err.splitlines()
    assert "records an audit" in record
    assert fault.partition(": error: ")[2].startswith("test.zip: not in")


@pytest.mark.parametrize(
    "arguments",
    [["nowhere"], ["nope://x"], ["zip://x::file"], ["hf://datasets/x"], ["a::b"], ["--repo-id", "somebody/nothing"]],
)
def test_place_without_archives_gives_one_line_and_status_1(arguments, capsys):
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert arguments[-1] in err


@pytest.mark.parametrize(
    "arguments",
    [["a", "--repo-id", "b/c"], ["--name", "image-detection"], ["--revision", "main"], ["a", "--trust-remote-code"]],
)
def test_wrong_usage_has_status_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


def changed(loaded, split, **columns):
    """Replace columns of a split by a value, or by what a function makes of each."""

    def change(example):
        return {name: one(example[name]) if callable(one) else one for name, one in columns.items()}

    return datasets.DatasetDict({**loaded, split: loaded[split].map(change, features=loaded[split].features)})


def path_with(old, new):
    return lambda loaded: changed(loaded, "test", path=lambda path: path.replace(old, new))


def image_of(column, mode, size, *colour):
    return lambda loaded: changed(loaded, "test", **{column: Image.new(mode, size, *colour)})


def without(word):
    return lambda loaded: loaded.filter(lambda path: word not in path, input_columns="path")


UNNAMED = "is not named test/<class>/<id>.png"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda loaded: loaded.rename_column("path", "file"), "train whole: the features are"),
        (lambda loaded: loaded.select_columns(["path", "image", "masks"]), "train whole: the features are"),
        (
            lambda loaded: {split: loaded[split] for split in ("train", "validation")},
            "the splits are train, validation; expected train, validation, test",
        ),
        (path_with("test", "train"), UNNAMED),
        (path_with("cordillera", "mountain"), UNNAMED),
        (path_with("cordillera", "masks"), UNNAMED),
        (path_with("test", "a/test"), UNNAMED),
        (lambda loaded: changed(loaded, "test", path="test/glaciar/1.png"), "test/glaciar/1.png is there twice"),
        (image_of("image", "RGB", (128, 128)), "image is RGB of 128 x 128"),
        (image_of("masks", "RGBA", (128, 64)), "masks is RGBA of 128 x 64"),
        (image_of("masks", "RGBA", (128, 128), (9, 9, 9, 255)), "got (9, 9, 9, 255) at y=0, x=0"),
        (without("/"), "no examples"),
        (without("/000"), "10 examples; expected 12"),
    ],
)
def test_what_differs_from_the_data_sheet_is_named(change, said, sample):
    loaded = change(load_archives("image-segmentation", data_dir=sample))
    with pytest.raises(SmokeError) as caught:
        list(smoke_load(lambda config, streaming: loaded, ["image-segmentation"], ["whole"], SAMPLE_SIZES))
    assert said in str(caught.value)


def test_wrong_label_is_named(sample):
    loaded = changed(load_archives(data_dir=sample), "test", labels=lambda label: 1 - label)
    with pytest.raises(SmokeError, match=r"test/\w+/\d+\.png has the label [01], (glaciar|cordillera)"):
        list(smoke_load(lambda config, streaming: loaded, ["image-classification"], ["whole"]))


def test_a_revision_on_the_hub_is_loaded_by_plain_datasets(staged, sample, tmp_path):
    with HubServer() as hub:
        repository = hub.add_repository("somebody/tiles", staged / "main")
        repository.create_tag("v1")
        repository.commit({"README.md": b"# Other files, which no data set is loaded from"})
        done = run("--repo-id", "somebody/tiles", "--revision", "v1", env=client_environment(hub, tmp_path))
        assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == rows(SAMPLE_SIZES, sample)
