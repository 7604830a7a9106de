"""The code blocks of the documents run, their links are valid, and the card states facts."""

from __future__ import annotations

import doctest
import importlib
import json
import re

import pytest
import yaml
from documents import (
    LARGE_LIBRARIES,
    LIMITATIONS,
    MAINTAINING,
    PLACES,
    README,
    SCORING,
    TRAINING,
    find_commands,
    publish_sample,
    read_blocks,
    read_prose,
    run_python,
    write_elevation,
)
from factories import REPOSITORY, copy, read_members
from loopback_hub import LoopbackHub

from rock_glacier.cli import COMMANDS
from rock_glacier_dataset import (
    CONFIG_NAMES,
    RELEASE_SIZES,
    REPO_ID,
    RockGlacierDataset,
    class_of,
    load_archives,
    split_of,
)

CARD = README.read_text(encoding="utf-8")
DOCUMENTS = [README, REPOSITORY / "CONTRIBUTING.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
MODULES = [REPOSITORY / "rock_glacier_dataset.py", *(REPOSITORY / "rock_glacier").rglob("*.py")]
TOKEN = "hf_secret"

# A rock glacier as the curators' files have it: longitude and latitude of its corners.
OUTLINE = "-69.80\t-33.30\n-69.79\t-33.30\n-69.79\t-33.29\n-69.80\t-33.30\n"

HEADINGS = """
    Load it | What a tile is | Before you trust a score | Train | Score | From a clone
    Dataset Description | Dataset Structure | Dataset Creation
    Considerations for Using the Data | Additional Information
"""

RUN_BLOCKS = """
import contextlib, io, json, sys
outputs = []
names = {"__name__": "__main__"}
for code in json.loads(sys.argv[1]):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, names)
    outputs.append(printed.getvalue())
print(json.dumps(outputs))
"""


@pytest.fixture
def hub():
    with LoopbackHub(tokens={TOKEN: "alkzar90"}) as running:
        yield running


@pytest.mark.parametrize("file", sorted(MODULES), ids=lambda file: file.stem)
def test_examples_in_docstrings(file):
    name = ".".join(file.relative_to(REPOSITORY).with_suffix("").parts)
    assert doctest.testmod(importlib.import_module(name.removesuffix(".__init__"))).failed == 0


def test_python_blocks_print_what_is_shown(hub, tmp_path):
    """Blocks that need large libraries or old versions run in other tests."""
    blocks = [
        block
        for file in (README, TRAINING, PLACES)
        for block in read_blocks("python", file)
        if not block.libraries & LARGE_LIBRARIES and 'revision="script"' not in block.code
    ]
    folder = publish_sample(hub, tmp_path).parent
    write_elevation(folder / "elevation.tif")
    codes = json.dumps([block.code for block in blocks])
    done = run_python(["-c", RUN_BLOCKS, codes], hub, folder)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout) == [block.output for block in blocks]
    # The true masks as predictions, in the place of those of the training block.
    tiles = load_archives("image-segmentation", data_dir=str(folder / "sample"), split="test")
    for tile in tiles:
        file = folder / "predicted" / tile["path"]
        file.parent.mkdir(parents=True, exist_ok=True)
        tile["masks"].convert("L").save(file)
    [score] = read_blocks("console")
    done = run_python(find_commands(score)[0], hub, folder)
    assert done.returncode == 0, done.stderr[-3000:]
    assert re.search(r"^iou +1\.0000", done.stdout, re.MULTILINE)


def test_rows_of_the_score_table_are_in_the_documents():
    """The table of docs/scoring.md is compared with what the command prints."""
    section = CARD.partition("<!-- synthetic:score -->")[2].partition("<!-- /synthetic:score -->")[
        0
    ]
    rows = section.partition("```text\n")[2].partition("```")[0].splitlines()
    assert len(rows) > 3
    assert set(rows) <= set(SCORING.read_text(encoding="utf-8").splitlines())


def test_the_card_is_short_and_in_its_order():
    assert len(read_prose()) <= 1000
    headings = re.findall(r"^## (.*)$", without_code(CARD), re.MULTILINE)
    assert headings == [heading.strip() for heading in re.split(r"[|\n]", HEADINGS.strip())]
    [training] = [block for block in read_blocks("python") if block.heading == "Train"]
    assert training.code.count("\n") <= 25


