# SPDX-License-Identifier: Apache-2.0
"""The time line is made of what stage 2 says."""

from __future__ import annotations

import pytest

from balena_migrate.core.units import MIB
from balena_migrate.workstation.lab.result import Flash
from balena_migrate.workstation.lab.timeline import Timeline

LINES = """\
[    3.2] EXT4-fs (sda1): mounted
balena-migrate: [10.000] step mount started
balena-migrate: [11.500] step mount done in 1.5 s
balena-migrate: [20.000] step flash started
balena-migrate: [25.000] flash: 50 % (300 of 600 MiB)
balena-migrate: [30.250] step flash done in 10.2 s
balena-migrate: [31.000] peak-memory-bytes 123456
balena-migrate: [31.500] step reboot started
"""


def read(text: str) -> tuple[Timeline, list[str]]:
    said: list[str] = []
    timeline = Timeline(said.append)
    for number, line in enumerate(text.splitlines()):
        timeline.read_line(100.0 + number, line)
    return timeline, said


def test_window_is_from_the_first_write_to_the_reboot_by_the_devices_clock() -> None:
    timeline, _ = read(LINES)
    assert timeline.window_s == 11.5
    assert timeline.stage2_s == 21.5
    assert timeline.peak_memory_bytes == 123456


def test_steps_know_when_they_began_how_long_they_took_and_on_which_side_of_the_line() -> None:
    timeline, _ = read(LINES)
    found = [(step.step, step.start_s, step.seconds, step.after_line) for step in timeline.steps]
    assert found == [
        ("stage 2: mount", 101.0, 1.5, False),
        ("stage 2: flash", 103.0, 10.25, True),
        ("stage 2: reboot", 107.0, 0.0, True),
    ]


def test_shows_stage_2s_words_and_not_the_kernels() -> None:
    _, said = read(LINES)
    assert len(said) == 7
    assert all("EXT4" not in line for line in said)


def test_there_is_no_window_without_a_flash() -> None:
    timeline, _ = read("balena-migrate: [10.000] step mount started\nbalena-migrate: [12.0] step reboot started\n")
    assert timeline.window_s is None
    assert timeline.stage2_s == 2.0


FLASHED = "balena-migrate: [60.5] 422 MiB written and read back"
PROGRESS = "balena-migrate: [25.0] flash: 50 % (300 of 600 MiB)\n"


@pytest.mark.parametrize(
    ("line", "flash"),
    [
        (f"{FLASHED} in 21.1 s, 20.0 MiB/s", Flash(written_bytes=422 * MIB, write_s=21.1, read_back_s=21.1)),
        (
            f"{FLASHED}, through the page cache in 9 s, 46.9 MiB/s, 3 places written again",
            Flash(written_bytes=422 * MIB, write_s=9.0, read_back_s=9.0),
        ),
        (
            "balena-migrate: [60.5] written in 36.6 s, read back in 13.1 s",
            Flash(written_bytes=600 * MIB, write_s=36.6, read_back_s=13.1),
        ),
        ("balena-migrate: [60.5] 3 MiB read back wrong", None),
    ],
)
def test_the_flash_is_what_stage_2_says_of_it(line: str, flash: Flash | None) -> None:
    """Where it does not say how much it wrote, that is what its progress counts up to."""
    timeline, _ = read(PROGRESS + line)
    assert timeline.flash == flash
    assert read(LINES)[0].flash is None
