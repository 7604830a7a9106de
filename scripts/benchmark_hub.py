"""The bytes that publishing and streaming move, counted by a Hub on the loopback interface."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from stage_hub_repo import stage

from rock_glacier_dataset import REPO_ID

_PROJECT = Path(__file__).resolve().parent.parent

_TOKEN = "hf_benchmark"  # noqa: S105 - of the Hub that is made here

_FIRST_EXAMPLE = {
    "a first example, streaming Parquet by datasets": f"""
import datasets
print(next(iter(datasets.load_dataset({REPO_ID!r}, name="image-segmentation", split="train", streaming=True)))["path"])
""",
    "a first example, streaming archives by the module": """
import rock_glacier_dataset
print(next(iter(rock_glacier_dataset.load_dataset("image-segmentation", split="train", streaming=True)))["path"])
""",
}


def measure_moved(archives: Path, scratch: Path) -> dict[str, int]:
    """Upload what is staged from archives, upload it again, and take a first example from there in both ways.

    Args:
        archives: folder of archives.
        scratch: folder for what is staged and for the clients' caches.

    Returns:
        bytes of bodies that went to and came from the Hub, by what was done; none where the tests' Hub cannot be had.
    """
    sys.path.append(str(_PROJECT / "tests"))
    try:
        from hub_server import HubServer, client_environment
    except ImportError as error:
        print(f"the bytes moved are left out: {error}; pip install -e '.[test]'", file=sys.stderr)
        return {}
    finally:
        sys.path.pop()
    staged = scratch / "staged"
    stage(archives, staged)
    moved = {}
    with HubServer() as hub:
        hub.tokens[_TOKEN] = REPO_ID.partition("/")[0]

        def count(name: str, command: Sequence[str], home: Path) -> None:
            hub.requests.clear()
            environment = client_environment(hub, home) | {"HF_TOKEN": _TOKEN, "PYTHONPATH": str(_PROJECT)}
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
            # Arrow's threads may end a process badly that stops streaming early (apache/arrow issue 45214).
            if done.returncode != 0 and "train/cordillera/0.png" not in done.stdout:
                raise RuntimeError(f"{name} failed: {done.stderr[-1000:]}")
            moved[name] = hub.bytes_sent() + hub.bytes_received()

        upload = [sys.executable, str(_PROJECT / "scripts" / "upload.py"), str(staged), "--repo-id", REPO_ID]
        upload += ["--allow-size-mismatch"]
        count("an upload and its reading back", upload, scratch / "publisher")
        count("a second upload of the same", upload, scratch / "publisher")
        for number, (name, code) in enumerate(_FIRST_EXAMPLE.items()):
            home = scratch / f"user-{number}"
            os.makedirs(home, exist_ok=True)
            count(name, [sys.executable, "-c", code], home)
    return moved
