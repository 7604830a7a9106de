"""The command `rock-glacier`: one subcommand for each script, and what an unexpected error looks like."""

from __future__ import annotations

from pathlib import Path

import pytest

from rock_glacier.cli import COMMANDS, run_command


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Add a subcommand that ends in an error that nobody expected."""
    (tmp_path / "broken_command.py").write_text(
        "def main(arguments):\n    raise KeyError(*arguments) if arguments else KeyboardInterrupt\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("sys.argv", ["pytest"])
    monkeypatch.setitem(COMMANDS, "broken", ("broken_command", ""))


@pytest.mark.usefixtures("broken")
def test_unexpected_error_is_one_line_that_names_debug(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("broken", "scripts/broken.py", ["tile"]) == 1
    expected = "broken.py: error: unexpected KeyError: 'tile'; add --debug for the traceback\n"
    assert capsys.readouterr().err == expected


@pytest.mark.usefixtures("broken")
def test_interruption_before_the_work_begins_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("broken", "scripts/broken.py", []) == 1
    assert capsys.readouterr().err == "broken.py: interrupted\n"


@pytest.mark.usefixtures("broken")
def test_debug_shows_the_traceback_and_is_not_passed_on() -> None:
    with pytest.raises(KeyError, match=r"^'tile'$"):
        run_command("broken", "scripts/broken.py", ["tile", "--debug"])
