"""The folder that is the Hub repository: what is in it, that `datasets` loads it, and that it is whole or absent."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import datasets
import pyarrow.parquet as pq
import pytest
import stage_hub_repo
from archive_contents import change_manifest, contents, rewrite
from conftest import REPOSITORY, SAMPLE_SIZES
from dataset_card import size_category
from huggingface_hub import DatasetCard
from make_sample_archives import make_sample_archives
from stage_hub_repo import COPIED_FILES, stage
from test_rock_glacier_dataset import CONFIGS, assert_holds

from rock_glacier.parallel import Workers
from rock_glacier_dataset import CONFIG_NAMES, RELEASE_SIZES, SPLIT_NAMES, ArchiveError

SCRIPT = REPOSITORY / "scripts" / "stage_hub_repo.py"
PARQUET = [f"{config}/{split}-00000-of-00001.parquet" for config in CONFIG_NAMES for split in SPLIT_NAMES]


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def load(folder: Path, config: str | None = None, *, streaming: bool = False, home: Path):
    return datasets.load_dataset(str(folder), name=config, streaming=streaming, cache_dir=str(home))


def test_it_holds_the_card_the_parquet_the_archives_the_module_and_the_papers(staged, sample):
    found = files_of(staged)
    archives = {f"data/{path.name}": path.read_bytes() for path in sample.iterdir()}
    copied = {name: (REPOSITORY / name).read_bytes() for name in COPIED_FILES}
    copied |= {f"assets/{path.name}": path.read_bytes() for path in (REPOSITORY / "assets").iterdir()}
    assert {name: found[name] for name in archives | copied} == archives | copied
    assert found.keys() - archives.keys() - copied.keys() == {"README.md", "id2label.json", *PARQUET}
    assert json.loads(found["id2label.json"]) == {"0": "cordillera", "1": "glaciar"}


def test_pictures_are_copied_whichever_there_are_and_hidden_files_are_not(sample, tmp_path, monkeypatch):
    project = tmp_path / "project"
    project.mkdir()
    for name in ("README.md", *COPIED_FILES):
        (project / name).write_bytes((REPOSITORY / name).read_bytes())
    monkeypatch.setattr(stage_hub_repo, "PROJECT", project)
    stage(sample, tmp_path / "without")
    assert not (tmp_path / "without" / "assets").exists()
    (project / "assets" / "more").mkdir(parents=True)
    for name in ("a.webp", "more/b.png", ".a.webp.tmp", ".DS_Store"):
        (project / "assets" / name).write_text(name)
    stage(sample, tmp_path / "with")
    assert files_of(tmp_path / "with" / "assets") == {"a.webp": b"a.webp", "more/b.png": b"more/b.png"}


@pytest.mark.parametrize("config", CONFIG_NAMES)
@pytest.mark.parametrize("streaming", [False, True])
def test_datasets_loads_the_folder_as_the_archives_are(staged, sample, tmp_path, config, streaming):
    loaded = load(staged, config, streaming=streaming, home=tmp_path)
    assert list(loaded) == list(SPLIT_NAMES)
    for split, examples in loaded.items():
        assert dict(examples.features) == CONFIGS[config]
        assert_holds(examples, sample, split)


def test_without_a_name_it_is_classification(staged, tmp_path):
    assert list(load(staged, home=tmp_path)["test"].features) == ["image", "labels", "path"]


@pytest.mark.parametrize("config", CONFIG_NAMES)
def test_shards_of_archives_become_shards_of_parquet(sharded_sample, tmp_path, config):
    stage(sharded_sample, tmp_path / "staged")
    names = [f"{split}-{shard:05d}-of-00003.parquet" for split in SPLIT_NAMES for shard in range(3)]
    assert sorted(path.name for path in (tmp_path / "staged" / config).iterdir()) == sorted(names)
    for split, examples in load(tmp_path / "staged", config, home=tmp_path / "home").items():
        assert_holds(examples, sharded_sample, split)


def test_the_same_archives_give_the_same_bytes_however_many_processes_write(sample, sharded_sample, staged, tmp_path):
    stage(sample, tmp_path / "again")
    assert files_of(tmp_path / "again") == files_of(staged)
    stage(sharded_sample, tmp_path / "one")
    stage(sharded_sample, tmp_path / "two", workers=Workers(2))
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")


def test_the_card_tells_the_configs_and_the_sizes_that_were_built(staged):
    card = DatasetCard.load(staged / "README.md").data.to_dict()
    assert card["configs"] == [
        {
            "config_name": config,
            **({"default": True} if config == "image-classification" else {}),
            "data_files": [{"split": split, "path": f"{config}/{split}-*.parquet"} for split in SPLIT_NAMES],
        }
        for config in CONFIG_NAMES
    ]
    assert card["size_categories"] == ["n<1K"]
    assert card["license"] == "mit"
    for config, info in zip(CONFIG_NAMES, card["dataset_info"], strict=True):
        assert info["config_name"] == config
        assert [feature["name"] for feature in info["features"]] == list(CONFIGS[config])
        assert {split["name"]: split["num_examples"] for split in info["splits"]} == SAMPLE_SIZES
        tables = [pq.read_table(staged / config / f"{split}-00000-of-00001.parquet") for split in SPLIT_NAMES]
        assert [split["num_bytes"] for split in info["splits"]] == pytest.approx([t.nbytes for t in tables], rel=1e-3)
        assert info["download_size"] == sum(path.stat().st_size for path in (staged / config).iterdir())
        assert info["dataset_size"] == sum(split["num_bytes"] for split in info["splits"])


def test_the_cards_text_is_the_readmes(staged):
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    card = (staged / "README.md").read_text(encoding="utf-8")
    assert card.split("\n---\n", 1)[1] == readme.split("\n---\n", 1)[1]


def test_another_repository_is_named_in_the_cards_calls(sample, tmp_path):
    stage(sample, tmp_path / "staged", repo_id="somebody/glaciers")
    card = (tmp_path / "staged" / "README.md").read_text(encoding="utf-8")
    assert 'load_dataset("alkzar90/' not in card
    assert "hf://datasets/alkzar90/" not in card
    assert 'load_dataset("somebody/glaciers"' in card


def test_no_image_is_decoded_or_encoded(sample, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("an image was decoded or encoded")

    for name in ("PIL.Image.open", "PIL.Image.Image.save", "PIL.Image.Image.load"):
        monkeypatch.setattr(name, refuse)
    stage(sample, tmp_path / "staged")
    assert files_of(tmp_path / "staged").keys() > set(PARQUET)


def test_real_archives_are_staged(real_archives, tmp_path):
    stage(real_archives, tmp_path / "staged")
    for config in CONFIG_NAMES:
        for split, examples in load(tmp_path / "staged", config, home=tmp_path / "home").items():
            assert_holds(examples, real_archives, split)


def test_archives_may_be_left_out(sample, tmp_path):
    stage(sample, tmp_path / "staged", archives=False)
    assert not (tmp_path / "staged" / "data").exists()
    assert len(load(tmp_path / "staged", home=tmp_path / "home")["train"]) == SAMPLE_SIZES["train"]


def test_archives_without_a_manifest_are_staged(sample_copy, tmp_path):
    (sample_copy / "manifest.json").unlink()
    stage(sample_copy, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out" / "data").iterdir()) == sorted(
        path.name for path in sample_copy.iterdir()
    )


def test_the_line_of_each_split_says_what_was_written(sample, tmp_path, capsys):
    assert stage_hub_repo.main([str(sample), str(tmp_path / "staged")]) == 0
    *lines, data = capsys.readouterr().out.splitlines()
    names = [(config, split) for config in CONFIG_NAMES for split in SPLIT_NAMES]
    assert lines == [
        f"{config} {split}: {SAMPLE_SIZES[split]} examples, {path.stat().st_size} bytes, 1 Parquet file"
        for config, split in names
        for path in (tmp_path / "staged" / config).glob(f"{split}-*")
    ]
    assert data == f"data: {sum(path.stat().st_size for path in sample.iterdir())} bytes, 7 files"


FAULTS = {
    "a damaged tile": (
        lambda folder: rewrite(folder / "test.zip", lambda members: [(m, png[:-9]) for m, png in members]),
        "test.zip: test/cordillera/0.png: is a PNG cut short",
    ),
    "another archive than the manifest's": (
        lambda folder: change_manifest(folder, lambda m: m["archives"]["test.zip"].update(sha256="0" * 64)),
        "test.zip: has the SHA-256",
    ),
    "no masks": (lambda folder: (folder / "train_masks.zip").unlink(), "train_masks.zip: not in"),
    "no folder": (lambda folder: folder.rename(folder.with_name("away")), "no such folder"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("num_proc", [1, 2])
def test_a_fault_is_named_in_one_line_and_leaves_nothing(sample_copy, tmp_path, capsys, fault, num_proc):
    spoil, message = FAULTS[fault]
    spoil(sample_copy)
    before = sorted(path.name for path in tmp_path.iterdir())
    arguments = [str(sample_copy), str(tmp_path / "out"), "--num-proc", str(num_proc)]
    assert stage_hub_repo.main(arguments) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert message in error
    assert "Traceback" not in error
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_archives_that_change_meanwhile_are_not_staged(sample_copy, tmp_path, monkeypatch):
    write = stage_hub_repo._write_shard

    def write_and_touch(work):
        os.utime(sample_copy / "test.zip", (0, 0))
        return write(work)

    monkeypatch.setattr(stage_hub_repo, "_write_shard", write_and_touch)
    with pytest.raises(ArchiveError, match=r"test\.zip: was changed while it was staged"):
        stage(sample_copy, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_run_leaves_nothing_that_looks_whole(tmp_path, number):
    make_sample_archives(tmp_path / "sample", train=400, validation=4, test=4)
    command = [sys.executable, str(SCRIPT), str(tmp_path / "sample"), str(tmp_path / "out")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    while not list(tmp_path.glob(".out.*/image-classification/*.parquet")):
        assert process.poll() is None
        time.sleep(0.001)  # a poll: what is waited for is a file
    process.send_signal(number)
    _, errors = process.communicate()
    assert not (tmp_path / "out").exists()
    if number != signal.SIGKILL:
        assert process.returncode == 1
        assert errors.splitlines()[-1] == "stage_hub_repo.py: interrupted; nothing was written"
        assert [path.name for path in tmp_path.iterdir()] == ["sample"]


def test_an_occupied_folder_stays_as_it_is(sample, staged_copy, capsys):
    before = files_of(staged_copy)
    assert stage_hub_repo.main([str(sample), str(staged_copy)]) == 1
    assert "not empty" in capsys.readouterr().err
    assert files_of(staged_copy) == before


@pytest.mark.parametrize("out", ["rock_glacier_dataset", "rock_glacier_dataset/", "x/../Rock_Glacier_Dataset"])
def test_a_folder_called_as_the_module_is_refused_first(sample, tmp_path, capsys, out):
    with pytest.raises(SystemExit) as ended:
        stage_hub_repo.main([str(sample), f"{tmp_path}/{out}"])
    assert ended.value.code == 2
    assert "loading script" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_repository_called_as_the_module_is_refused_first(sample, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        stage_hub_repo.main([str(sample), str(tmp_path / "out"), "--repo-id", "somebody/rock_glacier_dataset"])
    assert ended.value.code == 2
    assert "choose another name, such as rock-glacier-dataset" in capsys.readouterr().err


def test_the_release_is_of_the_size_that_the_readme_states():
    card = DatasetCard.load(REPOSITORY / "README.md").data
    assert card["size_categories"] == [size_category(sum(RELEASE_SIZES.values()))]


def test_the_groups_of_tiles_are_staged_with_and_without_the_archives(sample_copy, tmp_path):
    paths = [path for split in SPLIT_NAMES for path in contents(sample_copy, split)]
    (sample_copy / "groups.csv").write_text("path,group\n" + "".join(f"{path},{n}\n" for n, path in enumerate(paths)))
    for archives in (True, False):
        out = tmp_path / str(archives)
        stage(sample_copy, out, archives=archives)
        assert (out / "data" / "groups.csv").read_bytes() == (sample_copy / "groups.csv").read_bytes()


@pytest.mark.parametrize(
    ("audit", "told"),
    [
        (None, "not audited"),
        ({"tool": "build_archives.py 1.0.0", "errors": 0, "warnings": 2}, "0 errors, 2 warnings"),
    ],
)
def test_it_is_said_whether_the_archives_were_audited(sample_copy, tmp_path, capsys, audit, told):
    change_manifest(sample_copy, lambda manifest: manifest.update({"audit": audit} if audit else {}))
    assert stage_hub_repo.main([str(sample_copy), str(tmp_path / "out")]) == 0
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("groups", ["", "path,group\n", "path,group\ntrain/cordillera/0.png,a\n", "path\na\n"])
def test_groups_of_other_tiles_are_refused(sample_copy, tmp_path, groups):
    (sample_copy / "groups.csv").write_text(groups)
    with pytest.raises(ArchiveError, match=r"groups\.csv: .*build the archives again"):
        stage(sample_copy, tmp_path / "out")
