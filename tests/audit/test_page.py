"""The page is complete, self-contained and safe."""

from __future__ import annotations

import base64
import html.parser
import io
import re
import zipfile

import numpy as np
import pytest
from factories import copy, make_data_dir, noise_scene, png, write_zip
from PIL import Image

from rock_glacier.audit.checks import check
from rock_glacier.audit.page import render_page
from rock_glacier.index import INDEX_NAME, write_index
from rock_glacier.parallel import Workers
from rock_glacier.sites import find_sites
from rock_glacier.tiles import TileSet

HOSTILE = "<img src=x onerror=alert(1)>"


class Page(html.parser.HTMLParser):
    """The elements of a page, with their attributes, and its visible text."""

    def __init__(self, page):
        super().__init__()
        self.elements = []
        self.open_tags = []
        self.text = ""
        self.feed(page)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in ("meta", "img", "rect", "path", "circle"):
            self.open_tags.append(tag)

    def handle_endtag(self, tag):
        if tag not in ("rect", "path", "circle"):
            assert self.open_tags.pop() == tag

    def handle_data(self, data):
        if self.open_tags[-1:] != ["style"]:
            self.text += f" {data}"

    def find(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def render(data_dir, *, matches=False):
    with TileSet.read(data_dir, Workers(1)) as tiles:
        sites = find_sites(tiles, Workers(1), matches=matches)
        return render_page(check(tiles, sites, matches=matches), tiles)


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    """A folder with a hostile name, a hostile member, and 36 overlaps across splits.

    The masks of six glaciar tiles differ in 15 pairs, and contradict six cordillera tiles.
    """
    scene = noise_scene(0, 128, 500)
    tiles = {f"train/cordillera/{n}.png": png(scene[:, 9 * n : 9 * n + 128]) for n in range(6)}
    tiles |= {f"test/glaciar/{n}.png": png(scene[:, 9 * n + 54 :][:, :128]) for n in range(6)}
    tiles["val/cordillera/0.png"] = png(1)
    folder = make_data_dir(tmp_path_factory.mktemp("faulty") / f"a{HOSTILE}", tiles)
    with zipfile.ZipFile(folder / "train.zip", "a") as archive:
        archive.writestr(f"train/{HOSTILE}/1.png", b"")
    return folder


@pytest.fixture(scope="module")
def faulty_page(faulty):
    return render(faulty)


def test_page_of_valid_archives_shows_verdict_and_counts(sample):
    page = Page(render(sample, matches=True))
    assert not page.open_tags
    assert "No faults found" in page.text
    assert "tiles 22 sites 22 pairs within a split 0" in page.text
    assert "6 cordillera, 6 glaciar" in page.text
    assert "--no-matches" not in page.text


def test_page_shows_errors_by_code(faulty_page):
    page = Page(faulty_page)
    assert not page.open_tags
    assert "37 errors, 21 warnings" in page.text
    assert "member-name 1" in page.text
    assert "overlap-across-splits 36" in page.text
    assert "train.zip: train/cordillera/0.png: overlaps test/glaciar/0.png" in page.text
    assert "--no-matches" in page.text


def test_page_needs_neither_network_nor_script(faulty_page):
    page = Page(faulty_page)
    assert not [tag for tag in ("script", "link", "iframe", "object", "embed") if page.find(tag)]
    assert not re.search(r"url\(|@import|https?://", faulty_page)
    assert all(image["src"].startswith("data:image/") for image in page.find("img"))
    assert not [name for _, attributes in page.elements for name in attributes if name[:2] == "on"]


def test_names_are_escaped(faulty_page):
    assert HOSTILE not in faulty_page
    page = Page(faulty_page)
    assert f"Audit of a{HOSTILE}" in page.text
    assert f"train/{HOSTILE}/1.png" in page.text


def test_pictures_can_be_decoded_and_have_texts(faulty_page):
    images = Page(faulty_page).find("img")
    assert len(images) > 5
    for image in images:
        content = base64.b64decode(image["src"].partition(",")[2], validate=True)
        picture = Image.open(io.BytesIO(content))
        assert picture.size == (int(image["width"]), int(image["height"]))
        assert image["alt"]


def test_page_is_reproducible_and_has_no_path_of_the_machine(faulty, faulty_page, tmp_path):
    again = render(copy(faulty, tmp_path / faulty.name))
    assert again == faulty_page
    assert str(faulty.parent) not in faulty_page


def test_page_counts_faults_that_it_omits(data_dir):
    members = {f"train/cordillera/{number}.txt": b"" for number in range(130)}
    write_zip(data_dir / "train.zip", {"train/cordillera/000.png": png(0), **members})
    page = Page(render(data_dir))
    assert "member-name 130" in page.text
    assert len(page.find("li")) == 100
    assert "30 other faults" in page.text


def test_conflicts_of_labels_and_masks_are_drawn(faulty_page):
    alts = [image["alt"] for image in Page(faulty_page).find("img")]
    # Three codes of pairs with up to six pictures each, and the largest site.
    assert len(alts) == 3 * 6 - 1 + 1
    assert "train/cordillera/0.png (mask: yellow) and test/glaciar" in Page(faulty_page).text


def test_archives_without_tiles_get_a_page(tmp_path):
    page = Page(render(make_data_dir(tmp_path / "archives", {})))
    assert "tiles 0 sites 0" in page.text
    assert not page.find("img")


def test_blocks_of_a_site_are_shown(tmp_path, faulty, audit):
    folder = copy(faulty, tmp_path / "archives")
    (folder / "test.zip").unlink()
    index = audit(folder).index
    far = index["path"] == "val/cordillera/0.png"
    index = index.assign(site=0, block=far.astype(int), x=np.where(far, 600, index["x"]))
    write_index(index, folder / INDEX_NAME)
    assert (
        "7 tiles (6 train cordillera, 1 validation cordillera), 2 blocks"
        in Page(render(folder)).text
    )
