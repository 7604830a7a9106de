"""Load archives whole and streaming, on the sample and on the real tiles."""

from __future__ import annotations

import functools
import gc
import http.server
import os
import pickle
import re
import shutil
import threading
import zipfile
from pathlib import Path

import datasets
import fsspec
import pytest
from factories import (
    assert_holds,
    assert_holds_all,
    read_members,
    replace_member,
    tile_paths,
    write_zip,
)
from PIL import Image

from rock_glacier_dataset import (
    BACKGROUND_COLOUR,
    CONFIG_NAMES,
    EMPTY_MASK,
    SPLIT_NAMES,
    ArchiveError,
    RockGlacierDataset,
    load_archives,
)

SEGMENTATION = "image-segmentation"
both_ways = pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streaming"])


@both_ways
@pytest.mark.parametrize("config", CONFIG_NAMES)
@pytest.mark.parametrize("folder", ["sample", "sharded_sample", "real_archives"])
def test_examples_are_the_bytes_of_the_archives(folder, config, streaming, request):
    data_dir = request.getfixturevalue(folder)
    assert_holds_all(load_archives(config, data_dir=data_dir, streaming=streaming), data_dir)


@pytest.mark.parametrize(
    ("config", "name", "target"),
    [
        ("image-classification", "labels", datasets.ClassLabel(names=["cordillera", "glaciar"])),
        ("image-segmentation", "masks", datasets.Image()),
    ],
)
def test_features(config, name, target, sample):
    features = load_archives(config, data_dir=sample, split="test").features
    expected = {"image": datasets.Image(), name: target, "path": datasets.Value("string")}
    assert list(features.items()) == list(expected.items())


def test_empty_mask_is_opaque_background(sample):
    examples = load_archives(SEGMENTATION, data_dir=sample, split="test")
    masks = [example["masks"] for example in examples if "cordillera" in example["path"]]
    assert {(mask.mode, mask.size) for mask in masks} == {("RGBA", (128, 128))}
    assert masks[0].getcolors() == [(128 * 128, BACKGROUND_COLOUR)]


def test_default_config_is_classification(sample):
    assert RockGlacierDataset(data_dir=sample).config.name == "image-classification"
    assert "labels" in load_archives(data_dir=sample, split="test").features


def test_data_files_are_refused(sample):
    with pytest.raises(ValueError, match="data_dir"):
        RockGlacierDataset(data_files={"train": str(sample / "train.zip")})


@pytest.mark.parametrize(
    ("split", "size"),
    [
        ("train", 12),
        ("train+test[50%:]", 15),
        ("all", 22),
        (datasets.Split.TEST, 6),
        (datasets.ReadInstruction("test", from_=1, unit="abs"), 5),
    ],
)
def test_split_expressions_of_datasets(split, size, sample):
    assert len(load_archives(split=split, data_dir=sample)) == size


@both_ways
def test_one_split_needs_only_its_archives(streaming, sample, sample_copy):
    (sample_copy / "train.zip").unlink()
    (sample_copy / "validation.zip").write_bytes(b"not needed")
    loaded = load_archives(data_dir=sample_copy, split="test", streaming=streaming)
    assert_holds(loaded, sample, "test")


def test_processes_prepare_the_same(sharded_sample, tmp_path):
    loaded = load_archives(SEGMENTATION, data_dir=sharded_sample, cache_dir=tmp_path, num_proc=2)
    assert_holds_all(loaded, sharded_sample)


def test_archives_are_the_shards_of_a_stream(sample, sharded_sample):
    assert load_archives(data_dir=sample, streaming=True, split="train").n_shards == 1
    assert load_archives(data_dir=sharded_sample, streaming=True, split="train").n_shards == 3


def test_stream_can_be_pickled(sample):
    stream = load_archives(SEGMENTATION, data_dir=sample, streaming=True, split="test")
    assert_holds(pickle.loads(pickle.dumps(stream)), sample, "test")


def test_stream_can_be_read_again_and_skipped(sample):
    stream = load_archives(data_dir=sample, streaming=True, split="train")
    paths = tile_paths(sample, "train")
    assert next(iter(stream))["path"] == paths[0]
    assert [example["path"] for example in stream.skip(2).take(2)] == paths[2:4]


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_archives_are_closed(sample):
    stream = load_archives(SEGMENTATION, data_dir=sample, split="train", streaming=True)
    assert len(list(stream)) == 12
    assert len(list(stream.take(1))) == 1
    gc.collect()


