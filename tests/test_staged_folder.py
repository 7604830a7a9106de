"""A staged folder is looked at before anything is sent: each fault is named."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from conftest import SAMPLE_SIZES
from staged_folder import StagedError, read_staged, refuse_module_name

CLASSIFICATION = "image-classification"
SEGMENTATION = "image-segmentation"
TRAIN = "train-00000-of-00001.parquet"


def test_it_is_read_as_it_was_staged(staged):
    found = read_staged(staged)
    assert found.sizes == SAMPLE_SIZES
    assert found.shards[CLASSIFICATION]["train"] == [staged / CLASSIFICATION / TRAIN]
    everything = {path.relative_to(staged).as_posix(): path for path in staged.rglob("*") if path.is_file()}
    assert found.files == everything


def test_what_a_system_leaves_is_passed_over(staged_copy):
    before = set(read_staged(staged_copy).files)
    for name in (".DS_Store", ".git/config", "data/.train.zip.swp", "__pycache__/rock_glacier_dataset.pyc"):
        (staged_copy / name).parent.mkdir(exist_ok=True)
        (staged_copy / name).write_bytes(b"x")
    assert set(read_staged(staged_copy).files) == before


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def cut(folder: Path) -> None:
    path = folder / SEGMENTATION / TRAIN
    path.write_bytes(path.read_bytes()[:-100])


def other_columns(folder: Path) -> None:
    path = folder / CLASSIFICATION / TRAIN
    pq.write_table(pq.read_table(path).drop_columns(["path"]), path)


def fewer_rows(folder: Path) -> None:
    for config in (CLASSIFICATION, SEGMENTATION):
        path = folder / config / TRAIN
        pq.write_table(pq.read_table(path).slice(1), path)


def other_set(folder: Path) -> None:
    path = folder / CLASSIFICATION / TRAIN
    (folder / CLASSIFICATION / "train-00000-of-00002.parquet").write_bytes(path.read_bytes())


def change_card(before: str, after: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        card = (folder / "README.md").read_text()
        assert before in card
        (folder / "README.md").write_text(card.replace(before, after))

    return change


def cut_archive(folder: Path) -> None:
    path = folder / "data" / "train.zip"
    path.write_bytes(path.read_bytes()[:100_000])


def change_archive(folder: Path) -> None:
    path = folder / "data" / "train.zip"
    path.write_bytes(path.read_bytes()[:-1] + b"x")


def link(folder: Path) -> None:
    (folder / "link").symlink_to(folder / "LICENSE")


FAULTS = {
    "an archive cut short": (cut_archive, "data/train.zip: has 100000 bytes"),
    "an archive that was changed": (change_archive, "data/train.zip: has another SHA-256"),
    "an archive that is missing": (remove("data/validation.zip"), "data/validation.zip: not in"),
    "a link": (link, "link: is a link or no file"),
    "no configs in the card": (change_card("configs:", "others:"), "README.md: does not name the data files"),
    "other class names in the card": (
        change_card("'0': cordillera", "'0': nieve"),
        "README.md: tells of other features",
    ),
    "no card": (remove("README.md"), "holds no README.md"),
    "no module": (remove("rock_glacier_dataset.py"), "holds no rock_glacier_dataset.py"),
    "no shard": (remove(f"{SEGMENTATION}/{TRAIN}"), "of train are not one whole set, there is nothing"),
    "a shard of another set": (other_set, "are not one whole set, there is train-00000-of-00001.parquet, train-00000"),
    "a file cut short": (cut, f"{SEGMENTATION}/{TRAIN}: is not a whole Parquet file"),
    "other columns": (other_columns, f"{CLASSIFICATION}/{TRAIN}: has other columns than image, labels, path"),
    "fewer rows than the card tells": (fewer_rows, "README.md: tells of"),
    "other counts in the card": (change_card("num_examples: 12", "num_examples: 13"), "README.md: tells of"),
    "a config that the card leaves out": (
        change_card(f"- config_name: {SEGMENTATION}\n  features", "- config_name: other\n  features"),
        "README.md: tells of",
    ),
    "metadata that are no YAML": (change_card("license: mit", "license: [mit"), "README.md: its metadata cannot be"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_with_its_remedy(staged_copy, fault):
    spoil, message = FAULTS[fault]
    spoil(staged_copy)
    with pytest.raises(StagedError) as error:
        read_staged(staged_copy)
    assert message in str(error.value)
    assert "stage it again" in str(error.value) or "stage_hub_repo.py" in str(error.value)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(StagedError, match="away: no such folder"):
        read_staged(tmp_path / "away")


@pytest.mark.parametrize("name", ["rock_glacier_dataset", "a/Rock_Glacier_Dataset/", "me/rock_glacier_dataset"])
def test_the_modules_own_name_is_refused(name):
    with pytest.raises(ValueError, match="for a loading script"):
        refuse_module_name(name)


@pytest.mark.parametrize("name", ["rock-glacier-dataset", "rock_glacier_dataset/staged", "me/glaciers"])
def test_other_names_are_fine(name):
    refuse_module_name(name)  # which raises where a name is not
