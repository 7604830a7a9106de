"""The audit's page in headless Chromium: everything on it works, and the console shows no error."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Dialog, Page, expect, sync_playwright
from test_audit_page import CLOSING, HOSTILE, many_findings, spoil
from test_mosaics import cut

from rock_glacier.audit.checks import Audit, audit
from rock_glacier.audit.page import report_page
from rock_glacier.parallel import Workers

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 900}

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="left out: no Chromium to open the page in (apt install chromium)"
)


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address(sample, tmp_path_factory):
    """Where the page of a spoiled sample is."""
    folder = tmp_path_factory.mktemp("page")
    spoil(shutil.copytree(sample, folder / "spoiled"))
    return written(folder, audit(folder / "spoiled", Workers(1)))


@pytest.fixture(scope="module")
def address_of_many(sample, tmp_path_factory):
    """Where a page of 1,000 findings is."""
    found = audit(sample, Workers(1))._replace(findings=many_findings(1000))
    return written(tmp_path_factory.mktemp("page"), found)


def written(folder: Path, found: Audit) -> str:
    (folder / "audit.html").write_text(report_page(found))
    return (folder / "audit.html").as_uri()


@pytest.fixture
def open_page(browser):
    """Open pages, each in a window of its own; fail at the end if one showed an error or requested anything."""
    contexts, faults = [], []

    def refuse(dialog: Dialog) -> None:
        faults.append(dialog.message)
        dialog.dismiss()

    def open_it(address: str, **options) -> Page:
        contexts.append(browser.new_context(**({"viewport": DESKTOP} | options)))
        page = contexts[-1].new_page()
        page.on("console", lambda message: faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("dialog", refuse)
        allowed = ("data:", address.partition("#")[0])
        page.on("request", lambda one: None if one.url.startswith(allowed) else faults.append(one.url))
        page.goto(address)
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert faults == []


def shown(page: Page) -> list[str]:
    return page.locator("#list .finding code").all_inner_texts()


def numbers(page: Page, group: str) -> dict[str, str]:
    """Return the numbers beside the boxes of a group of filters."""
    labels = page.get_by_role("group", name=group).locator("label").all()
    return {label.locator("span").nth(0).inner_text(): label.locator("span").nth(1).inner_text() for label in labels}


def test_the_verdict_comes_first_and_hostile_names_are_text(address, open_page):
    page = open_page(address)
    expect(page.get_by_role("heading", level=1)).to_contain_text("18 errors, 0 warnings")
    expect(page.locator("#count")).to_contain_text("All 18 findings")
    expect(page.locator("#list")).to_contain_text(HOSTILE)
    expect(page.locator("#list")).to_contain_text(CLOSING)
    assert page.locator("img:not([src^='data:'])").count() == 0
    assert page.evaluate("[...document.images].every((image) => image.complete && image.naturalWidth >= 128)")


def test_the_filters_work_by_keyboard_together_and_from_an_address(address, open_page):
    page = open_page(address)
    of_empty = page.get_by_role("group", name="Code").get_by_role("checkbox", name="mask-empty")
    assert numbers(page, "Class") == {"cordillera": "3", "glaciar": "10", "none of them": "5"}
    of_empty.focus()
    page.keyboard.press("Space")
    assert shown(page) == ["mask-empty"]
    assert numbers(page, "Class") == {"cordillera": "0", "glaciar": "1", "none of them": "0"}
    assert numbers(page, "Code")["mask-orphan"] == "1"  # the other filters alone count
    expect(page.get_by_role("status")).to_have_text("1 of 18 findings match the filters")
    page.get_by_role("checkbox", name="duplicate-pixels").check()
    assert shown(page) == ["mask-empty", "duplicate-pixels"]
    page.get_by_role("group", name="Split").get_by_role("checkbox", name="train").check()
    assert shown(page) == ["duplicate-pixels"]  # which is of a test tile and a train tile
    page.get_by_role("group", name="Class").get_by_role("checkbox", name="glaciar").check()
    assert shown(page) == []
    again = open_page(page.url.replace("class=glaciar", "class=cordillera"))
    assert shown(again) == ["duplicate-pixels"]
    again.get_by_role("button", name="Clear the filters").click()
    expect(again.get_by_role("status")).to_contain_text("All 18 findings")
    assert "=" not in again.url
    again.get_by_label("Path, source or text").fill("NIEVE")
    assert shown(again) == ["member-name"]
    again.get_by_label("Path, source or text").fill(f"{HOSTILE}001.png")
    assert "mask-empty" in shown(again)
    expect(again.locator("#list")).to_contain_text(f"made from {HOSTILE}001.png")


def test_a_code_of_the_table_leads_to_its_findings(address, open_page):
    page = open_page(address)
    page.get_by_role("link", name="mask-orphan").click()
    assert shown(page) == ["mask-orphan"]
    expect(page.get_by_role("checkbox", name="mask-orphan")).to_be_checked()
    page.go_back()
    expect(page.get_by_role("status")).to_contain_text("All 18 findings")
    expect(page.get_by_role("checkbox", name="mask-orphan")).not_to_be_checked()
    page.go_forward()
    expect(page.get_by_role("status")).to_have_text("1 of 18 findings match the filters")
    page.get_by_role("link", name="Gallery").click()  # a part of the page, which leaves the filters as they are
    expect(page.get_by_role("status")).to_have_text("1 of 18 findings match the filters")


def test_masks_are_laid_over_tiles_and_taken_away(address, open_page):
    page = open_page(address)
    overlays = page.locator(".overlay:visible")
    assert overlays.count() > 10
    switch = page.get_by_role("checkbox", name="Masks")
    switch.focus()
    page.keyboard.press("Space")
    assert overlays.count() == 0
    page.keyboard.press("Space")
    page.get_by_label("Mask opacity").fill("40")
    assert overlays.first.evaluate("(overlay) => getComputedStyle(overlay).opacity") == "0.4"


def test_frames_of_a_pair_show_the_same_under_every_turn(tmp_path, open_page):
    of_test = {f"test/cordillera/{turn}.png": (140, 76, turn) for turn in range(8)}
    found = audit(cut(tmp_path, {"train/cordillera/0.png": (100, 100, 0), **of_test}), Workers(1), same_ground=False)
    page = open_page(f"{written(tmp_path, found)}#code=overlap-across-splits")
    expect(page.get_by_role("heading", name="8 pairs on one ground of 9 tiles")).to_be_visible()
    page.get_by_role("button", name="Show 7 more").click()
    pairs = page.locator(".pair").all()
    assert len(pairs) == 8
    for pair in pairs:
        frames = [frame.screenshot() for frame in pair.locator(".shared").all()]
        a, b = (np.array(Image.open(io.BytesIO(frame)).convert("L"), float) for frame in frames)
        assert np.abs(a - b)[30:, 30:].mean() < 5 < np.abs(a - b[::-1])[30:, 30:].mean()  # without the letters
    page = open_page(written(tmp_path, found._replace(findings=found.findings[:1])))
    expect(page.get_by_role("status")).to_have_text("1 finding")


@pytest.mark.parametrize(("scheme", "viewport"), [("light", DESKTOP), ("dark", PHONE)], ids=["light", "dark"])
def test_it_is_accessible_and_fits(address, open_page, scheme, viewport):
    page = open_page(address, color_scheme=scheme, viewport=viewport)
    assert page.evaluate("document.documentElement.scrollWidth") == viewport["width"]
    found = Axe().run(page).response["violations"]
    assert [(one["id"], one["impact"], one["nodes"][0]["html"]) for one in found] == []


def test_many_findings_are_collapsed_and_come_in_batches(address_of_many, open_page):
    page = open_page(address_of_many)
    expect(page.get_by_role("status")).to_have_text("All 1,000 findings, in 2 groups")
    assert shown(page) == ["overlap-across-splits", "mask-empty"]
    group = page.locator(".group").first
    expect(group.get_by_role("heading")).to_have_text("500 findings")
    group.get_by_role("button", name="Show 50 more of 497").press("Enter")
    assert group.locator(".of-group").count() == 53
    assert page.evaluate("document.activeElement === document.querySelectorAll('.of-group')[3]")
    page.get_by_label("Path, source or text").fill("train/glaciar/1")
    expect(page.get_by_role("status")).to_have_text("200 of 1,000 findings match the filters, in 2 groups")
    page.emulate_media(media="print")
    for hidden in (page.locator("#filters"), group.get_by_role("button", name="Show 50 more of 97")):
        expect(hidden).to_be_hidden()


def test_a_click_enlarges_and_another_or_escape_closes(address, open_page):
    page = open_page(address, viewport=PHONE)
    enlarged = page.get_by_role("dialog", name="Enlarged")
    for within, shows in ((".tile", ".ground"), ("#list", ".shared"), (".mosaics", "img")):
        picture = page.locator(f"{within} .picture:has({shows})").first
        small = picture.bounding_box()["width"]
        picture.press("Enter")
        assert enlarged.locator(shows).first.is_visible()
        assert enlarged.locator(".picture").bounding_box()["width"] >= small
        expect(enlarged.get_by_text(picture.get_attribute("title"))).to_be_visible()
        if shows == ".ground":
            enlarged.get_by_role("button", name="Close").click()
        else:
            page.keyboard.press("Escape")
        expect(enlarged).to_be_hidden()
        expect(picture).to_be_focused()


def test_without_scripts_it_says_what_was_found(address, open_page):
    page = open_page(address, java_script_enabled=False)
    expect(page.get_by_text("the first 18 of 18 findings as text")).to_be_visible()
    expect(page.get_by_text("no train/masks/000.png")).to_be_visible()
    expect(page.locator("#filters")).to_be_hidden()
    page.get_by_role("checkbox", name="Masks").uncheck()
    assert page.locator(".overlay:visible").count() == 0
