# SPDX-License-Identifier: Apache-2.0
"""Stage 2's lines: kept, copied to the log drive from the first on, and never a reason to stop."""

from __future__ import annotations

import io
import re

import pytest

from balena_migrate.core.steps import Step
from balena_migrate.stage2.console import Console


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
