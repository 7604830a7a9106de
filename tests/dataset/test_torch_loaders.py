"""Training with PyTorch: each tile once per epoch, and resuming in the middle of one."""

from __future__ import annotations

import collections
import itertools
import warnings

import pytest
from datasets.distributed import split_dataset_by_node
from factories import tile_paths

from rock_glacier.arrays import to_arrays
from rock_glacier_dataset import CONFIG_NAMES, load_archives

torch = pytest.importorskip("torch", reason="torch is not installed (pip install '.[test-torch]')")
DataLoader = torch.utils.data.DataLoader

BATCH_SIZE = 5  # tiles; the 12 of the sample fill two batches, and two are left


def paths_of(batches):
    return [list(batch["path"]) for batch in batches]


def stream_of(data_dir):
    options = {"data_dir": data_dir, "split": "train", "streaming": True}
    return load_archives("image-segmentation", **options).with_format("torch")


@pytest.mark.parametrize("config", CONFIG_NAMES)
def test_arrays_become_tensors_without_a_copy_or_a_warning(config, sample):
    arrays = to_arrays(load_archives(config, split="train", data_dir=sample))
    del arrays["path"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tensors = {column: torch.from_numpy(array) for column, array in arrays.items()}
    for column, tensor in tensors.items():
        assert tensor.data_ptr() == arrays[column].ctypes.data


@pytest.mark.parametrize("workers", [0, 2])
def test_prepared_tiles_are_read_once(workers, sample):
    tiles = load_archives("image-segmentation", split="train", data_dir=sample)
    loader = DataLoader(tiles.with_format("torch"), batch_size=BATCH_SIZE, num_workers=workers)
    batches = list(loader)
    assert tuple(batches[0]["image"].shape) == (BATCH_SIZE, 4, 128, 128)
    assert list(itertools.chain(*paths_of(batches))) == tile_paths(sample, "train")


@pytest.mark.parametrize("nodes", [1, 2])
@pytest.mark.parametrize("folder", ["sample", "sharded_sample"])
def test_streamed_tiles_are_read_once(folder, nodes, request):
    data_dir = request.getfixturevalue(folder)
    seen: collections.Counter[str] = collections.Counter()
    for rank in range(nodes):
        stream = stream_of(data_dir).shuffle(seed=0, buffer_size=4)
        stream = split_dataset_by_node(stream, rank, nodes)
        loader = DataLoader(stream, batch_size=BATCH_SIZE, num_workers=2)
        seen.update(itertools.chain(*paths_of(loader)))
    assert sorted(seen.elements()) == sorted(tile_paths(data_dir, "train"))


def test_shuffled_stream_differs_by_epoch_and_can_be_resumed(sharded_sample):
    stream = stream_of(sharded_sample).shuffle(seed=0, buffer_size=4)
    epochs = []
    for epoch in range(2):
        stream.set_epoch(epoch)
        epochs.append(paths_of(DataLoader(stream, batch_size=BATCH_SIZE)))
        rest = itertools.islice(DataLoader(stream, batch_size=BATCH_SIZE), 2, None)
        assert paths_of(rest) == epochs[epoch][2:]
    assert epochs[0] != epochs[1]
