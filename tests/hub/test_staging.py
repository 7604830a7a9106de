"""Staging: the files of each branch, their content, and faults."""

from __future__ import annotations

import json
import subprocess
import sys

import factories
import pyarrow.parquet as pq
import pytest
from huggingface_hub import DatasetCard
from loopback_hub import client_environment

from rock_glacier.archives import sort_key
from rock_glacier.hub.staging import read_repo_id, stage
from rock_glacier.hub.upload import check_staged
from rock_glacier.index import make_index, read_index, write_index
from rock_glacier.parallel import Workers
from rock_glacier_dataset import (
    CONFIG_NAMES,
    REPO_ID,
    SPLIT_NAMES,
    ArchiveError,
)

PARQUET = [f"{config}/{split}-00000-of-00001" for config in CONFIG_NAMES for split in SPLIT_NAMES]


@pytest.fixture(scope="module")
def staged_overlapping(overlapping, tmp_path_factory):
    folder = tmp_path_factory.mktemp("staged") / "overlapping"
    stage(overlapping, folder, repo_id="me/tiles", workers=Workers(1))
    return folder


def test_main_holds_card_parquet_index_and_documents(staged):
    expected = {f"{name}.parquet" for name in PARQUET}
    expected |= {"README.md", "tiles.parquet", "croissant.json", "id2label.json"}
    expected |= {"LICENSE", "CITATION.cff"}
    expected |= {f"assets/{name}" for name in ("map.png", "tiles.webp", "example.webp")}
    assert factories.files_of(staged / "main").keys() == expected
    labels = json.loads((staged / "main/id2label.json").read_text())
    assert labels == {"0": "background", "1": "rock glacier"}


def test_script_holds_archives_and_script(staged, sample):
    script = factories.files_of(staged / "script")
    data = {f"data/{name}": content for name, content in factories.files_of(sample).items()}
    data.pop("data/README.md")
    data.pop("data/true_tiles.parquet", None)
    module = (factories.REPOSITORY / "rock_glacier_dataset.py").read_bytes()
    assert script.pop("rock-glacier-dataset.py") == module
    assert b'revision="script"' in script.pop("README.md")
    assert script == data


def test_a_split_has_as_many_files_as_archives(sharded_sample, staged, tmp_path):
    index_file = tmp_path / "index.parquet"
    write_index(read_index(staged / "main/tiles.parquet").assign(block=3), index_file)
    stage(sharded_sample, tmp_path / "out", index_file=index_file, workers=Workers(1))
    for config in CONFIG_NAMES:
        names = sorted(file.name for file in (tmp_path / "out/main" / config).glob("test-*"))
        assert names == [f"test-0000{shard}-of-00003.parquet" for shard in range(3)]
        tables = [pq.read_table(tmp_path / "out/main" / config / name) for name in names]
        paths = [path for table in tables for path in table["path"].to_pylist()]
        assert paths == sorted(factories.tile_paths(sharded_sample, "test"), key=sort_key)
    check_staged(tmp_path / "out")
    assert read_index(tmp_path / "out/main/tiles.parquet")["block"].eq(3).all()


def test_staging_again_gives_the_same_bytes(staged, sample, tmp_path):
    stage(sample, tmp_path / "again", workers=Workers(2))
    assert factories.files_of(tmp_path / "again") == factories.files_of(staged)


def test_metadata_of_the_card(staged):
    card = DatasetCard.load(staged / "main/README.md").data.to_dict()
    assert card["size_categories"] == ["n<1K"]
    assert "synthetic" in card["pretty_name"]
    assert [config["config_name"] for config in card["configs"]] == list(CONFIG_NAMES)
    assert card["configs"][0]["default"] is True
    for info in card["dataset_info"]:
        sizes = {split["name"]: split["num_examples"] for split in info["splits"]}
        assert sizes == {"train": 12, "validation": 4, "test": 6}
        files = (staged / "main" / info["config_name"]).iterdir()
        assert info["download_size"] == sum(file.stat().st_size for file in files)
    script_card = DatasetCard.load(staged / "script/README.md").data.to_dict()
    assert not {"configs", "dataset_info"} & script_card.keys()
    assert script_card["license"] == "mit"


def test_sections_of_the_card(staged, staged_overlapping):
    card = (staged / "main/README.md").read_text()
    assert "synthetic sample of 22 tiles" in card
    assert "| tiles | 12 | 4 | 6 |\n| `cordillera` | 6 (50 %) | 2 (50 %) | 3 (50 %) |\n" in card
    assert "Of 6 test tiles, none shares ground with train tiles." in card
    assert "pixel for pixel: 0; pairs of identical tiles: 0." in card
    assert "assets/overlap.webp" not in card
    card = (staged_overlapping / "main/README.md").read_text()
    assert "ynthetic" not in card.partition("## From a clone")[0]
    assert "Of 2 test tiles, 1 share ground with train tiles" in card
    assert "pixel for pixel: 1; pairs of identical tiles: 0." in card
    assert "assets/overlap.webp" in card
    assert "<!--" not in card


