"""The audit as one page: the verdict, the counts, and the tiles themselves, in one file that loads nothing else.

The page is `audit_report.html.jinja`, with `audit_report.css` and `audit_report.js` written into it. What stands in it
without JavaScript: the verdict, the counts, the gallery and the first findings as text. The script draws the findings,
a batch at a time, from a JSON block.

How large a page becomes is limited, whatever the archives hold: `MOST_FINDINGS` and `MOST_PICTURES`. Where something is
left out, the page says so. The same audit of the same archives gives the same bytes.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import itertools
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from archive_audit import Audit
from findings import CODES, Finding
from markupsafe import Markup
from report_pictures import TILE_PATH, Picture, read_pictures

import rock_glacier_dataset
from rock_glacier_dataset import CLASS_NAMES, SPLIT_NAMES, TILE_SIZE

MOST_FINDINGS = 10_000
"""Findings that a page holds; the JSON holds all."""

MOST_PICTURES = 3_000
"""Tiles that the findings of a page show, some 3 KB each; those of the gallery come on top."""

GALLERY_TILES = 12
"""Tiles of each split and class that the gallery shows."""

MOST_WITHOUT_SCRIPT = 100
"""Findings that stand in the page as text, for where its script does not run."""

MEANINGS = {
    "archive-unreadable": "an archive is missing, damaged, or does not fit its set",
    "member-name": "a file in an archive is not named as a tile is",
    "member-duplicate": "a tile stands twice",
    "class-unknown": "a tile lies in the folder of a class that there is not",
    "png-corrupt": "a PNG file is damaged",
    "png-format": f"a tile is not an 8-bit RGBA PNG of {TILE_SIZE} x {TILE_SIZE} pixels",
    "mask-missing": "a glaciar tile has no mask",
    "mask-orphan": "a mask has no tile",
    "mask-format": f"a mask is not an 8-bit RGBA PNG of {TILE_SIZE} x {TILE_SIZE} pixels",
    "mask-values": "a mask has other colours than white and black",
    "mask-not-empty": "a cordillera tile's mask shows rock glacier",
    "mask-empty": "a glaciar tile's mask shows no rock glacier",
    "duplicate-pixels": "a tile is another one, as it is, turned or mirrored",
    "overlap-across-splits": "tiles of two splits show the same ground",
    "manifest-mismatch": "the archives are not those of the manifest",
}
"""What each code says, in a few words."""

_SEED = 0


def pairs_of_splits(found: Audit) -> Counter[tuple[str, str]]:
    """Count the overlapping pairs by the splits of their tiles, each pair of splits in the order of `SPLIT_NAMES`."""
    splits = ((pair["a"].split("/")[0], pair["b"].split("/")[0]) for pair in found.overlaps)
    return Counter(tuple(sorted(pair, key=SPLIT_NAMES.index)) for pair in splits)


def across_splits(found: Audit) -> int:
    """Count the overlapping pairs whose tiles lie in two splits."""
    return sum(number for (a, b), number in pairs_of_splits(found).items() if a != b)


def report_page(found: Audit, data_dir: str | os.PathLike[str], progress: bool = False) -> str:
    """Write an audit as one HTML page.

    Args:
        found: the audit.
        data_dir: the folder of archives that it is of; the page shows its name, and tiles and masks from it.
        progress: whether to show a progress bar on standard error.

    Returns:
        the page. Whatever comes from the archives stands in it as text.
    """
    in_turn = _in_turns(found.findings)[:MOST_FINDINGS]
    pairs = {(pair["a"], pair["b"]): pair for pair in found.overlaps}
    gallery = _gallery(found)
    of_gallery = dict.fromkeys(path for *_, sample in gallery for path in sample)
    named = dict.fromkeys(path for number in in_turn for path in tiles_of(found.findings[number]))
    of_findings = [path for path in named if path not in of_gallery]
    pictures = read_pictures(data_dir, [*of_gallery, *of_findings[:MOST_PICTURES]], progress)
    findings = [_finding(found.findings[number], pairs) for number in sorted(in_turn)]
    pictures_of_findings = {path: pictures[path] for path in of_findings[:MOST_PICTURES]}
    return _template().render(
        found=found,
        name=_name_of(data_dir),
        splits=SPLIT_NAMES,
        classes=CLASS_NAMES,
        tile_count=sum(sum(counts.values()) for counts in found.tiles.values()),
        most_of_a_split=max(sum(counts.values()) for counts in found.tiles.values()),
        group_sizes=Counter(Counter(found.groups.values()).values()),
        pairs=pairs_of_splits(found),
        across=across_splits(found),
        codes=_codes(found.findings),
        gallery=[(*of_class, [(path, pictures[path]) for path in sample]) for *of_class, sample in gallery],
        facets=_facets(findings),
        first_findings=found.findings[:MOST_WITHOUT_SCRIPT],
        left_out_findings=len(found.findings) - len(in_turn),
        left_out_pictures=max(0, len(of_findings) - MOST_PICTURES),
        any_masks=any(picture.share is not None for picture in pictures.values()),
        tile_size=TILE_SIZE,
        report={"findings": findings, "pictures": pictures_of_findings, "tileSize": TILE_SIZE},
    )


def tiles_of(finding: Finding) -> list[str]:
    """Return the tiles that a finding is about, at most two: its path, and the one that its message names besides.

    Example:
        >>> tiles_of(Finding("mask-empty", "error", "test/glaciar/1.png", "test_masks.zip: test/glaciar/1.png: ..."))
        ['test/glaciar/1.png']
        >>> tiles_of(Finding("archive-unreadable", "error", "train.zip", "train.zip: is not a zip archive"))
        []
    """
    if not TILE_PATH.fullmatch(finding.path):
        return []
    if finding.code not in ("duplicate-pixels", "overlap-across-splits"):
        return [finding.path]
    return list(dict.fromkeys([finding.path, *TILE_PATH.findall(finding.message)]))[:2]


def _in_turns(findings: Sequence[Finding]) -> list[int]:
    """Order findings by turns: the first of each code, then the second of each, so that none takes all the room."""
    turns: Counter[str] = Counter()
    order = []
    for number, finding in enumerate(findings):
        order.append((turns[finding.code], number))
        turns[finding.code] += 1
    return [number for _, number in sorted(order)]


def _finding(finding: Finding, pairs: dict[tuple[str, str], dict[str, Any]]) -> dict[str, Any]:
    """Return what the page's script needs of a finding."""
    tiles = tiles_of(finding)
    a, b = (tiles * 2)[:2] if tiles else ("", "")
    pair = pairs.get((a, b)) or pairs.get((b, a))
    splits, classes = _places(finding, tiles)
    return {
        **finding._asdict(),
        "splits": splits,
        "classes": classes,
        "tiles": tiles,
        **({"pair": pair} if pair else {}),
    }


