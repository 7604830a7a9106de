"""The command `audit`: outputs, streams and exit status."""

from __future__ import annotations

import json

from factories import noise_scene, png, replace_member, run_command

from rock_glacier.index import read_index
from rock_glacier_dataset import FAULT_CODES


def test_valid_archives_have_status_0_and_all_outputs(sample, tmp_path, capsys):
    files = {name: tmp_path / f"report.{name}" for name in ("json", "html", "index")}
    options = [text for name, file in files.items() for text in (f"--{name}", file)]
    assert run_command("audit", sample, "--no-matches", "--num-proc", 1, *options) == 0
    captured = capsys.readouterr()
    assert captured.out.endswith("0 errors, 0 warnings\n")
    assert "Wrote" in captured.err
    assert len(read_index(files["index"])) == 22
    assert files["html"].read_text().startswith("<!doctype html>")
    assert json.loads(files["json"].read_text())["faults"] == []


def test_json_has_the_documented_form(data_dir, tmp_path):
    replace_member(data_dir / "train.zip", "train/x.png", b"")
    replace_member(data_dir / "val.zip", "val/cordillera/7.png", png(0))
    run_command("audit", data_dir, "--no-matches", "--num-proc", 1, "--json", tmp_path / "a.json")
    report = json.loads((tmp_path / "a.json").read_text())
    keys = ["tiles", "sites", "located", "faults", "pairs", "location", "geography"]
    assert list(report) == keys
    assert report["tiles"]["validation"] == {"cordillera": 2, "glaciar": 1}
    assert (report["sites"], report["located"], report["location"]) == (6, None, None)
    for fault in report["faults"]:
        assert list(fault) == ["code", "severity", "place", "problem", "fix"]
        assert fault["code"] in FAULT_CODES
        assert fault["severity"] in ("error", "warning")
    assert [pair["pixels"] for pair in report["pairs"]] == [128 * 128]


def test_warnings_alone_have_status_0(data_dir, capsys):
    replace_member(data_dir / "train.zip", "train/cordillera/9.png", png(noise_scene(0)[::-1]))
    assert run_command("audit", data_dir, "--no-matches", "--num-proc", 1) == 0
    assert "warning duplicate-pixels: 1" in capsys.readouterr().out


def test_errors_have_status_1(data_dir, capsys):
    for number in range(5):
        replace_member(data_dir / "train.zip", f"train/x{number}.png", b"")
    assert run_command("audit", data_dir, "--no-matches", "--num-proc", 1) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "error member-name: 5" in lines
    assert "    and 2 more" in lines
    assert lines[-1] == "5 errors, 0 warnings"


def test_report_shows_counts_masks_pairs_and_sites(sample, capsys):
    run_command("audit", sample, "--num-proc", 1)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["total", "12", "4", "6"] in lines
    assert ["glaciar", "6", "2", "3"] in lines
    assert ["match", "0", "0", "0"] in lines
    assert any(line[:5] == ["22", "tiles", "at", "22", "sites;"] for line in lines)


def test_shared_ground_points_to_build(data_dir, tmp_path, capsys):
    replace_member(data_dir / "val.zip", "val/cordillera/7.png", png(0))
    page = tmp_path / "page.html"
    assert run_command("audit", data_dir, "--no-matches", "--num-proc", 1, "--html", page) == 1
    assert "build DATA_DIR OUT --split sites" in capsys.readouterr().out.splitlines()[-1]
    assert "build DATA_DIR OUT --split sites" in page.read_text()


def test_folder_of_png_files_points_to_build(tmp_path, capsys):
    (tmp_path / "glaciar").mkdir()
    (tmp_path / "glaciar" / "1.png").write_bytes(png(0))
    assert run_command("audit", tmp_path) == 1
    assert f"rock-glacier build {tmp_path} OUT" in capsys.readouterr().err


def test_folder_without_archives_is_one_line(tmp_path, capsys):
    assert run_command("audit", tmp_path) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1


def test_index_may_be_written_into_the_folder(data_dir):
    file = data_dir / "tiles.parquet"
    assert run_command("audit", data_dir, "--no-matches", "--num-proc", 1, "--index", file) == 0
    first = file.read_bytes()
    assert run_command("audit", data_dir, "--no-matches", "--num-proc", 1, "--index", file) == 0
    assert file.read_bytes() == first