def test_first_two_bash_blocks_are_smoke_load_and_tests(hub, tmp_path):
    smoke_load, tests = read_blocks("bash")[:2]
    assert smoke_load.code.count("\n") == tests.code.count("\n") == 1  # .ci/run reads one line
    assert "pytest" in tests.code
    done = run_python(find_commands(smoke_load)[0], hub, tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.startswith(smoke_load.output)
    assert smoke_load.output


@pytest.fixture
def release(hub, sample, tmp_path):
    """A folder of PNG files and outlines, and a Hub with the tiles as the curators publish them."""
    archives = copy(sample, tmp_path / "archives")
    (archives / "manifest.json").unlink()
    files = {f"data/data_v01/{file.name}": file for file in archives.glob("*.zip")}
    hub.add_repository(REPO_ID, {"README.md": b"# Rock glaciers", **files}, token=TOKEN)
    folder = tmp_path / "work"
    names = {"cordillera": "tiles/cordillera", "glaciar": "tiles/rocoso", "masks": "masks/rocoso"}
    for path, png in read_members(sample).items():
        file = folder / f"{names[class_of(path)]}_{split_of(path)}_{path.rpartition('/')[2]}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png)
    (folder / "outlines").mkdir()
    (folder / "outlines/glaciar_1_strict.tsv").write_text(OUTLINE)
    return folder


@pytest.mark.parametrize("heading", ["From the curators' archives", "From folders of tiles"])
def test_commands_for_maintainers_publish(heading, hub, release):
    blocks = [block for block in read_blocks("bash", MAINTAINING) if block.heading == heading]
    commands = [command for block in blocks for command in find_commands(block)]
    assert commands[-1][0] == "scripts/upload.py"
    for command in commands:
        done = run_python(command, hub, release, HF_TOKEN=TOKEN)
        assert done.returncode == 0, done.stderr[-3000:]
    assert "tiles.parquet" in hub.repositories[REPO_ID].files("main")
    assert "data/train.zip" in hub.repositories[REPO_ID].files("script")
    assert (release / "audit.html").is_file()


def without_code(text):
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors_of(file):
    """Return the anchors that GitHub and the Hub make of the headings of a file."""
    headings = re.findall(r"^#+ (.*)$", without_code(file.read_text("utf-8")), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: file.name)
def test_links_and_named_files_exist(file):
    text = file.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)]+)\)", without_code(text)):
        path, _, anchor = link.partition("#")
        target = file.parent / path if path else file
        assert target.is_file(), link
        assert not anchor or anchor in anchors_of(target), link
    for path in re.findall(r"(?<![\w/])(?:scripts|tests|docs|assets|\.ci)/[\w./-]*\w", text):
        assert (REPOSITORY / path).exists(), path


def test_maintaining_lists_all_commands():
    text = MAINTAINING.read_text(encoding="utf-8")
    assert re.findall(r"^\| `([a-z-]+) [A-Z[]", text, re.MULTILINE) == list(COMMANDS)


def test_no_paragraph_of_the_card_starts_with_a_mark():
    """In Markdown, a line that starts with a comment is HTML, and ends the paragraph."""
    assert not re.search(r"^<!-- .+ -->.", CARD, re.MULTILINE)


def test_metadata_of_the_card():
    metadata = yaml.safe_load(CARD.split("---")[1])
    assert metadata["license"] == "mit"
    assert metadata["pretty_name"] == "RockGlacier"
    assert metadata["task_categories"] == list(CONFIG_NAMES)
    assert metadata["size_categories"] == ["10K<n<100K"]
    assert metadata["annotations_creators"] == ["expert-generated"]
    assert "language" not in metadata


def test_card_states_sizes_homepage_and_citation(sample, tmp_path):
    for size in (*RELEASE_SIZES.values(), sum(RELEASE_SIZES.values())):
        assert f"{size:,}" in CARD
    info = RockGlacierDataset(cache_dir=str(tmp_path), data_dir=str(sample)).info
    assert info.homepage in CARD
    assert "".join(info.citation.split()) in "".join(CARD.split())


@pytest.mark.parametrize("labels", ["classes", "control"])
def test_limitations_state_the_leak_as_measured(labels):
    file = REPOSITORY / "docs" / "leak.json"
    scores = json.loads(file.read_text(encoding="utf-8"))["scores"][labels]
    text = LIMITATIONS.read_text(encoding="utf-8")
    names = {
        "linear": "logistic regression",
        "forest": "random forest",
        "nearest": "one nearest neighbour",
    }
    for model, name in names.items():
        means = [
            f"{scores[model][folds]['balanced_accuracy']['mean']:.2f}"
            for folds in ("random", "groups", "blocks")
        ]
        assert f"| {name} | {' | '.join(means)} |\n" in text
