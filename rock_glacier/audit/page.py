"""Write the result of an audit as one static web page, which needs no network and no script."""

from __future__ import annotations

import base64
import io
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
from PIL import Image

from rock_glacier.audit.checks import SPLIT_CODES, Audit
from rock_glacier.audit.pictures import draw_conflict, draw_tile, draw_tile_on_outline
from rock_glacier.audit.report import (
    SPLIT_ADVICE,
    describe_masks,
    tabulate_distances,
    tabulate_pairs,
    tabulate_splits,
)
from rock_glacier.faults import severity_of
from rock_glacier.output import count
from rock_glacier.places.map import draw_map
from rock_glacier.sites.mosaic import draw_mosaic, draw_pair
from rock_glacier.tiles import TileSet
from rock_glacier_dataset import CLASS_NAMES, GLACIAR, SPLIT_NAMES, Fault, mask_path

# Pictures of the faults of each code, of about 20 KB each.
_PICTURES = 6

# Faults of each code that are listed. The JSON report has all faults.
_LISTED = 100

# Sites that are drawn, the largest first.
_MOSAICS = 3

# Width and height of a mosaic, in pixels; it is shown at about half this size.
_MOSAIC_SIZE = 800

# Number of bars of a histogram of mask coverage, from 0 to 100 %.
_BARS = 20

# Quality of WebP pictures: at the displayed size, no loss is visible.
_QUALITY = 75

_PAIR_ALT = "The two tiles in their common frame, first side by side, then overlaid"

_MEANINGS = {
    "archive-unreadable": "An archive is missing, damaged, or does not belong to a split.",
    "member-name": "A file in an archive is not named like a tile or a mask.",
    "member-duplicate": "A tile or mask is in an archive or split twice.",
    "png-corrupt": "A PNG file is damaged.",
    "png-format": "A tile is not an 8-bit RGBA PNG file of 128 x 128 pixels.",
    "mask-missing": "A glaciar tile has no mask.",
    "mask-orphan": "A mask has no glaciar tile.",
    "mask-format": "A mask is not an 8-bit RGBA PNG file of 128 x 128 pixels.",
    "mask-values": "A mask has colours other than white and black.",
    "mask-empty": "The mask of a glaciar tile shows no rock glacier.",
    "duplicate-pixels": "Two tiles have the same pixels, in some orientation.",
    "overlap-across-splits": "Tiles of different splits share pixels, so scores are too high.",
    "match-across-splits": "Tiles of different splits show the same ground.",
    "mask-conflict": "Masks of overlapping tiles differ.",
    "mask-unrelated": "Masks overlap, but the images of their tiles do not agree.",
    "label-conflict": "A cordillera tile shows a rock glacier of another mask or an outline.",
    "location-conflict": "The masks of a site fit outlines at different places.",
    "manifest-mismatch": "The archives differ from manifest.json.",
    "index-mismatch": "The tile index tiles.parquet does not fit the tiles.",
}


@dataclass(frozen=True)
class Figure:
    """A picture of the page.

    Attributes:
        image: The picture.
        alt: Alternative text.
        caption: Text below the picture.
    """

    image: Image.Image
    alt: str
    caption: str

    @property
    def uri(self) -> str:
        """The picture as a `data:` URI."""
        file = io.BytesIO()
        self.image.save(file, "WEBP", quality=_QUALITY)
        return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"


@dataclass(frozen=True)
class Table:
    """A table of numbers.

    Attributes:
        title: Heading of the table, or "".
        columns: Titles of the columns.
        rows: Numbers as text, by the title of the row.
    """

    title: str
    columns: list[str]
    rows: dict[str, list[str]]


@dataclass(frozen=True)
class FaultGroup:
    """All faults with the same code.

    Attributes:
        code: Code of the faults.
        severity: "error" or "warning".
        meaning: One sentence about the code.
        number: Number of faults.
        figures: Pictures of some of the faults, if there are any.
        listed: The first faults.
    """

    code: str
    severity: str
    meaning: str
    number: int
    figures: list[Figure]
    listed: list[Fault]


@dataclass(frozen=True)
class Histogram:
    """Histogram of the share of a tile that its mask covers, for a split.

    Attributes:
        split: Name of the split.
        heights: Number of masks in each bar.
        summary: Number, mean, minimum and maximum, as text.
    """

    split: str
    heights: list[int]
    summary: str


def render_page(audit: Audit, tiles: TileSet) -> str:
    """Return the page as HTML. Names that come from the archives are escaped.

    Args:
        audit: The result of the audit.
        tiles: The audited tiles.
    """
    folder = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["count"] = count
    return environment.get_template("page.html.jinja").render(
        audit=audit,
        name=tiles.folder.name,  # without its path, which readers of the page should not see
        style=(folder / "page.css").read_text(encoding="utf-8"),
        splits=SPLIT_NAMES,
        split_advice=SPLIT_ADVICE,
        largest_split=max(1, *(sum(counts.values()) for counts in audit.counts.values())),
        classes=CLASS_NAMES,
        sites=audit.table["site"].nunique(),
        within=int((~audit.pairs["across"]).sum()),
        across=int(audit.pairs["across"].sum()),
        pairs=_make_table(tabulate_pairs(audit)),
        geography=list(_make_geography_tables(audit)),
        map=_draw_map(audit, tiles),
        groups=list(_group_faults(audit, tiles)),
        histograms=list(_make_histograms(audit)),
        mosaics=list(_draw_sites(audit, tiles)),
    )


def _make_table(table: pd.DataFrame, title: str = "") -> Table:
    rows = table.apply(lambda column: column.map("{:,}".format))
    numbers = {str(name): list(row) for name, row in rows.T.items()}
    return Table(title, [str(column) for column in table], numbers)


