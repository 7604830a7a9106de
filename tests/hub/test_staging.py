"""Staging: what is in the folder of each branch, that its rows are the archives', and that it is whole or absent."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from archive_contents import change_manifest, contents, rewrite, tile_paths, write_pictures_of
from conftest import REPOSITORY
from hub.faults import ARRIVED, fail, pause
from hub.server import HubServer
from huggingface_hub import DatasetCard
from upload_runs import TOKEN, User, as_curators_publish, as_hub_looks_today, digests_of, end, expected_rows

from rock_glacier.archives.grounds_file import GroundRow
from rock_glacier.archives.grounds_file import write_grounds as write_rows
from rock_glacier.console import REPO_ID, megabytes
from rock_glacier.parallel import Workers
from rock_glacier.publication import stage_command
from rock_glacier.publication.picture_record import PICTURES
from rock_glacier.publication.staging import stage
from rock_glacier.sample.faults import FAULTS as PLANTED
from rock_glacier_dataset import CONFIG_NAMES, SPLIT_NAMES

SOURCE = f"hf://datasets/{REPO_ID}/data/data_v01"
PARQUET = {f"{config}/{split}-00000-of-00001.parquet" for config in CONFIG_NAMES for split in SPLIT_NAMES}


def write_grounds(data_dir: Path) -> None:
    tiles = [path for split in SPLIT_NAMES for path in tile_paths(data_dir, split)]
    write_rows(data_dir, (GroundRow(path, number, 0, 0, 0, 0, path) for number, path in enumerate(tiles)))


def digest_of(value: Any) -> Any:
    return hashlib.sha256(value["bytes"]).hexdigest() if isinstance(value, dict) else value


def assert_rows(branch: Path, archives: Path) -> None:
    """Assert that the Parquet files hold the archives' bytes, in the order of the SHA-256 of the tiles' paths."""
    for config in CONFIG_NAMES:
        for split in SPLIT_NAMES:
            files = sorted((branch / config).glob(f"{split}-*"))
            rows = [[*map(digest_of, row.values())] for file in files for row in pq.read_table(file).to_pylist()]
            assert rows == expected_rows(archives, config, split)


def test_main_holds_card_parquet_and_papers_and_script_the_module_and_the_archives(sample_copy, tmp_path):
    write_grounds(sample_copy)
    (sample_copy / "dropped.csv").write_text("not published")
    stage(sample_copy, tmp_path / "staged")
    main, script = digests_of(tmp_path / "staged" / "main"), digests_of(tmp_path / "staged" / "script")
    not_copied = ("README.md", "dropped.csv")
    archives = {f"data/{name}": digest for name, digest in digests_of(sample_copy).items() if name not in not_copied}
    own = {"rock-glacier-dataset.py": hashlib.sha256((REPOSITORY / "rock_glacier_dataset.py").read_bytes()).hexdigest()}
    assert script == archives | own | {"README.md": script["README.md"]}
    pictures = {f"assets/{name}": digest for name, digest in digests_of(REPOSITORY / "assets").items()}
    del pictures["assets/pictures.json"]
    papers = {
        name: hashlib.sha256((REPOSITORY / name).read_bytes()).hexdigest()
        for name in ("LICENSE", "CITATION.cff", "CHANGELOG.md")
    }
    copied = pictures | papers | {"grounds.csv": archives["data/grounds.csv"]}
    assert copied.items() <= main.items()
    assert main.keys() - copied.keys() == PARQUET | {"README.md", "id2label.json", "croissant.json"}
    labels = json.loads((tmp_path / "staged" / "main" / "id2label.json").read_text())
    assert labels == {"0": "cordillera", "1": "glaciar"}
    sums = [line.split("  ") for line in (tmp_path / "staged" / "SHA256SUMS").read_text().splitlines()]
    assert {path: digest for digest, path in sums} == {
        f"{branch}/{path}": digest
        for branch, found in (("main", main), ("script", script))
        for path, digest in found.items()
    }


def test_overwrite_replaces_what_was_staged_and_nothing_else(sample, tmp_path):
    stage(sample, tmp_path / "staged")
    sums = (tmp_path / "staged" / "SHA256SUMS").read_bytes()
    stage(sample, tmp_path / "staged", repo_id="user/other", overwrite=True)
    assert (tmp_path / "staged" / "SHA256SUMS").read_bytes() != sums
    (tmp_path / "staged" / "main" / "assets" / "notes.txt").touch()
    before = digests_of(tmp_path / "staged")
    with pytest.raises(FileExistsError, match=r"holds main/assets/notes\.txt; name a new folder"):
        stage(sample, tmp_path / "staged", overwrite=True)
    assert digests_of(tmp_path / "staged") == before


def test_shards_of_archives_become_as_many_files_over_which_a_split_is_in_order(sharded_sample, tmp_path):
    info = stage(sharded_sample, tmp_path / "one")["image-classification"]
    tiles = [png for path, png in contents(sharded_sample, "train").items() if "/masks/" not in path]
    assert info.splits["train"].num_examples == len(tiles)
    assert 1 < info.splits["train"].num_bytes / sum(map(len, tiles)) < 1.01
    names = {f"{split}-{shard:05d}-of-00003.parquet" for split in SPLIT_NAMES for shard in range(3)}
    for config in CONFIG_NAMES:
        assert {path.name for path in (tmp_path / "one" / "main" / config).iterdir()} == names
    assert_rows(tmp_path / "one" / "main", sharded_sample)
    stage(sharded_sample, tmp_path / "two", workers=Workers(2))
    assert digests_of(tmp_path / "one") == digests_of(tmp_path / "two")


@pytest.mark.parametrize("source", ["sample", "real_archives"])
def test_the_curators_archives_keep_their_names_and_order_and_zeros_is_passed_over(source, request, tmp_path, capsys):
    archives = request.getfixturevalue(source)
    if source == "sample":
        archives = as_curators_publish(archives, tmp_path / "data_v01")
    pictures = write_pictures_of(archives, tmp_path / "pictures", of_sample=False)
    command = [str(archives), str(tmp_path / "staged"), "--assets", str(pictures), "--num-proc", "1"]
    assert stage_command.main(command) == 0
    printed = capsys.readouterr()
    record = "has no manifest.json that records an audit; run audit_archives.py"
    grounds, audit = printed.err.splitlines()[-2:]
    assert "script/data: holds no grounds.csv, without which intervals of scores are too narrow; build" in grounds
    assert audit.endswith(f"script/data: {record}")
    assert printed.out.splitlines() == [
        f"{config} {split}: {len(tile_paths(archives, split))} examples, "
        f"1 Parquet file, {megabytes(path.stat().st_size)}"
        for config in CONFIG_NAMES
        for split in SPLIT_NAMES
        for path in (tmp_path / "staged" / "main" / config).glob(f"{split}-*")
    ]
    assert_rows(tmp_path / "staged" / "main", archives)
    copied = digests_of(tmp_path / "staged" / "script" / "data")
    assert copied == {name: digest for name, digest in digests_of(archives).items() if name != "zeros.png"}
    assert "val.zip" in copied


def test_the_cards_calls_and_the_script_are_those_of_the_repository(sharded_sample, tmp_path):
    stage(sharded_sample, tmp_path / "staged", repo_id="somebody/glaciers")
    card = (tmp_path / "staged" / "main" / "README.md").read_text(encoding="utf-8")
    assert f'load_dataset("{REPO_ID}' not in card
    assert f"hf://datasets/{REPO_ID}/image" not in card
    assert 'load_dataset("somebody/glaciers"' in card
    assert "hf://datasets/somebody/glaciers/image-classification/test-00000-of-00003.parquet" in card
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert card.count("\n## ") == readme.count("\n## ")
    assert (tmp_path / "staged" / "script" / "glaciers.py").is_file()
    script = DatasetCard.load(tmp_path / "staged" / "script" / "README.md")
    assert 'load_dataset("somebody/glaciers", revision="script", trust_remote_code=True)' in script.text
    assert script.data.license == "mit"
    assert not {"configs", "dataset_info"} & script.data.to_dict().keys()


def add_ground(folder: Path) -> None:
    write_grounds(folder)
    with (folder / "grounds.csv").open("a") as file:
        file.write("train/glaciar/999999.png,0,0,0,0,0,\n")


def red_in_a_mask(folder: Path) -> None:
    PLANTED["mask-values"](folder)
    (folder / "manifest.json").unlink()


def empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a damaged tile": (
        lambda folder: rewrite(folder / "test.zip", lambda members: [(m, png[:-9]) for m, png in members]),
        "is a PNG cut short",
    ),
    "another archive than the manifest's": (
        lambda folder: change_manifest(folder, lambda m: m["archives"]["test.zip"].update(sha256="0" * 64)),
        "test.zip: is {",
    ),
    "no mask": (
        lambda folder: rewrite(
            folder / "train.zip", lambda members: [m for m in members if "/masks/" not in m[0].filename]
        ),
        "train.zip: train/glaciar/",
    ),
    "a mask of other colours": (
        red_in_a_mask,
        "test.zip: test/masks/000.png: has 64 pixels of other colours than white and black; build the archives again",
    ),
    "no archive": (lambda folder: (folder / "validation.zip").unlink(), "validation.zip: not in"),
    "no folder": (
        lambda folder: folder.rename(folder.with_name("away")),
        "no such folder or has '::'; give the folder that holds train.zip",
    ),
    "no archives": (empty, "sample: holds no archives"),
    "a ground of no tile": (add_ground, "grounds.csv: names tiles that no archive holds"),
    "an empty grounds.csv": (lambda folder: (folder / "grounds.csv").touch(), "grounds.csv: cannot be read as CSV"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_in_one_line_and_leaves_nothing(sample, sample_copy, tmp_path, capsys, fault):
    spoil, message = FAULTS[fault]
    spoil(sample_copy)
    of_sample = (sample_copy / "manifest.json").exists()
    pictures = write_pictures_of(sample, tmp_path / "pictures", of_sample=of_sample)
    before = sorted(path.name for path in tmp_path.iterdir())
    command = [str(sample_copy), str(tmp_path / "out"), "--assets", str(pictures), "--num-proc", "1"]
    assert stage_command.main(command) == 1
    (error,) = capsys.readouterr().err.splitlines()
    assert message in error
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def other_tiles(folder: Path) -> None:
    file = folder / "pictures.json"
    file.write_text(file.read_text().replace('"cordillera": 6', '"cordillera": 7'))


PICTURE_FAULTS: dict[str, tuple[bool, Callable[[Path], object], str]] = {
    "of a sample": (True, lambda folder: None, "its pictures show a synthetic sample, and {} is none; "),
    "of other tiles": (False, other_tiles, "show other numbers of tiles than {} has; "),
    "without a record": (False, lambda folder: (folder / "pictures.json").unlink(), "holds no pictures.json; "),
    "with a damaged record": (False, lambda folder: (folder / "pictures.json").write_text("[]"), "is damaged; "),
    "with one missing": (False, lambda folder: (folder / "splits.png").unlink(), "splits.png, which is missing; "),
}


@pytest.mark.parametrize("fault", PICTURE_FAULTS)
def test_pictures_that_do_not_show_the_archives_are_refused_with_the_command_that_draws_others(
    sample, tmp_path, capsys, fault
):
    of_sample, spoil, message = PICTURE_FAULTS[fault]
    archives = as_curators_publish(sample, tmp_path / "data v01")
    pictures = write_pictures_of(archives, tmp_path / "pictures", of_sample=of_sample)
    spoil(pictures)
    assert stage_command.main([str(archives), str(tmp_path / "out"), "--assets", str(pictures)]) == 1
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith(f"{Path(sys.argv[0]).name}: error: {pictures}")
    command = f"python scripts/render_assets.py '{archives}' --out pictures"
    assert f"{message.format(archives)}draw others with `{command}`, then stage with --assets pictures" in error
    assert not (tmp_path / "out").exists()


def test_a_sample_is_told_and_takes_no_pictures_of_the_dataset(sample, tmp_path, capsys):
    said = "is a synthetic sample; upload.py refuses it for"
    for name, options, is_said in (("out", [], True), ("own", ["--repo-id", "me/sample"], False)):
        assert stage_command.main([str(sample), str(tmp_path / name), "--num-proc", "1", *options]) == 0
        assert (f"{tmp_path / name}: {said} {REPO_ID}" in capsys.readouterr().err) == is_said
    pictures = write_pictures_of(sample, tmp_path / "pictures", of_sample=False)
    with pytest.raises(ValueError, match=r"its pictures show no sample, and .* is one; draw others"):
        stage(sample, tmp_path / "other", assets=pictures)


def test_the_card_shows_numbers_and_pictures_of_what_is_staged(sample, tmp_path):
    archives = as_curators_publish(sample, tmp_path / "data_v01")
    pictures = write_pictures_of(archives, tmp_path / "pictures", of_sample=False)
    stage(archives, tmp_path / "staged", assets=pictures)
    card = (tmp_path / "staged" / "main" / "README.md").read_text(encoding="utf-8")
    for name in PICTURES:
        assert card.count(f"![Shows {name}.](assets/{name})\n\n*Caption of {name}.*\n\n") == 1
        assert (tmp_path / "staged" / "main" / "assets" / name).read_bytes() == (pictures / name).read_bytes()
    assert "| tiles | 12 | 4 | 6 |\n| of them `cordillera` | 6 (50 %) | 2 (50 %) | 3 (50 %) |\n" in card
    assert "22 tiles" in card
    assert "11,700 tiles" not in card
    assert "ynthetic sample of" not in card
    assert "<!--" not in card


def test_parquet_is_made_from_the_archives_that_are_staged_whatever_becomes_of_the_source(sample_copy, tmp_path):
    class Disturbed(Workers):
        def map(self, name, *arguments):
            yield from super().map(name, *arguments)
            shutil.copy(sample_copy / "test.zip", sample_copy / "train.zip")

    stage(sample_copy, tmp_path / "out", workers=Disturbed(1))
    assert_rows(tmp_path / "out" / "main", tmp_path / "out" / "script" / "data")


@pytest.fixture
def user(sample, tmp_path, capfd):
    """A user of a Hub that holds what the curators' repository holds today; its archives are in `data_v01` too."""
    archives = as_curators_publish(sample, tmp_path / "data_v01")
    with HubServer() as server:
        server.add_repository(REPO_ID, as_hub_looks_today(archives), private=True, token=TOKEN)
        yield User(server, tmp_path, tmp_path / "staged", capfd)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_run_leaves_nothing_that_looks_whole(user, number):
    user.server.intercept = held = pause(ARRIVED, path_part="/tree/")
    process = user.start("stage_hub_repo.py", SOURCE, "staged")
    held.wait()
    end(process, number)
    ended = user.finish(process)
    held.resume()
    assert not user.staged.exists()
    if number == signal.SIGINT:
        assert (ended.status, ended.messages) == (1, ["stage_hub_repo.py: interrupted; nothing was written"])
        assert list(user.folder.glob(".staged*")) == []


