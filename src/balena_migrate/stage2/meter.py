# SPDX-License-Identifier: Apache-2.0
"""How far the flash is, for people and for machines: percent, rate and the time that is left.

Standard library only.
"""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass

from balena_migrate.core.steps import Step
from balena_migrate.core.units import MIB, in_mib
from balena_migrate.core.values import to_json
from balena_migrate.stage2.console import Console, uptime_s
from balena_migrate.stage2.flash import FlashProgress

RATE_TICKS = 6
"""The rate is that of as many ticks: half a minute, in which a slow medium takes several windows."""

SILENCE_S = 60.0
"""A flash that does not come on says so as often."""


@dataclass(frozen=True, kw_only=True)
class ProgressLine:
    """How far stage 2's flash is.

    While it runs, a line such as `balena-migrate: [12.345] progress {"step": "flash", ...}` is on the device's console
    and on the log drive every five seconds; the number in brackets is the time since the machine's start in seconds.
    Where nothing comes on, the line comes once a minute. The line before it says the same for people, and is in the
    kernel's log as well.
    """

    step: Step
    """Always `"flash"` so far."""
    written_bytes: int
    """Of `total_bytes`, what is on the disk and flushed."""
    verified_bytes: int
    """Of `total_bytes`, what was read back from the disk and found right. It begins anew where all is compared again.
    """
    total_bytes: int
    """What will be written: what the image has in use, not its size."""
    rate_bytes_s: int
    """Written and flushed, by second, in the last half minute."""
    left_s: int | None
    """The time until all is read back, if the rest goes like what was; null as long as nothing is known."""


class FlashMeter:
    """Takes the progress from the engine, and says it each time that it is asked to."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._start_s = self._said_s = uptime_s()
        self._said: FlashProgress | None = None
        self._now: FlashProgress | None = None
        self._marks = deque([(self._start_s, 0)], maxlen=RATE_TICKS + 1)
        """When a tick was, and what was written then."""

    def take(self, progress: FlashProgress) -> None:
        """The engine's report."""
        self._now = progress

    def tick(self) -> None:
        """One line for people and one for machines, if there is something new, or nothing was for SILENCE_S."""
        now, now_s = self._now, uptime_s()
        if now is None:
            return
        self._marks.append((now_s, now.written_bytes))
        if now != self._said or now_s - self._said_s >= SILENCE_S:
            self._said, self._said_s = now, now_s
            line = self._line(now, now_s)
            self._console.announce(describe(line))
            self._console.say(f"progress {json.dumps(to_json(line))}")

    def _line(self, now: FlashProgress, now_s: float) -> ProgressLine:
        since_s, before_bytes = self._marks[0]
        left_bytes = now.total_bytes - now.verified_bytes
        took_s = now_s - self._start_s
        return ProgressLine(
            step=Step.FLASH,
            written_bytes=now.written_bytes,
            verified_bytes=now.verified_bytes,
            total_bytes=now.total_bytes,
            rate_bytes_s=int((now.written_bytes - before_bytes) / max(now_s - since_s, 0.001)),
            left_s=round(took_s * left_bytes / now.verified_bytes) if now.verified_bytes else None,
        )


def describe(line: ProgressLine) -> str:
    """For people: "flash: 45 % (190 of 422 MiB on the disk, 182 read back), 38.1 MiB/s, 6 s left"."""
    percent = 100 * line.written_bytes // line.total_bytes if line.total_bytes else 100
    done = (
        f"{line.written_bytes // MIB} of {in_mib(line.total_bytes)} on the disk, {line.verified_bytes // MIB} read back"
    )
    left = "" if line.left_s is None else f", {line.left_s} s left"
    return f"{line.step}: {percent} % ({done}), {line.rate_bytes_s / MIB:.1f} MiB/s{left}"
