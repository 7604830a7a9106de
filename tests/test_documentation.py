"""What the README and the docstrings show works as it stands."""

from __future__ import annotations

import csv
import doctest
import importlib
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import evaluate
import pytest
import yaml
from archive_audit import audit
from archive_contents import contents
from card_blocks import PLAIN, README, RUNNER, blocks
from conftest import REPOSITORY
from findings import CODES
from hub.server import HubServer, client_environment
from make_sample_archives import make_sample_archives
from render_assets import PICTURES
from stage_hub_repo import stage

import rock_glacier_dataset
from rock_glacier.parallel import Workers
from rock_glacier_dataset import RELEASE_SIZES, SPLIT_NAMES

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


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_of_docstrings_give_what_they_show(module: str) -> None:
    if module == "torch_baselines":
        pytest.importorskip("torch", reason="left out: PyTorch is not here")
    failed, _ = doctest.testmod(importlib.import_module(module))
    assert failed == 0


@pytest.fixture(scope="module")
def published_sample(folder_with_sample: Path) -> Path:
    """The sample as it goes to the Hub, with the groups of its tiles beside it."""
    groups = folder_with_sample / "sample" / "groups.csv"
    rows = [("path", "group"), *audit(groups.parent, Workers(1)).groups.items()]
    with groups.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    stage(groups.parent, folder_with_sample / "staged")
    groups.unlink()
    return folder_with_sample / "staged"


def test_the_readmes_python_prints_what_it_shows(
    folder_with_sample: Path, published_sample: Path, tmp_path: Path
) -> None:
    with HubServer() as hub:
        hub.add_repository(rock_glacier_dataset.REPO_ID, published_sample)
        done = subprocess.run(
            [sys.executable, "-c", RUNNER],
            input=json.dumps([block.code for block in PLAIN]),
            cwd=folder_with_sample,
            env=client_environment(hub, tmp_path) | {"PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout) == [block.output for block in PLAIN]
    (block,) = (one for one in blocks("bash") if "scores.csv" in one)
    _, script, *arguments = shlex.split(block)
    assert Path(script).stem == "evaluate"
    assert evaluate.main(arguments) == 0


@pytest.mark.parametrize("name", rock_glacier_dataset.CONFIG_NAMES)
def test_the_readme_goes_to_a_scored_model_in_under_ten_lines(
    name: str, tmp_path: Path, folder_with_sample: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (block,) = (one for one in blocks("bash") if "baseline.py" in one and name in one)
    assert block.count("\n") < 10
    install, *commands = block.splitlines()
    assert "pip install" in install
    for command in commands:
        _, script, *arguments = shlex.split(command)
        arguments = [one.replace("sample", str(folder_with_sample / "sample")) for one in arguments]
        arguments = [str(tmp_path / one) if one.startswith(("labelled", "masked")) else one for one in arguments]
        main = importlib.import_module(Path(script).stem).main
        assert main(arguments) == 0
    assert "95 %" in capsys.readouterr().out


def test_the_readmes_way_to_the_hub_works(sample: Path, tmp_path: Path) -> None:
    (way,) = (block for block in blocks("bash") if "upload.py" in block)
    assert way.count("\n") == 6
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
    (block,) = (one for one in blocks("bash") if "leaky" in one)
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


def anchor(heading: str) -> str:
    """Return what GitHub and the Hub make of a heading to link to."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_links_and_pictures_lead_somewhere_on_the_hub_too(staged: Path) -> None:
    prose = re.sub(r"^ *```.*?^ *```$", "", README, flags=re.MULTILINE | re.DOTALL)
    anchors = {f"#{anchor(heading)}" for heading in re.findall(r"^#+ (.*)$", prose, re.MULTILINE)}
    links = re.findall(r"\]\(([^)]+)\)", prose)
    assert len(links) > 30
    for link in links:
        assert link in anchors or ((REPOSITORY / link).is_file() and (staged / link).is_file()), link


def test_the_table_of_contents_names_each_section_in_order() -> None:
    _, found, rest = README.partition("## Table of Contents\n")
    contents_of_card, found, sections = rest.partition("\n## Load it")
    assert found
    named = [f"#{anchor(one)}" for one in re.findall(r"^#{2,3} (.*)$", found + sections, re.MULTILINE)]
    named.remove("#leaderboard")  # within "Score it"
    assert re.findall(r"\]\((#[^)]+)\)", contents_of_card) == ["#quick-start", *named]


def test_pictures_of_the_sample_say_so_in_their_alternative_text() -> None:
    pictures = dict(re.findall(r"!\[([^]]*)\]\(assets/([^)]+)\)", README))
    assert set(pictures.values()) == {*PICTURES, "leak.png"}
    for text, name in pictures.items():
        assert len(text) > 80
        assert ("ynthetic sample" in text) == (name != "leak.png")


def test_the_card_tells_the_leak_as_it_was_measured() -> None:
    scores = json.loads((REPOSITORY / "assets" / "leak.json").read_text(encoding="utf-8"))["scores"]
    text = " ".join(README.split())
    for labels, scheme in (("classes", "random"), ("classes", "grouped"), ("control", "random")):
        models = [scores[labels][model][scheme] for model in ("linear", "forest", "nearest")]
        means = [model["balanced_accuracy"]["mean"] for model in models]
        assert "score {:.2f}, {:.2f} and {:.2f}".format(*means) in text
