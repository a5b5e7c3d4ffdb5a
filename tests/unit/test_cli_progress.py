"""Progress as a program sees it, and as a person does."""

from __future__ import annotations

import io
import sys

import pytest

from onhand.cli.progress import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_elsewhere_than_on_a_terminal_progress_is_plain_lines(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The first and the last step are lines on standard error; the many between are not."""
    with progress("Publishing") as tell:
        for done in range(1, 10_001):
            tell(done, 10_000)
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert lines[0] == "Publishing: 1 of 10,000 events"
    assert lines[-1] == "Publishing: 10,000 of 10,000 events"
    assert len(lines) < 10


def test_an_unknown_total_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a total only what is done is shown."""
    with progress("Reading", "records") as tell:
        tell(5, 0)
    assert capsys.readouterr().err == "Reading: 5 records\n"


def test_on_a_terminal_progress_is_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal gets a bar with counts."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with progress("Publishing") as tell:
        tell(50, 100)
        tell(100, 100)
    assert "100/100" in terminal.getvalue()
