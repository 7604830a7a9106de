"""The audit's page, as far as it can be judged without a browser."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import base64
import html.parser
import io
import json
import re
import shutil
import zipfile
from pathlib import Path

import audit_archives
import audit_report
import numpy as np
import pytest
from archive_audit import audit
from archive_contents import rewrite
from audit_report import GALLERY_TILES, MEANINGS, report_page
from findings import CODES, Finding
from PIL import Image
from planted_faults import plant_all
from report_pictures import overlay_uri, read_pictures
from tile_pixels import BACKGROUND, ROCK_GLACIER

from rock_glacier.parallel import Workers
from rock_glacier_dataset import SPLIT_NAMES

ALONE = Workers(1)
HOSTILE = "<img src=x onerror=alert(1)>"
CLOSING = "</script><script>alert(1)</script>"


class Elements(html.parser.HTMLParser):
    """The elements of a page, with their attributes, and its texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data):
        if self.elements and self.elements[-1][0] not in ("script", "style"):
            self.texts.append(data)

    def of(self, *tags):
        return [attributes for tag, attributes in self.elements if tag in tags]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def report_of(page: str) -> dict:  # type: ignore[type-arg]
    (block,) = re.findall(r'<script type="application/json" id="report">(.*?)</script>', page, re.DOTALL)
    return json.loads(block)


def spoil(folder: Path) -> None:
    """Plant a fault of each code in a sample, and names that would be elements of a page."""
    plant_all(folder)
    with zipfile.ZipFile(folder / "train.zip", "a") as archive:
        for name in (f"train/{HOSTILE}/1.png", f"train/glaciar/{CLOSING}.png"):
            archive.writestr(name, b"")


@pytest.fixture(scope="module")
def spoilt(sample, tmp_path_factory):
    """A spoilt sample. Not to be changed."""
    folder = shutil.copytree(sample, tmp_path_factory.mktemp("spoilt") / f"a{HOSTILE}")
    spoil(folder)
    return folder


@pytest.fixture(scope="module")
def page_of_spoilt(spoilt):
    return report_page(audit(spoilt, ALONE), spoilt)


def test_each_code_has_its_meaning():
    assert tuple(MEANINGS) == CODES


def test_a_sound_folder_gets_a_page_that_says_so(sample):
    page = report_page(audit(sample, ALONE), sample)
    text = Elements(page).text
    assert "Nothing is wrong" in text
    assert "Tiles 22" in text
    assert "6 cordillera, 6 glaciar" in text
    assert "6 masks with rock glacier" in text
    assert report_of(page) == {"findings": [], "pictures": {}, "tileSize": 128}


def test_the_verdict_and_the_counts_stand_in_the_page_without_its_script(page_of_spoilt):
    text = Elements(page_of_spoilt).text
    assert text.index("18 errors, 0 warnings") < text.index("Counts") < text.index("Gallery") < text.index("By code")
    assert "not fit to be published" in text
    assert all(f"{code} {meaning}" in text for code, meaning in MEANINGS.items())
    assert "train.zip: train/glaciar/0.png: no mask in train_masks.zip" in text


