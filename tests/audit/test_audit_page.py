"""The audit's page, checked without a browser."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import base64
import copy
import html.parser
import io
import itertools
import json
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from archive_contents import contents, replace_member, rewrite, take_curators_layout, tile_paths
from PIL import Image

from rock_glacier.archives.grounds_file import GroundRow, write_grounds
from rock_glacier.audit.checks import audit
from rock_glacier.audit.findings import Code, Finding
from rock_glacier.audit.page import GALLERY_TILES, MOST_FINDINGS, MOST_PICTURES, report_page
from rock_glacier.audit.pictures import draw_overlay
from rock_glacier.audit.tables import report_lines
from rock_glacier.grounds.pairs import Overlap
from rock_glacier.grounds.positions import place_tiles
from rock_glacier.parallel import Workers
from rock_glacier.sample.faults import plant_all
from rock_glacier_dataset import BACKGROUND_COLOUR, SPLIT_NAMES

ALONE = Workers(1)
HOSTILE = "<img src=x onerror=alert(1)>"
CLOSING = "</script><script>alert(1)</script>"


class Elements(html.parser.HTMLParser):
    """The elements of a page, with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(page)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data):
        if self.elements and self.elements[-1][0] not in ("script", "style"):
            self.text += f" {data}"

    def of(self, *tags):
        return [attributes for tag, attributes in self.elements if tag in tags]


def report_of(page: str) -> dict:  # type: ignore[type-arg]
    (block,) = re.findall(r'<script type="application/json" id="report">(.*?)</script>', page, re.DOTALL)
    return json.loads(block)


def gallery_of(page: str) -> dict[str, str]:
    """Return the addresses of the gallery's tiles by their paths; empty where a tile is not shown."""
    of_button = r'<button [^>]*data-path="([^"]+)"[^>]*>\s*(?:<img class="ground" src="([^"]+)")?'
    return dict(re.findall(of_button, page))


def spoil(folder: Path) -> None:
    """Plant a fault of each code in a sample, and names that would be elements of a page."""
    paths = [path for split in SPLIT_NAMES for path in tile_paths(folder, split)]
    write_grounds(folder, (GroundRow(path, 0, 0, 0, 0, 0, f"{HOSTILE}{path[-7:]}") for path in paths))
    plant_all(folder)
    with zipfile.ZipFile(folder / "train.zip", "a") as archive:
        for name in (f"train/{HOSTILE}/1.png", f"train/glaciar/{CLOSING}.png"):
            archive.writestr(name, b"")


def many_findings(number: int) -> list[Finding]:
    """Findings of a release in which every tile has a fault."""
    what = "shows the same ground as test/glaciar/{}.png, on 8192 pixels at dx=64, dy=0; put both into one split"
    return [
        Finding(
            code,
            "error",
            f"train/glaciar/{tile}.png",
            f"train/glaciar/{tile}.png: {what.format(tile)}",
            f"test/glaciar/{tile}.png" if code == "overlap-across-splits" else "",
        )
        for tile, code in zip(range(100, 100 + number), itertools.cycle(["overlap-across-splits", "mask-empty"]))
    ]


@pytest.fixture(scope="module")
def spoiled(sample, tmp_path_factory):
    """A spoiled sample. Not to be changed."""
    folder = shutil.copytree(sample, tmp_path_factory.mktemp("spoiled") / f"a{HOSTILE}")
    spoil(folder)
    return folder


@pytest.fixture(scope="module")
def page(spoiled):
    return report_page(audit(spoiled, ALONE))


@pytest.fixture(scope="module")
def valid(sample):
    """The audit of the sample."""
    return audit(sample, ALONE)


def test_valid_archives_get_a_page_that_says_so(valid):
    page = report_page(valid)
    text = Elements(page).text
    places = "Separate places (grounds) 22"
    for said in ("Nothing is wrong", "Tiles 22", places, "6 cordillera (50.0 %), 6", "6 masks with rock glacier"):
        assert said in text
    for shares in valid.coverages().values():
        assert f"mean {shares.mean():.1%}, from {shares.min():.1%} to {shares.max():.1%}".replace("%", " %") in text
    assert report_of(page) == {"findings": [], "pictures": {}, "sources": {}, "groundSizes": {}, "tileSize": 128}
    assert "Nothing is wrong" not in Elements(report_page(valid._replace(same_ground=None))).text


