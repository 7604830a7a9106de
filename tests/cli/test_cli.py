"""All commands: help, wrong usage, known and unknown errors, interruptions and pipes."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import datasets
import factories
import huggingface_hub.errors
import pytest

import rock_glacier_dataset
from rock_glacier import cli, synthetic
from rock_glacier.cli import extras, options, sample
from rock_glacier.faults import InputError
from rock_glacier_dataset import ArchiveError, Fault

FAULT = Fault("png-corrupt", "train.zip: train/glaciar/007.png", "is damaged\x1b", "Copy it again")
HEAVY = {"numpy", "pandas", "PIL", "datasets", "huggingface_hub", "pyarrow", "geopandas"}


def run_failing(error: BaseException, *arguments: str, name: str = "fail") -> int:
    """Run a command that raises an error."""

    def run(_: argparse.Namespace) -> int:
        raise error

    command = types.SimpleNamespace(HELP="Fail", add_arguments=lambda parser: None, run=run)
    return cli.main([name, *arguments], {name: command})


def wrapped_by_datasets(cause: Exception) -> Exception:
    error = datasets.builder.DatasetGenerationError("An error occurred")
    error.__cause__ = cause
    return error


def run_script(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a script of `scripts/` in a separate process, in another folder."""
    script = factories.REPOSITORY / "scripts" / name
    return subprocess.run(
        [sys.executable, script, *arguments], capture_output=True, text=True, cwd="/", check=False
    )


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_help_of_each_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert factories.run_command(command, "--help") == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"usage: rock-glacier {command} ")
    assert "--debug" in printed


def test_overview_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert factories.run_command("--help") == 0
    printed = capsys.readouterr().out
    assert all(
        f"    {command} " in printed or f"    {command}\n" in printed for command in cli.COMMANDS
    )


def test_help_imports_no_large_package() -> None:
    """Their imports would take longer than half a second."""
    code = f"""
import sys
from rock_glacier.cli import main
try:
    main(["--help"])
except SystemExit:
    print({HEAVY} & sys.modules.keys(), file=sys.stderr)
"""
    ended = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=factories.REPOSITORY,
        check=False,
    )
    assert ended.stderr == "set()\n"


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_each_command_has_a_script_of_the_same_name(command: str) -> None:
    ended = run_script(f"{command.replace('-', '_')}.py", "--help")
    assert ended.returncode == 0
    assert ended.stdout.startswith(f"usage: rock-glacier {command} ")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["unknown"],
        ["smoke-load", "data", "--unknown"],
        ["sample"],
        ["sample", "out", "--train", "0"],
        ["sample", "out", "--overlap", "nan"],
        ["sample", "out", "--seed", "-1"],
        ["build", "tiles"],
        ["audit"],
        ["audit", "data", "--json", "missing/report.json"],
        ["audit", "data", "--html", "."],
        pytest.param(
            ["audit", "data", "--index", "/proc/tiles.parquet"],
            marks=pytest.mark.skipif(sys.platform != "linux", reason="/proc is part of Linux"),
        ),
        ["audit", "data", "--no-match"],
        ["audit", "data", "--num-proc", "0"],
        ["stage", "data"],
        ["stage", "data", "out", "--repo-id", "name"],
        ["upload"],
        ["score", "predictions"],
        ["score", "predictions", "--name", "unknown"],
        ["score", "predictions", "--name", "image-classification", "--index", "missing.parquet"],
    ],
    ids=" ".join,
)
def test_wrong_usage_has_status_2(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert factories.run_command(*arguments, cwd=tmp_path) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("usage: rock-glacier")
    assert not list(tmp_path.iterdir())


def test_unknown_option_shows_the_usage_of_its_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert factories.run_command("sample", "out", "--sead", "1") == 2
    assert capsys.readouterr().err.startswith("usage: rock-glacier sample ")


@pytest.mark.parametrize("read", [options.positive, options.not_negative, options.fraction])
def test_value_that_is_not_a_number_is_explained(read: Any) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="'ten' is not a"):
        read("ten")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert factories.run_command("--version") == 0
    version = str(rock_glacier_dataset.RockGlacierDataset.VERSION)
    assert capsys.readouterr().out == f"rock-glacier {version}\n"


