"""The audit as one HTML page that loads nothing from elsewhere: the verdict, the counts, tiles, and the findings.

`page.css` and `page.js` are written into `page.html.jinja`. The script draws the findings from a block of JSON, a batch
at a time; everything else is in the page without it. `MOST_FINDINGS` and `MOST_PICTURES` limit the size, and the page
says what is left out. The same audit of the same archives gives the same bytes.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import itertools
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from rock_glacier.archives.listing import split_of
from rock_glacier.audit.checks import Audit, count_across_splits, count_pairs
from rock_glacier.audit.findings import CODES, ERROR, SHARED_GROUND, WARNING, Code, Finding
from rock_glacier.audit.mosaics import draw_grounds
from rock_glacier.audit.pictures import image_uri, read_pictures
from rock_glacier_dataset import CLASS_NAMES, GLACIAR, MASKS, MEMBER_NAME, SPLIT_NAMES, TILE_SIZE

MOST_FINDINGS = 10_000
"""Largest number of findings in a page; the JSON holds all."""

MOST_PICTURES = 3_000
"""Largest number of tiles that the findings of a page show, some 3 KB each; those of the gallery come on top."""

GALLERY_TILES = 12
"""Number of tiles of each split and class in the gallery."""

MOST_MOSAICS = 3
"""Largest number of grounds that are drawn in a page, some 100 KB each."""

_MOSAIC_QUALITY = 60  # of WebP
_BARS = 20  # of a histogram
_MOST_WITHOUT_SCRIPT = 100  # findings in the page as text, for where its script does not run


def report_page(found: Audit) -> str:
    """Write an audit as one HTML page, with tiles and masks of its archives, and the name of their folder.

    Everything that comes from the archives is escaped.
    """
    chosen = _take_turns(found.findings)[:MOST_FINDINGS]
    pairs = {(pair["a"], pair["b"]): pair for pair in (*found.overlaps, *(found.same_ground or ()))}
    gallery = _gallery(found)
    of_gallery = dict.fromkeys(path for *_, tiles in gallery for path in tiles)
    named = dict.fromkeys(path for number in chosen for path in _tiles_of(found.findings[number]))
    of_findings = [path for path in named if path not in of_gallery]
    pictures = read_pictures(found.listing, [*of_gallery, *of_findings[:MOST_PICTURES]])
    findings = [_row(found.findings[number], pairs, found.grounds) for number in sorted(chosen)]
    sources = {path: found.rows[path].source if path in found.rows else "" for path in (*of_gallery, *named)}
    sizes, coverages = Counter(found.grounds.values()), found.coverages()
    return _template().render(
        found=found,
        name=_name_of(found.listing.folder),
        splits=SPLIT_NAMES,
        classes=CLASS_NAMES,
        most_of_a_split=max(sum(counts.values()) for counts in found.tiles.values()),
        ground_sizes=Counter(sizes.values()),
        overlaps=count_pairs(found.overlaps),
        same_ground=count_pairs(found.same_ground or ()),
        across_splits=count_across_splits(pairs.values()),
        mosaics=[
            (one, image_uri(one.image, "webp", quality=_MOSAIC_QUALITY), _count_kinds(one.paths))
            for one in draw_grounds(found, MOST_MOSAICS)
        ],
        coverages=coverages,
        histograms={split: np.histogram(shares, _BARS, (0, 1))[0].tolist() for split, shares in coverages.items()},
        sources=sources,
        codes=Code,
        numbers=Counter((finding.code, finding.severity) for finding in found.findings),
        gallery=[(*of_class, [(path, pictures[path]) for path in tiles]) for *of_class, tiles in gallery],
        facets=_facets(findings),
        first_findings=found.findings[:_MOST_WITHOUT_SCRIPT],
        left_out_findings=len(found.findings) - len(chosen),
        left_out_pictures=max(0, len(of_findings) - MOST_PICTURES),
        any_masks=any(picture.share is not None for picture in pictures.values()),
        tile_size=TILE_SIZE,
        report={
            "findings": findings,
            "pictures": {path: pictures[path] for path in of_findings[:MOST_PICTURES]},
            "sources": {path: source for path, source in sources.items() if source},
            "groundSizes": {ground: sizes[ground] for ground in sorted({one["ground"] for one in findings} - {None})},
            "tileSize": TILE_SIZE,
        },
    )


def _count_kinds(paths: Iterable[str]) -> str:
    """Count tiles by split and class, as in "3 train cordillera, 1 test cordillera"."""
    kinds = Counter((split_of(path) or "", path.split("/")[1]) for path in paths)
    in_order = sorted(kinds, key=lambda kind: (SPLIT_NAMES.index(kind[0]), CLASS_NAMES.index(kind[1])))
    return ", ".join(f"{kinds[kind]:,} {' '.join(kind)}" for kind in in_order)


def _tiles_of(finding: Finding) -> list[str]:
    """Return the paths of the tiles that a finding is about, at most two."""
    path = finding.path.replace(f"/{MASKS}/", f"/{GLACIAR}/")
    is_tile = MEMBER_NAME.fullmatch(path) is not None
    return [one for one in (path, finding.other) if one] if is_tile else []


def _take_turns(findings: Sequence[Finding]) -> list[int]:
    """Order findings so that no code takes all the room: the first of each code, then the second of each."""
    turns = {code: itertools.count() for code in CODES}
    return sorted(range(len(findings)), key=[next(turns[finding.code]) for finding in findings].__getitem__)


def _row(
    finding: Finding, pairs: Mapping[tuple[str, str], dict[str, Any]], grounds: Mapping[str, int]
) -> dict[str, Any]:
    """Return what the page's script needs of a finding; its ground where it is about shared ground."""
    tiles = _tiles_of(finding)
    a, b = (tiles * 2)[:2] if tiles else ("", "")
    pair = pairs.get((a, b)) or pairs.get((b, a))
    paths = (finding.path, *tiles)
    classes = {part for path in paths for part in path.split("/")[1:2]}
    return {
        **finding.as_json(),
        "split": [split for split in SPLIT_NAMES if split in map(split_of, paths)] or [""],
        "class": [name for name in CLASS_NAMES if name in classes] or [""],
        "tiles": tiles,
        "ground": grounds.get(a) if finding.code in SHARED_GROUND else None,
        **({"pair": pair} if pair else {}),
    }


