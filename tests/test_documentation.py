"""What the texts and the docstrings show works as it stands, and what they name exists."""

from __future__ import annotations

import doctest
import importlib
import itertools
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from archive_contents import contents, tile_paths
from card_blocks import MAINTAINING, OF_SCRIPT, OWN_CODE, PLAIN, README, RUNNER, blocks
from conftest import REPOSITORY
from hub.server import HubServer, client_environment
from script_runs import SCRIPTS, client_of, run_script

from rock_glacier.audit.findings import CODES
from rock_glacier.console import REPO_ID
from rock_glacier.publication.picture_record import PICTURES, read_record
from rock_glacier.publication.staging import stage
from rock_glacier.sample.generate import make_sample_archives
from rock_glacier_dataset import CONFIG_NAMES, HOMEPAGE, MASKS, RELEASE_SIZES, SPLIT_NAMES, RockGlacierDataset

TEXTS = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
MODULES = [
    "rock_glacier_dataset",
    *(
        ".".join(path.relative_to(SCRIPTS).with_suffix("").parts)
        for path in sorted((SCRIPTS / "rock_glacier").rglob("*.py"))
        if path.name != "__init__.py"
    ),
]
CARD = README.read_text(encoding="utf-8")


def run_lines(block: str, folder: Path) -> list[int]:
    """Run the scripts of a bash block one after the other, and return their exit statuses."""
    statuses = []
    for command in re.split(r"\n|&&", block.strip()):
        program, script, *arguments = shlex.split(command)
        assert (program, script.rpartition("/")[0]) == (".venv/bin/python", "scripts")
        statuses.append(run_script(script.rpartition("/")[2], *arguments, folder=folder))
    return statuses


@pytest.mark.parametrize("module", MODULES)
def test_examples_of_docstrings_give_what_they_show(module: str) -> None:
    failed, _ = doctest.testmod(importlib.import_module(module))
    assert failed == 0


def test_python_of_the_texts_prints_what_they_show(tmp_path: Path) -> None:
    make_sample_archives(tmp_path / "sample", overlap=0.5)
    stage(tmp_path / "sample", tmp_path / "staged")
    with HubServer() as hub:
        hub.add_repository(REPO_ID, tmp_path / "staged" / "main")
        done = subprocess.run(
            [sys.executable, "-c", RUNNER],
            input=json.dumps([block.code for block in PLAIN]),
            cwd=tmp_path,
            env=client_environment(hub, tmp_path / "home") | OWN_CODE,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout) == [block.output for block in PLAIN]
    (block,) = OF_SCRIPT  # which runs below datasets 4 alone, in tests/publication/test_published.py
    assert block.output.strip() == tile_paths(tmp_path / "sample", "train")[0]


