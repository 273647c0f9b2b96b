# SPDX-License-Identifier: Apache-2.0
"""What this device's clock says, and what it must have said once."""

from __future__ import annotations

import time

from balena_migrate.core.errors import FileError
from balena_migrate.core.system import System
from balena_migrate.facts import ClockFacts

WRITTEN_ONCE = (
    "/etc/machine-id",
    "/usr/lib/os-release",
    "/var/lib/dpkg/status",
    "/etc/fake-hwclock.data",
    "/var/lib/systemd/timesync/clock",
    __file__,
)
"""Files that were written when the clock was right: by the system's maker, at the last upgrade or the last time that a
time server answered; the last one when the kit was built."""


def read_clock(system: System) -> ClockFacts:
    """The clock, and the newest of these files; a file that cannot be read says nothing."""
    times = {path: found for path in WRITTEN_ONCE if (found := _written_s(system, path))}
    newest = max(times, key=lambda path: times[path], default="")
    return ClockFacts(now_s=int(time.time()), written_s=times.get(newest, 0), written=newest)


def _written_s(system: System, path: str) -> int:
    try:
        return int(system.stat(path).st_mtime)
    except FileError:
        return 0
