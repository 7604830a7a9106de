"""What can be wrong with a folder of archives: the codes of design, and a finding for each fault."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

from rock_glacier_dataset import ArchiveError

CODES = (
    "archive-unreadable",
    "member-name",
    "member-duplicate",
    "class-unknown",
    "png-corrupt",
    "png-format",
    "mask-missing",
    "mask-orphan",
    "mask-format",
    "mask-values",
    "mask-not-empty",
    "mask-empty",
    "duplicate-pixels",
    "overlap-across-splits",
    "manifest-mismatch",
)


class Finding(NamedTuple):
    """Something that is wrong.

    Attributes:
        code: one of `CODES`.
        severity: "error" or "warning".
        path: the member, such as `train/glaciar/12.png`, or else the archive or folder.
        message: says what is wrong and what to do.
    """

    code: str
    severity: str
    path: str
    message: str


def finding_of(error: ArchiveError, severity: str = "error") -> Finding:
    """Make the finding that says what an error says."""
    return Finding(error.code, severity, error.path or str(error).partition(":")[0], str(error))


@contextlib.contextmanager
def telling(found: list[Finding]) -> Iterator[None]:
    """Turn an ArchiveError of the block into a finding."""
    try:
        yield
    except ArchiveError as error:
        found.append(finding_of(error))
