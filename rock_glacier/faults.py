"""Severities of faults, and the errors that commands expect."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from rock_glacier_dataset import FAULT_CODES, ArchiveError, Fault

ERROR = "error"
WARNING = "warning"

# These faults leave the data usable: a person has to decide what is right.
_WARNINGS = {
    "duplicate-pixels",
    "mask-conflict",
    "mask-unrelated",
    "label-conflict",
    "location-conflict",
}

SEVERITIES = {code: WARNING if code in _WARNINGS else ERROR for code in FAULT_CODES}
"""Severity of each code, in the order of reports."""


class InputError(ValueError):
    """Raised if a command cannot use what it was given; the message names file, problem and fix.

    Faults of archives, tiles and masks raise `rock_glacier_dataset.ArchiveError` instead.
    """


def severity_of(fault: Fault) -> str:
    """Return "error" or "warning"."""
    return SEVERITIES[fault.code]


def find_errors(faults: Iterable[Fault]) -> list[Fault]:
    """Return the faults of severity "error"."""
    return [fault for fault in faults if severity_of(fault) == ERROR]


def sort_faults(faults: Iterable[Fault]) -> list[Fault]:
    """Sort faults by code, in the order of reports, then by place."""
    return sorted(faults, key=lambda fault: (FAULT_CODES.index(fault.code), fault.place))


def raise_faults(faults: Sequence[Fault]) -> None:
    """Raise the first of some faults; its message counts the others.

    Raises:
        ArchiveError: If there is a fault.
    """
    if not faults:
        return
    first = faults[0]
    if len(faults) == 1:
        raise ArchiveError(first)
    others = "one more fault" if len(faults) == 2 else f"{len(faults) - 1:,} more faults"
    raise ArchiveError(replace(first, problem=f"{first.problem} (and {others})"))
