"""The code that the README shows, with the output that it shows below it."""

from __future__ import annotations

import re
from typing import NamedTuple

from conftest import REPOSITORY

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")

_BLOCK = re.compile(r"^```python\n(?P<code>.*?)^```$(?:\n\n```text\n(?P<output>.*?)^```$)?", re.MULTILINE | re.DOTALL)


class CardBlock(NamedTuple):
    """One block of Python.

    Attributes:
        code: what it runs.
        output: what the README shows that it prints; "" where it shows none.
    """

    code: str
    output: str


def blocks(language: str) -> list[str]:
    """Return the README's blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


PYTHON = [CardBlock(found["code"], found["output"] or "") for found in _BLOCK.finditer(README)]
OF_TORCH = [block for block in PYTHON if "torch" in block.code]
OF_SCRIPT = [block for block in PYTHON if 'revision="script"' in block.code]
PLAIN = [block for block in PYTHON if block not in OF_TORCH + OF_SCRIPT]

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
