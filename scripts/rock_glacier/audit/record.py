"""What a manifest says of the audit that its archives went through."""

from __future__ import annotations

import os

from rock_glacier.console import count, printable
from rock_glacier_dataset import find_archives, locate, read_manifest


def audit_record(data_dir: str | os.PathLike[str]) -> str:
    """Say in one line whether a folder of archives was audited, and with what result.

    Args:
        data_dir: the folder, local or a URL.

    Raises:
        ArchiveError: the folder cannot be listed, or its manifest is damaged.
    """
    match read_manifest(find_archives(locate(data_dir))).get("audit"):
        case {"tool": str(tool), "errors": int(errors), "warnings": int(warnings)}:
            tool = printable(tool)
            found = f"{data_dir}: audited by {tool}: {count(errors, 'error')}, {count(warnings, 'warning')}"
            return f"{found}; mend what audit_archives.py lists before you publish" if errors else found
    return f"{data_dir}: has no manifest.json that records an audit; run audit_archives.py"