def _facets(findings: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    """Return what findings can be filtered by: columns, each with the values that are there."""
    all_values = {
        "severity": (ERROR, WARNING),
        "split": (*SPLIT_NAMES, ""),
        "class": (*CLASS_NAMES, ""),
        "code": tuple(CODES),
    }
    facets = {}
    for key, values in all_values.items():
        there = set(
            itertools.chain.from_iterable([one[key]] if isinstance(one[key], str) else one[key] for one in findings)
        )
        facets[key] = [value for value in values if value in there]
    return facets


def _gallery(found: Audit) -> list[tuple[str, str, int, list[str]]]:
    """Choose the gallery's tiles at random, the same each time: split, class, number of tiles, and some of them."""
    paths: dict[tuple[str, str], list[str]] = {key: [] for key in itertools.product(SPLIT_NAMES, CLASS_NAMES)}
    for path in found.grounds:
        paths[split_of(path) or "", path.split("/")[1]].append(path)
    gallery = []
    for number, ((split, name), tiles) in enumerate(paths.items()):
        size = min(GALLERY_TILES, len(tiles))
        chosen = np.random.default_rng([0, number]).choice(len(tiles), size, replace=False)
        gallery.append((split, name, len(tiles), [tiles[place] for place in sorted(chosen.tolist())]))
    return gallery


def _name_of(folder: str) -> str:
    """Return the name of a folder without the path to it, which does not concern those to whom the page is shown."""
    return os.fsencode(os.path.basename(folder.rstrip("/"))).decode(errors="replace") or "archives"


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
    for name, file in (("style", "page.css"), ("script", "page.js")):
        text = (folder / file).read_text(encoding="utf-8")
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        environment.globals[name] = Markup(text)  # noqa: S704 - the project's own file
        environment.globals[f"{name}_hash"] = f"sha256-{digest}"  # as in Content Security Policy Level 3, 2.3.1
    return environment.get_template("page.html.jinja")
