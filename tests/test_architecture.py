"""The rules of CONTRIBUTING.md on imports, names and sizes hold for every module."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

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


@functools.cache
def tree_of(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[tuple[str, str, str]]:
    """Yield module, name and the name given to it here of each import, wherever it stands in a module."""
    for node in tree_of(path):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: has a relative import"
            yield from ((node.module or "", one.name, one.asname or one.name) for one in node.names)
        elif isinstance(node, ast.Import):
            yield from ((one.name, "", one.asname or one.name.split(".")[0]) for one in node.names)


def used_from_own_modules(path: Path) -> Iterator[str]:
    """Yield the names that a module takes from the project's other modules, also those that it sets there."""
    own = [one for one in imported(path) if one[0].split(".")[0] in OWN]
    yield from (part for module, name, _ in own for part in (*module.split("."), name))
    bound = {here for _, _, here in own}
    for node in tree_of(path):
        match node:
            case ast.Attribute(value=ast.Name(id=owner), attr=name) if owner in bound:
                yield name
            case ast.Call(args=[ast.Name(id=owner), ast.Constant(value=str(name)), *_]) if owner in bound:
                yield name  # as in setattr(module, "_name", ...)


def test_each_part_stands_in_the_map() -> None:
    found = {part_of(path) for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"}
    assert found - {*ABOVE_ALL} == {*PARTS}


def test_each_part_imports_only_from_parts_below_it() -> None:
    for path in (path for path in PACKAGE.rglob("*.py") if part_of(path) in PARTS):
        part = part_of(path)
        allowed = PARTS[PARTS.index(part) :] if (PACKAGE / part).is_dir() else PARTS[PARTS.index("arrays") :]
        for module, name, _ in imported(path):
            if module.split(".")[0] == "rock_glacier":
                below = [*module.split(".")[1:], name][0]
                assert below in allowed, f"{path}: imports {module}.{name}"


def test_no_private_name_of_another_module_is_used() -> None:
    used = ((path, name) for path in MODULES for name in used_from_own_modules(path))
    assert [(path, name) for path, name in used if name.startswith("_") and not name.endswith("__")] == []


def test_each_script_runs_a_subcommand_and_is_thin() -> None:
    run = {}
    for path in SCRIPTS.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert text.count("\n") <= 12, path
        run[path.name] = re.findall(r'run_script\("(.+)"\)', text)[0]
    assert sorted(run.values()) == sorted(COMMANDS)


HELP = """
import sys
from rock_glacier.cli import COMMANDS, run_command
for command in COMMANDS:
    try:
        run_command(command, f"rock-glacier {{command}}", ["--help"])
    except SystemExit as end:
        print(command, end.code, *sorted({heavy} & {{*sys.modules}}))
"""


def test_help_imports_nothing_that_takes_time() -> None:
    heavy = {"datasets", "numpy", "pyarrow", "huggingface_hub", "matplotlib", "sklearn", "rock_glacier_dataset"}
    command = [sys.executable, "-c", HELP.format(heavy=heavy)]
    ended = subprocess.run(command, cwd=SCRIPTS, capture_output=True, text=True, check=True)
    for name in COMMANDS:
        assert f"usage: rock-glacier {name} " in ended.stdout
        assert f"\n{name} 0\n" in ended.stdout
    assert ended.stderr == ""


def test_the_builder_fits_in_400_lines() -> None:
    assert (REPOSITORY / "rock_glacier_dataset.py").read_text(encoding="utf-8").count("\n") <= 400
