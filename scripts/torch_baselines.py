"""Small nets from scratch, in PyTorch: a CNN that tells a tile's class, and a U-Net that finds its rock glaciers.

They are here to show what plain training gives in a few minutes on a processor, not to win: no weights from elsewhere,
no search for settings. A tile is turned and mirrored at random while training. The epoch that is kept is the one with
the least loss on validation.

On one machine the same tiles and seed give the same figures, as long as as many threads work: PyTorch deals sums to
threads, and the order of a sum of floats is seen in its last bits.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from pixel_classifier import Images, Masks, as_levels
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

EPOCHS = {"cnn": 10, "unet": 4}
"""So that all the models of a config take 3 minutes at the most, on 2 cores and for 3,000 tiles."""

_BATCH = 32
_PREDICTED_AT_ONCE = 64

_LEARNING_RATE = 3e-3  # the highest, of one cycle
_WEIGHT_DECAY = 1e-3

_CNN_CHANNELS = (16, 32, 64, 128)
_UNET_CHANNELS = (8, 16, 32, 64)


class Trained(NamedTuple):
    """A net that was trained.

    Attributes:
        net: the net, as it was after the epoch that was kept.
        epoch: number of that epoch, from 1.
        loss: its mean loss on validation.
    """

    net: nn.Module
    epoch: int
    loss: float


def _block(channels: int, width: int, stride: int = 1) -> nn.Module:
    """Two convolutions of 3 x 3 pixels, each normalised and cut off below 0."""
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, stride, 1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, width, 3, 1, 1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
    )


class Cnn(nn.Module):
    """Blocks that halve the tile, their mean over the tile, and a linear layer.

    Takes tiles, float32 of shape (tiles, 3, 128, 128); gives logits of glaciar, of shape (tiles,).
    """

    def __init__(self) -> None:
        super().__init__()
        widths = (3, *_CNN_CHANNELS)
        self.blocks = nn.Sequential(
            *(_block(above, width, 2) for above, width in zip(widths, _CNN_CHANNELS, strict=False))
        )
        self.last = nn.Linear(widths[-1], 1)

    def forward(self, tiles: Tensor) -> Tensor:
        """See the class."""
        return self.last(self.blocks(tiles).mean((2, 3)))[:, 0]


class UNet(nn.Module):
    """Blocks on ever smaller images, and back, with what was seen on the way down (Ronneberger et al. 2015).

    Takes tiles, float32 of shape (tiles, 3, 128, 128); gives logits of rock glacier, of shape (tiles, 128, 128).
    """

    def __init__(self) -> None:
        super().__init__()
        widths = _UNET_CHANNELS
        self.down = nn.ModuleList(_block(*pair) for pair in zip((3, *widths), widths, strict=False))
        pairs = list(zip(widths[1:], widths, strict=False))[::-1]
        self.up = nn.ModuleList(_block(lower + upper, upper) for lower, upper in pairs)
        self.last = nn.Conv2d(widths[0], 1, 1)

    def forward(self, tiles: Tensor) -> Tensor:
        """See the class."""
        seen: list[Tensor] = []
        found = tiles
        for block in self.down:
            found = block(functional.max_pool2d(found, 2) if seen else found)
            seen.append(found)
        for block, beside in zip(self.up, seen[-2::-1], strict=True):
            found = block(torch.cat([functional.interpolate(found, scale_factor=2), beside], 1))
        return self.last(found)[:, 0]


NETS: dict[str, type[nn.Module]] = {"cnn": Cnn, "unet": UNet}


def trained(
    name: str,
    train: tuple[Images, npt.NDArray[Any]],
    validation: tuple[Images, npt.NDArray[Any]],
    seed: int,
    num_proc: int,
) -> Trained:
    """Train a net.

    Args:
        name: one of `NETS`.
        train: tiles, and their labels (for "cnn") or masks (for "unet").
        validation: the same, by which the epoch is chosen.
        seed: of the first weights, the order of tiles and their turns.
        num_proc: number of threads.
    """
    with _deterministic(seed, num_proc):
        net = NETS[name]().to(memory_format=torch.channels_last)
        rng = np.random.default_rng(seed)
        steps = -(-len(train[0]) // _BATCH)
        optimiser = torch.optim.AdamW(net.parameters(), lr=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _LEARNING_RATE, total_steps=EPOCHS[name] * steps)
        best = Trained(net, 0, float("inf"))
        with tqdm(total=EPOCHS[name] * steps, desc=f"Training {name}", unit=" batches", leave=False) as bar:
            for epoch in range(1, EPOCHS[name] + 1):
                net.train()
                for numbers in np.array_split(rng.permutation(len(train[0])), steps):
                    tiles, truth = _turned(*_batch(*train, np.sort(numbers)), rng)
                    optimiser.zero_grad()
                    _loss(net(tiles), truth).backward()
                    optimiser.step()
                    schedule.step()
                    bar.update()
                loss = _mean_loss(net, *validation)
                if loss < best.loss:
                    best = Trained(copy.deepcopy(net), epoch, loss)
        return best


def predicted(net: nn.Module, images: Images, name: str, num_proc: int) -> Iterator[npt.NDArray[np.float32]]:
    """Yield part by part what a net makes of tiles: probabilities, of shape (part,) or (part, 128, 128)."""
    with tqdm(total=len(images), desc=name, unit=" tiles", leave=False) as bar:
        for start in range(0, len(images), _PREDICTED_AT_ONCE):
            with _deterministic(0, num_proc), torch.inference_mode():
                net.eval()
                part = torch.sigmoid(net(_tensor(images[start : start + _PREDICTED_AT_ONCE]))).numpy()
            yield part
            bar.update(len(part))


def predicted_levels(net: nn.Module, images: Images, name: str, num_proc: int) -> Iterator[Masks]:
    """Yield part by part how probable rock glacier is on each pixel, as `pixel_classifier.levels_of` does."""
    yield from map(as_levels, predicted(net, images, name, num_proc))


@contextlib.contextmanager
def _deterministic(seed: int, num_proc: int) -> Iterator[None]:
    """Let PyTorch draw from a seed, and do nothing whose result depends on chance; then leave it as it was."""
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng(devices=[]):
        torch.set_num_threads(num_proc)
        torch.use_deterministic_algorithms(True)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(strict)


def _batch(images: Images, truth: npt.NDArray[Any], numbers: npt.NDArray[np.intp]) -> tuple[Tensor, Tensor]:
    return _tensor(images[numbers]), torch.from_numpy(truth[numbers].astype(np.float32))


def _tensor(images: Images) -> Tensor:
    """Make tiles float32 of shape (tiles, 3, 128, 128), values in [-1, 1]."""
    pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return pixels.contiguous(memory_format=torch.channels_last)


def _turned(tiles: Tensor, truth: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Turn and mirror a batch at random, and its masks with it."""
    turns, mirrored = int(rng.integers(4)), bool(rng.integers(2))

    def turn(images: Tensor) -> Tensor:
        found = torch.rot90(images, turns, (-2, -1))
        return found.flip(-1) if mirrored else found

    return turn(tiles), turn(truth) if truth.ndim > 1 else truth


def _loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Return cross-entropy; for masks also what they lack in overlap (soft Dice), for rock glaciers are small."""
    entropy = functional.binary_cross_entropy_with_logits(logits, truth)
    if truth.ndim == 1:
        return entropy
    probability = torch.sigmoid(logits)
    dice = (2 * (probability * truth).sum() + 1) / (probability.sum() + truth.sum() + 1)
    return entropy + 1 - dice


def _mean_loss(net: nn.Module, images: Images, truth: npt.NDArray[Any]) -> float:
    net.eval()
    total = 0.0
    with torch.inference_mode():
        for start in range(0, len(images), _PREDICTED_AT_ONCE):
            numbers = np.arange(start, min(start + _PREDICTED_AT_ONCE, len(images)))
            tiles, its = _batch(images, truth, numbers)
            total += float(_loss(net(tiles), its)) * len(numbers)
    return total / len(images)