def _places(finding: Finding, tiles: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the splits and the classes that a finding is of, as far as its path and its tiles tell."""
    if archive := rock_glacier_dataset._ARCHIVE_NAME.fullmatch(finding.path):
        return [archive[1].removesuffix("_masks")], []
    parts = [path.split("/") for path in (finding.path, *tiles)]
    splits = {part[0] for part in parts} & set(SPLIT_NAMES)
    classes = {part[1] for part in parts if len(part) > 1} & set(CLASS_NAMES)
    return sorted(splits, key=SPLIT_NAMES.index), sorted(classes, key=CLASS_NAMES.index)


def _codes(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """Return the codes that were found, with their meanings and their numbers of errors and warnings."""
    numbers = Counter((finding.code, finding.severity) for finding in findings)
    return [
        {"code": code, "meaning": MEANINGS[code], "error": numbers[code, "error"], "warning": numbers[code, "warning"]}
        for code in CODES
        if numbers[code, "error"] or numbers[code, "warning"]
    ]


def _facets(findings: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what findings can be filtered by: for each fieldset its key, its legend, and values with their numbers."""
    of_codes = Counter(finding["code"] for finding in findings)
    of_severities = Counter(finding["severity"] for finding in findings)
    of_splits = Counter(itertools.chain.from_iterable(finding["splits"] or [""] for finding in findings))
    of_classes = Counter(itertools.chain.from_iterable(finding["classes"] or [""] for finding in findings))
    chosen = (
        ("severity", "Severity", ("error", "warning"), of_severities),
        ("split", "Split", (*SPLIT_NAMES, ""), of_splits),
        ("class", "Class", (*CLASS_NAMES, ""), of_classes),
        ("code", "Code", CODES, of_codes),
    )
    return [
        {"key": key, "legend": legend, "values": [(value, numbers[value]) for value in values if numbers[value]]}
        for key, legend, values, numbers in chosen
    ]


def _gallery(found: Audit) -> list[tuple[str, str, int, list[str]]]:
    """Choose the gallery's tiles at random, the same each time: split, class, number of tiles, and some of them."""
    tiles: dict[tuple[str, ...], list[str]] = {}
    for path in found.groups:
        tiles.setdefault(tuple(path.split("/")[:2]), []).append(path)
    gallery = []
    for number, (split, name) in enumerate(itertools.product(SPLIT_NAMES, CLASS_NAMES)):
        paths = tiles.get((split, name), [])
        chosen = np.random.default_rng([_SEED, number]).choice(
            len(paths), min(GALLERY_TILES, len(paths)), replace=False
        )
        gallery.append((split, name, len(paths), [paths[place] for place in sorted(chosen.tolist())]))
    return gallery


def _name_of(data_dir: str | os.PathLike[str]) -> str:
    """Return the name of a folder: the page is shown to others, whom the path to it does not concern."""
    name = os.path.basename(rock_glacier_dataset._absolute(os.fspath(data_dir)).rstrip("/"))
    return os.fsencode(name).decode(errors="replace") or "archives"


@functools.cache
def _template() -> jinja2.Template:
    folder = Path(__file__).resolve().parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = (folder / "audit_report.css").read_text(encoding="utf-8")
    script = (folder / "audit_report.js").read_text(encoding="utf-8")
    environment.globals |= {
        "style": Markup(style),  # noqa: S704 - the project's own files
        "script": Markup(script),  # noqa: S704
        "style_hash": _content_hash(style),
        "script_hash": _content_hash(script),
        "empty_picture": Picture(),
    }
    return environment.get_template("audit_report.html.jinja")


def _content_hash(text: str) -> str:
    """Return what a Content-Security-Policy calls a style or a script that stands in the page (CSP Level 3, 2.3.1)."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
