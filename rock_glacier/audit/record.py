"""What a manifest says of the audit that its archives went through."""

from __future__ import annotations

import os
from typing import Any

from rock_glacier.console import count, printable
from rock_glacier_dataset import find_archives, locate, read_manifest


def audit_result(data_dir: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Return the manifest's `tool`, `errors` and `warnings` of the audit that archives went through; None without one.

    Args:
        data_dir: the folder, local or a URL.

    Raises:
        ArchiveError: the folder cannot be listed, or its manifest is damaged.
    """
    match read_manifest(find_archives(locate(data_dir))).get("audit"):
        case {"tool": str(tool), "errors": int(errors), "warnings": int(warnings)}:
            return {"tool": printable(tool), "errors": errors, "warnings": warnings}
    return None


def audit_record(data_dir: str | os.PathLike[str]) -> str:
    """Say in one line whether a folder of archives was audited, and with what result; arguments as `audit_result`."""
    found = audit_result(data_dir)
    if found is None:
        return f"{data_dir}: has no manifest.json that records an audit; run audit_archives.py"
    remedy = "; mend what audit_archives.py lists before you publish" if found["errors"] else ""
    counts = f"{count(found['errors'], 'error')}, {count(found['warnings'], 'warning')}"
    return f"{data_dir}: audited by {found['tool']}: {counts}{remedy}"
