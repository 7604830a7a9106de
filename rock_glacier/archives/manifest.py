"""Files beside archives: the manifest, and a README that keeps `datasets` from reading the folder as plain images."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from rock_glacier.archives.writer import WrittenArchive
from rock_glacier_dataset import MANIFEST_NAME, SPLIT_FOLDERS, find_archives, locate, read_manifest

SAMPLE_VERSION = "0.0.0"
"""Version in the manifest of a synthetic sample, below that of any release."""

README_NAME = "README.md"

_STEMS, _DIGITS = itertools.chain(*SPLIT_FOLDERS.values()), "[0-9]" * 5
_ARCHIVES = (f"{stem}{shard}.zip" for stem in _STEMS for shard in ("", f"-{_DIGITS}-of-{_DIGITS}"))
REPLACEABLE = (*_ARCHIVES, "grounds.csv", "dropped.csv", MANIFEST_NAME, README_NAME)
"""Names of the files that make up a folder of archives, as patterns, for `rock_glacier.files.new_output_folder`."""

_LOAD_IT = "load them with rock_glacier_dataset.load_archives(data_dir=...)"

_README = f"""\
---
configs:
- config_name: default
  data_files: "archives of the Rock Glacier dataset: {_LOAD_IT}"
---

These are archives of the Rock Glacier dataset: {_LOAD_IT}.
"""


def write_manifest(
    folder: Path,
    *,
    version: str,
    splits: Mapping[str, Mapping[str, int]],
    archives: Iterable[WrittenArchive],
    audit: Mapping[str, object] | None = None,
) -> None:
    """Write `manifest.json`, and a README.md by which `datasets.load_dataset` of the folder fails with a pointer.

    Without it, `datasets` 2.14 to 4.0 load the folder in silence as images of three classes, masks among them.

    Args:
        folder: folder of the archives.
        version: version of the dataset, such as "2.0.0".
        splits: number of tiles of each class in each split.
        archives: the archives.
        audit: tool, errors and warnings of the audit of these archives, where there was one.
    """
    manifest: dict[str, object] = {
        "version": version,
        "splits": splits,
        "archives": {archive.name: {"bytes": archive.bytes, "sha256": archive.sha256} for archive in archives},
    }
    if audit is not None:
        manifest["audit"] = audit
    (folder / README_NAME).write_text(_README, encoding="utf-8", newline="\n")
    (folder / MANIFEST_NAME).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8", newline="\n")


def is_sample(data_dir: str | os.PathLike[str]) -> bool:
    """Return whether the manifest of a folder of archives, local or a URL, says that its tiles are synthetic.

    Raises:
        ArchiveError: the folder cannot be listed, or its manifest is damaged.
    """
    return read_manifest(find_archives(locate(data_dir))).get("version") == SAMPLE_VERSION
