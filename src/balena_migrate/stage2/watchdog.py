# SPDX-License-Identifier: Apache-2.0
"""Feeds the watchdogs while stage 2 runs.

A watchdog that the firmware or the old system started must not reset the device in the middle of the flash. One that
does not run yet is started, so that a machine that hangs before the line comes back to its old system by itself; but
only if it can be stopped again, for the old system may go on booting after us (watchdog-api.rst, "magic close").
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import BinaryIO

from balena_migrate.core.errors import FileError
from balena_migrate.core.system import System
from balena_migrate.stage2.periodic import every

PAUSE_S = 1.0
MAGIC_CLOSE = b"V"


def usable_watchdogs(system: System) -> tuple[PurePosixPath, ...]:
    """The device nodes of the watchdogs to feed: those that run, and those that can be stopped again.

    From the kernel's sysfs-class-watchdog; a kernel without these files gets no watchdog started.
    """
    found = []
    for state in system.glob("/sys/class/watchdog/watchdog*/state"):
        running = system.read_text(state).strip() == "active"
        stays = (system.find_text(state.parent / "nowayout") or "1").strip() != "0"
        if running or not stays:
            found.append(PurePosixPath("/dev", state.parent.name))
    return tuple(found)


@contextlib.contextmanager
def feeding_watchdogs(machine: System) -> Iterator[None]:
    """The usable watchdogs are fed while this is entered; then those that can be stopped are."""
    with contextlib.ExitStack() as held:
        files = []
        for path in usable_watchdogs(machine):
            with contextlib.suppress(FileError):
                files.append(machine.open_device(path, writable=True))
                held.callback(_close, files[-1])

        def feed() -> None:
            for file in files:
                with contextlib.suppress(OSError):
                    file.write(b"\0")

        with every(PAUSE_S, feed):
            yield


def _close(file: BinaryIO) -> None:
    with file, contextlib.suppress(OSError):
        file.write(MAGIC_CLOSE)
