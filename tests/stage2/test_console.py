# SPDX-License-Identifier: Apache-2.0
"""Stage 2's lines: kept, copied to the log drive from the first on, and never a reason to stop."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from balena_migrate.core.steps import Step
from balena_migrate.stage2.console import Console, outputs


class BrokenTerminal(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError("gone")


def test_a_log_drive_gets_what_was_said_before_it() -> None:
    console, log = Console(io.StringIO()), io.StringIO()
    console.say("first")
    console.also(log)
    console.say("second")
    console.also(None)
    console.say("third")
    assert [line.split("] ")[1] for line in log.getvalue().splitlines()] == ["first", "second"]


def test_a_terminal_that_is_gone_does_not_stop_it() -> None:
    console = Console(BrokenTerminal())
    with console.step(Step.FLASH):
        console.say("still here")
    assert len(console.lines) == 3


@pytest.mark.parametrize(("name", "is_on_console"), [("initramfs.debug", True), ("other", False)])
def test_output_that_goes_to_the_debug_file_is_on_the_console_too(
    tmp_path: Path, name: str, is_on_console: bool
) -> None:
    """As with the kernel argument `debug`; each line is there while stage 2 still runs."""
    screen = tmp_path / "console"
    (tmp_path / "initramfs.debug").touch()
    screen.touch()
    with (tmp_path / name).open("w") as file, outputs(file, screen, tmp_path / "initramfs.debug") as voices:
        Console(*voices).say("hello")
        assert "hello" in (tmp_path / name).read_text()
        assert ("hello" in screen.read_text()) is is_on_console


def test_a_console_that_cannot_be_opened_is_no_reason_to_stop(tmp_path: Path) -> None:
    with (tmp_path / "debug").open("w") as file, outputs(file, tmp_path / "no/console", tmp_path / "debug") as voices:
        assert voices == (file,)


def test_a_step_says_its_begin_and_its_end_in_lines_that_can_be_read_back() -> None:
    out = io.StringIO()
    console = Console(out)
    with console.step(Step.FLASH):
        pass
    first, last = out.getvalue().splitlines()
    assert re.fullmatch(r"balena-migrate: \[\d+\.\d{3}\] step flash started", first)
    assert re.fullmatch(r"balena-migrate: \[\d+\.\d{3}\] step flash done in \d+\.\d s", last)
    assert [step.name for step in console.steps] == [Step.FLASH]


def test_a_step_that_fails_is_the_current_one() -> None:
    console = Console(io.StringIO())
    with pytest.raises(ValueError, match="x"), console.step(Step.SECURE):
        raise ValueError("x")
    assert console.current is Step.SECURE
    assert console.steps == []
