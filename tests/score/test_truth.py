"""The truth comes from exactly one folder or commit; the index groups the tiles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from factories import (
    copy,
    half_mask,
    make_data_dir,
    noise_scene,
    png,
    replace_member,
    run_command,
    tile_paths,
    write_index_of,
)
from huggingface_hub import constants

from rock_glacier.faults import InputError
from rock_glacier.score.truth import load_truth
from rock_glacier_dataset import REPO_ID, ArchiveError, load_archives

CONFIGS = ("image-classification", "image-segmentation")


def code_of(function, *arguments, **options) -> str:
    with pytest.raises(ArchiveError) as caught:
        function(*arguments, **options)
    return caught.value.fault.code


@pytest.mark.parametrize("config", CONFIGS)
def test_archives_give_the_labels_and_masks_that_users_load(sample, config):
    truth = load_truth(config, "test", data_dir=str(sample))
    loaded = load_archives(config, split="test", data_dir=sample)
    assert (truth.source, truth.commit, truth.is_sample) == (str(sample), None, True)
    assert truth.paths == list(loaded["path"])
    if config == CONFIGS[0]:
        expected = loaded["labels"]
    else:
        expected = [np.asarray(mask)[..., 0] == 255 for mask in loaded["masks"]]
    np.testing.assert_array_equal(truth.values, np.array(expected))
    assert truth.images is None
    images = load_truth(config, "test", data_dir=str(sample), images=True).images
    np.testing.assert_array_equal(images, [np.asarray(tile)[..., :3] for tile in loaded["image"]])


def test_faulty_archives_are_errors(sample_copy):
    glaciar = next(path for path in tile_paths(sample_copy, "test") if "glaciar" in path)
    mask = glaciar.replace("glaciar", "masks")
    archive = sample_copy / "test.zip"
    replace_member(archive, mask, png(1))
    assert code_of(load_truth, CONFIGS[1], "test", data_dir=str(sample_copy)) == "mask-values"
    replace_member(archive, mask, None)
    assert code_of(load_truth, CONFIGS[1], "test", data_dir=str(sample_copy)) == "mask-missing"


def test_a_split_without_archive_is_an_error(sample_copy):
    (sample_copy / "test.zip").unlink()
    assert code_of(load_truth, CONFIGS[0], "test", data_dir=str(sample_copy)) == (
        "archive-unreadable"
    )


@pytest.mark.parametrize(
    ("sites", "blocks_per_site", "unit", "number"),
    [(29, 2, "block", 58), (30, 2, "site", 30), (29, 1, "site", 29)],
)
def test_sites_are_drawn_if_there_are_many(tmp_path, sites, blocks_per_site, unit, number):
    tiles = sites * blocks_per_site
    paths = [f"test/glaciar/{tile}.png" for tile in range(tiles)]
    masks = {f"test/masks/{tile}.png": half_mask() for tile in range(tiles)}
    data_dir = make_data_dir(tmp_path / "data", dict.fromkeys(paths, png(0)), masks)
    site_of = {path: tile % sites for tile, path in enumerate(paths)}
    block_of = [tile // sites for tile in range(tiles)]
    write_index_of(data_dir / "tiles.parquet", paths, [*site_of.values()], block_of)
    truth = load_truth(CONFIGS[0], "test", data_dir=str(data_dir))
    assert (truth.clusters.unit, truth.clusters.number) == (unit, number)
    if unit == "site":
        assert truth.clusters.ids.tolist() == [site_of[path] for path in truth.paths]


def test_blocks_are_drawn_if_a_site_has_most_tiles(tmp_path):
    """Forty sites: one has 40 tiles in four blocks, the others have one tile each."""
    paths = [f"test/cordillera/{tile}.png" for tile in range(79)]
    data_dir = make_data_dir(tmp_path / "data", dict.fromkeys(paths, png(0)))
    sites = [max(0, tile - 39) for tile in range(79)]
    blocks = [tile % 4 if tile < 40 else 0 for tile in range(79)]
    write_index_of(data_dir / "tiles.parquet", paths, sites, blocks)
    clusters = load_truth(CONFIGS[0], "test", data_dir=str(data_dir)).clusters
    assert (clusters.unit, clusters.number) == ("block", 43)


def test_without_an_index_each_tile_is_a_cluster(sample_copy):
    (sample_copy / "tiles.parquet").unlink(missing_ok=True)
    truth = load_truth(CONFIGS[0], "test", data_dir=str(sample_copy))
    assert (truth.clusters.unit, truth.clusters.number) == ("tile", 6)


def test_an_index_of_other_tiles_is_an_error(sample, tmp_path):
    index = write_index_of(tmp_path / "other.parquet", ["test/glaciar/77.png"], [0])
    options = {"data_dir": str(sample), "index": index}
    assert code_of(load_truth, CONFIGS[0], "test", **options) == "index-mismatch"
    with pytest.raises(FileNotFoundError):
        load_truth(CONFIGS[0], "test", data_dir=str(sample), index=tmp_path / "missing.parquet")


@pytest.fixture(scope="module")
def cached_repository(tmp_path_factory):
    """Two commits of a repository in the cache of the Hub's client: sites differ, and masks."""
    repository = Path(constants.HF_HUB_CACHE, "datasets--alkzar90--rock-glacier-dataset")
    (repository / "refs").mkdir(parents=True, exist_ok=True)
    paths = ["test/glaciar/0.png", "test/glaciar/1.png"]
    for number, tag in enumerate(("score-a", "score-b")):
        masks = {path.replace("glaciar", "masks"): half_mask() for path in paths}
        data_dir = make_data_dir(
            tmp_path_factory.mktemp(tag) / "data", dict.fromkeys(paths, png(number)), masks
        )
        commit = str(number) * 40
        snapshot = repository / "snapshots" / commit
        for config in CONFIGS:
            (snapshot / config).mkdir(parents=True)
            tiles = load_archives(config, split="test", data_dir=data_dir)
            tiles.to_parquet(snapshot / config / "test-00000-of-00001.parquet")
        copy(data_dir, snapshot / "data")
        for folder in (snapshot, snapshot / "data"):
            write_index_of(folder / "tiles.parquet", paths, [0, number])
        (repository / "refs" / tag).write_text(commit)


