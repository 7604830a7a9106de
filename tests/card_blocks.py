"""The code that the README and docs/training.md show, with the output that they show below it."""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path
from typing import NamedTuple

from conftest import REPOSITORY

README = REPOSITORY / "README.md"
TRAINING = REPOSITORY / "docs" / "training.md"
MAINTAINING = REPOSITORY / "docs" / "maintaining.md"
OWN_CODE = {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "scripts")])}
"""Environment in which blocks import the project's code wherever they run."""

_HEADING_OR_BLOCK = re.compile(
    r"^#+ (?P<heading>[^\n]*)$|^```(?P<language>\w+)\n(?P<code>.*?)^```$(?:\n\n```text\n(?P<output>.*?)^```$)?",
    re.MULTILINE | re.DOTALL,
)
_LARGE = {"flax", "jax", "kornia", "lightning", "optax", "ray", "torch", "torchgeo", "torchvision", "transformers"}
"""Libraries that the tests of loading do not install."""


class Block(NamedTuple):
    """One block of code.

    Attributes:
        heading: under which it stands.
        code: what it runs.
        output: what the text shows that it prints; "" where it shows none.
    """

    heading: str
    code: str
    output: str

    def libraries(self) -> set[str]:
        """Return the names that a block of Python imports, without modules within."""
        nodes = list(ast.walk(ast.parse(self.code)))
        names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
        names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
        return {name.partition(".")[0] for name in names}


def blocks(language: str, file: Path = README) -> list[Block]:
    """Return a file's blocks of a language."""
    heading, found = "", []
    for match in _HEADING_OR_BLOCK.finditer(file.read_text(encoding="utf-8")):
        heading = match["heading"] or heading
        if match["language"] == language:
            found.append(Block(heading, match["code"], match["output"] or ""))
    return found


_PYTHON = blocks("python") + blocks("python", TRAINING)
OF_SCRIPT = [block for block in _PYTHON if 'revision="script"' in block.code]
OF_TRAINING = [block for block in _PYTHON if block.libraries() & _LARGE]
PLAIN = [block for block in _PYTHON if block not in OF_TRAINING + OF_SCRIPT]

RUNNER = """
import contextlib, io, json, sys
outputs, names = [], {"__name__": "__main__"}
for code in json.load(sys.stdin):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, names)
    outputs.append(printed.getvalue())
print(json.dumps(outputs))
"""
"""Runs blocks from standard input one after the other, and prints what each printed."""
