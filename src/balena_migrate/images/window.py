# SPDX-License-Identifier: Apache-2.0
"""How long it takes to write an image and to read it back: conservative estimates, by the kind of medium."""

from __future__ import annotations

from dataclasses import dataclass

from balena_migrate.core.units import MIB, in_mib


@dataclass(frozen=True, kw_only=True)
class Medium:
    """A kind of disk. `prefix` is how the kernel's names of such disks begin.

    All are read twice as fast as they are written, at least.
    """

    name: str
    prefix: str
    write_bytes_per_s: int


SD_CARD = Medium(name="SD card", prefix="mmcblk", write_bytes_per_s=10 * MIB)
"""Of class 10, as its name says. eMMC has names of the same kind."""
EMMC = Medium(name="eMMC", prefix="mmcblk", write_bytes_per_s=40 * MIB)
"""Those of compute modules and industrial boards: 40 to 100 MB/s."""
SSD = Medium(name="SSD", prefix="nvme", write_bytes_per_s=200 * MIB)
DISK = Medium(name="disk", prefix="", write_bytes_per_s=50 * MIB)
"""What is SATA, USB or virtual may be anything."""


def medium_of(path: str) -> Medium:
    """The slowest kind of medium that a disk with this path may be."""
    name = path.rpartition("/")[2]
    return next(medium for medium in (SD_CARD, SSD, DISK) if name.startswith(medium.prefix))


def expected_window(medium: Medium, write_bytes: int, backup_bytes: int = 0) -> tuple[float, str]:
    """The expected seconds from the first overwritten byte to the reboot, and the arithmetic."""
    speed = medium.write_bytes_per_s
    seconds = (write_bytes + backup_bytes) / speed + write_bytes / (2 * speed)
    backup = f", {in_mib(backup_bytes)} of backup written," if backup_bytes >= MIB else ""
    text = (
        f"{in_mib(write_bytes)} written at {in_mib(speed)}/s and read back at {in_mib(2 * speed)}/s{backup}"
        f" = {seconds:.0f} s"
    )
    return seconds, text
