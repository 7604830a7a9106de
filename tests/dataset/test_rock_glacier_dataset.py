"""The builder and `load_archives`, on sample archives and on the real tiles."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import gc
import http.server
import io
import json
import os
import pickle
import shutil
import struct
import threading
import zipfile
from functools import partial
from pathlib import Path

import datasets
import fsspec
import pytest
from archive_contents import Members, change_manifest, contents, rewrite, tile_paths
from conftest import SAMPLE_SIZES
from PIL import Image

from rock_glacier_dataset import (
    BACKGROUND_COLOUR,
    CLASS_NAMES,
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


def undecoded(dataset):
    """Give the images' bytes instead of the images."""
    for column, feature in dataset.features.items():
        if isinstance(feature, datasets.Image):
            dataset = dataset.cast_column(column, datasets.Image(decode=False))
    return dataset


def assert_holds(dataset, data_dir, split):
    """Assert that a loaded split is what the split's archives hold, byte for byte and in their order."""
    members = contents(data_dir, split)
    examples = list(undecoded(dataset))
    assert [example["path"] for example in examples] == tile_paths(data_dir, split)
    for example in examples:
        path = example["path"]
        folder = path.split("/")[1]
        assert example["image"]["bytes"] == members[path]
        if "labels" in example:
            assert CLASS_NAMES[example["labels"]] == folder
        elif folder == "glaciar":
            assert example["masks"]["bytes"] == members[path.replace("glaciar", "masks")]
        else:
            assert example["masks"]["bytes"] == EMPTY_MASK


@WAYS
@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("folder", ["sample", "sharded_sample", "real_archives"])
def test_config_gives_the_bytes_of_the_archives(folder, name, streaming, request):
    data_dir = request.getfixturevalue(folder)
    loaded = load_archives(name, data_dir=data_dir, streaming=streaming)
    assert list(loaded) == list(SPLIT_NAMES)
    for split in SPLIT_NAMES:
        assert loaded[split].features == datasets.Features(CONFIGS[name])
        assert list(loaded[split].features) == list(CONFIGS[name])
        assert_holds(loaded[split], data_dir, split)


def test_real_tiles_are_300_rgba_images(real_archives):
    loaded = load_archives(data_dir=real_archives)
    assert {split: len(loaded[split]) for split in loaded} == {"train": 200, "validation": 30, "test": 70}
    images = [image for split in SPLIT_NAMES for image in loaded[split]["image"]]
    assert {(image.mode, image.size) for image in images} == {("RGBA", (128, 128))}


def test_cordillera_tile_gets_an_opaque_mask_of_background(sample):
    example = next(e for e in load_archives("image-segmentation", data_dir=sample, split="test") if "cord" in e["path"])
    assert (example["masks"].mode, example["masks"].size) == ("RGBA", (128, 128))
    assert example["masks"].getcolors() == [(128 * 128, BACKGROUND_COLOUR)]


def test_default_config_is_classification(sample):
    assert RockGlacierDataset(data_dir=sample).config.name == "image-classification"
    assert "labels" in load_archives(data_dir=sample, split="test").features


@pytest.mark.parametrize(
    ("split", "size"), [("train", 12), ("train+test", 18), ("train[:3]", 3), ("test[50%:]", 3), ("all", 22)]
)
def test_split_expressions_are_those_of_datasets(split, size, sample):
    assert len(load_archives(split=split, data_dir=sample)) == size


def test_num_proc_prepares_the_same_as_one_process(sharded_sample, tmp_path):
    one = load_archives("image-segmentation", data_dir=sharded_sample, cache_dir=tmp_path / "one")
    three = load_archives("image-segmentation", data_dir=sharded_sample, cache_dir=tmp_path / "three", num_proc=3)
    for split in SPLIT_NAMES:
        assert list(undecoded(one[split])) == list(undecoded(three[split]))


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


def with_more_members_than_16_bits_count(members: Members) -> Members:
    return [(zipfile.ZipInfo(f"__MACOSX/{number}"), b"") for number in range(2**16)] + members


CHANGES = {
    "deflated": deflated,
    "out of order": lambda members: members[::-1],
    "below other folders": renamed(lambda name: f"release/data v01/{name}"),
    "below folders of like names": renamed(lambda name: f"train/glaciar/test/{name}"),
    "ids of 18 digits": renamed(lambda name: name.replace("000", f"{10**18 - 1}")),
    "junk": with_junk,
    "extra fields": with_extra_fields,
    "65,536 members": with_more_members_than_16_bits_count,
}


