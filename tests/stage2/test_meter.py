# SPDX-License-Identifier: Apache-2.0
"""The flash's progress: one line for people, one for machines, and silence where nothing comes on."""

from __future__ import annotations

import io
import json
import re

import pytest

from balena_migrate.core.units import MIB
from balena_migrate.stage2 import meter
from balena_migrate.stage2.console import Console
from balena_migrate.stage2.flash import FlashProgress
from balena_migrate.stage2.meter import FlashMeter


class Clock:
    now_s = 100.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(meter, "uptime_s", lambda: found.now_s)
    return found


def at(written_mib: int, verified_mib: int) -> FlashProgress:
    return FlashProgress(written_bytes=written_mib * MIB, verified_bytes=verified_mib * MIB, total_bytes=400 * MIB)


def texts(out: io.StringIO) -> list[str]:
    return [line.partition("] ")[2] for line in out.getvalue().splitlines()]


def test_percent_rate_and_the_time_left_are_those_of_the_medium(clock: Clock) -> None:
    """What is left goes by what was read back so far."""
    out, log = io.StringIO(), io.StringIO()
    found = FlashMeter(Console(out, kernel_log=log))
    for seconds, progress in ((5, at(100, 80)), (5, at(180, 160))):
        clock.now_s += seconds
        found.take(progress)
        found.tick()
    people = [
        "flash: 25 % (100 of 400 MiB on the disk, 80 read back), 20.0 MiB/s, 20 s left",
        "flash: 45 % (180 of 400 MiB on the disk, 160 read back), 18.0 MiB/s, 15 s left",
    ]
    first, line, second, _ = texts(out)
    assert [first, second] == people
    assert log.getvalue().splitlines() == [f"<6>balena-migrate: {text}" for text in people]
    assert json.loads(line.removeprefix("progress ")) == {
        "step": "flash",
        "written_bytes": 100 * MIB,
        "verified_bytes": 80 * MIB,
        "total_bytes": 400 * MIB,
        "rate_bytes_s": 20 * MIB,
        "left_s": 20,
    }


def test_a_machine_finds_its_line_by_its_begin(clock: Clock) -> None:
    out = io.StringIO()
    found = FlashMeter(Console(out))
    found.take(at(1, 0))
    clock.now_s += 1
    found.tick()
    (line,) = re.findall(r"^balena-migrate: \[\d+\.\d{3}\] progress (\{.*\})$", out.getvalue(), re.MULTILINE)
    assert json.loads(line)["left_s"] is None


def test_nothing_new_is_said_once_a_minute(clock: Clock) -> None:
    out = io.StringIO()
    found = FlashMeter(Console(out))
    found.tick()
    assert out.getvalue() == ""
    found.take(at(8, 4))
    for _ in range(26):
        clock.now_s += 5
        found.tick()
    assert len(texts(out)) == 2 * 3, "at once, after 60 s and after 120 s"
    assert "0.0 MiB/s" in texts(out)[-2]


def test_the_rate_is_that_of_the_last_half_minute(clock: Clock) -> None:
    """A window that comes every ten seconds is no rate of nothing; and what was long ago does not count."""
    out = io.StringIO()
    found = FlashMeter(Console(out))
    for ticks in range(1, 41):
        clock.now_s += 5
        slow = max(ticks - 20, 0)
        found.take(at(min(ticks, 20) * 10 + slow // 2 * 2, 8))
        found.tick()
    rates = [float(found) for line in texts(out) for found in re.findall(r"([\d.]+) MiB/s", line)]
    assert rates[:20] == [2.0] * 20
    assert all(0.1 < rate < 0.3 for rate in rates[-5:])


def test_a_goal_of_nothing_is_done() -> None:
    console = Console(io.StringIO())
    found = FlashMeter(console)
    found.take(FlashProgress(written_bytes=0, verified_bytes=0, total_bytes=0))
    found.tick()
    assert "flash: 100 %" in console.lines[0]
