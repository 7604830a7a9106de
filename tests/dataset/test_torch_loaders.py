"""Training with torch: each tile once an epoch, over arrays, prepared and streamed, and on from the middle of one."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import collections
import itertools
import warnings
from typing import Any

import numpy as np
import pytest
from archive_contents import tile_paths
from datasets.distributed import split_dataset_by_node

from rock_glacier.arrays import to_arrays
from rock_glacier_dataset import CONFIG_NAMES, load_archives

torch = pytest.importorskip("torch", reason="left out: torch is not there (pip install -e '.[test-torch]')")
DataLoader = torch.utils.data.DataLoader

SIZE = 5
"""Tiles in a batch, of which the sample's 12 fill two and leave two over."""

WORKERS = pytest.mark.parametrize("workers", [0, 2])


class Batches:
    """Batches of arrays by their rows, as the card has it."""

    def __init__(self, arrays):
        self.arrays = arrays

    def __getitem__(self, rows):
        return {name: array[rows] for name, array in self.arrays.items()}


def rows_of(epoch, taken=0):
    return np.split(np.random.default_rng(epoch).permutation(12), range(SIZE, 12, SIZE))[taken:]


def paths(loader):
    return [list(batch["path"]) for batch in loader]


def streamed(data_dir):
    return load_archives("image-segmentation", split="train", data_dir=data_dir, streaming=True).with_format("torch")


@pytest.mark.parametrize("name", CONFIG_NAMES)
def test_torch_takes_the_arrays_without_a_copy_or_a_warning(name, sample):
    arrays = to_arrays(load_archives(name, split="train", data_dir=sample))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tensors = {column: torch.from_numpy(array) for column, array in arrays.items() if column != "path"}
    for column, tensor in tensors.items():
        assert tensor.data_ptr() == arrays[column].ctypes.data
        assert tuple(tensor.shape) == arrays[column].shape


@WORKERS
@pytest.mark.parametrize("kind", ["arrays", "prepared"])
def test_loader_gives_each_tile_once_and_resumes_in_an_epoch(kind, workers, sample):
    tiles = load_archives("image-segmentation", split="train", data_dir=sample)

    def epoch(number: int, taken: int = 0) -> list[dict[str, Any]]:
        rows = rows_of(number, taken)
        if kind == "arrays":
            return list(DataLoader(Batches(to_arrays(tiles)), batch_size=None, sampler=rows, num_workers=workers))
        return list(DataLoader(tiles.with_format("torch"), batch_sampler=rows, num_workers=workers))

    first, second = epoch(0), epoch(1)
    for one in (first, second):
        assert sorted(itertools.chain(*paths(one))) == sorted(tile_paths(sample, "train"))
    assert paths(first) != paths(second)
    assert paths(epoch(1, taken=2)) == paths(second)[2:]
    shape = (SIZE, 128, 128, 3) if kind == "arrays" else (SIZE, 4, 128, 128)
    assert (tuple(first[0]["image"].shape), first[0]["image"].dtype) == (shape, torch.uint8)
    arrays = to_arrays(tiles, rgb=kind == "arrays")
    expected = arrays["image"][arrays["path"].tolist().index(first[0]["path"][0])]
    image = first[0]["image"][0].numpy()
    np.testing.assert_array_equal(image if kind == "arrays" else image.transpose(1, 2, 0), expected)


@pytest.mark.parametrize("nodes", [1, 2])
@pytest.mark.parametrize("folder", ["sample", "sharded_sample"])
def test_streams_split_by_node_give_each_tile_once_an_epoch(folder, nodes, request):
    data_dir = request.getfixturevalue(folder)
    for epoch in range(2):
        seen: collections.Counter[str] = collections.Counter()
        for rank in range(nodes):
            stream = split_dataset_by_node(streamed(data_dir).shuffle(seed=0, buffer_size=4), rank, nodes)
            stream.set_epoch(epoch)
            seen.update(itertools.chain(*paths(DataLoader(stream, batch_size=SIZE, num_workers=2))))
        assert sorted(seen.elements()) == sorted(tile_paths(data_dir, "train"))


@WORKERS
def test_shuffled_stream_resumes_in_an_epoch_by_passing_over_batches(workers, sharded_sample):
    stream = split_dataset_by_node(streamed(sharded_sample).shuffle(seed=0, buffer_size=4), rank=0, world_size=1)
    epochs = []
    for epoch in range(2):
        stream.set_epoch(epoch)
        epochs.append(paths(DataLoader(stream, batch_size=SIZE, num_workers=workers)))
        rest = itertools.islice(DataLoader(stream, batch_size=SIZE, num_workers=workers), 2, None)
        assert paths(rest) == epochs[epoch][2:]
    assert epochs[0] != epochs[1]
