# SPDX-License-Identifier: Apache-2.0
"""Stage 2's output: lines on the console, kept in memory, and copied to a log drive where there is one.

The lines are read by the rehearsals: "balena-migrate: [12.345] step flash started". Some are in the kernel's log too,
which netconsole and pstore keep or send on; there they have the kernel's time and not ours.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from balena_migrate.core.paths import STAGE2_SAID
from balena_migrate.core.steps import Step, done, started
from balena_migrate.core.units import MIB, in_mib

PREFIX = "balena-migrate:"
CONSOLE = Path("/dev/console")
DEBUG_FILE = Path("/run/initramfs/initramfs.debug")
KERNEL_LOG = Path("/dev/kmsg")
KERNEL_INFO = "<6>"
"""printk's level info: the kernel shows it on the console as well where its command line has no `quiet`. It takes ten
lines in five seconds from one writer (kernel-parameters.txt: printk.devkmsg; DEFAULT_RATELIMIT_BURST)."""

KERNEL_LINE_BYTES = 900
"""It takes no more than 1024 bytes at once, and refuses longer lines (kernel/printk/printk.c: devkmsg_write)."""

PROGRESS_PAUSE_S = 5.0

LINES_KEPT = 20_000
"""A disk that fails without end does not fill the memory. With the flash's lines these are 14 hours."""
LINES_HANDED_ON = 5_000
"""As many are kept a second time, for a process that follows."""


@dataclass(frozen=True, kw_only=True)
class TimedStep:
    """A step that has succeeded; `start_s` is in seconds since the machine's start."""

    name: Step
    start_s: float
    seconds: float


def uptime_s() -> float:
    """Seconds since the machine's start, also right after it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@contextlib.contextmanager
def outputs(out: TextIO, console: Path = CONSOLE, debug_file: Path = DEBUG_FILE) -> Iterator[tuple[TextIO, ...]]:
    """Where stage 2 speaks: `out`, and the console as well where `out` is initramfs-tools' debug file.

    With `debug` on the kernel's command line its init sends all output to that file (init: log_output), and a device
    that migrates would show nothing.
    """
    with contextlib.ExitStack() as held:
        found = [out]
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(out.fileno()), debug_file.stat()):
                found.append(held.enter_context(console.open("w", encoding="utf-8", errors="surrogateescape")))
        yield tuple(found)


@contextlib.contextmanager
def kernel_log(path: Path = KERNEL_LOG) -> Iterator[TextIO | None]:
    """The kernel's log, to write to; None where there is none."""
    with contextlib.ExitStack() as held:
        found = None
        with contextlib.suppress(OSError):
            found = held.enter_context(path.open("w", encoding="utf-8", errors="surrogateescape"))
        yield found


@contextlib.contextmanager
def lines_handed_on(path: Path = Path(STAGE2_SAID)) -> Iterator[tuple[Sequence[str], TextIO | None]]:
    """What a process said that died before this one; and the file that keeps what this one says, where it can."""
    with contextlib.ExitStack() as held:
        earlier: Sequence[str] = ()
        file = None
        with contextlib.suppress(OSError):
            file = held.enter_context(path.open("a+", encoding="utf-8", errors="surrogateescape"))
            file.seek(0)
            earlier = file.read().splitlines()
        yield earlier, file


class Console:
    """Says what happens, in any thread, and keeps it in `lines`; the file given to `also` gets each line, too.

    `earlier` is what a process said that died before this one, `handed_on` what one that follows reads.
    """

    def __init__(
        self,
        *out: TextIO,
        kernel_log: TextIO | None = None,
        earlier: Sequence[str] = (),
        handed_on: TextIO | None = None,
    ) -> None:
        self._out = out
        self._kernel_log = kernel_log
        self._external: TextIO | None = None
        self._last_progress_s = 0.0
        self._lock = threading.RLock()
        self._handed_on = handed_on
        self.lines: deque[str] = deque(earlier, maxlen=LINES_KEPT)
        self.follows = bool(earlier)
        """Whether another process came before, and died."""
        self.died_in = _last_begun(earlier)
        """Its newest step; None before the first."""
        self.steps: list[TimedStep] = []
        self.current: Step | None = None
        """The newest step; None before the first."""

    def say(self, text: str) -> None:
        """One line. No failure to print it may stop a migration."""
        with self._lock:
            line = f"{PREFIX} [{uptime_s():.3f}] {text}"
            self.lines.append(line)
            for file in (*self._out, self._external):
                _print(line, file)
            if len(self.lines) <= LINES_HANDED_ON:
                _print(line, self._handed_on)

    def announce(self, text: str) -> None:
        """One line, which is in the kernel's log too."""
        with self._lock:
            self.say(text)
            line = f"{KERNEL_INFO}{PREFIX} {text}".encode("utf-8", "surrogateescape")[:KERNEL_LINE_BYTES]
            _print(line.decode("utf-8", "ignore"), self._kernel_log)

    def also(self, file: TextIO | None) -> None:
        """From now on each line goes to the file too, after those that were said so far; None ends that."""
        with self._lock:
            self._external = file
            if file is not None:
                file.write("".join(line + "\n" for line in self.lines))
                file.flush()

    def progress(self, what: str, done_bytes: int, total_bytes: int) -> None:
        """Says how far a part of a long step has come, every few seconds and at its end."""
        if uptime_s() - self._last_progress_s >= PROGRESS_PAUSE_S or done_bytes == total_bytes:
            self._last_progress_s = uptime_s()
            percent = 100 * done_bytes // total_bytes if total_bytes else 100
            self.say(f"{what}: {percent} % ({done_bytes // MIB} of {in_mib(total_bytes)})")

    @contextlib.contextmanager
    def step(self, step: Step) -> Iterator[None]:
        """A step of the sequence: the console says when it begins, when it has succeeded, and how long it took."""
        self.current, start_s = step, uptime_s()
        self.say(started(step))
        yield
        self.steps.append(TimedStep(name=step, start_s=start_s, seconds=uptime_s() - start_s))
        self.say(f"{done(step)} in {uptime_s() - start_s:.1f} s")


def _last_begun(lines: Sequence[str]) -> Step | None:
    """The last step that these lines have as begun."""
    begun = (step for line in reversed(lines) for step in Step if line.endswith(started(step)))
    return next(begun, None)


def _print(line: str, file: TextIO | None) -> None:
    if file is not None:
        with contextlib.suppress(OSError, ValueError):
            file.write(line + "\n")
            file.flush()