@both_ways
def test_local_file_of_the_same_path_is_not_read(streaming, sample, tmp_path, monkeypatch):
    for path in tile_paths(sample, "test"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / path)
    monkeypatch.chdir(tmp_path)
    loaded = load_archives(data_dir=sample, split="test", streaming=streaming, cache_dir="cache")
    assert next(iter(loaded))["image"].size == (128, 128)


def test_classification_needs_no_masks(sample_copy):
    for path in read_members(sample_copy, "test"):
        if "/masks/" in path:
            replace_member(sample_copy / "test.zip", path, None)
    assert len(load_archives(data_dir=sample_copy, split="test")) == 6


# The layout of an archive


def reversed_order(names):
    return names[::-1]


def below_folders(names):
    return [f"train/glaciar/data v01/{name}" for name in names]


def upper_case_extension(names):
    return [name.replace(".png", ".PNG") for name in names]


def with_18_digits(names):
    return [re.sub(r"(\d+)\.png", lambda match: f"{match[1]:0>18}.png", name) for name in names]


@pytest.mark.parametrize("compress", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize(
    "rename", [reversed_order, below_folders, upper_case_extension, with_18_digits]
)
def test_order_folders_and_ids_of_members(rename, compress, sample, tmp_path):
    members = read_members(sample, "test")
    names = rename(list(members))
    originals = list(members) if rename is not reversed_order else names
    content = {name: members[path] for name, path in zip(names, originals, strict=True)}
    write_zip(tmp_path / "test.zip", content, compress)
    assert_holds(load_archives(SEGMENTATION, data_dir=tmp_path, split="test"), tmp_path, "test")


def test_ignored_members(sample, sample_copy):
    members = dict.fromkeys(
        ["test/", "test/glaciar/", "__MACOSX/test/glaciar/0.png", "test/.DS_Store", "zeros.png"],
        b"",
    )
    write_zip(sample_copy / "test.zip", {**members, **read_members(sample, "test")})
    assert_holds(load_archives(SEGMENTATION, data_dir=sample_copy, split="test"), sample, "test")


@both_ways
@pytest.mark.parametrize("stem", ["val", "validation"])
@pytest.mark.parametrize("folder", ["val", "validation"])
def test_validation_may_be_called_val(stem, folder, streaming, sample, tmp_path):
    members = read_members(sample, "validation")
    names = [path.replace("validation/", f"{folder}/") for path in members]
    write_zip(tmp_path / f"{stem}.zip", dict(zip(names, members.values(), strict=True)))
    loaded = load_archives(SEGMENTATION, data_dir=tmp_path, split="validation", streaming=streaming)
    assert_holds(loaded, tmp_path, "validation")


def test_other_files_of_the_folder_are_ignored(sample, sample_copy):
    for name in ["zeros.png", "tiles.parquet", "train.zip.part", "training.zip", "masks.zip"]:
        (sample_copy / name).write_text("nothing")
    shutil.copytree(sample, sample_copy / "nested")
    assert_holds_all(load_archives(SEGMENTATION, data_dir=sample_copy), sample)


# The cache


def prepared_file(data_dir: Path, cache_dir: Path) -> str:
    loaded = load_archives(data_dir=data_dir, cache_dir=cache_dir, split="test")
    return loaded.cache_files[0]["filename"]


def test_cache_is_used_until_an_archive_changes(sample_copy, tmp_path):
    archive = sample_copy / "test.zip"
    before = archive.stat()
    first = prepared_file(sample_copy, tmp_path / "cache")
    stamp = os.stat(first).st_mtime_ns
    os.utime(archive, ns=(before.st_atime_ns + 10**12, before.st_mtime_ns))
    assert prepared_file(sample_copy, tmp_path / "cache") == first
    assert os.stat(first).st_mtime_ns == stamp
    os.utime(archive, ns=(before.st_atime_ns, before.st_mtime_ns + 10**9))
    assert prepared_file(sample_copy, tmp_path / "cache") != first


def test_cache_notices_another_size_at_the_same_time(sample_copy, tmp_path):
    archive = sample_copy / "test.zip"
    before = archive.stat()
    first = prepared_file(sample_copy, tmp_path / "cache")
    replace_member(archive, "test/cordillera/99.png", EMPTY_MASK)
    os.utime(archive, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert prepared_file(sample_copy, tmp_path / "cache") != first


def test_same_archives_give_the_same_files(sample, tmp_path):
    files = []
    for cache in ("a", "b"):
        load_archives(SEGMENTATION, data_dir=sample, cache_dir=tmp_path / cache)
        arrow = sorted((tmp_path / cache).rglob("*.arrow"))
        files.append([(path.name, path.read_bytes()) for path in arrow])
    assert len(files[0]) == len(SPLIT_NAMES)
    assert files[0] == files[1]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_lock_that_cannot_be_taken_names_cache_dir(sample, tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(PermissionError, match="cache_dir"):
        load_archives(data_dir=sample, cache_dir=tmp_path)


# Folders and URLs


@both_ways
def test_folder_may_be_given_in_any_form(streaming, sample, monkeypatch):
    monkeypatch.chdir(sample.parent)
    monkeypatch.setenv("HOME", str(sample.parent))
    for data_dir in (sample, f"{sample}/", "sample", "~/sample", f"file://{sample.as_posix()}"):
        loaded = load_archives(data_dir=data_dir, split="validation", streaming=streaming)
        assert sum(1 for _ in loaded) == 4


@both_ways
@pytest.mark.parametrize("name", ["a b ñ", "50%", "data[1]", "[x]#", "a:b", "c:"])
def test_folder_may_have_any_name(name, streaming, sample, tmp_path):
    folder = Path(shutil.copytree(sample, tmp_path / name))
    loaded = load_archives(data_dir=folder, split="test", streaming=streaming)
    assert_holds(loaded, sample, "test")


@pytest.fixture
def online(monkeypatch):
    """Let `datasets` open URLs, which all stay on this machine."""
    for setting in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):  # depends on the version
        monkeypatch.setattr(datasets.config, setting, False, raising=False)


@both_ways
def test_url_is_read_again_after_a_change(streaming, sample_copy, tmp_path, online):
    memory = fsspec.filesystem("memory")
    options = {"data_dir": "memory://rock/sample", "cache_dir": tmp_path / "cache"}
    try:
        for content in (EMPTY_MASK, None):
            replace_member(sample_copy / "test.zip", "test/cordillera/99.png", content)
            memory.put(f"{sample_copy}/", "/rock/sample/", recursive=True)
            assert_holds_all(load_archives(streaming=streaming, **options), sample_copy)
    finally:
        memory.rm("/rock", recursive=True)


@both_ways
def test_fault_of_a_url_names_the_archive(streaming, sample_copy, tmp_path, online):
    """A downloaded file has another name than the archive."""
    replace_member(sample_copy / "test.zip", "test/cordillera/99.png", b"")
    memory = fsspec.filesystem("memory")
    memory.put(f"{sample_copy}/", "/rock/faulty/", recursive=True)
    options = {"split": "test", "streaming": streaming, "cache_dir": tmp_path / "cache"}
    try:
        with pytest.raises(ArchiveError) as caught:
            list(load_archives(data_dir="memory://rock/faulty", **options))
    finally:
        memory.rm("/rock", recursive=True)
    assert caught.value.fault.place == "test.zip: test/cordillera/99.png"


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serve a folder as `python -m http.server` does, but with ranges."""

    def send_head(self):
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        path = Path(self.translate_path(self.path))
        if asked is None or not path.is_file():
            return super().send_head()
        first, last = int(asked[1]), min(int(asked[2]), path.stat().st_size - 1)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{last}/{path.stat().st_size}")
        self.send_header("Content-Length", str(last - first + 1))
        self.end_headers()
        self.wfile.write(path.read_bytes()[first : last + 1])
        return None

    def log_message(self, *arguments):
        pass


@both_ways
def test_web_server_that_lists_its_folders(streaming, sample, tmp_path, online):
    pytest.importorskip("aiohttp", reason="fsspec needs aiohttp to open web addresses")
    handler = functools.partial(Handler, directory=str(sample.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        data_dir = f"http://127.0.0.1:{server.server_address[1]}/sample"
        options = {"data_dir": data_dir, "streaming": streaming, "cache_dir": tmp_path}
        assert_holds(load_archives(SEGMENTATION, split="test", **options), sample, "test")
        server.shutdown()