@pytest.mark.parametrize(("config", "mean"), [(CONFIGS[0], 1), (CONFIGS[1], 0.5)])
def test_truth_and_index_are_those_of_the_revision(
    cached_repository, config, mean, tmp_path, monkeypatch
):
    """The working directory may hold a folder named like the repository."""
    (tmp_path / "alkzar90" / "rock-glacier-dataset").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    for number, tag in enumerate(("score-a", "score-b")):
        truth = load_truth(config, "test", revision=tag)
        assert truth.commit == str(number) * 40
        assert truth.commit in truth.source
        assert truth.clusters.number == number + 1
        assert len(truth.paths) == len(truth.values) == 2
        assert truth.values.mean() == mean


@pytest.mark.parametrize("config", CONFIGS)
def test_images_are_those_of_the_revision(cached_repository, config):
    truth = load_truth(config, "test", revision="score-b", images=True)
    assert truth.images is not None
    np.testing.assert_array_equal(truth.images[0], noise_scene(1)[..., :3])


def test_a_split_of_which_a_file_is_missing_is_an_error(cached_repository, capsys, tmp_path):
    [file] = Path(constants.HF_HUB_CACHE).glob("*/*/" + "0" * 40 + f"/{CONFIGS[0]}/*")
    part = file.rename(file.with_name("test-00000-of-00002.parquet"))
    try:
        with pytest.raises(InputError):
            load_truth(CONFIGS[0], "test", revision="score-a")
    finally:
        part.rename(file)


@pytest.mark.parametrize("number", [0, 1])
def test_archives_on_the_hub_are_those_of_one_commit(cached_repository, number):
    address = f"hf://datasets/{REPO_ID}@{'score-b' if number else 'score-a'}/data"
    truth = load_truth(CONFIGS[0], "test", data_dir=address)
    assert truth.commit == str(number) * 40
    assert truth.source == f"{address} at commit {truth.commit}"
    assert truth.clusters.number == number + 1


@pytest.mark.parametrize(
    ("revision", "split", "named"), [("score-a", "train", "train"), ("score-c", "test", "score-c")]
)
def test_a_missing_split_or_revision_is_an_error(
    cached_repository, revision, split, named, tmp_path, capsys
):
    (tmp_path / "a.csv").write_text("path,score\ntest/glaciar/0.png,0.5\n")
    arguments = ("--name", CONFIGS[0], "--revision", revision, "--split", split)
    assert run_command("score", tmp_path / "a.csv", *arguments) == 1
    assert named in capsys.readouterr().err
