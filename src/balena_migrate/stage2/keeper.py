# SPDX-License-Identifier: Apache-2.0
"""A thread that feeds the watchdogs, and notes how much memory was in use at most.

A watchdog that the firmware or the old system started must not reset the device in the midst of the flash. One that
does not run yet is started, so that a machine that hangs before the line comes back to its old system by itself; but
only if it can be stopped again, for the old system may go on booting after us (watchdog-api.rst, "magic close").
"""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from types import TracebackType

from balena_migrate.core.memory import read_memory
from balena_migrate.core.system import System

PAUSE_S = 1.0
MAGIC_CLOSE = b"V"


def usable_watchdogs(system: System) -> tuple[Path, ...]:
    """The device nodes of the watchdogs to feed: those that run, and those that can be stopped again.

    From the kernel's sysfs-class-watchdog; a kernel without these files gets no watchdog started.
    """
    found = []
    for state in system.glob("/sys/class/watchdog/watchdog*/state"):
        running = system.read_text(state).strip() == "active"
        stays = (system.find_text(state.parent / "nowayout") or "1").strip() != "0"
        if running or not stays:
            found.append(system.real(f"/dev/{state.parent.name}"))
    return tuple(found)


class Keeper:
    """Feeds while it is entered; then it stops the watchdogs that can be stopped."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)
        self._files: list[int] = []
        self.watchdogs: tuple[Path, ...] = ()
        self.peak_memory_bytes = 0

    def __enter__(self) -> Keeper:
        self.watchdogs = usable_watchdogs(self._system)
        for path in self.watchdogs:
            with contextlib.suppress(OSError):
                self._files.append(os.open(path, os.O_WRONLY | os.O_CLOEXEC))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        for file in self._files:
            with contextlib.suppress(OSError):
                os.write(file, MAGIC_CLOSE)
            os.close(file)

    def _run(self) -> None:
        while not self._stop.wait(PAUSE_S):
            for file in self._files:
                with contextlib.suppress(OSError):
                    os.write(file, b"\0")
            memory = read_memory(self._system)
            self.peak_memory_bytes = max(self.peak_memory_bytes, memory.total_bytes - memory.available_bytes)