def test_nothing_is_loaded_from_elsewhere(page_of_spoilt):
    elements = Elements(page_of_spoilt)
    addresses = [
        value
        for _, attributes in elements.elements
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "action", "data", "xlink:href", "background", "poster")
    ]
    assert addresses
    assert {address.partition(":")[0] if ":" in address else address[0] for address in addresses} == {"data", "#"}
    assert not elements.of("link", "iframe", "object", "embed", "base")
    assert not re.search(r"url\((?!#)|@import", page_of_spoilt)
    (policy,) = [one["content"] for one in elements.of("meta") if one.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert "unsafe" not in policy


def test_hostile_names_are_text(page_of_spoilt):
    elements = Elements(page_of_spoilt)
    assert HOSTILE in elements.text
    assert not [one for one in elements.of("img") if one.get("src") == "x" or "onerror" in one]
    assert len(elements.of("script")) == 2
    assert CLOSING not in page_of_spoilt
    paths = [finding["path"] for finding in report_of(page_of_spoilt)["findings"]]
    assert {f"train/{HOSTILE}/1.png", f"train/glaciar/{CLOSING}.png"} <= set(paths)


def test_the_same_audit_gives_the_same_page(spoilt, page_of_spoilt):
    assert report_page(audit(spoilt, ALONE), spoilt) == page_of_spoilt
    assert str(spoilt.parent) not in page_of_spoilt


def test_each_picture_is_in_the_page_once(page_of_spoilt):
    pictures = re.findall(r"data:image/webp;base64,[A-Za-z0-9+/=]{500,}", page_of_spoilt)
    assert len(pictures) == len(set(pictures)) > 15
    of_gallery = {one["data-path"] for one in Elements(page_of_spoilt).of("span") if "data-path" in one}
    assert not of_gallery & set(report_of(page_of_spoilt)["pictures"])


def test_a_finding_has_its_tiles_its_pair_its_splits_and_classes(page_of_spoilt):
    of_code = {finding["code"]: finding for finding in report_of(page_of_spoilt)["findings"]}
    overlap = of_code["overlap-across-splits"]
    pair = {"a": "train/cordillera/1.png", "b": "test/cordillera/1.png", "dx": 64, "dy": 0, "pixels": 8192}
    assert overlap["pair"] == pair
    assert (overlap["splits"], overlap["classes"]) == (["train", "test"], ["cordillera"])
    double = of_code["duplicate-pixels"]
    assert double["tiles"] == ["test/cordillera/0.png", "train/cordillera/0.png"]
    assert "pair" not in double
    unreadable = of_code["archive-unreadable"]
    assert (unreadable["tiles"], unreadable["splits"], unreadable["classes"]) == ([], ["validation"], [])
    of_archives = [one for one in report_of(page_of_spoilt)["findings"] if one["code"] == "manifest-mismatch"]
    assert [(one["path"], one["splits"]) for one in of_archives] == [("test.zip", ["test"]), ("train.zip", ["train"])]


def test_tiles_that_are_damaged_are_left_out_and_tiles_of_another_format_are_shown(spoilt):
    damaged, of_rgb, orphan = "validation/cordillera/0.png", "validation/cordillera/1.png", "train/glaciar/6.png"
    pictures = read_pictures(spoilt, [damaged, of_rgb, orphan, "test/glaciar/999.png"])
    assert list(pictures) == [damaged, of_rgb, orphan, "test/glaciar/999.png"]
    assert pictures[damaged] == pictures["test/glaciar/999.png"] == ("", "", None)
    assert pictures[of_rgb].tile
    assert not pictures[orphan].tile
    assert pictures[orphan].overlay


def test_a_picture_of_a_tile_is_like_the_tile(sample):
    path = "train/glaciar/2.png"
    picture = read_pictures(sample, [path])[path]
    with zipfile.ZipFile(sample / "train.zip") as archive, zipfile.ZipFile(sample / "train_masks.zip") as masks:
        tile = np.array(Image.open(io.BytesIO(archive.read(path))).convert("RGB"), float)
        mask = np.array(Image.open(io.BytesIO(masks.read(path))))
    shown = Image.open(io.BytesIO(base64.b64decode(picture.tile.partition(",")[2])))
    assert np.abs(np.array(shown.convert("RGB"), float) - tile).mean() < 8
    assert picture.share == (mask[..., 0] == 255).mean()
    overlay = np.array(Image.open(io.BytesIO(base64.b64decode(picture.overlay.partition(",")[2]))).convert("RGBA"))
    bright = (overlay[..., 3] > 0) & (overlay[..., 0] > 200)
    assert np.array_equal(bright, mask[..., 0] == 255)


def test_an_overlay_shows_other_colours_and_nothing_where_all_is_background():
    mask = np.full((128, 128), BACKGROUND)
    assert overlay_uri(mask) == ""
    mask[3, 5] = ROCK_GLACIER ^ np.uint32(0xFF)
    overlay = Image.open(io.BytesIO(base64.b64decode(overlay_uri(mask).partition(",")[2]))).convert("RGBA")
    colours = np.array(overlay)
    assert colours[3, 5].tolist() == [213, 94, 0, 255]
    assert colours[50, 50, 3] == 0


def test_an_image_that_would_take_much_memory_is_not_decoded(sample_copy):
    file = io.BytesIO()
    Image.new("RGBA", (2000, 2000)).save(file, "PNG")
    rewrite(sample_copy / "test.zip", lambda members: [(members[0][0], file.getvalue()), *members[1:]])
    assert read_pictures(sample_copy, ["test/cordillera/0.png"])["test/cordillera/0.png"].tile == ""


def test_a_folder_without_masks_has_no_switch_for_them(sample_copy):
    (sample_copy / "manifest.json").unlink()
    for split in SPLIT_NAMES:
        (sample_copy / f"{split}_masks.zip").unlink()
    elements = Elements(report_page(audit(sample_copy, ALONE), sample_copy))
    assert "There are no masks to show" in elements.text
    assert "No mask here shows rock glacier" in elements.text
    assert not [one for one in elements.of("input") if one.get("id") == "masks"]


def test_archives_that_cannot_be_read_at_all_get_a_page(sample_copy):
    for archive in sample_copy.glob("*.zip"):
        archive.write_bytes(b"PK\3\4")
    text = Elements(report_page(audit(sample_copy, ALONE), sample_copy)).text
    assert "train, cordillera no tiles" in text
    assert "18 errors, 0 warnings" in text  # 6 archives, and the size and checksum of each in the manifest


def test_the_gallery_says_how_many_of_how_many(sample):
    found = audit(sample, ALONE)
    more = {f"train/glaciar/{number}.png": number for number in range(1234)}
    elements = Elements(report_page(found._replace(groups=more), sample))
    assert f"train, glaciar {GALLERY_TILES} of 1,234 tiles" in elements.text
    assert len([one for one in elements.of("span") if "data-path" in one]) == GALLERY_TILES


def many_findings(count: int) -> list[Finding]:
    """Findings as a release has them where something went wrong throughout."""
    return [
        Finding(
            "mask-empty" if number % 2 else "overlap-across-splits",
            "error",
            f"train/glaciar/{number}.png",
            f"train/glaciar/{number}.png: shows the same ground as test/glaciar/{number}.png, on 8192 pixels at dx=64, "
            "dy=0; put both into one split, as build_archives.py does",
        )
        for number in range(100, 100 + count)
    ]


def test_a_page_of_5000_findings_holds_them_all(sample):
    found = audit(sample, ALONE)._replace(findings=many_findings(5000))
    page = report_page(found, sample)
    assert len(report_of(page)["findings"]) == 5000
    assert len(page) < 4_000_000  # without pictures, which these tiles have not
    assert "findings more" not in Elements(page).text


def test_what_is_left_out_is_said_and_no_code_takes_all_the_room(sample, monkeypatch):
    monkeypatch.setattr(audit_report, "MOST_FINDINGS", 6)
    monkeypatch.setattr(audit_report, "MOST_PICTURES", 2)
    alone = Finding("manifest-mismatch", "error", "manifest.json", "manifest.json: is wrong; mend it")
    found = audit(sample, ALONE)._replace(findings=[*many_findings(40), alone])
    page = report_page(found, sample)
    findings = report_of(page)["findings"]
    assert [finding["code"] for finding in findings].count("mask-empty") == 2
    assert findings[-1] == {**alone._asdict(), "splits": [], "classes": [], "tiles": []}
    text = Elements(page).text
    assert "35 findings more are left out" in text
    assert len(report_of(page)["pictures"]) == 2
    assert "The pictures of 6 tiles are left out" in text


def test_the_command_writes_the_page_beside_the_json(sample_copy, tmp_path, capsys):
    arguments = [str(sample_copy), "--num-proc", "1", "--html", str(tmp_path / "a.html")]
    assert audit_archives.main([*arguments, "--json", str(tmp_path / "a.json")]) == 0
    assert (tmp_path / "a.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.html", "a.json", "sample"]
    assert capsys.readouterr().out.splitlines()[-1] == "0 errors, 0 warnings"


def test_a_page_that_cannot_be_written_is_said(sample, tmp_path, capsys):
    (tmp_path / ".a.html.tmp").mkdir()  # where the page is written first
    assert audit_archives.main([str(sample), "--num-proc", "1", "--html", str(tmp_path / "a.html")]) == 1
    assert ".a.html.tmp" in capsys.readouterr().err
    assert not (tmp_path / "a.html").exists()


@pytest.mark.parametrize("name", ["", "away/a.html", "same.json"])
def test_a_page_that_can_be_no_file_is_refused_first(sample, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        audit_archives.main([str(sample), "--html", name, "--json", "same.json"])
    assert ended.value.code == 2
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("option", ["--html", "--json"])
@pytest.mark.parametrize("name", ["train.zip", "test_masks-00000-of-00002.zip", "manifest.json", "groups.csv"])
def test_no_report_takes_the_place_of_what_is_audited(sample, monkeypatch, capsys, option, name):
    before = {path: path.stat() for path in sample.iterdir()}
    monkeypatch.chdir(sample.parent)
    with pytest.raises(SystemExit) as ended:
        audit_archives.main([str(sample), option, f"{sample.name}/{name}"])
    assert ended.value.code == 2
    assert f"{option} is {sample.name}/{name}, which is audited" in capsys.readouterr().err
    assert {path: path.stat() for path in sample.iterdir()} == before
