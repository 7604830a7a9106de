"""What the archives of a folder hold, read with `zipfile`: the other side of what the tests compare."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

Members = list[tuple[zipfile.ZipInfo, bytes]]


def contents(data_dir: Path, split: str, kind: str = "") -> dict[str, bytes]:
    """Return the members of a split's archives by name, in the order of the archives; kind is "" or "_masks"."""
    found = {}
    for path in sorted(data_dir.glob(f"{split}{kind}*.zip")):
        if not kind and "_masks" in path.name:
            continue
        with zipfile.ZipFile(path) as archive:
            found.update({member: archive.read(member) for member in archive.namelist()})
    return found


def rewrite(archive: Path, change: Callable[[Members], Members | None]) -> None:
    """Change the members of an archive, in place or by returning others, and drop the manifest beside it."""
    with zipfile.ZipFile(archive) as opened:
        members = [(member, opened.read(member)) for member in opened.infolist()]
    members = change(members) or members
    with zipfile.ZipFile(archive, "w") as opened:
        for member, content in members:
            opened.writestr(member, content, member.compress_type)
    (archive.parent / "manifest.json").unlink(missing_ok=True)


def change_manifest(data_dir: Path, change: Callable[[dict], None]) -> None:  # type: ignore[type-arg]
    """Change the manifest of a folder."""
    manifest = json.loads((data_dir / "manifest.json").read_text())
    change(manifest)
    (data_dir / "manifest.json").write_text(json.dumps(manifest))
