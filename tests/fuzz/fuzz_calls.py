#!/usr/bin/env python
"""Call commands wrongly: whatever it is given, each ends with the status 0, 1 or 2, and says why in one line.

    PYTHONPATH=.:scripts python tests/fuzz/fuzz_calls.py --seconds 600

Places are missing, damaged, of other kinds, devices and links; options have any values. `--seed` repeats a case. pytest
does not run this file.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import random
import shutil
import sys
import tempfile
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"  # before the client is imported

from harness import change_bytes, fuzz

from rock_glacier.cli import COMMANDS, run_command
from rock_glacier.publication.staging import stage
from rock_glacier.sample.generate import make_sample_archives

CALLED = [name for name in COMMANDS if name not in ("benchmark", "leak")]  # which take minutes
PLACES = ["sample", "broken", "staged", "empty", "missing", "file", "link", "loop", "tiles", "grounds.csv"]
PLACES += ["scores.csv", "scores.csv", "scores.parquet", "/dev/null", "/dev/full", "", ".", "a::b", "ñ\n\x1b"]
PLACES += ["hf://datasets/a/b", "s3://x"]
NUMBERS = ["0", "1", "2", "-1", "1e3", "9" * 30, "nan", "0.5", "", "\u0663", "x", "1:1:1", "0:1:x"]
WORDS = ["train", "keep", "random", "image-classification", "image-segmentation", "a/b", "../x", "a=glaciar", "", "\n"]
TWO_PLACES = ("build", "stage", "baseline")
OF_PLACE = ["--masks", "--data-dir", "--grounds", "--against", "--json", "--html", "--out"]
OF_NUMBER = ["--seed", "--shards", "--train", "--overlap", "--threshold", "--replicates", "--ratios"]
OF_WORD = ["--split", "--name", "--class", "--repo-id", "--revision", "--tag", "--model-name"]
ALONE = ["--dry-run", "--check", "--faults", "--overwrite", "--private", "--streaming", "--model-index", "--create-pr"]


def arguments_of(command: str, chance: random.Random) -> list[str]:
    """Return arguments, more or less those of the command."""
    given = [chance.choice(PLACES) for _ in range(1 + (command in TWO_PLACES) + chance.choice([-1, 0, 0, 0, 0, 0, 1]))]
    for _ in range(chance.choice([0, 0, 0, 1, 1, 2])):
        option, values = chance.choice([(OF_PLACE, PLACES), (OF_NUMBER, NUMBERS), (OF_WORD, WORDS), (ALONE, None)])
        given += [chance.choice(option), *([chance.choice(values)] if values else [])]
    if command in ("evaluate", "baseline"):
        given += ["--name", chance.choice(["image-classification", "image-segmentation"])]
    if command == "evaluate":
        given += ["--data-dir", "sample"]
    if command == "upload":
        given += ["--repo-id", "a/b"]
    if command not in ("smoke-load", "upload", "evaluate"):
        given += ["--num-proc", "1"]
    if command == "sample":
        given += ["--train", "2", "--validation", "2", "--test", "2"]
    return given


def make_files(folder: Path, chance: random.Random) -> None:
    """Make the files that arguments name."""
    shutil.copytree(folder.parent / "sample", folder / "sample")
    shutil.copytree(folder.parent / "staged", folder / "staged")
    shutil.copytree(folder.parent / "sample", folder / "broken")
    broken = chance.choice(sorted((folder / "broken").iterdir()))
    broken.write_bytes(change_bytes(broken.read_bytes(), chance))
    for name in ("empty", "tiles/glaciar", "a::b"):
        (folder / name).mkdir(parents=True)
    (folder / "file").write_bytes(chance.randbytes(100))
    (folder / "tiles" / "glaciar" / "1.png").write_bytes(chance.randbytes(100))
    (folder / "scores.csv").write_text("path,score\ntest/glaciar/000.png,0.5\n")
    (folder / "scores.parquet").write_bytes(b"PAR1" + chance.randbytes(40) + b"PAR1")
    shutil.copy(folder / "file", folder / "grounds.csv")
    (folder / "link").symlink_to("missing")
    (folder / "loop").symlink_to("loop")


def try_case(folder: Path, chance: random.Random) -> str:
    """Try one case; return how it ended."""
    command = chance.choice(CALLED)
    arguments = arguments_of(command, chance)
    here = folder / "here"
    here.mkdir()
    make_files(here, chance)
    output, errors = io.StringIO(), io.StringIO()
    os.chdir(here)
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            try:
                status = run_command(command, command, arguments)
            except SystemExit as ended:
                assert isinstance(ended.code, int), ended
                status = ended.code
        said = errors.getvalue()
        what = f"{command} {arguments}: {status}, {said[-2000:]}"
        assert status in (0, 1, 2), what
        assert "unexpected" not in said, what
        assert "Traceback" not in said, what
        assert status == 0 or said or output.getvalue(), what
        assert status == 2 or all(line.isprintable() for line in said.splitlines()), what  # 2: of argparse
        if status == 1 and command != "audit":
            assert said.splitlines()[-1].startswith(f"{command}: error: "), what
        assert not any(here.rglob(".*.tmp*")), what
    finally:
        os.chdir(folder)
        shutil.rmtree(here)
    return f"{command} {status}"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="rock-glacier-fuzz-") as temporary:
        os.environ["HF_HOME"] = f"{temporary}/home"
        make_sample_archives(f"{temporary}/sample", train=2, validation=2, test=2, num_proc=1)
        stage(f"{temporary}/sample", f"{temporary}/staged")
        description = (__doc__ or "").partition("\n")[0]
        sys.exit(fuzz(description, functools.partial(try_case, Path(temporary)), seconds_of_case=120))
