# SPDX-License-Identifier: Apache-2.0
"""What happened when: spans that the rehearsal measures, and those that stage 2 reports on its console."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Iterable, Iterator

from balena_migrate.core.progress import Say
from balena_migrate.core.steps import THE_LINE, Step, is_after_the_line
from balena_migrate.core.units import MIB
from balena_migrate.workstation.lab.result import Flash, TimelineStep

STAGE2_STEP = re.compile(rf"balena-migrate: \[([0-9.]+)\] step ({'|'.join(Step)}) (started|done)")
STAGE2_LINE = re.compile(r"balena-migrate: \[[0-9.]+\] .*")
FLASHED = re.compile(
    r"balena-migrate: .*?(?:(\d+) MiB )?written (?:in ([0-9.]+) s, )?(?:and )?read back.* in ([0-9.]+) s\b"
)
"""At the flash's end, such as "422 MiB written and read back in 21.1 s, 20.0 MiB/s"."""
FLASH_SIZE = re.compile(r"balena-migrate: .*\bflash: .* of (\d+) MiB\b")
PEAK_MEMORY = re.compile(r"balena-migrate: .*peak-memory-bytes (\d+)")


class Timeline:
    """Steps in the order of their start. Times are seconds since the device's first power-on; a timeline may continue
    from the given `steps`, at `now_s`."""

    def __init__(self, say: Say, steps: Iterable[TimelineStep] = (), now_s: float = 0.0) -> None:
        self._zero = time.monotonic() - now_s
        self._say = say
        self._lock = threading.Lock()
        self._steps = list(steps)
        self._started: dict[Step, tuple[float, float]] = {}
        self._flash_size_mib = 0
        self.flash: Flash | None = None
        self.peak_memory_bytes: int | None = None

    def now(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._zero

    @property
    def steps(self) -> tuple[TimelineStep, ...]:
        """All finished steps, by start time."""
        with self._lock:
            return tuple(sorted(self._steps, key=lambda step: step.start_s))

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measure a span; it is printed when it starts."""
        start_s = self.now()
        self._say(f"[{start_s:6.1f} s] {name}")
        try:
            yield
        finally:
            self._add(TimelineStep(step=name, start_s=start_s, seconds=self.now() - start_s))

    def read_line(self, now_s: float, line: str) -> None:
        """Read a line of the console: record stage 2's steps, with their durations by the device's own clock."""
        if found := PEAK_MEMORY.search(line):
            self.peak_memory_bytes = int(found[1])
        self._read_flash(line)
        if found := STAGE2_LINE.search(line):
            self._say(f"[{now_s:6.1f} s]   {found[0].removeprefix('balena-migrate: ')}")
        if found := STAGE2_STEP.search(line):
            stamp_s, step = float(found[1]), Step(found[2])
            if found[3] == "started":
                self._started[step] = (now_s, stamp_s)
            elif step in self._started:
                start_s, start_stamp_s = self._started[step]
                self._add(_stage2_step(step, start_s, stamp_s - start_stamp_s))
            if step is Step.REBOOT:
                self._add(_stage2_step(step, now_s, 0.0))

    def _read_flash(self, line: str) -> None:
        if found := FLASH_SIZE.search(line):
            self._flash_size_mib = int(found[1])
        if found := FLASHED.search(line):
            self.flash = Flash(
                written_bytes=int(found[1] or self._flash_size_mib) * MIB,
                write_s=float(found[2] or found[3]),
                read_back_s=float(found[3]),
            )

    @property
    def window_s(self) -> float | None:
        """From the first destructive write to the reboot, by the device's clock; None if it was not reached."""
        return self._between(THE_LINE)

    @property
    def stage2_s(self) -> float | None:
        """From stage 2's first step to the reboot, by the device's clock; None if it did not reboot."""
        return self._between(next(iter(self._started), Step.REBOOT))

    def _between(self, first: Step) -> float | None:
        if first not in self._started or Step.REBOOT not in self._started:
            return None
        return round(self._started[Step.REBOOT][1] - self._started[first][1], 3)

    def _add(self, step: TimelineStep) -> None:
        with self._lock:
            self._steps.append(step)


def _stage2_step(step: Step, start_s: float, seconds: float) -> TimelineStep:
    return TimelineStep(
        step=f"stage 2: {step}",
        start_s=round(start_s, 3),
        seconds=round(seconds, 3),
        after_line=is_after_the_line(step),
    )
