"""What a manifest says of the audit that its archives went through."""

from __future__ import annotations

import datasets

import rock_glacier_dataset
from rock_glacier_dataset import MANIFEST_NAME


def audit_record(data_dir: str) -> str:
    """Say in one line whether a folder of archives was audited, and with what result.

    Args:
        data_dir: folder of archives, local or any URL that fsspec opens.

    Raises:
        ArchiveError: there is no such folder, or its manifest cannot be read.
    """
    folder = rock_glacier_dataset._absolute(data_dir)
    config = datasets.DownloadConfig()
    files = rock_glacier_dataset._list_files(folder, config)
    audit = rock_glacier_dataset._read_manifest(files.get(MANIFEST_NAME), config).get("audit")
    match audit:
        case {"tool": str(tool), "errors": int(errors), "warnings": int(warnings)}:
            return f"{data_dir}: audited by {' '.join(tool.split())}: {errors} errors, {warnings} warnings"
    return f"{data_dir}: not audited, as far as its manifest says; scripts/audit_archives.py checks it"
