# SPDX-License-Identifier: Apache-2.0
"""Stage 2's lines: kept, copied to the log drive from the first on, and never a reason to stop."""

from __future__ import annotations

import io
import re
import threading
import time
from pathlib import Path

import pytest

from balena_migrate.core.steps import Step
from balena_migrate.stage2.console import LINES_HANDED_ON, LINES_KEPT, Console, kernel_log, lines_handed_on, outputs


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


def test_what_is_announced_is_in_the_kernels_log_with_its_level_and_on_the_console() -> None:
    out, log = io.StringIO(), io.StringIO()
    console = Console(out, kernel_log=log)
    console.say("for the console")
    console.announce("for both")
    assert log.getvalue() == "<6>balena-migrate: for both\n"
    assert [line.split("] ")[1] for line in out.getvalue().splitlines()] == ["for the console", "for both"]


@pytest.mark.parametrize("is_there", [True, False])
def test_a_machine_without_a_kernel_log_does_without(tmp_path: Path, is_there: bool) -> None:
    path = tmp_path / "kmsg"
    if is_there:
        path.touch()
    with kernel_log(path if is_there else tmp_path / "no/kmsg") as log:
        Console(io.StringIO(), kernel_log=log).announce("hello")
        assert (log is not None) is is_there
    assert not is_there or path.read_text() == "<6>balena-migrate: hello\n"


def test_what_is_too_long_for_the_kernels_log_is_cut_there_only() -> None:
    """It would refuse all of the line, and of the next."""
    out, log = io.StringIO(), io.StringIO()
    Console(out, kernel_log=log).announce("\u20ac" * 1000)
    assert 850 < len(log.getvalue().encode()) < 1000
    assert log.getvalue().startswith("<6>balena-migrate: \u20ac")
    assert log.getvalue().endswith("\u20ac\n")
    assert out.getvalue().count("\u20ac") == 1000


def test_a_disk_that_fails_without_end_does_not_fill_the_memory() -> None:
    console = Console()
    for number in range(LINES_KEPT + 10):
        console.say(str(number))
    assert len(console.lines) == LINES_KEPT
    assert console.lines[-1].endswith(f"] {LINES_KEPT + 9}")


def test_a_process_that_follows_one_that_died_has_its_lines_and_knows_its_step(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    with lines_handed_on(path) as (earlier, file):
        first = Console(io.StringIO(), earlier=earlier, handed_on=file)
        assert (first.follows, first.died_in) == (False, None)
        with first.step(Step.MOUNT):
            pass
        with first.step(Step.SECURE):
            first.say("a file \udcff of no encoding")
            with lines_handed_on(path) as (earlier, file):
                second = Console(io.StringIO(), earlier=earlier, handed_on=file)
    assert (second.follows, second.died_in, second.current) == (True, Step.SECURE, None)
    assert list(second.lines) == list(first.lines)[:-1]


def test_nothing_is_handed_on_where_there_is_no_place_for_it(tmp_path: Path) -> None:
    with lines_handed_on(tmp_path / "no/lines") as (earlier, file):
        assert (list(earlier), file) == ([], None)
        Console(io.StringIO(), earlier=earlier, handed_on=file).say("still here")


def test_what_is_handed_on_has_an_end() -> None:
    """It is in memory, as is what is kept."""
    file = io.StringIO()
    console = Console(handed_on=file)
    for _ in range(LINES_HANDED_ON + 10):
        console.say("the disk fails")
    assert len(file.getvalue().splitlines()) == LINES_HANDED_ON


def test_lines_of_two_threads_do_not_mix() -> None:
    class Slow(io.StringIO):
        def write(self, text: str) -> int:
            for letter in text:
                super().write(letter)
                time.sleep(0)
            return len(text)

    out = Slow()
    console = Console(out)

    def speak() -> None:
        for _ in range(50):
            console.say("x" * 50)

    threads = [threading.Thread(target=speak) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(out.getvalue().splitlines()) == 200
    assert all(re.fullmatch(r"balena-migrate: \[[\d.]+\] x{50}", line) for line in out.getvalue().splitlines())