def test_verdict_counts_and_findings_are_in_the_page_without_its_script(page):
    text = Elements(page).text
    assert text.index("18 errors, 0 warnings") < text.index("Counts") < text.index("Gallery") < text.index("By code")
    assert all(
        re.search(rf"{code.code} {re.escape(code.sentence)} [1-9] 0 ", text) for code in Code
    )  # errors, warnings
    assert "train.zip: train/glaciar/000.png: no train/masks/000.png" in text


def test_nothing_is_loaded_from_elsewhere(page):
    elements = Elements(page)
    names = ("src", "href", "srcset", "action", "data", "xlink:href", "background", "poster")
    addresses = [value for _, one in elements.elements for name, value in one.items() if name in names]
    assert {address.partition(":")[0] if ":" in address else address[0] for address in addresses} == {"data", "#"}
    assert not elements.of("link", "iframe", "object", "embed", "base")
    assert not re.search(r"url\((?!#)|@import", page)
    (policy,) = [one["content"] for one in elements.of("meta") if one.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert "unsafe" not in policy


def test_hostile_names_are_text(page):
    elements = Elements(page)
    assert HOSTILE in elements.text
    assert not [one for one in elements.of("img") if one.get("src") == "x" or "onerror" in one]
    assert len(elements.of("script")) == 2
    assert CLOSING not in page
    paths = {finding["path"] for finding in report_of(page)["findings"]}
    assert {f"train/{HOSTILE}/1.png", f"train/glaciar/{CLOSING}.png"} <= paths


def test_the_same_audit_gives_the_same_page(spoiled, page):
    assert report_page(audit(spoiled, ALONE)) == page
    assert str(spoiled.parent) not in page


def test_each_tile_is_in_the_page_once(page):
    pictures = re.findall(r"data:image/webp;base64,[A-Za-z0-9+/=]{500,}", page)
    assert len(pictures) == len(set(pictures)) > 12
    assert not set(gallery_of(page)) & set(report_of(page)["pictures"])


def test_a_finding_has_its_tiles_its_pair_its_splits_and_classes(page):
    rows = {finding["code"]: finding for finding in reversed(report_of(page)["findings"])}
    overlap, mask, archive = (rows[code] for code in ("overlap-across-splits", "mask-values", "archive-unreadable"))
    pair = {"a": "train/cordillera/001.png", "b": "test/cordillera/001.png", "turn": 0, "dx": 64, "dy": 0}
    assert overlap["pair"] == {**pair, "pixels": 8192}
    assert (overlap["split"], overlap["class"]) == (["train", "test"], ["cordillera"])
    assert rows["duplicate-pixels"]["tiles"] == ["test/cordillera/000.png", "train/cordillera/000.png"]
    assert rows["duplicate-pixels"]["pair"]["turn"] == 5
    same = rows["same-ground-across-splits"]["pair"]
    assert (same["a"], same["b"], same["dx"], same["dy"]) == ("train/glaciar/000.png", "test/glaciar/001.png", 0, 0)
    assert (mask["tiles"], mask["split"], mask["class"]) == (["test/glaciar/000.png"], ["test"], ["glaciar"])
    (empty,) = rows["mask-empty"]["tiles"]
    (button,) = [one for one in Elements(page).of("button") if one.get("data-path") == empty]
    assert button["title"].endswith(", empty mask")
    assert (archive["tiles"], archive["split"], archive["class"]) == ([], ["validation"], [""])


def test_faulty_tiles_are_shown_as_far_as_they_can_be_decoded(page):
    shown = gallery_of(page)
    assert shown["test/glaciar/000.png"] == ""  # damaged
    assert shown["train/glaciar/001.png"].startswith("data:image/webp")  # RGB
    ((path,),) = [finding["tiles"] for finding in report_of(page)["findings"] if finding["code"] == "mask-orphan"]
    tile, overlay, share = report_of(page)["pictures"][path]
    assert tile == ""
    assert overlay.startswith("data:image/png")
    assert 0 < share < 1


def test_tiles_in_the_folder_val_are_shown(sample_copy):
    tile = contents(sample_copy, "train")["train/cordillera/000.png"]
    take_curators_layout(sample_copy)
    replace_member(sample_copy / "val.zip", "val/cordillera/000.png", tile)
    page = report_page(audit(sample_copy, ALONE))
    duplicate, overlap = report_of(page)["findings"]
    assert (duplicate["code"], overlap["code"]) == ("duplicate-pixels", "overlap-across-splits")
    assert overlap["tiles"] == ["train/cordillera/000.png", "val/cordillera/000.png"]
    assert overlap["split"] == ["train", "validation"]
    assert all(gallery_of(page)[path] for path in overlap["tiles"])


def decoded(uri: str, mode: str) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert(mode))


