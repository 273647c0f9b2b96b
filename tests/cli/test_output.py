# SPDX-License-Identifier: Apache-2.0
"""What is shown at a terminal is whole, however narrow it is."""

from __future__ import annotations

import os
import pty

import click
import pytest

from balena_migrate.cli.output import print_table, progress, show_findings
from balena_migrate.findings import blocker, passed

PATH = "/srv/" + "pallets/" * 12


@pytest.fixture(autouse=True)
def narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("FORCE_COLOR", "1"), ("TERM", "xterm"), ("COLUMNS", "50")):
        monkeypatch.setenv(name, value)


def shown(capsys: pytest.CaptureFixture[str]) -> list[str]:
    lines = click.unstyle(capsys.readouterr().out).splitlines()
    assert max(map(len, lines)) <= 50
    return [line.rstrip() for line in lines]


def test_a_finding_is_wrapped_beside_its_severity_and_its_remedy_follows(capsys: pytest.CaptureFixture[str]) -> None:
    show_findings(
        (passed("place", "all is well"), blocker("disk-size", "the image is larger than the disk", f"remove {PATH}"))
    )
    lines = shown(capsys)
    assert lines[:3] == ["BLOCKER disk-size: the image is larger than the", "        disk", "        -> remove"]
    assert "".join(line.strip() for line in lines[3:-1]) == PATH
    assert lines[-1] == "OK      place: all is well"


def test_a_long_cell_of_a_table_is_not_cut(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("name", "path"), (("Depot", PATH),))
    cells = [line.split("\N{BOX DRAWINGS LIGHT VERTICAL}")[2].strip() for line in shown(capsys)[3:-1]]
    assert "".join(cells) == PATH


def shown_progress(monkeypatch: pytest.MonkeyPatch, term: str) -> str:
    """What a terminal of this kind gets to see of an image that is read to its half."""
    monkeypatch.setenv("TERM", term)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.setattr("balena_migrate.cli.output.PLAIN_PAUSE_S", 0)
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal, os.fdopen(ours, "rb", 0) as screen:
        monkeypatch.setattr("sys.stderr", terminal)
        with progress("image") as report:
            report(5, 10)
        terminal.flush()
        os.set_blocking(ours, False)
        return screen.read().decode()


def test_progress_is_a_bar_where_the_cursor_can_be_moved_and_lines_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b[" in shown_progress(monkeypatch, "xterm")
    assert shown_progress(monkeypatch, "dumb") == "image: 50 % of 0 MiB\r\n", "as on many serial consoles"
