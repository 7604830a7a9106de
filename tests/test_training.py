"""The training recipes of docs/training.md run on a sample and with tiny models.

A recipe is skipped if one of its libraries is not installed; `nox -s training` installs all.
"""

from __future__ import annotations

import importlib.util

import pytest
from documents import (
    LARGE_LIBRARIES,
    TRAINING,
    find_commands,
    publish_sample,
    read_blocks,
    run_python,
)
from factories import copy
from loopback_hub import LoopbackHub

RECIPES = [block for block in read_blocks("python", TRAINING) if block.libraries & LARGE_LIBRARIES]
SCORE_COMMANDS = {
    block.heading: command
    for block in read_blocks("bash", TRAINING)
    for command in find_commands(block)
    if command[0] == "scripts/score.py"
}

PREPROCESSOR = """{
    "image_processor_type": "SegformerImageProcessor", "size": {"height": 64, "width": 64},
    "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]
}"""


def is_installed(library):
    return importlib.util.find_spec(library) is not None


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Small untrained models in folders that are named like the models of the recipes."""
    folder = tmp_path_factory.mktemp("models")
    if (
        importlib.util.find_spec("transformers") is None
        or importlib.util.find_spec("torch") is None
    ):
        return folder
    import transformers

    sizes = {"depths": [1, 1], "hidden_sizes": [8, 16]}
    resnet = transformers.ResNetConfig(**sizes, embedding_size=8, layer_type="basic")
    segformer = transformers.SegformerConfig(
        **sizes,
        num_encoder_blocks=2,
        sr_ratios=[8, 4],
        patch_sizes=[7, 3],
        strides=[4, 2],
        mlp_ratios=[2, 2],
        num_attention_heads=[1, 2],
        decoder_hidden_size=16,
    )
    models = {
        "microsoft/resnet-18": transformers.ResNetForImageClassification(resnet),
        "nvidia/mit-b0": transformers.SegformerForImageClassification(segformer),
    }
    for name, model in models.items():
        model.save_pretrained(folder / name)
        (folder / name / "preprocessor_config.json").write_text(PREPROCESSOR)
    return folder


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A Hub with the sample."""
    with LoopbackHub() as running:
        publish_sample(running, tmp_path_factory.mktemp("training"))
        yield running


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.heading)
def test_recipe_runs_and_its_predictions_are_scored(recipe, hub, models, tmp_path):
    for library in sorted(recipe.libraries):
        if not is_installed(library):
            pytest.skip(f"needs {library}: run nox -s training")
    # Transformers prefers a folder of this name to a model on the Hub.
    folder = copy(models, tmp_path / "work")
    done = run_python(["-c", recipe.code], hub, folder, OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr[-3000:]
    assert not recipe.output or done.stdout == recipe.output
    if recipe.heading in SCORE_COMMANDS:
        done = run_python(SCORE_COMMANDS[recipe.heading], hub, folder)
        assert done.returncode == 0, done.stderr[-3000:]
        assert "precision" in done.stdout
