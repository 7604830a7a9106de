"""The rules of CONTRIBUTING.md on imports, names and sizes hold for every module."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import REPOSITORY

from rock_glacier.cli import COMMANDS

SCRIPTS = REPOSITORY / "scripts"
PACKAGE = SCRIPTS / "rock_glacier"
MAP = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8").split("## Parts of the package")[1]
PARTS = re.findall(r"^\| `(\w+)(?:/|\.py)` \|", MAP, re.MULTILINE)
"""The parts of the package in the order of docs/architecture.md: each imports only from those after it."""

ABOVE_ALL = ("smoke_load", "benchmark", "cli")
OWN = ("rock_glacier", "rock_glacier_dataset", *(path.stem for path in (REPOSITORY / "tests").rglob("*.py")))
MODULES = [
    *(path for folder in ("scripts", "tests") for path in sorted((REPOSITORY / folder).rglob("*.py"))),
    REPOSITORY / "rock_glacier_dataset.py",
]


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[tuple[str, str, str]]:
    """Yield module, name and the name given to it here of each import, wherever it stands in a module."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: has a relative import"
            yield from ((node.module or "", one.name, one.asname or one.name) for one in node.names)
        elif isinstance(node, ast.Import):
            yield from ((one.name, "", one.asname or one.name.split(".")[0]) for one in node.names)


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def test_each_part_stands_in_the_map() -> None:
    found = {part_of(path) for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"}
    assert found - {*ABOVE_ALL} == {*PARTS}


@pytest.mark.parametrize("part", PARTS)
def test_part_imports_only_from_parts_below_it(part: str) -> None:
    allowed = PARTS[PARTS.index(part) :] if (PACKAGE / part).is_dir() else PARTS[PARTS.index("arrays") :]
    for path in (path for path in PACKAGE.rglob("*.py") if part_of(path) == part):
        for module, name, _ in imported(path):
            if module.split(".")[0] == "rock_glacier":
                below = [*module.split(".")[1:], name][0]
                assert below in allowed, f"{path}: imports {module}.{name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_no_private_name_of_another_module_is_used(path: Path) -> None:
    own = [one for one in imported(path) if one[0].split(".")[0] in OWN]
    used = [part for module, name, _ in own for part in (*module.split("."), name)]
    bound = {here for _, _, here in own}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in bound:
            used.append(node.attr)
        elif isinstance(node, ast.Call) and len(node.args) > 1 and isinstance(node.args[0], ast.Name):
            patched = node.args[1]  # as in setattr(module, "_name", ...)
            if node.args[0].id in bound and isinstance(patched, ast.Constant) and isinstance(patched.value, str):
                used.append(patched.value)
    assert [name for name in used if is_private(name)] == []


def test_each_script_runs_a_subcommand_and_is_thin() -> None:
    run = {}
    for path in SCRIPTS.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert text.count("\n") <= 12, path
        run[path.name] = re.findall(r'run_script\("(.+)"\)', text)[0]
    assert sorted(run.values()) == sorted(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_imports_nothing_that_takes_time(command: str) -> None:
    heavy = {"datasets", "numpy", "pyarrow", "huggingface_hub", "matplotlib", "sklearn", "rock_glacier_dataset"}
    program = (
        "import sys\n"
        "from rock_glacier.cli import run_command\n"
        "try:\n"
        f"    run_command({command!r}, 'rock-glacier {command}', ['--help'])\n"
        "finally:\n"
        f"    print('imported', *sorted({heavy} & {{*sys.modules}}))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=SCRIPTS, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: rock-glacier {command} ")
    assert done.stdout.splitlines()[-1] == "imported"


def test_the_builder_fits_in_400_lines() -> None:
    assert (REPOSITORY / "rock_glacier_dataset.py").read_text(encoding="utf-8").count("\n") <= 400
