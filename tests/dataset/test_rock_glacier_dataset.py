"""The builder and its module face, on sample archives and on the real tiles."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import gc
import io
import json
import os
import pickle
import random
import shutil
import zipfile
from pathlib import Path

import datasets
import fsspec
import numpy as np
import pytest
from archive_contents import Members, contents, rewrite
from conftest import SAMPLE_SIZES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import rock_glacier_dataset
from rock_glacier_dataset import (
    BACKGROUND_COLOUR,
    CLASS_NAMES,
    SPLIT_NAMES,
    ArchiveError,
    RockGlacierDataset,
    class_indices_to_mask,
    load_dataset,
    mask_to_class_indices,
)

CONFIGS = {
    "image-classification": {
        "image": datasets.Image(),
        "labels": datasets.ClassLabel(names=["cordillera", "glaciar"]),
        "path": datasets.Value("string"),
    },
    "image-segmentation": {
        "image": datasets.Image(),
        "masks": datasets.Image(),
        "path": datasets.Value("string"),
    },
}


def undecoded(dataset):
    """Give the images' bytes instead of the images."""
    for column, feature in dataset.features.items():
        if isinstance(feature, datasets.Image):
            dataset = dataset.cast_column(column, datasets.Image(decode=False))
    return dataset


def in_order(paths):
    """Sort paths as the contract does: by class, then by id as a number."""
    return sorted(paths, key=lambda path: (path.split("/")[1], int(Path(path).stem)))


def assert_holds(dataset, data_dir, split):
    """Assert that a loaded split is what the split's archives hold, byte for byte and in order."""
    tiles, masks = contents(data_dir, split), contents(data_dir, split, "_masks")
    examples = list(undecoded(dataset))
    assert [example["path"] for example in examples] == in_order(tiles)
    for example in examples:
        path = example["path"]
        assert example["image"]["bytes"] == tiles[path]
        if "labels" in example:
            assert CLASS_NAMES[example["labels"]] == path.split("/")[1]
        elif path in masks:
            assert example["masks"]["bytes"] == masks[path]
        else:
            mask = Image.open(io.BytesIO(example["masks"]["bytes"]))
            assert (mask.mode, mask.size) == ("RGBA", (128, 128))
            assert mask.getcolors() == [(128 * 128, BACKGROUND_COLOUR)]


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streaming"])
@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("folder", ["sample", "sharded_sample"])
def test_a_config_gives_what_the_archives_hold(name, streaming, folder, request):
    data_dir = request.getfixturevalue(folder)
    loaded = load_dataset(name, data_dir=data_dir, streaming=streaming)
    assert list(loaded) == list(SPLIT_NAMES)
    for split in SPLIT_NAMES:
        assert loaded[split].features == datasets.Features(CONFIGS[name])
        assert list(loaded[split].features) == list(CONFIGS[name])
        assert_holds(loaded[split], data_dir, split)


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streaming"])
@pytest.mark.parametrize("name", CONFIGS)
def test_real_tiles_come_out_byte_for_byte(name, streaming, real_archives):
    loaded = load_dataset(name, data_dir=real_archives, streaming=streaming)
    counts = {}
    for split in SPLIT_NAMES:
        assert_holds(loaded[split], real_archives, split)
        images = [example["image"] for example in loaded[split]]
        assert {(image.mode, image.size) for image in images} == {("RGBA", (128, 128))}
        counts[split] = len(images)
    assert counts == {"train": 200, "validation": 30, "test": 70}


def test_the_default_config_is_classification(sample):
    assert RockGlacierDataset(data_dir=sample).config.name == "image-classification"
    assert "labels" in load_dataset(data_dir=sample, split="test").features


@pytest.mark.parametrize(
    ("split", "size"), [("train", 12), ("train+test", 18), ("train[:3]", 3), ("test[50%:]", 3), ("all", 22)]
)
def test_split_expressions_are_those_of_datasets(split, size, sample):
    assert len(load_dataset(split=split, data_dir=sample)) == size


def test_a_list_of_splits_gives_a_list(sample):
    assert [len(part) for part in load_dataset(split=["train", "test"], data_dir=sample)] == [12, 6]


def test_num_proc_prepares_the_same_as_one_process(sharded_sample, tmp_path):
    one = load_dataset("image-segmentation", data_dir=sharded_sample, cache_dir=tmp_path / "one")
    three = load_dataset("image-segmentation", data_dir=sharded_sample, cache_dir=tmp_path / "three", num_proc=3)
    for split in SPLIT_NAMES:
        assert list(undecoded(one[split])) == list(undecoded(three[split]))


