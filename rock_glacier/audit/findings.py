"""Kinds of faults, each with a code, a sentence and a severity, and the finding that reports one."""

from __future__ import annotations

import enum
from typing import NamedTuple

from rock_glacier_dataset import TILE_SIZE, ArchiveError

ERROR, WARNING = "error", "warning"


class Code(enum.Enum):
    """Kinds of findings, in the order in which they are reported: code, sentence, severity where none is given."""

    ARCHIVE_UNREADABLE = "archive-unreadable", "an archive is missing, damaged, or does not belong to a split", ERROR
    MEMBER_NAME = "member-name", "a file in an archive is not named as a tile or a mask", ERROR
    MEMBER_DUPLICATE = "member-duplicate", "a tile or mask is there twice", ERROR
    PNG_CORRUPT = "png-corrupt", "a PNG file is damaged", ERROR
    PNG_FORMAT = "png-format", f"a tile is not an 8-bit RGBA PNG of {TILE_SIZE} x {TILE_SIZE} pixels", ERROR
    MASK_MISSING = "mask-missing", "a glaciar tile has no mask", ERROR
    MASK_ORPHAN = "mask-orphan", "a mask has no glaciar tile", ERROR
    MASK_FORMAT = "mask-format", f"a mask is not an 8-bit RGBA PNG of {TILE_SIZE} x {TILE_SIZE} pixels", ERROR
    MASK_VALUES = "mask-values", "a mask has other colours than white and black", ERROR
    MASK_EMPTY = "mask-empty", "the mask of a glaciar tile shows no rock glacier", ERROR
    DUPLICATE_PIXELS = "duplicate-pixels", "a tile has the pixels of another, as they are, turned or mirrored", WARNING
    OVERLAP_ACROSS_SPLITS = "overlap-across-splits", "tiles of two splits overlap", ERROR
    SAME_GROUND_ACROSS_SPLITS = "same-ground-across-splits", "tiles of two splits show the same ground", ERROR
    MANIFEST_MISMATCH = "manifest-mismatch", "manifest.json or grounds.csv does not fit the archives", ERROR

    def __init__(self, code: str, sentence: str, severity: str) -> None:
        self.code, self.sentence, self.severity = code, sentence, severity


CODES = {one.code: one for one in Code}
"""The codes by name, in their order."""

SHARED_GROUND = {
    Code.OVERLAP_ACROSS_SPLITS.code: "overlapping pair",
    Code.SAME_GROUND_ACROSS_SPLITS.code: "same-ground pair",
    Code.DUPLICATE_PIXELS.code: "repeated tile",
}
"""Codes of findings about ground that two tiles show, and what each finding stands for."""


class Finding(NamedTuple):
    """A fault that was found.

    Attributes:
        code: name of a `Code`, such as "mask-empty".
        severity: "error" or "warning".
        path: the member, such as `train/glaciar/012.png`, or else the archive.
        message: says what is wrong and what to do.
        other: the other tile, where the finding is about two.
    """

    code: str
    severity: str
    path: str
    message: str
    other: str = ""

    def as_json(self) -> dict[str, str]:
        """Return the finding as a row of the JSON."""
        return {"code": self.code, "severity": self.severity, "path": self.path, "message": self.message}


def finding_of(fault: ArchiveError, severity: str | None = None) -> Finding:
    """Turn a fault into a finding, of the severity of its code where no other is given."""
    return Finding(fault.code, severity or CODES[fault.code].severity, fault.path, str(fault))