def _make_geography_tables(audit: Audit) -> Iterator[Table]:
    """Yield the ground of the splits and the distances between them, if tiles are located."""
    if audit.geography is not None:
        yield _make_table(tabulate_splits(audit.geography), "Ground of located tiles")
        if len(audit.geography.pairs):
            yield _make_table(tabulate_distances(audit.geography), "Distance between splits")


def _draw_map(audit: Audit, tiles: TileSet) -> Figure | None:
    """Draw the map of the located tiles, if there are any."""
    # The masks are in the order of the table. To sort the index needs less memory.
    index = audit.index.set_index("path").loc[audit.table["path"]].reset_index()
    drawn = draw_map(index, tiles.masks)
    if drawn is None:
        return None
    file = io.BytesIO()
    drawn.figure.savefig(file, format="png")
    return Figure(Image.open(file).convert("RGB"), drawn.alt, drawn.caption)


def _group_faults(audit: Audit, tiles: TileSet) -> Iterator[FaultGroup]:
    """Yield the faults grouped by code, in the order of reports."""
    for code, group in itertools.groupby(audit.faults, key=lambda fault: fault.code):
        faults = list(group)
        if code in SPLIT_CODES:
            figures = list(_draw_pairs(audit, tiles, code))
        elif code in audit.conflicts["code"].to_list():
            figures = list(_draw_conflicts(audit, tiles, code))
        else:
            figures = list(_draw_faulty_tiles(audit, tiles, faults))
        severity = severity_of(faults[0])
        yield FaultGroup(code, severity, _MEANINGS[code], len(faults), figures, faults[:_LISTED])


def _draw_pairs(audit: Audit, tiles: TileSet, code: str) -> Iterator[Figure]:
    """Draw a few of the pairs across splits, the tiles fitted on each other."""
    is_overlap = audit.pairs["kind"] == "overlap"
    pairs = audit.pairs[audit.pairs["across"] & (is_overlap == (code == "overlap-across-splits"))]
    paths = audit.table["path"].to_list()
    for row in _choose_evenly(pairs.index):
        pair: Any = pairs.loc[row]
        yield Figure(draw_pair(tiles, pair), _PAIR_ALT, f"{paths[pair.a]} and {paths[pair.b]}")


def _draw_conflicts(audit: Audit, tiles: TileSet, code: str) -> Iterator[Figure]:
    """Draw a few tiles on the tiles or outlines that contradict their labels."""
    conflicts = audit.conflicts[audit.conflicts["code"] == code]
    paths = audit.table["path"].to_list()
    for row in _choose_evenly(conflicts.index):
        conflict: Any = conflicts.loc[row]
        if conflict.pair >= 0:
            pair: Any = audit.pairs.loc[conflict.pair]
            caption = f"{paths[pair.a]} (mask: yellow) and {paths[pair.b]} (mask: blue)"
            yield Figure(draw_conflict(tiles, pair), _PAIR_ALT, caption)
        else:
            outline = audit.outlines[audit.outlines["name"] == conflict.outline]
            picture = draw_tile_on_outline(tiles, audit.table.loc[conflict.tile], outline)
            caption = f"{paths[conflict.tile]} and the outline {conflict.outline}"
            yield Figure(picture, "The tile and the outline", caption)


def _draw_faulty_tiles(audit: Audit, tiles: TileSet, faults: Sequence[Fault]) -> Iterator[Figure]:
    """Draw a few of the tiles that have a fault themselves or in their masks."""
    table = audit.table
    rows = dict(zip(table["place"], table.index, strict=True))
    glaciar = table[table["label"] == GLACIAR]
    masks = glaciar["archive"] + ": " + glaciar["path"].map(mask_path)
    rows.update(zip(masks, glaciar.index, strict=True))
    for fault in _choose_evenly([fault for fault in faults if fault.place in rows]):
        yield Figure(draw_tile(tiles, rows[fault.place]), "The tile and its mask", fault.place)


def _choose_evenly(items: Sequence[Any]) -> Sequence[Any]:
    """Choose a few items, evenly spaced, because neighbours often concern the same tiles."""
    step = max(1, math.ceil(len(items) / _PICTURES))
    return items[::step]


def _make_histograms(audit: Audit) -> Iterator[Histogram]:
    table = audit.table
    for split, summary in describe_masks(table).items():
        shares = table["mask_share"][(table["split"] == split) & (table["mask_share"] > 0)]
        heights, _ = np.histogram(shares, _BARS, (0, 1))
        yield Histogram(split, heights.tolist(), summary)


def _draw_sites(audit: Audit, tiles: TileSet) -> Iterator[Figure]:
    """Draw the largest sites that have more than one tile."""
    sizes = audit.table["site"].value_counts()
    # Sites of the same size are drawn in the order of their numbers.
    sizes = sizes[sizes > 1].sort_index().sort_values(ascending=False, kind="stable")
    for site in sizes.index[:_MOSAICS]:
        placed = audit.table[audit.table["site"] == site]
        text = f"Site {site}: {count(len(placed), 'tile')} ({_count_kinds(placed)})"
        blocks = placed["block"].nunique()
        if blocks > 1:
            text += f", {blocks} blocks, each in its own colour"
        yield Figure(draw_mosaic(tiles, placed, _MOSAIC_SIZE), f"Mosaic of site {site}", text)


def _count_kinds(table: pd.DataFrame) -> str:
    """Count tiles by split and class, as in "3 train cordillera, 1 test cordillera"."""
    numbers = table.groupby(["split", "label"]).size()
    texts = [
        f"{numbers[kind]:,} {' '.join(kind)}"
        for kind in itertools.product(SPLIT_NAMES, CLASS_NAMES)
        if kind in numbers
    ]
    return ", ".join(texts)
