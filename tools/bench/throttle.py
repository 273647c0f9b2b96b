# SPDX-License-Identifier: Apache-2.0
"""Makes a block device as slow as an SD card, by the kernel's limits for control groups.

Sources: Linux, Documentation/admin-guide/cgroup-v1/blkio-controller.rst and cgroup-v2.rst (io.max).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from balena_migrate.core.errors import LabError
from balena_migrate.core.mountinfo import MountInfo, read_mountinfo
from balena_migrate.core.system import System

V1_LIMITS = ("blkio.throttle.write_bps_device", "blkio.throttle.read_bps_device")
V2_CONTROLLERS = ("io", "memory")
"""Only with both does the kernel know whose the pages are that it writes later."""


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Bytes a second."""

    write: float
    read: float


@contextlib.contextmanager
def throttled(device: Path, rates: Rates) -> Iterator[str]:
    """What this process and its children write to the device, and read from it, has these rates at most.

    Yields how it is done. Raises LabError where this kernel has neither way.
    """
    mounts = read_mountinfo(System("/"))
    number = device.stat().st_rdev
    name = f"{os.major(number)}:{os.minor(number)}"
    for mount in mounts:
        if mount.fstype == "cgroup" and "blkio" in mount.super_options:
            with _limited_by_v1(Path(mount.mount_point), name, rates):
                yield "blkio.throttle (control groups, version 1)"
                return
        if mount.fstype == "cgroup2" and _has_controllers(mount):
            with _limited_by_v2(Path(mount.mount_point), name, rates):
                yield "io.max (control groups, version 2)"
                return
    raise LabError(
        "a device cannot be throttled here: no control group limits I/O",
        hint="mount cgroup2 with its controllers io and memory, or cgroup version 1 with blkio",
    )


@contextlib.contextmanager
def _limited_by_v1(top: Path, device: str, rates: Rates) -> Iterator[None]:
    """The limit is the top group's, and this process is moved there: what goes through the page cache is written in the
    top group's name anyway."""
    (top / "cgroup.procs").write_text(str(os.getpid()))
    try:
        for limit, rate in zip(V1_LIMITS, (rates.write, rates.read), strict=True):
            (top / limit).write_text(f"{device} {rate:.0f}")
        yield
    finally:
        for limit in V1_LIMITS:
            (top / limit).write_text(f"{device} 0")


def _has_controllers(mount: MountInfo) -> bool:
    found = (Path(mount.mount_point) / "cgroup.controllers").read_text().split()
    return set(V2_CONTROLLERS) <= set(found)


@contextlib.contextmanager
def _limited_by_v2(top: Path, device: str, rates: Rates) -> Iterator[None]:
    """The limit is that of a group for this process, which is gone afterwards. The controllers stay enabled."""
    former = top / Path("/proc/self/cgroup").read_text().rpartition("::/")[2].strip()
    (top / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in V2_CONTROLLERS))
    group = top / f"balena-migrate-bench-{os.getpid()}"
    group.mkdir()
    try:
        (group / "io.max").write_text(f"{device} wbps={rates.write:.0f} rbps={rates.read:.0f}")
        (group / "cgroup.procs").write_text(str(os.getpid()))
        yield
    finally:
        (former / "cgroup.procs").write_text(str(os.getpid()))
        group.rmdir()