def test_a_folder_of_the_hub_is_drawn_and_staged_at_its_revision_and_a_spoilt_download_is_noticed(user):
    repository = user.server.repositories[REPO_ID]
    repository.create_tag("v1")
    repository.commit({}, delete=[path for path in repository.find("main").tree if "data_v01" in path])
    place = SOURCE.replace(REPO_ID, f"{REPO_ID}@v1")
    for command in (["render_assets.py", place, "--out"], ["stage_hub_repo.py", place, "staged", "--assets"]):
        done = user.run(*command, "pictures", "--num-proc", 1)
        assert (done.status, done.messages) == (0, [])
    card = (user.staged / "main" / "README.md").read_text(encoding="utf-8")
    assert "train with 6 cordillera and 6 glaciar tiles, validation with 2 cordillera" in card
    assert "![A train tile" not in card  # they share no ground
    assert not (user.staged / "main" / "assets" / "overlap.webp").exists()
    assert_rows(user.staged / "main", user.folder / "data_v01")
    assert user.server.bytes_sent("zeros.png") == user.server.bytes_sent("glaciar_masks") == 0

    (spoilt,) = (path for path in (user.folder / "home").rglob("val.zip"))
    content = bytearray(spoilt.read_bytes())
    content[len(content) // 2] ^= 1
    spoilt.resolve().write_bytes(content)
    done = user.run("stage_hub_repo.py", place, "again")
    assert (done.status, len(done.messages)) == (1, 1)
    assert f"{spoilt.resolve()}: is not what {place} holds; delete it" in done.messages[0]


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (f"hf://datasets/{REPO_ID}/data/none", "data/none"),
        (f"hf://datasets/{REPO_ID}", "holds no archives; give a folder that holds train.zip"),
        ("hf://datasets/somebody/else/data", "somebody/else"),
        ("hf://datasets/x", "hf://datasets/x: download the archives: "),
        ("s3://bucket/data", "s3://bucket/data: is neither local nor hf://datasets/..."),
    ],
)
def test_a_place_that_holds_no_archives_is_named(user, place, said):
    done = user.run("stage_hub_repo.py", place, "staged")
    assert (done.status, len(done.messages)) == (1, 1)
    assert said in done.messages[0]


def test_a_token_that_the_hub_repeats_is_not_printed(user):
    user.server.intercept = fail(401, times=100, headers={"X-Error-Message": f"{TOKEN} is not known"})
    done = user.run("stage_hub_repo.py", SOURCE, "staged")
    assert (done.status, len(done.messages)) == (1, 1)
    assert "*** is not known" in done.messages[0]
    assert not user.staged.exists()