@WAYS
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_members_may_be(change, streaming, sample, sample_copy):
    rewrite(sample_copy / "test.zip", change)
    loaded = load_archives("image-segmentation", data_dir=sample_copy, split="test", streaming=streaming)
    if change in (with_junk, with_more_members_than_16_bits_count):
        assert_holds(loaded, sample, "test")
    else:
        assert_holds(loaded, sample_copy, "test")


class NoSeeking(io.FileIO):
    """A pipe, to which an archive is written with the sizes behind the members."""

    def seekable(self):
        return False

    def seek(self, *arguments):
        raise io.UnsupportedOperation

    def tell(self):
        raise io.UnsupportedOperation


@WAYS
@pytest.mark.parametrize("tool", ["zip -r -fz", "zip -r - | cat", "macOS"])
def test_archive_may_be_made_by(tool, streaming, sample, sample_copy):
    """As Info-ZIP and the Archive Utility write archives: zip64 fields, sizes behind members, Apple's files."""
    members = contents(sample, "test")
    archive = sample_copy / "test.zip"
    with (
        archive.open("wb") if tool == "zip -r -fz" else NoSeeking(archive, "wb") as file,
        zipfile.ZipFile(file, "w") as opened,
    ):
        for path, png in {"test/": b"", "test/glaciar/": b""}.items() | members.items():
            for name in (path, f"__MACOSX/{Path(path).parent}/._{Path(path).name}")[: 1 + (tool == "macOS")]:
                member = zipfile.ZipInfo(name)
                member.extra = struct.pack("<HHBI", 0x5455, 5, 1, 0) + struct.pack("<HHHH", 0x7855, 4, 501, 20)
                if tool == "zip -r -fz":
                    member.extra += struct.pack("<HHQ", 1, 8, len(png))
                else:
                    member.compress_type = zipfile.ZIP_DEFLATED
                with opened.open(member, "w", force_zip64=tool == "zip -r -fz") as written:
                    written.write(png if name == path else b"Mac OS X")
    with zipfile.ZipFile(archive) as opened:
        flags, first = opened.infolist()[-1].flag_bits, archive.read_bytes()[:26]
    assert bool(flags & 8) == (tool != "zip -r -fz")  # the sizes follow
    assert (first[18:26] == b"\xff" * 8) == (tool == "zip -r -fz")
    (sample_copy / "manifest.json").unlink()
    loaded = undecoded(load_archives("image-segmentation", data_dir=sample_copy, split="test", streaming=streaming))
    assert {example["path"]: example["image"]["bytes"] for example in loaded} == {
        path: png for path, png in members.items() if "/masks/" not in path
    }


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


def test_200_members_with_64_kib_of_extra_fields_are_read(sample_copy):
    def multiply(members: Members) -> Members:
        copies = [zipfile.ZipInfo(f"test/cordillera/{number:03d}.png") for number in range(200)]
        for member in copies:
            member.extra = struct.pack("<HH", 0xCAFE, 0) * (2**14 - 1)
        return [(member, EMPTY_MASK) for member in copies]

    rewrite(sample_copy / "test.zip", multiply)
    assert sum(1 for _ in load_archives(data_dir=sample_copy, split="test", streaming=True)) == 200


def test_archive_of_2001_tiles_gives_each_in_order(sample_copy):
    names = [f"train/cordillera/{number}.png" for number in range(2001)]
    rewrite(sample_copy / "train.zip", lambda members: [(zipfile.ZipInfo(name), EMPTY_MASK) for name in names])
    assert [e["path"] for e in load_archives(data_dir=sample_copy, split="train", streaming=True)] == names
    assert list(load_archives(data_dir=sample_copy, split="train")["path"]) == names


def test_7_and_007_are_two_tiles(sample_copy):
    def add(members: Members) -> Members:
        return members + [(zipfile.ZipInfo(f"test/cordillera/{number}.png"), EMPTY_MASK) for number in ("7", "007")]

    rewrite(sample_copy / "test.zip", add)
    loaded = load_archives(data_dir=sample_copy, split="test")
    assert list(loaded["path"][-2:]) == ["test/cordillera/7.png", "test/cordillera/007.png"]


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
    names = ["zeros.png", "grounds.csv", "README.md", "train.zip.part", "training.zip", "train_masks.zip", "other.json"]
    for name in names:
        (sample_copy / name).write_text("nothing")
    (sample_copy / "nested").mkdir()
    shutil.copy(sample_copy / "test.zip", sample_copy / "nested" / "train.zip")
    loaded = load_archives("image-segmentation", data_dir=sample_copy)
    assert {split: len(loaded[split]) for split in loaded} == SAMPLE_SIZES