@pytest.mark.parametrize("name", CONFIG_NAMES)
def test_readme_goes_to_a_scored_model_in_under_ten_lines(
    name: str, sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (block,) = (one.code for one in blocks("bash") if "baseline.py" in one.code and name in one.code)
    install, _, commands = block.partition("\n")
    assert "pip install" in install
    assert block.count("\n") < 10
    (tmp_path / "sample").symlink_to(sample)
    assert run_lines(commands, tmp_path) == [0, 0]
    assert "95 %" in capsys.readouterr().out


def test_the_way_from_folders_to_the_hub_works(sample: Path, tmp_path: Path) -> None:
    (block,) = (one.code for one in blocks("bash", MAINTAINING) if "build_archives.py" in one.code)
    prefixes = {"cordillera": "cordillera", "glaciar": "glaciarRoca_huasco", MASKS: "glaciarRoca_huasco"}
    for split in SPLIT_NAMES:
        for path, png in contents(sample, split).items():
            _, kind, file_name = path.split("/")
            folder = tmp_path / (MASKS if kind == MASKS else "tiles")
            folder.mkdir(exist_ok=True)
            (folder / f"{prefixes[kind]}_{split}_{file_name}").write_bytes(png)
    with HubServer(tokens={"hf_token": "alkzar90"}) as hub:
        with client_of(hub, tmp_path / "home", HF_TOKEN="hf_token"):
            assert run_lines(block, tmp_path) == [0] * 4
        assert (tmp_path / "audit.html").is_file()
        repository = hub.repositories[REPO_ID]
        assert {"refs/heads/main", "refs/heads/script"} <= set(repository.refs)
        assert "grounds.csv" in repository.find("main").tree


def test_the_faulty_sample_shows_every_finding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = (one.code for one in blocks("bash", MAINTAINING) if "leaky" in one.code)
    assert run_lines(block, tmp_path) == [0, 1]
    printed = capsys.readouterr().out
    assert all(f"error {code}" in printed for code in CODES if not code.startswith("same-ground"))


def test_first_two_bash_blocks_are_one_line_each_and_print_what_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    main_job, tests = blocks("bash")[:2]
    assert main_job.code.count("\n") == tests.code.count("\n") == 1
    assert "pytest" in tests.code
    assert run_lines(main_job.code.rpartition("&&")[2], REPOSITORY) == [0]
    printed = "".join(capsys.readouterr())
    assert main_job.output
    assert all(f"{line}\n" in printed for line in main_job.output.splitlines())


def words(text: str) -> int:
    """Count the words of prose, captions and headings: not metadata, code, tables, alternative texts and markers."""
    _, _, body = text.split("---\n", 2)
    body = re.sub(r"^\|.*$", "", prose(body), flags=re.MULTILINE)
    return len(re.sub(r"!\[[^]]*\]\([^)]*\)|<!--.*?-->", "", body).split())


def test_card_is_at_most_1400_words_without_a_table_of_contents_or_an_empty_table() -> None:
    assert words(CARD) <= 1400
    assert "Table of Contents" not in CARD
    assert not re.search(r"^[| ]+$", CARD, re.MULTILINE)


def test_card_says_what_the_facts_say() -> None:
    metadata = yaml.safe_load(CARD.split("---")[1])
    assert metadata["license"] == "mit"
    assert metadata["pretty_name"] == "RockGlacier"
    assert metadata["task_categories"] == ["image-classification", "image-segmentation"]
    assert metadata["size_categories"] == ["10K<n<100K"]
    assert metadata["annotations_creators"] == ["expert-generated"]
    assert "language" not in metadata
    assert all(f"{size:,}" in CARD for size in (*RELEASE_SIZES.values(), sum(RELEASE_SIZES.values())))
    commands = MAINTAINING.read_text(encoding="utf-8")
    assert all(f"| `scripts/{path.name}" in commands for path in SCRIPTS.glob("*.py"))


def test_card_repeats_citation_and_homepage_of_the_builder(sample: Path, tmp_path: Path) -> None:
    info = RockGlacierDataset(cache_dir=str(tmp_path), data_dir=str(sample)).info
    assert "".join(info.citation.split()) in "".join(CARD.split())
    assert info.homepage in CARD


def test_card_has_the_sections_of_the_original_card_in_the_order_of_a_readers_questions() -> None:
    headings = re.findall(r"^#{2,3} (.*)$", CARD, re.MULTILINE)
    expected = """Load it, Dataset Description, Dataset Summary, Supported Tasks and Leaderboards, Languages,
        Dataset Structure, Data Instances, Data Fields, Data Splits, Considerations for Using the Data,
        Other Known Limitations, Discussion of Biases, Social Impact of Dataset, Train, Score, Dataset Creation,
        Curation Rationale, Source Data, Annotations, Personal and Sensitive Information, Additional Information,
        Dataset Curators, Licensing Information, Citation Information, Contributions"""
    wanted = [heading.strip() for heading in expected.split(",")]
    assert [heading for heading in headings if heading in wanted] == wanted


def prose(text: str) -> str:
    return re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchor(heading: str) -> str:
    """Return what GitHub and the Hub make of a heading to link to."""
    return "#" + re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def links_of(text: str) -> tuple[list[str], set[str]]:
    """Return the links of a text, and the anchors of its headings."""
    return re.findall(r"\]\(([^)]+)\)", prose(text)), {
        anchor(one) for one in re.findall(r"^#+ (.*)$", prose(text), re.MULTILINE)
    }


@pytest.mark.parametrize("file", TEXTS, ids=lambda file: file.name)
def test_links_lead_somewhere_and_named_files_exist(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    for link in links_of(text)[0]:
        path, _, heading = link.partition("#")
        target = file.parent / path if path else file
        assert target.is_file(), link
        assert not heading or f"#{heading}" in links_of(target.read_text(encoding="utf-8"))[1], link
    for path in re.findall(r"(?<![\w/])(?:scripts|tests|docs|assets|\.ci)/[\w./-]*\w", text):
        assert (REPOSITORY / path).exists(), path


def test_links_of_the_published_card_lead_somewhere(staged: Path) -> None:
    links, anchors = links_of((staged / "main" / "README.md").read_text(encoding="utf-8"))
    project = f"{HOMEPAGE}/blob/HEAD/"
    in_project = [link.removeprefix(project) for link in links if link.startswith(project)]
    assert {"docs/training.md", "docs/first_model.ipynb"} <= set(in_project)
    assert [link for link in in_project if not (REPOSITORY / link.partition("#")[0]).is_file()] == []
    published = [link for link in links if not link.startswith(project)]
    assert "#score" in published
    assert [link for link in published if link not in anchors and not (staged / "main" / link).is_file()] == []


def test_pictures_have_the_texts_with_which_they_were_drawn() -> None:
    record = read_record(REPOSITORY / "assets")
    assert record.of_sample
    assert list(record.texts) == list(PICTURES)
    for name, text in record.texts.items():
        assert CARD.count(f"\n{text.paragraphs(name)}") == 1
    assert set(re.findall(r"!\[[^]]{80,}\]\(assets/([^)]+)\)", CARD)) == {*PICTURES, "leak.png"}


def test_card_states_the_leak_as_it_was_measured() -> None:
    scores = json.loads((REPOSITORY / "assets" / "leak.json").read_text(encoding="utf-8"))["scores"]
    models = {"linear": "logistic regression", "forest": "random forest", "nearest": "one nearest neighbour"}
    for labels, (model, name) in itertools.product(("classes", "control"), models.items()):
        schemes = (scores[labels][model][scheme]["balanced_accuracy"] for scheme in ("random", "groups", "blocks"))
        assert " | ".join([name, *(f"{scheme['mean']:.2f}" for scheme in schemes)]) + " |\n" in CARD
