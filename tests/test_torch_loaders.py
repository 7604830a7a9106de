"""Training with torch: each tile once an epoch, over arrays, prepared and streamed, and on from the middle of one."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import collections
import itertools
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from archive_contents import contents
from card_blocks import OF_TORCH, RUNNER
from conftest import REPOSITORY
from datasets.distributed import split_dataset_by_node
from make_sample_archives import make_sample_archives

from rock_glacier_dataset import load_arrays, load_dataset

torch = pytest.importorskip("torch", reason="left out: torch is not there (pip install -e '.[test-torch]')")
DataLoader = torch.utils.data.DataLoader

SIZE = 5
"""Tiles in a batch, of which the sample's 12 fill two and leave two over."""

WORKERS = pytest.mark.parametrize("workers", [0, 2])


class Tiles:
    """Batches of arrays by their rows, as the card has it."""

    def __init__(self, arrays: dict[str, np.ndarray]) -> None:
        self.arrays = arrays

    def __getitem__(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        return {name: array[rows] for name, array in self.arrays.items()}


def batches(tiles: int, epoch: int, taken: int = 0) -> list[np.ndarray]:
    rows = np.random.default_rng(epoch).permutation(tiles)
    return np.split(rows, range(SIZE, tiles, SIZE))[taken:]


def paths(loader: Any) -> list[list[str]]:
    return [list(batch["path"]) for batch in loader]


def members(data_dir: Path) -> list[str]:
    return sorted(contents(data_dir, "train"))


def streamed(data_dir: Path) -> Any:
    return load_dataset("image-segmentation", split="train", data_dir=data_dir, streaming=True).with_format("torch")


@pytest.mark.parametrize("name", ["image-classification", "image-segmentation"])
def test_torch_takes_the_arrays_without_a_copy_or_a_warning(name: str, sample: Path) -> None:
    arrays = load_arrays(name, split="train", data_dir=sample)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tensors = {column: torch.from_numpy(array) for column, array in arrays.items() if column != "path"}
    for column, tensor in tensors.items():
        assert tensor.data_ptr() == arrays[column].ctypes.data
        assert tuple(tensor.shape) == arrays[column].shape


@WORKERS
def test_a_loader_over_arrays_gives_each_tile_once_and_resumes_in_an_epoch(workers: int, sample: Path) -> None:
    arrays = load_arrays("image-segmentation", split="train", data_dir=sample)

    def epoch(number: int, taken: int = 0) -> list[dict[str, Any]]:
        sampler = batches(len(arrays["path"]), number, taken)
        return list(DataLoader(Tiles(arrays), batch_size=None, sampler=sampler, num_workers=workers))

    first, second = epoch(0), epoch(1)
    for one in (first, second):
        assert sorted(itertools.chain(*paths(one))) == members(sample)
    assert paths(first) != paths(second)
    assert paths(epoch(1, taken=2)) == paths(second)[2:]
    batch = first[0]
    assert (tuple(batch["image"].shape), batch["image"].dtype) == ((SIZE, 128, 128, 3), torch.uint8)
    assert (tuple(batch["masks"].shape), batch["masks"].dtype) == ((SIZE, 128, 128), torch.uint8)
    row = arrays["path"].tolist().index(batch["path"][0])
    np.testing.assert_array_equal(batch["image"][0].numpy(), arrays["image"][row])


@WORKERS
def test_a_loader_over_the_prepared_dataset_gives_each_tile_once_and_resumes_in_an_epoch(
    workers: int, sample: Path
) -> None:
    tiles: Any = load_dataset(split="train", data_dir=sample).with_format("torch")

    def epoch(number: int, taken: int = 0) -> list[dict[str, Any]]:
        return list(DataLoader(tiles, batch_sampler=batches(len(tiles), number, taken), num_workers=workers))

    first, second = epoch(0), epoch(1)
    for one in (first, second):
        assert sorted(itertools.chain(*paths(one))) == members(sample)
    assert paths(first) != paths(second)
    assert paths(epoch(1, taken=2)) == paths(second)[2:]
    assert (tuple(first[0]["image"].shape), first[0]["image"].dtype) == ((SIZE, 4, 128, 128), torch.uint8)
    arrays = load_arrays(split="train", data_dir=sample, rgb=False)
    row = arrays["path"].tolist().index(first[0]["path"][0])
    np.testing.assert_array_equal(first[0]["image"][0].permute(1, 2, 0).numpy(), arrays["image"][row])
    assert first[0]["labels"][0] == arrays["labels"][row]


@pytest.mark.parametrize("nodes", [1, 2])
@pytest.mark.parametrize("shards", ["one archive", "three shards"])
def test_streams_split_by_node_give_each_tile_once_an_epoch(
    shards: str, nodes: int, sample: Path, sharded_sample: Path
) -> None:
    data_dir = sample if shards == "one archive" else sharded_sample
    for epoch in range(2):
        seen: collections.Counter[str] = collections.Counter()
        for rank in range(nodes):
            stream = split_dataset_by_node(streamed(data_dir).shuffle(seed=0, buffer_size=4), rank, nodes)
            stream.set_epoch(epoch)
            seen.update(itertools.chain(*paths(DataLoader(stream, batch_size=SIZE, num_workers=2))))
        assert sorted(seen.elements()) == members(data_dir)


@WORKERS
def test_a_shuffled_stream_resumes_in_an_epoch_by_passing_over_batches(workers: int, sharded_sample: Path) -> None:
    stream = split_dataset_by_node(streamed(sharded_sample).shuffle(seed=0, buffer_size=4), rank=0, world_size=1)
    epochs = []
    for epoch in range(2):
        stream.set_epoch(epoch)
        epochs.append(paths(DataLoader(stream, batch_size=SIZE, num_workers=workers)))
        rest = itertools.islice(DataLoader(stream, batch_size=SIZE, num_workers=workers), 2, None)
        assert paths(rest) == epochs[epoch][2:]
    assert epochs[0] != epochs[1]


@WORKERS
@pytest.mark.parametrize("nodes", [1, 2])
@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")
def test_a_stream_in_order_resumes_from_the_state_of_its_loader(nodes: int, workers: int, sharded_sample: Path) -> None:
    stateful = pytest.importorskip("torchdata.stateful_dataloader", reason="left out: torchdata is not there")
    seen: list[str] = []
    for rank in range(nodes):

        def loader(rank: int = rank) -> Any:
            stream = split_dataset_by_node(streamed(sharded_sample), rank, nodes)
            return stateful.StatefulDataLoader(stream, batch_size=2, num_workers=workers)

        interrupted = loader()
        taken = paths(itertools.islice(interrupted, 2))
        state = interrupted.state_dict()
        resumed = loader()
        resumed.load_state_dict(state)
        rest = paths(resumed)
        assert taken + rest == paths(loader())
        seen += itertools.chain(*taken, *rest)
    assert sorted(seen) == members(sharded_sample)


def test_the_readmes_loaders_print_what_it_shows(tmp_path: Path) -> None:
    make_sample_archives(tmp_path / "sample")
    done = subprocess.run(
        [sys.executable, "-c", RUNNER],
        input=json.dumps([block.code for block in OF_TORCH]),
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout) == [block.output for block in OF_TORCH]
