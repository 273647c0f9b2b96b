# SPDX-License-Identifier: Apache-2.0
"""What is written to: a loop device on a file in memory, as fast as this machine, or as slow as an SD card.

The card of an emulated board is the third (`bench.board`).
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from balena_migrate.core.errors import LabError
from balena_migrate.core.system import System
from balena_migrate.core.units import MIB
from bench.process import Runner, run
from bench.throttle import Rates, throttled

MEMORY = Path("/dev/shm")
STALE = b"\xa5"
SD_CARD = Rates(write=20_000_000, read=40_000_000)
TOLERANCE = 1.25
"""How much faster than its limit a throttled target may measure: the kernel allows a burst at the start."""


class Kind(StrEnum):
    """What a target's times stand for, which decides on the goals that are judged."""

    UNTHROTTLED = "unthrottled"
    THROTTLED = "throttled"
    EMULATED = "emulated"


@dataclass(frozen=True, kw_only=True)
class Target:
    """`file` is what `device` stands on; `limit` says what holds it back, or nothing.

    `run` starts programs where the device is, `python` is what our engine runs with there. `measured_bytes` are enough
    to find its rates.
    """

    kind: Kind
    device: Path
    file: Path
    size_bytes: int
    limit: str
    run: Runner = run
    python: Path = Path(sys.executable)
    measured_bytes: int = 128 * MIB

    def spoil(self) -> None:
        """The device holds what no image holds, past all limits: who writes nothing leaves nothing right."""
        with self.file.open("r+b") as file:
            for start in range(0, self.size_bytes, MIB):
                file.write(STALE * min(MIB, self.size_bytes - start))
        self.flush()

    def flush(self) -> None:
        """All that was written to the device is in the file, and nothing of it is cached."""
        self.run([["blockdev", "--flushbufs", self.device]])

    def measure(self) -> Rates:
        """How fast its bytes can be written and read in a row, without the page cache."""
        block = min(4 * MIB, self.size_bytes)
        count = min(self.measured_bytes, self.size_bytes) // block
        how = [f"bs={block}", f"count={count}", "status=none"]
        write = self.run([["dd", "if=/dev/zero", f"of={self.device}", "oflag=direct", *how]])
        read = self.run([["dd", f"if={self.device}", "of=/dev/null", "iflag=direct", *how]])
        return Rates(write=block * count / write.wall_s, read=block * count / read.wall_s)


@contextlib.contextmanager
def open_target(size_bytes: int, limits: Rates | None) -> Iterator[Target]:
    """A target of that size, throttled where there are limits. It is gone afterwards.

    Raises LabError where it cannot be throttled, or the kernel does not keep to the limit.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", dir=MEMORY)))
        file = folder / "disk"
        with file.open("wb") as disk:
            os.posix_fallocate(disk.fileno(), 0, size_bytes)
        device = stack.enter_context(_loop_device(file))
        limit = stack.enter_context(throttled(device, limits)) if limits else ""
        kind = Kind.THROTTLED if limits else Kind.UNTHROTTLED
        target = Target(kind=kind, device=device, file=file, size_bytes=size_bytes, limit=limit)
        if limits:
            _check_limits(target.measure(), limits, limit)
        yield target


def _check_limits(measured: Rates, limits: Rates, how: str) -> None:
    if measured.write > limits.write * TOLERANCE or measured.read > limits.read * TOLERANCE:
        found = f"writes {measured.write / MIB:.0f} and reads {measured.read / MIB:.0f} MiB/s"
        raise LabError(f"the kernel does not keep to the limit of {how}: the target {found}")


@contextlib.contextmanager
def _loop_device(file: Path) -> Iterator[Path]:
    device = System().run(["losetup", "--find", "--show", file]).stdout.decode().strip()
    try:
        yield Path(device)
    finally:
        System().run(["losetup", "--detach", device])
