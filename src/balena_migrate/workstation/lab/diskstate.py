# SPDX-License-Identifier: Apache-2.0
"""The partitions and file systems of a disk file, read from outside, while nothing else has it open."""

from __future__ import annotations

import re
from pathlib import Path

from balena_migrate.core.errors import CommandError
from balena_migrate.core.system import System
from balena_migrate.core.units import SECTOR_BYTES
from balena_migrate.workstation.lab.disks import read_table
from balena_migrate.workstation.lab.result import DiskPart, DiskState
from balena_migrate.workstation.mtools import FatDrive

_EXTENDED_TYPES = ("5", "f", "85")
_BLOCKS = re.compile(r"^(Block count|Free blocks|Block size):\s+(\d+)$", re.MULTILINE)


def find_disk_state(disk: Path) -> DiskState | None:
    """As read_disk_state, but None if it cannot be read: an interrupted flash leaves no partition table."""
    try:
        return read_disk_state(disk)
    except CommandError:
        return None


def read_disk_state(disk: Path) -> DiskState:
    """The partitions of a disk file, except the extended one, with label, type and usage of their file systems.

    Raises LabError if it is not a regular file, CommandError if it has no partition table.
    """
    table = read_table(disk)
    parts = [part for part in table.get("partitions", ()) if part["type"] not in _EXTENDED_TYPES]
    return DiskState(
        size_bytes=disk.stat().st_size,
        parts=tuple(_read_part(disk, part["start"] * SECTOR_BYTES, part["size"] * SECTOR_BYTES) for part in parts),
    )


def _read_part(disk: Path, start_bytes: int, size_bytes: int) -> DiskPart:
    place = ["--offset", str(start_bytes), "--size", str(size_bytes)]
    # Status 2: blkid recognises nothing there.
    output = System().run(["blkid", "--probe", "--output", "export", *place, disk], ok=(0, 2)).text
    values = dict(line.split("=", 1) for line in output.splitlines() if "=" in line)
    fstype = values.get("TYPE", "")
    return DiskPart(
        start_bytes=start_bytes,
        size_bytes=size_bytes,
        label=values.get("LABEL", ""),
        fstype=fstype,
        used_bytes=_read_used(disk, start_bytes, size_bytes, fstype),
    )


def _read_used(disk: Path, start_bytes: int, size_bytes: int, fstype: str) -> int | None:
    if fstype.startswith("ext"):
        output = System().run(["dumpe2fs", "-h", f"{disk}?offset={start_bytes}"]).text
        values = {name: int(number) for name, number in _BLOCKS.findall(output)}
        return (values["Block count"] - values["Free blocks"]) * values["Block size"]
    if fstype == "vfat":
        return size_bytes - FatDrive(image=disk, offset_bytes=start_bytes).free_bytes()
    return None
