"""The audit's command: what it prints, what it writes, and its exit status."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import json
import re
import zipfile
from collections import Counter

import pytest
from archive_contents import contents, rewrite

from rock_glacier.audit.audit_command import main
from rock_glacier.audit.checks import audit
from rock_glacier.parallel import Workers
from rock_glacier.sample.faults import FAULTS, plant_all
from rock_glacier.sample.generate import make_sample_archives


@pytest.fixture(scope="module")
def leaky(tmp_path_factory):
    """A sample with all faults and many overlaps. Not to be changed."""
    folder = tmp_path_factory.mktemp("leaky") / "[red]:warning:[/]"
    make_sample_archives(folder, train=12, validation=4, test=6, overlap=1.0)
    plant_all(folder)
    return folder


def test_reports_are_written_in_the_agreed_form_and_workers_find_what_one_process_finds(leaky, tmp_path, capsys):
    files = [tmp_path / "audit.html", tmp_path / "audit.json"]
    arguments = [str(leaky), "--html", str(files[0]), "--json", str(files[1]), "--num-proc", "2"]
    assert main(arguments) == 1
    assert capsys.readouterr().out.splitlines()[-2:] == [f"wrote {file}" for file in reversed(files)]
    assert files[0].read_text(encoding="utf-8").startswith("<!doctype html>")
    report = json.loads(files[1].read_text())
    assert report == audit(leaky, Workers(1)).as_json()
    assert list(report) == ["tiles", "findings", "overlaps", "same_ground", "grounds"]
    assert report["tiles"]["train"] == {"cordillera": 6, "glaciar": 6}
    assert {tuple(finding) for finding in report["findings"]} == {("code", "severity", "path", "message")}
    assert {finding["code"] for finding in report["findings"]} == set(FAULTS)
    assert {tuple(pair) for pair in report["overlaps"]} == {("a", "b", "turn", "dx", "dy", "pixels")}
    assert {" ".join(pair) for pair in report["same_ground"]} == {"a b turn dx dy matches correlation"}
    assert 1 < report["grounds"] < 18
    assert sorted(tmp_path.iterdir()) == files


def test_the_tables_fit_80_columns_where_they_are_piped(leaky, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    assert main([str(leaky), "--num-proc", "1"]) == 1
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert err == ""
    assert max(map(len, lines)) <= 80
    assert all(line.isprintable() and line == line.rstrip() for line in lines)
    assert all(re.search(rf"^error {code} +\d", out, re.MULTILINE) for code in FAULTS)
    report = audit(leaky, Workers(1)).as_json()
    codes = Counter(finding["code"] for finding in report["findings"])
    pairs, across = len(report["overlaps"]), codes["overlap-across-splits"]
    others, others_across = len(report["same_ground"]), codes["same-ground-across-splits"]
    assert re.fullmatch(rf"18 tiles on \d+ grounds, {pairs} overlapping pairs \({across} across splits\)", lines[-3])
    assert re.fullmatch(rf"{others} other pairs? of the same ground \({others_across} across splits\)", lines[-2])
    assert any(line.endswith(f" ... and {across - 3} more") for line in lines)
    assert re.fullmatch(r"\d+ errors, 0 warnings", lines[-1])


def test_reports_say_where_the_search_for_the_same_ground_was_left_out(leaky, tmp_path, capsys):
    page, report = tmp_path / "audit.html", tmp_path / "audit.json"
    options = ["--without-same-ground", "--html", str(page), "--json", str(report), "--num-proc", "1"]
    assert main([str(leaky), *options]) == 1
    for said in (capsys.readouterr().out, page.read_text(encoding="utf-8")):
        assert "shared ground was searched for by identical pixels only" in said.lower()
    assert json.loads(report.read_text())["same_ground"] is None


def test_the_table_of_masks_shows_their_coverage(sample, capsys):
    main([str(sample), "--num-proc", "1"])
    shares = audit(sample, Workers(1)).coverages().values()
    rows = {
        "masks that show one": [str(one.size) for one in shares],
        "mean share of pixels": [f"{one.mean():.1%}" for one in shares],
        "least share of pixels": [f"{one.min():.1%}" for one in shares],
        "most share of pixels": [f"{one.max():.1%}" for one in shares],
    }
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert all([*name.split(), *figures] in lines for name, figures in rows.items())


@pytest.mark.parametrize("has_colour", [True, False])
def test_colour_adds_nothing_but_colour(leaky, monkeypatch, capsys, has_colour):
    monkeypatch.setenv("FORCE_COLOR", "1")
    if not has_colour:
        monkeypatch.setenv("NO_COLOR", "1")
    main([str(leaky), "--num-proc", "1"])
    out = capsys.readouterr().out
    assert ("\x1b[31m" in out) == has_colour
    assert "error member-name" in re.sub(r"\x1b\[[0-9;]*m", "", out)


def test_warnings_alone_end_with_status_0(sample_copy, capsys):
    tile = contents(sample_copy, "train")["train/cordillera/000.png"]
    rewrite(sample_copy / "train.zip", lambda members: [*members, (zipfile.ZipInfo("train/cordillera/77.png"), tile)])
    assert main([str(sample_copy), "--num-proc", "1"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "0 errors, 1 warning"


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("away", "no such folder"),
        ("file", "no such folder"),
        ("empty", "cannot be looked up|holds no archives"),
        ("tiles", "holds PNG files and no archives; make archives of them with build_archives.py"),
        ("staged/main", r"holds no archives; they are in \S+/staged/script/data; give that folder"),
        ("a::b", "no such folder or has '::'"),
        ("nope://x", "cannot be looked up"),
    ],
)
def test_a_place_without_archives_is_reported_in_one_line(tmp_path, monkeypatch, capsys, name, what):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a::b").mkdir()
    (tmp_path / "staged" / "main" / "config").mkdir(parents=True)
    (tmp_path / "staged" / "script" / "data").mkdir(parents=True)
    (tmp_path / "tiles").mkdir()
    for file in ("file", "staged/script/data/val.zip", "tiles/1.png"):
        (tmp_path / file).touch()
    monkeypatch.chdir(tmp_path)
    assert main([name]) == 1
    assert re.fullmatch(rf"\S+: error: \S*{name}'?: ({what}).*\n", capsys.readouterr().err)


def test_a_page_that_cannot_be_written_is_reported(sample, tmp_path, capsys, files_of_at_most):
    files_of_at_most(10_000)
    assert main([str(sample), "--num-proc", "1", "--html", str(tmp_path / "a.html")]) == 1
    assert f"{tmp_path / 'a.html'}: cannot be written (File too large); make room" in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    "options",
    [["--num-proc", "0"], ["--json", ""], ["--html", "away/a.html"], ["--json", "a", "--html", "a"]],
    ids=" ".join,
)
def test_wrong_usage_has_status_2(sample, tmp_path, monkeypatch, options):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main([str(sample), *options])
    assert ended.value.code == 2
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("option", ["--html", "--json"])
@pytest.mark.parametrize("name", ["train.zip", "test-00000-of-00002.zip", "manifest.json", "grounds.csv"])
def test_no_report_replaces_what_is_audited(sample, capsys, option, name):
    before = {path: path.stat() for path in sample.iterdir()}
    with pytest.raises(SystemExit) as ended:
        main([str(sample), option, str(sample / name)])
    assert ended.value.code == 2
    assert f"{option} is {sample / name}" in capsys.readouterr().err
    assert {path: path.stat() for path in sample.iterdir()} == before
