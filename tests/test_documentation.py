"""What the README and the docstrings show works as it stands."""

from __future__ import annotations

import csv
import doctest
import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from archive_audit import audit
from archive_contents import contents
from conftest import REPOSITORY
from findings import CODES
from hub_server import HubServer
from hub_server import client_environment
from make_sample_archives import make_sample_archives
from worker_tasks import Workers

import rock_glacier_dataset
from rock_glacier_dataset import RELEASE_SIZES
from rock_glacier_dataset import SPLIT_NAMES

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
MODULES = ["rock_glacier_dataset", *(path.stem for path in sorted((REPOSITORY / "scripts").glob("*.py")))]


@pytest.fixture(scope="module")
def folder_with_sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which `python scripts/make_sample_archives.py sample` was run."""
    folder = tmp_path_factory.mktemp("user")
    make_sample_archives(folder / "sample")
    return folder


@pytest.fixture(autouse=True)
def _working_folder(folder_with_sample: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder_with_sample)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_of_docstrings_give_what_they_show(module: str) -> None:
    if module == "torch_baselines":
        pytest.importorskip("torch", reason="left out: PyTorch is not here")
    failed, _ = doctest.testmod(importlib.import_module(module))
    assert failed == 0


@pytest.fixture
def staged_with_groups(sample: Path, staged_copy: Path) -> Path:
    """What is staged of archives that build_archives.py made: the groups of tiles are beside them."""
    rows = [("path", "group"), *audit(sample, Workers(1)).groups.items()]
    with (staged_copy / "data" / "groups.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    return staged_copy


def test_the_readmes_python_runs_as_it_stands(
    folder_with_sample: Path, staged_with_groups: Path, tmp_path: Path
) -> None:
    code = "\n".join(block for block in blocks("python") if "torch" not in block)  # test_torch_loaders.py runs those
    assert code
    with HubServer() as hub:
        hub.add_repository(rock_glacier_dataset.REPO_ID, staged_with_groups)
        environment = client_environment(hub, tmp_path) | {"PYTHONPATH": str(REPOSITORY)}
        command = [sys.executable, "-c", code]
        done = subprocess.run(
            command, cwd=folder_with_sample, env=environment, capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stderr[-3000:]


def test_the_readmes_way_to_the_hub_works(sample: Path, tmp_path: Path) -> None:
    (way,) = (block for block in blocks("bash") if "upload.py" in block)
    assert way.count("\n") == 5
    for folder, kind in (("tiles", ""), ("masks", "_masks")):
        for split in SPLIT_NAMES:
            for name, png in contents(sample, split, kind).items():
                _, class_name, file_name = name.split("/")
                prefix = {"cordillera": "cordillera", "glaciar": "glaciarRoca_huasco"}[class_name]
                (tmp_path / folder).mkdir(exist_ok=True)
                (tmp_path / folder / f"{prefix}_{split}_{file_name}").write_bytes(png)
    (tmp_path / "scripts").symlink_to(REPOSITORY / "scripts")
    with HubServer() as hub:
        hub.tokens["hf_token"] = "alkzar90"
        environment = client_environment(hub, tmp_path / "home") | {"HF_TOKEN": "hf_token"}
        for command in way.splitlines():
            program, *arguments = shlex.split(command)
            assert program == ".venv/bin/python"
            arguments += ["--allow-size-mismatch"] if "upload.py" in command else []  # the sample is no release
            done = subprocess.run(
                [sys.executable, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr[-3000:]
        repository = hub.repositories[rock_glacier_dataset.REPO_ID]
        assert {"refs/heads/main", "refs/heads/script", "refs/tags/v1.0.0"} == set(repository.refs)
        assert "data/groups.csv" in repository.find("main").tree


def test_the_readmes_leaky_sample_makes_the_audit_bite(tmp_path: Path) -> None:
    (block,) = (block for block in blocks("bash") if "leaky" in block)
    (tmp_path / "scripts").symlink_to(REPOSITORY / "scripts")
    make, audit_it = (shlex.split(command)[1:] for command in block.split("&&"))
    for arguments, status in ((make, 0), (audit_it, 1)):
        done = subprocess.run([sys.executable, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stderr[-3000:]
    assert all(f"error {code}" in done.stdout for code in CODES)


def test_the_readmes_first_two_bash_blocks_are_one_line_each() -> None:
    main_job, tests = blocks("bash")[:2]
    assert main_job.count("\n") == tests.count("\n") == 1
    assert "scripts/smoke_load.py" in main_job
    assert "pytest" in tests


def test_the_card_says_what_the_facts_say() -> None:
    metadata = yaml.safe_load(README.split("---")[1])
    assert metadata["license"] == "mit"
    assert metadata["pretty_name"] == "RockGlacier"
    assert metadata["task_categories"] == ["image-classification", "image-segmentation"]
    assert metadata["size_categories"] == ["10K<n<100K"]
    assert metadata["annotations_creators"] == ["expert-generated"]
    assert "language" not in metadata


def test_the_readme_repeats_the_facts_of_the_module() -> None:
    assert all(f"{size:,}" in README for size in (*RELEASE_SIZES.values(), sum(RELEASE_SIZES.values())))
    assert rock_glacier_dataset._CITATION in README
    assert rock_glacier_dataset.REPO_ID in README
    assert rock_glacier_dataset._HOMEPAGE in README


def test_the_card_keeps_the_sections_of_the_hubs_template() -> None:
    headings = re.findall(r"^#{2,3} (.*)$", README, re.MULTILINE)
    expected = """Dataset Description, Dataset Summary, Supported Tasks and Leaderboards, Languages, Dataset Structure,
        Data Instances, Data Fields, Data Splits, Dataset Creation, Curation Rationale, Source Data, Annotations,
        Personal and Sensitive Information, Considerations for Using the Data, Social Impact of Dataset,
        Discussion of Biases, Other Known Limitations, Additional Information, Dataset Curators,
        Licensing Information, Citation Information, Contributions"""
    wanted = [heading.strip() for heading in expected.split(",")]
    assert [heading for heading in headings if heading in wanted] == wanted
