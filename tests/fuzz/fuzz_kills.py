#!/usr/bin/env python
"""Kill, end and interrupt commands at any moment: what they write is whole or absent, and the next run clears up.

    PYTHONPATH=.:scripts python tests/fuzz/fuzz_kills.py --seconds 600

`--seed` repeats a case, though not its moment to the microsecond. pytest does not run this file.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from harness import fuzz

from rock_glacier.archives.listing import Listing
from rock_glacier.files import new_output_folder
from rock_glacier.sample.generate import make_sample_archives

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
SIZES: dict[str, Any] = {"train": 200, "validation": 20, "test": 20}
LATEST = 8.0  # seconds, in which the commands are through where nothing else runs


def commands(folder: Path, chance: random.Random) -> list[str]:
    """Return a command that writes `out`, a folder, or `report`, a file."""
    workers = ["--num-proc", str(chance.choice([1, 2]))]
    sizes = [f"--{split}={size}" for split, size in SIZES.items()]
    return chance.choice(
        [
            ["make_sample_archives.py", f"{folder}/out", *sizes, *workers],
            ["build_archives.py", f"{folder}/sample", f"{folder}/out", "--split", "keep", *workers],
            ["stage_hub_repo.py", f"{folder}/sample", f"{folder}/out", *workers],
            ["audit_archives.py", f"{folder}/sample", "--json", f"{folder}/report", "--without-same-ground", *workers],
        ]
    )


def check_whole(folder: Path) -> bool:
    """Check what was written, if it was; return whether it was."""
    out, report = folder / "out", folder / "report"
    if report.exists():
        assert json.loads(report.read_text())["findings"] == []
    if out.exists():
        archives = out / "script" / "data" if (out / "script").exists() else out
        assert (out / "SHA256SUMS").exists() == (archives != out)
        listing = Listing(archives)
        assert listing.faults == []
        assert {split: sum(classes.values()) for split, classes in listing.counts().items()} == SIZES
    return report.exists() or out.exists()


def try_case(folder: Path, chance: random.Random) -> str:
    """Try one case; return how it ended."""
    script, *arguments = commands(folder, chance)
    out = folder / "out"
    for left in (folder / "report", out):  # of the case before
        shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)
    was_there = script in ("make_sample_archives.py", "build_archives.py") and chance.random() < 0.5
    if was_there:
        shutil.copytree(folder / "sample", out)
        arguments.append("--overwrite")
    number = chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
    process = subprocess.Popen(
        [sys.executable, str(SCRIPTS / script), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        _, errors = process.communicate(timeout=chance.uniform(0.5, LATEST))
        assert process.returncode == 0, errors
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, number)
        _, errors = process.communicate()
    if was_there and not out.exists():  # killed between two renames: the next run puts it back
        with contextlib.suppress(FileExistsError), new_output_folder(out):
            pass
    written = check_whole(folder)
    assert written or not was_there
    assert "Traceback" not in errors, errors
    assert "Warning" not in errors, errors
    if number != signal.SIGKILL and process.returncode == 1:
        assert errors.count("\n") == 1, errors
        assert "interrupted" in errors, errors
    if process.returncode == 0 and out.exists():
        assert sorted(path.name for path in folder.iterdir() if path.name != "report") == ["out", "sample"]
    how = {0: "ended by itself", 1: "interrupted"}.get(process.returncode, "killed")
    what = "over what was there" if was_there else "written" if written else "nothing written"
    return f"{script} {how}, {what}"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="rock-glacier-fuzz-") as temporary:
        make_sample_archives(f"{temporary}/sample", **SIZES)
        description = (__doc__ or "").partition("\n")[0]
        sys.exit(fuzz(description, functools.partial(try_case, Path(temporary)), seconds_of_case=120, memory=None))