def test_the_map_shows_the_staged_tiles_if_they_are_located(staged_located):
    card = (staged_located / "main/README.md").read_text()
    caption = card.partition("](assets/map.png)\n\n")[2].partition("\n\n")[0]
    assert "12 tiles" in caption
    assert "Synthetic sample" in caption
    project_map = factories.REPOSITORY / "assets/map.png"
    assert (staged_located / "main/assets/map.png").read_bytes() != project_map.read_bytes()
    assert read_index(staged_located / "main/tiles.parquet")["easting"].notna().all()


def test_the_map_of_the_project_stays_if_no_tile_is_located(staged):
    readme = (factories.REPOSITORY / "README.md").read_text(encoding="utf-8")
    section = readme.partition("<!-- pictures:map -->\n")[2].partition("\n<!-- /pictures:map")[0]
    assert "assets/map.png" in section
    assert section in (staged / "main/README.md").read_text(encoding="utf-8")
    project_map = factories.REPOSITORY / "assets/map.png"
    assert (staged / "main/assets/map.png").read_bytes() == project_map.read_bytes()


def test_card_and_metadata_name_the_repository(staged, staged_overlapping):
    assert read_repo_id(staged) == REPO_ID
    assert read_repo_id(staged_overlapping) == "me/tiles"
    for branch in ("main", "script"):
        card = (staged_overlapping / branch / "README.md").read_text()
        assert 'load_dataset("me/tiles"' in card
        assert f'load_dataset("{REPO_ID}"' not in card


def test_the_curators_archive_names_are_kept(staged_overlapping):
    data = staged_overlapping / "script/data"
    assert sorted(file.name for file in data.iterdir()) == ["test.zip", "train.zip", "val.zip"]


@pytest.mark.parametrize(
    ("path", "content", "code"),
    [
        ("test/cordillera/000.png", b"\x89PNG", "png-corrupt"),
        ("test/masks/000.png", None, "mask-missing"),
        ("test/masks/000.png", factories.png(0), "mask-values"),
    ],
)
def test_a_fault_stops_before_anything_is_written(sample_copy, tmp_path, path, content, code):
    factories.replace_member(sample_copy / "test.zip", path, content)
    with pytest.raises(ArchiveError) as caught:
        stage(sample_copy, tmp_path / "new/out", workers=Workers(1))
    assert caught.value.fault.code == code
    assert not list((tmp_path / "new").iterdir())


def test_an_index_of_the_folder_is_used(sample_copy, staged, tmp_path, capsys):
    index = read_index(staged / "main/tiles.parquet").assign(site=5)
    write_index(index, sample_copy / "tiles.parquet")
    assert factories.run_command("stage", sample_copy, tmp_path / "out", "--num-proc", 1) == 0
    assert read_index(tmp_path / "out/main/tiles.parquet")["site"].eq(5).all()
    printed = capsys.readouterr()
    assert "audit" not in printed.err
    assert f"upload refuses it for {REPO_ID}" in printed.err
    assert printed.out.splitlines()[0] == "image-classification train: 12 examples"
    assert len(printed.out.splitlines()) == 6


def test_an_index_of_other_tiles_is_refused(sample, staged, tmp_path):
    file = tmp_path / "index.parquet"
    write_index(make_index(read_index(staged / "main/tiles.parquet")[1:]), file)
    with pytest.raises(ArchiveError) as caught:
        stage(sample, tmp_path / "out", index_file=file, workers=Workers(1))
    assert caught.value.fault.code == "index-mismatch"


def test_an_index_of_wrong_positions_is_refused(overlapping, tmp_path):
    paths = factories.tile_paths(overlapping)
    file = factories.write_index_of(tmp_path / "index.parquet", paths, range(len(paths)))
    with pytest.raises(ArchiveError) as caught:
        stage(overlapping, tmp_path / "out", index_file=file, workers=Workers(1))
    assert caught.value.fault.code == "index-mismatch"


def test_archives_on_the_hub_are_staged_at_their_revision(hub, sample, staged, tmp_path):
    files = {f"data/data_v01/{file.name}": file for file in sample.iterdir()}
    files["data/data_v01/tiles.parquet"] = staged / "main/tiles.parquet"
    repository = hub.add_repository("somebody/tiles", files)
    repository.create_tag("v1")
    repository.commit({"data/data_v01/train.zip": b"newer"})
    address = "hf://datasets/somebody/tiles@v1/data/data_v01"
    script = factories.REPOSITORY / "scripts/stage.py"
    done = subprocess.run(
        [sys.executable, str(script), address, "out", "--num-proc", "1"],
        env=client_environment(hub, tmp_path / "home"),
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0
    for folder in ("main/image-classification", "script/data"):
        expected = factories.files_of(staged / folder)
        assert factories.files_of(tmp_path / "out" / folder) == expected