def test_each_archive_is_a_shard_of_the_stream(sample, sharded_sample):
    assert load_dataset(data_dir=sample, streaming=True, split="train").n_shards == 1
    assert load_dataset(data_dir=sharded_sample, streaming=True, split="train").n_shards == 3


def test_num_proc_is_refused_while_streaming(sample):
    with pytest.raises(NotImplementedError, match="num_proc"):
        load_dataset(data_dir=sample, streaming=True, num_proc=2)


def test_a_stream_can_be_pickled_as_loaders_with_workers_do(sample):
    stream = pickle.loads(pickle.dumps(load_dataset("image-segmentation", data_dir=sample, streaming=True)))
    assert_holds(stream["test"], sample, "test")


def test_a_stream_can_be_read_again_and_left_halfway(sample):
    stream = load_dataset(data_dir=sample, streaming=True, split="train")
    first = next(iter(stream))["path"]
    assert first == next(iter(stream))["path"] == "train/cordillera/0.png"
    assert [example["path"] for example in stream.skip(2).take(2)] == in_order(contents(sample, "train"))[2:4]


def test_files_beside_the_user_do_not_replace_the_archives_bytes(sample, tmp_path, monkeypatch):
    decoy = tmp_path / "test" / "cordillera" / "0.png"
    decoy.parent.mkdir(parents=True)
    Image.new("RGB", (8, 8), "red").save(decoy)
    monkeypatch.chdir(tmp_path)
    for streaming in (False, True):
        loaded = load_dataset(data_dir=sample, split="test", streaming=streaming, cache_dir=tmp_path / "cache")
        assert next(iter(loaded))["image"].size == (128, 128)


def test_classification_needs_no_masks(sample, tmp_path):
    for split in SPLIT_NAMES:
        shutil.copy(sample / f"{split}.zip", tmp_path)
    assert {split: len(loaded) for split, loaded in load_dataset(data_dir=tmp_path).items()} == SAMPLE_SIZES


def test_a_cordillera_tile_keeps_the_mask_that_it_has(sample_copy):
    mask = Image.new("RGBA", (128, 128), BACKGROUND_COLOUR)
    file = io.BytesIO()
    mask.save(file, "PNG", compress_level=1)

    def add_a_mask(members: Members) -> Members:
        return [(zipfile.ZipInfo("test/cordillera/1.png"), file.getvalue()), *members]

    rewrite(sample_copy / "test_masks.zip", add_a_mask)
    loaded = undecoded(load_dataset("image-segmentation", data_dir=sample_copy, split="test"))
    assert loaded[1]["masks"]["bytes"] == file.getvalue() != loaded[0]["masks"]["bytes"]


def test_members_out_of_order_come_out_in_order(sample_copy):
    for archive in sample_copy.glob("*.zip"):
        rewrite(archive, lambda members: random.Random(0).sample(members, len(members)))
    assert contents(sample_copy, "train").keys() != in_order(contents(sample_copy, "train"))
    assert_holds(load_dataset("image-segmentation", data_dir=sample_copy, split="train"), sample_copy, "train")


def test_ids_are_ordered_as_numbers_up_to_eighteen_digits(sample_copy):
    numbers = iter([10, 9, 100, 2, 10**18 - 1, 0])

    def renumber(members: Members) -> None:
        for member, _ in members:
            if "cordillera" in member.filename:
                member.filename = f"train/cordillera/{next(numbers)}.png"

    rewrite(sample_copy / "train.zip", renumber)
    paths = load_dataset(data_dir=sample_copy, split="train")["path"][:6]
    assert [int(Path(path).stem) for path in paths] == [0, 2, 9, 10, 100, 10**18 - 1]


def test_deflated_members_are_read(sample_copy):
    def deflate(members: Members) -> None:
        for member, _ in members:
            member.compress_type = zipfile.ZIP_DEFLATED

    for archive in sample_copy.glob("*.zip"):
        rewrite(archive, deflate)
    assert_holds(load_dataset("image-segmentation", data_dir=sample_copy, split="test"), sample_copy, "test")


