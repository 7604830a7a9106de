"""The code blocks of README.md and docs/, each with the output that is shown below it."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from factories import REPOSITORY
from loopback_hub import LoopbackHub, client_environment

from rock_glacier.hub.staging import stage
from rock_glacier.parallel import Workers
from rock_glacier.synthetic import make_sample
from rock_glacier_dataset import REPO_ID

README = REPOSITORY / "README.md"
TRAINING = REPOSITORY / "docs" / "training.md"
LIMITATIONS = REPOSITORY / "docs" / "limitations.md"
MAINTAINING = REPOSITORY / "docs" / "maintaining.md"
PLACES = REPOSITORY / "docs" / "places.md"
SCORING = REPOSITORY / "docs" / "scoring.md"

# Libraries that the extra `test` does not install.
LARGE_LIBRARIES = {
    "flax",
    "jax",
    "kornia",
    "lightning",
    "optax",
    "ray",
    "torch",
    "torchgeo",
    "torchvision",
    "transformers",
}

_HEADING_OR_BLOCK = re.compile(
    r"^#+ (?P<heading>[^\n]*)$"
    r"|^```(?P<language>\w+)\n(?P<code>.*?)^```$(?:\n\n```text\n(?P<output>.*?)^```$)?",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A code block.

    Attributes:
        heading: Heading above it.
        code: The code.
        output: Output that the text shows, or an empty string.
    """

    heading: str
    code: str
    output: str

    @property
    def libraries(self) -> set[str]:
        """Names of the packages that a Python block imports."""
        names = []
        for node in ast.walk(ast.parse(self.code)):
            if isinstance(node, ast.Import):
                names += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names.append(node.module or "")
        return {name.partition(".")[0] for name in names}


def read_blocks(language: str, file: Path = README) -> list[Block]:
    """Return the blocks of a language, in order."""
    heading = ""
    blocks = []
    for match in _HEADING_OR_BLOCK.finditer(file.read_text(encoding="utf-8")):
        heading = match["heading"] or heading
        if match["language"] == language:
            blocks.append(Block(heading, match["code"], match["output"] or ""))
    return blocks


def find_commands(block: Block) -> list[list[str]]:
    """Return the commands of this project in a bash or console block, as arguments of Python."""
    commands = []
    for line in re.split(r"(?<!\\)\n|&&", block.code.strip()):
        _, *arguments = shlex.split(line.removeprefix("$ "))
        if arguments and arguments[0].startswith("scripts/"):
            commands.append(arguments)
    return commands


def read_prose(file: Path = README) -> list[str]:
    """Return the words of a document without metadata, code, tables, pictures and captions."""
    text = file.read_text(encoding="utf-8")
    text = re.sub(r"\A---\n.*?^---$", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^(\||!\[|\*[^*]).*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"<!--.*?-->|(?<=\])\(.*?\)", "", text)
    return [word for word in text.split() if re.search(r"\w", word)]


def run_python(
    arguments: list[str], hub: LoopbackHub, folder: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder as a client of a Hub.

    Args:
        arguments: Arguments of Python. A script of this project is named as in the documents.
        hub: The Hub.
        folder: Working directory. The caches are in the folder `home` next to it.
        environment: Additional environment variables.
    """
    if arguments[0].startswith("scripts/"):
        arguments = [str(REPOSITORY / arguments[0]), *arguments[1:]]
    client = client_environment(hub, folder.parent / "home")
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**client, "PYTHONPATH": str(REPOSITORY), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def publish_sample(hub: LoopbackHub, folder: Path) -> Path:
    """Make a sample in `folder/sample`, add it to a Hub as it is published, and return it.

    It has the sizes that the documents show. Its true tile index is used, so no search is needed.
    """
    sample = folder / "sample"
    make_sample(sample, overlap=0.5, outlines=True)
    index_file = sample / "true_tiles.parquet"
    stage(sample, folder / "staged", index_file=index_file, workers=Workers(1))
    hub.add_repository(REPO_ID, folder / "staged" / "main")
    return sample


def write_elevation(file: Path) -> None:
    """Write a raster of elevations of the Andes for docs/places.md: 4000 m everywhere."""
    pixels = np.full((120, 40), 4000, np.int16)
    transform = rasterio.Affine(0.05, 0, -71, 0, -0.05, -28)
    options = {"width": 40, "height": 120, "count": 1, "dtype": "int16", "crs": "EPSG:4326"}
    with rasterio.open(file, "w", transform=transform, **options) as raster:
        raster.write(pixels, 1)
