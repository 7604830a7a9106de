"""The training recipes of the documents run on a sample and with tiny models.

A recipe is skipped if one of its libraries is not installed; `nox -s training` installs all.
"""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import PIL.Image
import pytest
from documents import (
    LARGE_LIBRARIES,
    README,
    TRAINING,
    find_commands,
    publish_sample,
    read_blocks,
    run_python,
)
from factories import copy
from loopback_hub import LoopbackHub

from rock_glacier.masks import class_indices_to_mask
from rock_glacier_dataset import REPO_ID

SCORE_COMMANDS = {
    block.heading: command
    for block in read_blocks("bash", TRAINING)
    for command in find_commands(block)
    if command[0] == "scripts/score.py"
}
[SCORE_COMMANDS["Train"]] = find_commands(read_blocks("console")[0])  # of README.md
RECIPES = [
    block
    for file in (README, TRAINING)
    for block in read_blocks("python", file)
    if block.libraries & LARGE_LIBRARIES or block.heading in SCORE_COMMANDS
]

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
    if not is_installed("transformers") or not is_installed("torch"):
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


def run_block(heading, hub, folder, *, then=""):
    """Run the Python block below a heading of docs/training.md, then other code."""
    [block] = [block for block in read_blocks("python", TRAINING) if block.heading == heading]
    folder.mkdir()
    done = run_python(["-c", f"{block.code}\n{then}"], hub, folder)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_every_pixel_of_a_stored_mask_is_greater_than_zero():
    mask = class_indices_to_mask(np.eye(128, dtype=np.uint8))
    assert (np.array(mask) > 0).any(axis=2).all()
    assert (np.array(mask.convert("1"), "uint8") == np.eye(128)).all()


def test_folders_hold_images_and_masks_of_0_and_1(hub, tmp_path):
    run_block("Folders of images and masks", hub, tmp_path / "work")
    folders = tmp_path / "work/folders"
    names = sorted(file.relative_to(folders / "images") for file in folders.glob("images/*/*"))
    assert names == sorted(
        file.relative_to(folders / "masks") for file in folders.glob("masks/*/*")
    )
    assert len(names) == 70 + 10 + 24
    for name in names:
        with PIL.Image.open(folders / "images" / name) as image:
            assert image.mode == "RGB"
        with PIL.Image.open(folders / "masks" / name) as mask:
            has_rock_glacier = np.array(mask).any()
            assert np.array(mask).max() <= 1
        assert has_rock_glacier == name.name.startswith("glaciar")


def test_copy_for_run_semantic_segmentation(hub, tmp_path):
    """The script reads the columns image and label of a dataset without a config."""
    script = """
rows = load_dataset("copy")["train"]
print(rows.column_names, {np.array(label).dtype.name for label in rows["label"]})
print(np.unique([np.array(label) for label in rows["label"]]))
"""
    printed = run_block("run_semantic_segmentation.py", hub, tmp_path / "work", then=script)
    assert printed == "['image', 'label'] {'uint8'}\n[0 1]\n"
    labels = (tmp_path / "work/copy/id2label.json").read_bytes()
    assert json.loads(labels) == json.loads(hub.repositories[REPO_ID].files()["id2label.json"])


def test_rows_of_both_configs_are_in_the_same_order(hub, tmp_path):
    code = f"""
from datasets import concatenate_datasets, load_dataset
labels, masks = (
    load_dataset("{REPO_ID}", name, split="train")
    for name in ("image-classification", "image-segmentation")
)
tiles = concatenate_datasets([masks, labels.select_columns("labels")], axis=1)
print(all(label == ("/glaciar/" in path) for label, path in zip(tiles["labels"], tiles["path"])))
"""
    done = run_python(["-c", code], hub, tmp_path)
    assert done.stdout == "True\n", done.stderr[-3000:]


@pytest.mark.parametrize("transform", ["HorizontalFlip", "Resize", "Rotate", "Affine"])
def test_albumentations_moves_masks_with_tiles(transform):
    """The image shows the mask, so both must be equal after the transform."""
    albumentations = pytest.importorskip("albumentations")
    options: dict[str, dict[str, object]] = {
        "HorizontalFlip": {},
        "Resize": {"height": 64, "width": 64},
        "Rotate": {"limit": (30, 30)},
        "Affine": {"scale": 1.2, "translate_px": 10},
    }
    indices = np.zeros((128, 128), np.uint8)
    indices[40:90, 20:60] = 1
    mask = class_indices_to_mask(indices)
    augment = getattr(albumentations, transform)(p=1, **options[transform])
    image = np.array(mask.convert("RGB"))
    done = augment(image=image, mask=np.array(mask.convert("1"), "uint8"))
    assert done["mask"].dtype == np.uint8
    assert set(np.unique(done["mask"])) == {0, 1}
    assert np.mean((done["image"][..., 0] > 127) == done["mask"]) > 0.99  # edges are interpolated
    assert done["mask"].shape != indices.shape or (done["mask"] != indices).any()


def test_timm_reads_labels_with_target_key(hub, tmp_path):
    if not is_installed("timm"):
        pytest.skip("needs timm: run nox -s training")
    code = f"""
from timm.data import create_dataset
tiles = create_dataset("hfds/{REPO_ID}", root=None, split="train", target_key="labels")
image, label = tiles[0]
print(image.mode, label in (0, 1), len(tiles), tiles.reader.class_to_idx)
"""
    done = run_python(["-c", code], hub, tmp_path)
    assert done.stdout == "RGB True 70 {'cordillera': 0, 'glaciar': 1}\n", done.stderr[-3000:]