def test_junk_is_passed_over(sample, sample_copy):
    junk = ["test/", "test/glaciar/", "__MACOSX/test/glaciar/._0.png", "__MACOSX/x", ".DS_Store", "test/.DS_Store"]

    def add_junk(members: Members) -> Members:
        return [*((zipfile.ZipInfo(name), b"") for name in junk), *members]

    rewrite(sample_copy / "test.zip", add_junk)
    rewrite(sample_copy / "test_masks.zip", add_junk)
    loaded = load_dataset("image-segmentation", data_dir=sample_copy, split="test")
    assert_holds(loaded, sample, "test")


def test_other_files_of_the_folder_are_passed_over(sample_copy):
    for name in ("groups.csv", "README.md", "train.zip.part", "training.zip", "validation_masks_old.zip"):
        (sample_copy / name).write_text("nothing")
    assert len(load_dataset("image-segmentation", data_dir=sample_copy, split="all")) == 22


def test_archives_of_more_members_than_zip_counts_in_16_bits_are_read(sample_copy):
    def add_junk(members: Members) -> Members:
        return [*((zipfile.ZipInfo(f"__MACOSX/{number}"), b"") for number in range(2**16)), *members]

    rewrite(sample_copy / "test.zip", add_junk)
    assert len(load_dataset(data_dir=sample_copy, split="test")) == 6


def test_zip64_sizes_and_offsets_are_read(sample, sample_copy, monkeypatch):
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 1000)  # as if a kilobyte were four gigabytes
    for archive in sample_copy.glob("*.zip"):
        rewrite(archive, lambda members: None)
    monkeypatch.undo()
    assert b"PK\6\6" in (sample_copy / "test.zip").read_bytes()
    loaded = load_dataset("image-segmentation", data_dir=sample_copy, split="test")
    assert_holds(loaded, sample, "test")


def test_bytes_before_the_archive_and_a_comment_behind_it_are_allowed(sample, sample_copy):
    archive = sample_copy / "test.zip"
    with zipfile.ZipFile(archive, "a") as opened:
        opened.comment = b"tiles of the Andes" * 1000
    archive.write_bytes(b"#!/bin/sh\nexit\n" + archive.read_bytes())
    (sample_copy / "manifest.json").unlink()
    assert_holds(load_dataset(data_dir=sample_copy, split="test"), sample, "test")


def test_extra_fields_of_any_length_are_allowed(sample, sample_copy):
    def lengthen(members: Members) -> None:
        for place, (member, _) in enumerate(members):
            member.extra = b"\xfe\xca" + (20 * place).to_bytes(2, "little") + bytes(20 * place)

    rewrite(sample_copy / "test.zip", lengthen)
    assert_holds(load_dataset(data_dir=sample_copy, split="test"), sample, "test")


def test_a_prepared_dataset_is_used_again(sample, tmp_path):
    first = load_dataset(data_dir=sample, cache_dir=tmp_path, split="train").cache_files
    stamp = os.stat(first[0]["filename"]).st_mtime_ns
    second = load_dataset(data_dir=sample, cache_dir=tmp_path, split="train").cache_files
    assert (first, stamp) == (second, os.stat(second[0]["filename"]).st_mtime_ns)


def test_changed_archives_are_prepared_anew(sample_copy, tmp_path):
    assert len(load_dataset(data_dir=sample_copy, cache_dir=tmp_path / "cache", split="test")) == 6
    rewrite(sample_copy / "test.zip", lambda members: members[:-1])
    assert len(load_dataset(data_dir=sample_copy, cache_dir=tmp_path / "cache", split="test")) == 5


