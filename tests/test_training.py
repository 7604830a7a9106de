"""The training of the card and of docs/training.md runs as it stands, on the sample and with tiny models."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from card_blocks import OF_TRAINING, OWN_CODE, Block, blocks
from conftest import REPOSITORY
from hub.server import HubServer, client_environment

from rock_glacier.console import REPO_ID
from rock_glacier.publication.staging import stage
from rock_glacier.sample.generate import make_sample_archives

OF_CARD = [block for block in OF_TRAINING if block in blocks("python")]

PREPROCESSOR = """{
    "image_processor_type": "SegformerImageProcessor", "size": {"height": 64, "width": 64},
    "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]
}"""


class Hub(NamedTuple):
    """A Hub with the sample and the models, and the caches of its clients."""

    server: HubServer
    home: Path


def save_tiny_models(folder: Path) -> dict[str, Path]:
    """Save models of the kinds that the texts name, untrained and small; return their folders by name on the Hub."""
    import transformers

    blocks_of_two = {"depths": [1, 1], "hidden_sizes": [8, 16]}
    resnet = transformers.ResNetConfig(**blocks_of_two, embedding_size=8, layer_type="basic")
    transformers.ResNetForImageClassification(resnet).save_pretrained(folder / "resnet")
    two = {"num_encoder_blocks": 2, "sr_ratios": [8, 4], "patch_sizes": [7, 3], "strides": [4, 2], "mlp_ratios": [2, 2]}
    mit = transformers.SegformerConfig(**blocks_of_two, **two, num_attention_heads=[1, 2], decoder_hidden_size=16)
    transformers.SegformerForImageClassification(mit).save_pretrained(folder / "mit")
    for model in ("resnet", "mit"):
        (folder / model / "preprocessor_config.json").write_text(PREPROCESSOR)
    return {"microsoft/resnet-18": folder / "resnet", "nvidia/mit-b0": folder / "mit"}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A Hub with the sample and the models that the texts name."""
    folder = tmp_path_factory.mktemp("training")
    make_sample_archives(folder / "sample", overlap=0.5)
    stage(folder / "sample", folder / "staged")
    with HubServer() as server:
        server.add_repository(REPO_ID, folder / "staged" / "main")
        if importlib.util.find_spec("transformers") and importlib.util.find_spec("torch"):
            for name, model in save_tiny_models(folder / "models").items():
                server.add_repository(name, model)
        yield Hub(server, folder / "home")


def run(hub: Hub, folder: Path, *arguments: str) -> str:
    """Run Python in a process of its own, as a client of the Hub, and return what it printed."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=client_environment(hub.server, hub.home) | OWN_CODE | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def run_block(block: Block, hub: Hub, folder: Path) -> str:
    """Run a block and return what it printed; skip the test where a library is missing."""
    for library in sorted(block.libraries()):
        if importlib.util.find_spec(library) is None:
            pytest.skip(f"left out: {library} is not there (run nox -s training)")
    return run(hub, folder, "-c", block.code)


@pytest.mark.parametrize("block", OF_CARD, ids=lambda block: block.heading)
def test_loop_of_the_card_writes_predictions_that_are_scored(block: Block, hub: Hub, tmp_path: Path) -> None:
    assert "epoch 0" in run_block(block, hub, tmp_path)
    (command,) = (one.code for one in blocks("bash") if "evaluate.py" in one.code and block.heading == one.heading)
    _, script, *arguments = command.split()
    assert "95 %" in run(hub, tmp_path, str(REPOSITORY / script), *arguments)


@pytest.mark.parametrize("block", [one for one in OF_TRAINING if one not in OF_CARD], ids=lambda block: block.heading)
def test_block_of_the_training_page_runs_and_prints_what_it_shows(block: Block, hub: Hub, tmp_path: Path) -> None:
    printed = run_block(block, hub, tmp_path)
    assert not block.output or printed == block.output