def test_the_picture_of_a_tile_is_like_the_tile_and_has_the_share_of_its_mask(sample, valid):
    page, stored = report_page(valid), contents(sample, "train")
    shown = gallery_of(page)["train/glaciar/002.png"]
    tile = Image.open(io.BytesIO(stored["train/glaciar/002.png"])).convert("RGB")
    assert np.abs(decoded(shown, "RGB").astype(float) - np.array(tile)).mean() < 8
    (button,) = [one for one in Elements(page).of("button") if one.get("data-path") == "train/glaciar/002.png"]
    mask = np.array(Image.open(io.BytesIO(stored["train/masks/002.png"])))
    assert float(button["data-share"]) == (mask[..., 0] == 255).mean()


def test_an_overlay_outlines_rock_glacier_and_marks_other_colours():
    mask = np.full((128, 128, 4), BACKGROUND_COLOUR, np.uint8)
    assert draw_overlay(mask) == ""
    mask[20:40, 30:60] = 255
    mask[80, 90] = (255, 0, 0, 255)
    overlay = decoded(draw_overlay(mask), "RGBA")
    bright = (overlay[..., 3] > 0) & (overlay[..., 0] > 200)
    assert np.array_equal(bright, (mask[..., 0] == 255))
    assert overlay[20, 30].tolist() == [240, 228, 66, 255]
    assert overlay[80, 90].tolist() == [213, 94, 0, 255]
    assert overlay[50, 100, 3] == 0


def test_archives_without_masks_have_no_switch_for_them(sample_copy):
    for archive in sample_copy.glob("*.zip"):
        rewrite(archive, lambda members: [one for one in members if "/masks/" not in one[0].filename])
    elements = Elements(report_page(audit(sample_copy, ALONE)))
    assert "There are no masks to show" in elements.text
    assert "No mask here shows rock glacier" in elements.text
    assert not [one for one in elements.of("input") if one.get("id") == "masks"]


def test_archives_that_cannot_be_read_get_a_page(sample_copy):
    for archive in sample_copy.glob("*.zip"):
        archive.write_bytes(b"PK\3\4")
    text = Elements(report_page(audit(sample_copy, ALONE))).text
    assert "train, cordillera no tiles" in text
    assert "6 errors, 0 warnings" in text  # each archive is unreadable, and not the one of the manifest


def test_the_gallery_says_how_many_tiles_there_are(valid):
    listing = copy.copy(valid.listing)
    tile = next(tile for tile in listing.tiles if "/glaciar/" in tile.path)
    listing.tiles = [tile._replace(path=f"train/glaciar/{number}.png") for number in range(1234)]
    found = valid._replace(listing=listing, positions=place_tiles(1234, [], []))
    elements = Elements(report_page(found))
    assert f"train, glaciar {GALLERY_TILES} of 1,234 tiles" in elements.text
    assert len([one for one in elements.of("button") if "data-path" in one]) == GALLERY_TILES


@pytest.mark.parametrize("said", ["1 link contradicts stronger ones", "2 links contradict stronger ones"])
def test_links_that_contradict_others_are_counted(valid, said):
    unclosed = [Overlap(0, 1, 0, 3, 4, 125 * 124)] * int(said[0])
    found = valid._replace(positions=valid.positions._replace(unclosed=unclosed))
    assert all(said in text for text in (Elements(report_page(found)).text, "\n".join(report_lines(found))))


def test_the_page_says_what_is_left_out_and_shows_some_of_each_code(valid):
    alone = Finding("manifest-mismatch", "error", "manifest.json", "manifest.json: is wrong; correct it")
    page = report_page(valid._replace(findings=[*many_findings(MOST_FINDINGS + 30), alone]))
    findings = report_of(page)["findings"]
    assert len(findings) == MOST_FINDINGS
    assert findings[-1] == {**alone.as_json(), "split": [""], "class": [""], "tiles": [], "ground": None}
    assert len(report_of(page)["pictures"]) == MOST_PICTURES
    text = Elements(page).text
    assert "31 findings more are left out" in text
    assert f"The pictures of {3 * MOST_FINDINGS // 2 - 1 - MOST_PICTURES:,} tiles are left out" in text
