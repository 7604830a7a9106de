"""The builder and `load_archives`, on sample archives and on the real tiles."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import gc
import os
import pickle
import shutil
import struct
import zipfile
from pathlib import Path

import datasets
import fsspec
import pytest
from archive_contents import Members, assert_holds, assert_holds_all, change_manifest, rewrite, tile_paths
from conftest import SAMPLE_SIZES
from hub.server import HubServer
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Route

from rock_glacier_dataset import (
    BACKGROUND_COLOUR,
    EMPTY_MASK,
    RELEASE_SIZES,
    SPLIT_NAMES,
    ArchiveError,
    RockGlacierDataset,
    load_archives,
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
VERSION = tuple(map(int, datasets.__version__.split(".")[:2]))
WAYS = pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streaming"])


@WAYS
@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("folder", ["sample", "sharded_sample", "real_archives"])
def test_config_gives_the_bytes_of_the_archives(folder, name, streaming, request):
    data_dir = request.getfixturevalue(folder)
    loaded = load_archives(name, data_dir=data_dir, streaming=streaming)
    assert_holds_all(loaded, data_dir)
    for split in SPLIT_NAMES:
        assert loaded[split].features == datasets.Features(CONFIGS[name])
        assert list(loaded[split].features) == list(CONFIGS[name])


def test_cordillera_tile_gets_an_opaque_mask_of_background(sample):
    example = next(e for e in load_archives("image-segmentation", data_dir=sample, split="test") if "cord" in e["path"])
    assert (example["masks"].mode, example["masks"].size) == ("RGBA", (128, 128))
    assert example["masks"].getcolors() == [(128 * 128, BACKGROUND_COLOUR)]


def test_default_config_is_classification(sample):
    assert RockGlacierDataset(data_dir=sample).config.name == "image-classification"
    assert "labels" in load_archives(data_dir=sample, split="test").features


def test_split_expressions_are_those_of_datasets(sample):
    for split, size in {"train": 12, "train+test[50%:]": 15, "all": 22}.items():
        assert len(load_archives(split=split, data_dir=sample)) == size


def test_num_proc_prepares_the_same_as_one_process(sharded_sample, tmp_path):
    loaded = load_archives("image-segmentation", data_dir=sharded_sample, cache_dir=tmp_path, num_proc=2)
    assert_holds_all(loaded, sharded_sample)


def test_each_archive_is_a_shard_of_the_stream(sample, sharded_sample):
    assert load_archives(data_dir=sample, streaming=True, split="train").n_shards == 1
    assert load_archives(data_dir=sharded_sample, streaming=True, split="train").n_shards == 3


def test_stream_can_be_pickled_as_data_loaders_do(sample):
    stream = pickle.loads(pickle.dumps(load_archives("image-segmentation", data_dir=sample, streaming=True)))
    assert_holds(stream["test"], sample, "test")


def test_stream_can_be_read_again_and_left_halfway(sample):
    stream = load_archives(data_dir=sample, streaming=True, split="train")
    paths = tile_paths(sample, "train")
    assert next(iter(stream))["path"] == next(iter(stream))["path"] == paths[0]
    assert [example["path"] for example in stream.skip(2).take(2)] == paths[2:4]


@pytest.mark.filterwarnings("error::ResourceWarning", "error::pytest.PytestUnraisableExceptionWarning")
def test_no_archive_stays_open(sample):
    stream = load_archives("image-segmentation", data_dir=sample, split="train", streaming=True)
    assert list(stream)
    assert list(stream.take(1))
    gc.collect()


def test_file_of_the_same_path_does_not_replace_the_archives_bytes(sample, tmp_path, monkeypatch):
    for path in tile_paths(sample, "test"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), "red").save(tmp_path / path)
    monkeypatch.chdir(tmp_path)
    for streaming in (False, True):
        loaded = load_archives(data_dir=sample, split="test", streaming=streaming, cache_dir=tmp_path / "cache")
        assert next(iter(loaded))["image"].size == (128, 128)


def test_classification_needs_no_masks(sample_copy):
    rewrite(sample_copy / "train.zip", lambda members: [m for m in members if "/masks/" not in m[0].filename])
    loaded = load_archives(data_dir=sample_copy)
    assert {split: len(loaded[split]) for split in loaded} == SAMPLE_SIZES


def renamed(change):
    def apply(members: Members) -> None:
        for member, _ in members:
            member.filename = change(member.filename)

    return apply


def deflated(members: Members) -> None:
    for member, _ in members:
        member.compress_type = zipfile.ZIP_DEFLATED


def with_junk(members: Members) -> Members:
    names = ["test/", "test/glaciar/", "__MACOSX/test/glaciar/._000.png", "__MACOSX/x", ".DS_Store", "test/.DS_Store"]
    return [(zipfile.ZipInfo(name), b"") for name in names] + members


def with_extra_fields(members: Members) -> None:
    for place, (member, _) in enumerate(members):
        member.extra = struct.pack("<HH", 0xCAFE, 20 * place) + bytes(20 * place)


def with_twins(members: Members) -> Members:
    return [*members, *((zipfile.ZipInfo(f"test/cordillera/{number}.png"), EMPTY_MASK) for number in ("7", "007"))]


CHANGES = {
    "deflated": deflated,
    "out of order": lambda members: members[::-1],
    "below other folders": renamed(lambda name: f"release/data v01/{name}"),
    "below folders of like names": renamed(lambda name: f"train/glaciar/test/{name}"),
    "ids of 18 digits": renamed(lambda name: name.replace("000", f"{10**18 - 1}")),
    "junk": with_junk,
    "extra fields": with_extra_fields,
    "7 and 007": with_twins,
}


@WAYS
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_members_may_be(change, streaming, sample, sample_copy):
    rewrite(sample_copy / "test.zip", change)
    loaded = load_archives("image-segmentation", data_dir=sample_copy, split="test", streaming=streaming)
    assert_holds(loaded, sample if change is with_junk else sample_copy, "test")


def test_zip64_sizes_offsets_and_counts_are_read(sample, sample_copy, monkeypatch):
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 1000)  # as if a kilobyte were four gigabytes
    rewrite(sample_copy / "test.zip", lambda members: None)
    monkeypatch.undo()
    assert b"PK\6\6" in (sample_copy / "test.zip").read_bytes()
    assert_holds(load_archives("image-segmentation", data_dir=sample_copy, split="test"), sample, "test")


def test_bytes_before_the_archive_and_a_comment_behind_it_are_allowed(sample, sample_copy):
    archive = sample_copy / "test.zip"
    with zipfile.ZipFile(archive, "a") as opened:
        opened.comment = b"tiles of the Andes" * 1000
    archive.write_bytes(b"#!/bin/sh\nexit\n" + archive.read_bytes())
    (sample_copy / "manifest.json").unlink()
    assert_holds(load_archives(data_dir=sample_copy, split="test"), sample, "test")


def test_more_tiles_than_a_batch_come_in_order(sample_copy):
    names = [f"train/cordillera/{number}.png" for number in range(200)]
    rewrite(sample_copy / "train.zip", lambda members: [(zipfile.ZipInfo(name), EMPTY_MASK) for name in names])
    assert [e["path"] for e in load_archives(data_dir=sample_copy, split="train", streaming=True)] == names
    assert list(load_archives(data_dir=sample_copy, split="train")["path"]) == names


@WAYS
@pytest.mark.parametrize("first_part", ["val", "validation"])
@pytest.mark.parametrize("stem", ["val", "validation"])
def test_validation_may_be_called_val(stem, first_part, streaming, sample_copy):
    archive = sample_copy / "validation.zip"
    rewrite(archive, renamed(lambda name: name.replace("validation", first_part)))
    archive.rename(sample_copy / f"{stem}.zip")
    loaded = load_archives("image-segmentation", data_dir=sample_copy, streaming=streaming)
    assert_holds(loaded["validation"], sample_copy, "validation")
    assert next(iter(loaded["validation"]))["path"].startswith(f"{first_part}/")


def test_other_files_of_the_folder_are_passed_over(sample_copy):
    names = ["zeros.png", "grounds.csv", "dropped.csv", "README.md", "train.zip.part", "training.zip"]
    names += ["train_masks.zip", "other.json"]
    for name in names:
        (sample_copy / name).write_text("nothing")
    (sample_copy / "nested").mkdir()
    shutil.copy(sample_copy / "test.zip", sample_copy / "nested" / "train.zip")
    loaded = load_archives("image-segmentation", data_dir=sample_copy)
    assert {split: len(loaded[split]) for split in loaded} == SAMPLE_SIZES


def test_archives_are_prepared_anew_where_they_changed(sample_copy, tmp_path):
    def prepared():
        return load_archives(data_dir=sample_copy, cache_dir=tmp_path / "cache", split="test")

    (sample_copy / "manifest.json").unlink()
    archive = sample_copy / "test.zip"
    accessed, modified = archive.stat().st_atime_ns, archive.stat().st_mtime_ns
    first = prepared().cache_files
    stamp = os.stat(first[0]["filename"]).st_mtime_ns
    os.utime(archive, ns=(accessed + 10**12, modified))  # as when someone looks at it
    assert (prepared().cache_files, os.stat(first[0]["filename"]).st_mtime_ns) == (first, stamp)
    os.utime(archive, ns=(accessed, modified + 10**9))
    assert prepared().cache_files != first
    rewrite(archive, lambda members: [m for m in members if "cordillera/002" not in m[0].filename])
    os.utime(archive, ns=(accessed, modified))
    assert len(prepared()) == 5


def test_manifest_that_is_added_later_is_checked(sample_copy, tmp_path):
    manifest = (sample_copy / "manifest.json").read_text()
    (sample_copy / "manifest.json").unlink()
    load_archives(data_dir=sample_copy, cache_dir=tmp_path / "cache")
    (sample_copy / "manifest.json").write_text(manifest)
    change_manifest(sample_copy, lambda manifest: manifest["splits"]["test"].update(glaciar=4))
    with pytest.raises(ArchiveError, match="manifest"):
        load_archives(data_dir=sample_copy, cache_dir=tmp_path / "cache")


def test_archive_replaced_between_listing_and_preparing_leaves_nothing_wrong(sample_copy, tmp_path):
    (sample_copy / "manifest.json").unlink()
    builder = RockGlacierDataset(data_dir=sample_copy, cache_dir=str(tmp_path / "cache"))
    rewrite(sample_copy / "test.zip", lambda members: members[::-1])
    with pytest.raises(ArchiveError, match="was changed while it was read; load it again"):
        builder.download_and_prepare()
    assert not list((tmp_path / "cache").rglob("*.arrow"))
    loaded = load_archives(data_dir=sample_copy, cache_dir=tmp_path / "cache", split="test")
    assert_holds(loaded, sample_copy, "test")


def test_same_archives_give_the_same_files(sample, tmp_path):
    for cache in ("a", "b"):
        load_archives("image-segmentation", data_dir=sample, cache_dir=tmp_path / cache)
    a, b = ({path.name: path.read_bytes() for path in (tmp_path / c).rglob("*.arrow")} for c in "ab")
    assert len(a) == 3
    assert a == b


@WAYS
def test_folder_may_be_given_in_any_way(streaming, sample, monkeypatch):
    monkeypatch.chdir(sample.parent)
    monkeypatch.setenv("HOME", str(sample.parent))
    for data_dir in (sample, str(sample), f"{sample}/", "sample", "~/sample", f"file://{sample.as_posix()}"):
        loaded = load_archives(data_dir=data_dir, split="validation", streaming=streaming)
        assert sum(1 for _ in loaded) == SAMPLE_SIZES["validation"]


@WAYS
@pytest.mark.parametrize("name", ["a b ñ", "50%", "data[1]", "[x]#", "a:b", "c:"])
def test_folder_may_have_any_name(name, streaming, sample, tmp_path):
    folder = Path(shutil.copytree(sample, tmp_path / name))
    assert_holds(load_archives(data_dir=folder, split="test", streaming=streaming), sample, "test")


@pytest.fixture
def online(monkeypatch):
    """Let `datasets` open URLs, which all stay on this machine."""
    for setting in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):  # its name depends on the version of `datasets`
        monkeypatch.setattr(datasets.config, setting, False, raising=False)


@WAYS
def test_folder_may_be_any_url_that_fsspec_opens(streaming, sample_copy, tmp_path, online):
    memory = fsspec.filesystem("memory")
    options = {"data_dir": "memory://rock/sample", "streaming": streaming, "cache_dir": tmp_path / "cache"}
    try:
        for change in (
            lambda members: None,
            lambda members: [m for m in members if "cordillera/002" not in m[0].filename],
        ):
            rewrite(sample_copy / "test.zip", change)
            memory.put(f"{sample_copy}/", "/rock/sample/", recursive=True)
            assert_holds_all(load_archives(**options), sample_copy)
    finally:
        memory.rm("/rock", recursive=True)


@pytest.mark.skipif(VERSION < (4, 8), reason="early versions of datasets list no folder inside an archive")
def test_folder_may_be_inside_a_chained_url(sample, tmp_path):
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for file in sample.iterdir():
            archive.write(file, f"folder/{file.name}")
    data_dir = f"zip://folder::{tmp_path.as_posix()}/all.zip"
    assert_holds(load_archives("image-segmentation", data_dir=data_dir, streaming=True)["test"], sample, "test")


@pytest.fixture
def serve(online):
    """Serve the files of a folder on the loopback interface, and return its address."""
    with HubServer() as server:

        def start(folder: Path, listing: str = "<a href='{0}'>{0}</a>", password: str | None = None) -> str:
            async def answer(request: Request) -> Response:
                path = folder / request.path_params["path"]
                if request.headers.get("authorization") != password:
                    return Response(status_code=401)
                if path.is_dir() and not listing:
                    return Response(status_code=403)
                if path.is_dir():
                    return HTMLResponse("".join(listing.format(file.name) for file in path.iterdir()))
                return FileResponse(path) if path.exists() else Response(status_code=404)

            server.intercept = lambda request: lambda hub: Starlette(routes=[Route("/{path:path}", answer)])
            return server.url

        yield start


@WAYS
def test_web_server_that_lists_its_folders_is_read(streaming, sample, tmp_path, serve):
    data_dir = f"{serve(sample.parent)}/sample"
    loaded = load_archives("image-segmentation", data_dir=data_dir, streaming=streaming, cache_dir=tmp_path)
    assert_holds(loaded["test"], sample, "test")


@pytest.mark.parametrize(
    ("listing", "said"), [("", "cannot be looked up"), ("{}", "a web server has to list its folders")]
)
def test_web_server_that_lists_no_folder_is_named(listing, said, sample, tmp_path, serve):
    url = serve(sample.parent, listing=listing)
    with pytest.raises(ArchiveError, match=rf"{url}/sample.*{said}"):
        load_archives(data_dir=f"{url}/sample", cache_dir=tmp_path)


@WAYS
def test_storage_options_reach_the_file_system(streaming, sample, tmp_path, serve):
    data_dir = f"{serve(sample.parent, password='Basic YTpi')}/sample"
    headers = {"http": {"client_kwargs": {"headers": {"Authorization": "Basic YTpi"}}}}
    options = {"data_dir": data_dir, "split": "test", "streaming": streaming, "cache_dir": tmp_path}
    if streaming or VERSION >= (2, 21):  # before, datasets downloads from the web without them
        assert_holds(load_archives(**options, storage_options=headers), sample, "test")
    with pytest.raises(ArchiveError, match="sample"):
        load_archives(**options)


def test_info_is_the_data_sheet(sample):
    info = RockGlacierDataset(data_dir=sample).info
    assert "alcazar90/rock-glacier-detection" in info.homepage
    assert info.license == "MIT"
    assert "CMM - Glaciares (UChile)" in info.citation
    assert info.version == RockGlacierDataset.VERSION
    assert sum(RELEASE_SIZES.values()) == 11_700


def test_plain_load_dataset_of_a_folder_of_archives_points_at_load_archives(sample):
    with pytest.raises(Exception, match="load_archives") as caught:
        datasets.load_dataset(str(sample))
    assert isinstance(caught.value, (OSError, ValueError))