def test_archives_of_the_same_size_but_another_date_are_prepared_anew(sample, sample_copy, tmp_path):
    first = load_dataset(data_dir=sample_copy, cache_dir=tmp_path / "cache").cache_files
    status = os.stat(sample_copy / "test.zip")
    os.utime(sample_copy / "test.zip", ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert load_dataset(data_dir=sample_copy, cache_dir=tmp_path / "cache").cache_files != first


def test_a_manifest_that_came_later_is_heeded(sample_copy, tmp_path):
    manifest = (sample_copy / "manifest.json").read_text()
    (sample_copy / "manifest.json").unlink()
    load_dataset(data_dir=sample_copy, cache_dir=tmp_path / "cache")
    (sample_copy / "manifest.json").write_text(manifest.replace('"glaciar": 3', '"glaciar": 4'))
    with pytest.raises(ArchiveError, match="manifest"):
        load_dataset(data_dir=sample_copy, cache_dir=tmp_path / "cache")


def test_every_tile_of_a_large_archive_comes_out(sample_copy):
    png = rock_glacier_dataset._ALL_BACKGROUND_MASK

    def multiply(members: Members) -> Members:
        return [(zipfile.ZipInfo(f"train/cordillera/{number}.png"), png) for number in range(2001)]

    rewrite(sample_copy / "train.zip", multiply)
    paths = [example["path"] for example in load_dataset(data_dir=sample_copy, split="train", streaming=True)]
    assert paths == [f"train/cordillera/{number}.png" for number in range(2001)]


@pytest.mark.filterwarnings("error::ResourceWarning", "error::pytest.PytestUnraisableExceptionWarning")
def test_no_archive_stays_open(sample):
    stream = load_dataset("image-segmentation", data_dir=sample, split="train", streaming=True)
    assert list(stream)
    assert list(stream.take(1))
    gc.collect()


def test_the_same_archives_give_the_same_files(sample, tmp_path):
    for cache in ("a", "b"):
        load_dataset("image-segmentation", data_dir=sample, cache_dir=tmp_path / cache)
    a, b = ({path.name: path.read_bytes() for path in (tmp_path / c).rglob("*.arrow")} for c in "ab")
    assert len(a) == 3
    assert a == b


def test_a_folder_is_given_in_any_way(sample, monkeypatch):
    monkeypatch.chdir(sample.parent)
    monkeypatch.setenv("HOME", str(sample.parent))
    for data_dir in (sample, str(sample), f"{sample}/", "sample", "~/sample", f"file://{sample.as_posix()}"):
        for streaming in (False, True):
            loaded = load_dataset(data_dir=data_dir, split="validation", streaming=streaming)
            assert sum(1 for _ in loaded) == SAMPLE_SIZES["validation"]


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streaming"])
def test_a_folder_may_be_any_url_that_fsspec_opens(streaming, sharded_sample, tmp_path, monkeypatch):
    for setting in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):  # its name depends on the version of `datasets`
        monkeypatch.setattr(datasets.config, setting, False, raising=False)
    memory = fsspec.filesystem("memory")
    memory.put(f"{sharded_sample}/", "/rock/sample/", recursive=True)
    try:
        loaded = load_dataset(
            "image-segmentation", data_dir="memory://rock/sample", streaming=streaming, cache_dir=tmp_path
        )
        for split in SPLIT_NAMES:
            assert_holds(loaded[split], sharded_sample, split)
        # Without a manifest, at a URL that tells no ETag, and in a file of the same size: the date tells the change.
        memory.rm("/rock/sample/manifest.json")
        same = {"data_dir": "memory://rock/sample", "streaming": streaming, "cache_dir": tmp_path}
        assert next(iter(load_dataset(**same)["test"]))["path"] == "test/cordillera/0.png"
        archive = "/rock/sample/test-00000-of-00003.zip"
        memory.pipe(archive, memory.cat(archive).replace(b"test/cordillera/0.png", b"test/cordillera/9.png"))
        assert "test/cordillera/9.png" in [example["path"] for example in load_dataset(**same)["test"]]
    finally:
        memory.rm("/rock", recursive=True)


@pytest.mark.parametrize("name", ["a b ñ", "50%", "[x]*?#"])
def test_a_folder_may_have_any_name(name, sample, tmp_path):
    folder = Path(shutil.copytree(sample, tmp_path / name))
    for data_dir in (folder, folder.as_uri()):
        assert len(load_dataset(data_dir=data_dir, split="test")) == SAMPLE_SIZES["test"]


def test_a_folder_may_be_inside_a_chained_url(sample, tmp_path):
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for file in sample.iterdir():
            archive.write(file, f"folder/{file.name}")
    data_dir = f"zip://folder::{tmp_path.as_posix()}/all.zip"
    assert_holds(load_dataset("image-segmentation", data_dir=data_dir, streaming=True)["test"], sample, "test")


def test_counts_of_a_card_beside_the_script_are_not_those_of_another_folder(sample, tmp_path):
    class BesideACard(RockGlacierDataset):
        @classmethod
        def get_all_exported_dataset_infos(cls):  # called by `datasets` < 4 alone
            splits = {"train": {"name": "train", "num_examples": 7875, "num_bytes": 1}}
            return {"image-classification": datasets.DatasetInfo(splits=splits)}

    BesideACard.__module__ = RockGlacierDataset.__module__
    builder = BesideACard(data_dir=sample, cache_dir=str(tmp_path))
    builder.download_and_prepare()
    assert builder.info.splits["train"].num_examples == SAMPLE_SIZES["train"]