def test_options_that_cannot_be_combined(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_failing(options.UsageError("give one of both")) == 2
    assert capsys.readouterr().err == (
        "usage: rock-glacier fail [-h] [--debug]\nrock-glacier fail: error: give one of both\n"
    )


@pytest.mark.parametrize(
    ("error", "place"),
    [
        (ArchiveError(FAULT), "train.zip: train/glaciar/007.png"),
        (wrapped_by_datasets(ArchiveError(FAULT)), "train.zip: train/glaciar/007.png"),
        (InputError("scores.csv: has no column score.\nAdd it."), "scores.csv"),
        (FileNotFoundError(2, "No such file or directory", "data"), "data"),
        (FileNotFoundError("data/tiles.parquet"), "data/tiles.parquet: No such file or directory"),
        (PermissionError(13, "Permission denied", "out\x1b"), "out\\x1b"),
        (ConnectionError("cannot reach huggingface.co"), "huggingface.co"),
        (huggingface_hub.errors.LocalTokenNotFoundError("token"), "hf auth login"),
        (ModuleNotFoundError("No module", name="tqdm.auto"), "-m pip install tqdm"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_known_error_is_one_line(
    error: Exception, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_failing(error) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("Error: ")
    assert place in line
    assert "\x1b" not in line


@pytest.mark.parametrize("command", extras.EXTRAS)
def test_missing_package_names_the_extra(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    extra = extras.EXTRAS[command]
    assert run_failing(ModuleNotFoundError("No module", name="scipy.linalg"), name=command) == 1
    assert f"{sys.executable} -m pip install -e '.[{extra}]'" in capsys.readouterr().err
    project = (factories.REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    assert f"\n{extra} = [" in project


def test_install_hint_shortens_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(sys.executable).parent.parent)
    hint = extras.describe_missing_package(ModuleNotFoundError(name="scipy"), "audit")
    assert hint is not None
    assert f" bin/{Path(sys.executable).name} -m pip install" in hint


def test_error_of_the_http_client_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    httpx = getattr(huggingface_hub.utils, "httpx", None)
    if httpx is None:
        pytest.skip("this huggingface_hub uses requests, whose errors are OSErrors")
    assert run_failing(httpx.ConnectError("no route to host")) == 1
    assert "no route to host" in capsys.readouterr().err


def test_debug_raises_a_known_error() -> None:
    with pytest.raises(ArchiveError):
        run_failing(ArchiveError(FAULT), "--debug")


@pytest.mark.parametrize(
    "error",
    [
        KeyError("site"),
        ValueError("shapes do not match"),
        wrapped_by_datasets(KeyError("site")),
        ModuleNotFoundError("No module", name="rock_glacier.missing"),
        BrokenPipeError(32, "Broken pipe"),  # for example from a worker that died
    ],
    ids=lambda error: type(error).__name__,
)
def test_unknown_error_is_raised(error: Exception) -> None:
    with pytest.raises(type(error)) as raised:
        run_failing(error)
    assert raised.value is error


def test_interruption_has_status_130(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_failing(KeyboardInterrupt()) == 130
    assert capsys.readouterr() == ("", "Interrupted\n")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other pipes")
def test_closed_pipe_ends_a_command_quietly() -> None:
    code = """
import sys, types
from rock_glacier import cli, output

def run(options):
    sys.stdin.read()  # until the reader has closed the pipe
    output.text("line")

command = types.SimpleNamespace(HELP="Print", add_arguments=lambda parser: None, run=run)
sys.exit(cli.main(["print"], {"print": command}))
"""
    settings: Any = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    settings["cwd"] = factories.REPOSITORY
    settings["env"] = {**os.environ, "PYTHONUNBUFFERED": ""}
    child: Any
    with subprocess.Popen([sys.executable, "-c", code], **settings) as child:
        child.stdout.close()
        child.stdin.close()
        assert child.stderr.read() == b""
    assert child.returncode == 1


def test_facts_of_the_parsers_are_those_of_the_dataset() -> None:
    assert options.REPO_ID == rock_glacier_dataset.REPO_ID
    assert options.CONFIG_NAMES == rock_glacier_dataset.CONFIG_NAMES
    assert options.SPLIT_NAMES == rock_glacier_dataset.SPLIT_NAMES
    assert sample.DEFAULT_SIZES == synthetic.DEFAULT_SIZES