def test_prepared_dataset_is_used_again_whenever_the_archives_were_looked_at(sample_copy, tmp_path):
    first = load_archives(data_dir=sample_copy, cache_dir=tmp_path / "cache", split="train").cache_files
    stamp = os.stat(first[0]["filename"]).st_mtime_ns
    for archive in sample_copy.iterdir():
        status = archive.stat()
        os.utime(archive, ns=(status.st_atime_ns + 10**12, status.st_mtime_ns))
    second = load_archives(data_dir=sample_copy, cache_dir=tmp_path / "cache", split="train").cache_files
    assert (first, stamp) == (second, os.stat(second[0]["filename"]).st_mtime_ns)


def test_changed_archives_are_prepared_anew(sample_copy, tmp_path):
    cache = tmp_path / "cache"
    assert len(load_archives(data_dir=sample_copy, cache_dir=cache, split="test")) == 6
    rewrite(sample_copy / "test.zip", lambda members: [m for m in members if "cordillera/002" not in m[0].filename])
    assert len(load_archives(data_dir=sample_copy, cache_dir=cache, split="test")) == 5


def test_archives_of_the_same_size_and_another_date_are_prepared_anew(sample_copy, tmp_path):
    first = load_archives(data_dir=sample_copy, cache_dir=tmp_path / "cache")["test"].cache_files
    status = os.stat(sample_copy / "test.zip")
    os.utime(sample_copy / "test.zip", ns=(status.st_atime_ns, status.st_mtime_ns + 10**9))
    assert load_archives(data_dir=sample_copy, cache_dir=tmp_path / "cache")["test"].cache_files != first


def test_manifest_that_came_later_is_heeded(sample_copy, tmp_path):
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
            loaded = load_archives(**options)
            for split in SPLIT_NAMES:
                assert_holds(loaded[split], sample_copy, split)
    finally:
        memory.rm("/rock", recursive=True)


@pytest.mark.skipif(VERSION < (4, 8), reason="early versions of datasets list no folder inside an archive")
def test_folder_may_be_inside_a_chained_url(sample, tmp_path):
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for file in sample.iterdir():
            archive.write(file, f"folder/{file.name}")
    data_dir = f"zip://folder::{tmp_path.as_posix()}/all.zip"
    assert_holds(load_archives("image-segmentation", data_dir=data_dir, streaming=True)["test"], sample, "test")


class Handler(http.server.SimpleHTTPRequestHandler):
    """A web server of files, with ranges; `listing` is its answer where a folder is asked for."""

    listing = ""
    password = ""
    protocol_version = "HTTP/1.1"

    def send_head(self):
        if self.headers.get("Authorization", "") != self.password:
            return self.send_error(401)
        path = Path(self.translate_path(self.path))
        if path.is_dir() and self.listing == "403":
            return self.send_error(403)
        if not path.exists():
            return self.send_error(404)
        names = [file.name for file in path.iterdir()] if path.is_dir() and self.listing != "no links" else []
        content = path.read_bytes() if path.is_file() else "".join(f'<a href="{n}">{n}</a>' for n in names).encode()
        size, start, stop = len(content), 0, len(content)
        if wanted := self.headers.get("Range"):
            first, last = wanted.removeprefix("bytes=").split("-")
            start, stop = int(first), min(int(last) + 1, size)
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Type", "text/html" if path.is_dir() else "application/zip")
        self.send_header("Content-Length", str(stop - start))
        self.send_header("Accept-Ranges", "bytes")
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        self.end_headers()
        return io.BytesIO(content[start:stop])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def serve(online):
    """Serve a folder on the loopback interface, and return its address."""
    servers = []

    def start(folder, **attributes):
        handler = partial(type("Handler", (Handler,), attributes), directory=str(folder))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@WAYS
def test_web_server_that_lists_its_folders_is_read(streaming, sample, tmp_path, serve):
    data_dir = f"{serve(sample.parent)}/sample"
    loaded = load_archives("image-segmentation", data_dir=data_dir, streaming=streaming, cache_dir=tmp_path)
    assert_holds(loaded["test"], sample, "test")


@pytest.mark.parametrize(
    ("listing", "said"), [("403", "cannot be looked up"), ("no links", "a web server has to list its folders")]
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


def test_facts_agree_with_one_another(sample):
    assert json.loads((sample / "manifest.json").read_text())["splits"].keys() == set(SPLIT_NAMES)
    assert sum(RELEASE_SIZES.values()) == 11_700
    assert CONFIGS["image-classification"]["labels"].names == list(CLASS_NAMES)


def test_plain_load_dataset_of_a_folder_of_archives_points_at_load_archives(sample):
    with pytest.raises(Exception, match="load_archives") as caught:
        datasets.load_dataset(str(sample))
    assert isinstance(caught.value, (OSError, ValueError))