def test_the_info_is_the_data_sheet(sample):
    info = RockGlacierDataset(data_dir=sample).info
    assert "alcazar90/rock-glacier-detection" in info.homepage
    assert info.license == "MIT"
    assert "CMM - Glaciares (UChile)" in info.citation
    assert str(info.version) == rock_glacier_dataset._VERSION


def test_a_revision_is_for_the_hub_alone(sample):
    with pytest.raises(ValueError, match="revision"):
        load_dataset(data_dir=sample, revision="main")


@given(data=st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_changed_byte_is_found_or_changes_nothing(data, sample, tmp_path):
    """Whatever byte of an archive is changed: one clear error, or just the examples of the whole archive."""
    folder = tmp_path / "damaged"
    shutil.copytree(sample, folder, dirs_exist_ok=True)
    (folder / "manifest.json").unlink()
    name = data.draw(st.sampled_from(["validation.zip", "validation_masks.zip"]))
    content = bytearray((sample / name).read_bytes())
    # Half of the draws hit the directory at the end, where there is more to go wrong than in the pixels.
    place = data.draw(st.integers(0, len(content) - 1) | st.integers(len(content) - 500, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    (folder / name).write_bytes(content)
    try:
        loaded = load_dataset("image-segmentation", data_dir=folder, streaming=True, split="validation")
        examples = list(undecoded(loaded))
    except ArchiveError as error:
        assert str(error).startswith("validation")
    else:
        whole = load_dataset("image-segmentation", data_dir=sample, streaming=True, split="validation")
        whole = list(undecoded(whole))
        assert [example["path"] for example in examples] == [example["path"] for example in whole]
        assert examples == whole, "the same paths, but other bytes"


@given(size=st.floats(0, 1), name=st.sampled_from(["validation.zip", "validation_masks.zip"]))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_archive_cut_short_anywhere_is_found(size, name, sample, tmp_path):
    folder = tmp_path / "cut"
    shutil.copytree(sample, folder, dirs_exist_ok=True)
    (folder / "manifest.json").unlink()
    content = (sample / name).read_bytes()
    (folder / name).write_bytes(content[: int(size * (len(content) - 1))])
    with pytest.raises(ArchiveError, match=name):
        list(load_dataset("image-segmentation", data_dir=folder, streaming=True, split="validation"))


def test_masks_become_class_indices_and_back(sample):
    example = load_dataset("image-segmentation", data_dir=sample, split="test")[-1]
    indices = mask_to_class_indices(example["masks"])
    assert (indices.shape, str(indices.dtype)) == ((128, 128), "uint8")
    assert set(np.unique(indices)) == {0, 1}
    assert (indices == (np.asarray(example["masks"])[..., 0] == 255)).all()
    assert np.array_equal(np.asarray(class_indices_to_mask(indices)), np.asarray(example["masks"]))


def test_a_batch_of_masks_becomes_a_batch_of_class_indices(sample):
    masks = load_dataset("image-segmentation", data_dir=sample, split="test")[:]["masks"]
    assert mask_to_class_indices(np.stack([np.asarray(mask) for mask in masks])).shape == (6, 128, 128)


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        (Image.new("RGB", (128, 128)), "uint8 of shape"),
        (Image.new("RGBA", (127, 128), BACKGROUND_COLOUR), "128"),
        (np.zeros((128, 128, 4)), "float64"),
        (Image.new("RGBA", (128, 128), (255, 0, 0, 255)), r"\(255, 0, 0, 255\) at y=0, x=0"),
        (Image.new("RGBA", (128, 128), (255, 255, 255, 0)), "two colours"),
    ],
    ids=["RGB", "size", "dtype", "colour", "transparent"],
)
def test_what_is_no_mask_is_refused(mask, said):
    with pytest.raises(ValueError, match=said):
        mask_to_class_indices(mask)


@pytest.mark.parametrize("indices", [np.zeros((3, 3)), np.full((128, 128), 2), np.full((128, 128), 0.5)])
def test_what_are_no_class_indices_is_refused(indices):
    with pytest.raises(ValueError, match="class indices"):
        class_indices_to_mask(indices)


def test_the_facts_agree_with_one_another(sample):
    assert json.loads((sample / "manifest.json").read_text())["splits"].keys() == set(SPLIT_NAMES)
    assert sum(rock_glacier_dataset.RELEASE_SIZES.values()) == 11_700
    assert CONFIGS["image-classification"]["labels"].names == list(CLASS_NAMES)
