# SPDX-License-Identifier: Apache-2.0
"""The partitions of the flashed disk, and which of them is resin-data."""

from __future__ import annotations

from pathlib import PurePosixPath

from balena_migrate.core.balena import DATA_LABEL
from balena_migrate.core.blockdev import read_number, read_probes
from balena_migrate.core.errors import DiskError
from balena_migrate.core.handover import DataPartition
from balena_migrate.core.system import System
from balena_migrate.core.units import SECTOR_BYTES


def partitions(system: System, disk: str) -> tuple[str, ...]:
    """The kernel's names of a disk's partitions, "sda1" of "/dev/sda"."""
    name = PurePosixPath(disk).name
    found = system.glob(f"/sys/class/block/{name}/{name}*/partition")
    return tuple(path.parent.name for path in found)


def find_labelled(system: System, disk: str, label: str) -> str | None:
    """The disk's partition that holds the file system with this label, if there is one."""
    labels = {probe.path: probe.values.get("LABEL", "") for probe in read_probes(system)}
    devices = (f"/dev/{name}" for name in partitions(system, disk))
    return next((device for device in devices if labels.get(device) == label), None)


def find_data_partition(system: System, disk: str, place: DataPartition) -> str:
    """The partition of the flashed disk that is resin-data: by label, else where the image's table has it.

    Raises DiskError if the kernel shows neither.
    """
    labelled = find_labelled(system, disk, DATA_LABEL)
    if labelled is not None:
        return labelled
    for name in partitions(system, disk):
        if read_number(system, f"/sys/class/block/{name}/start") * SECTOR_BYTES == place.start_bytes:
            return f"/dev/{name}"
    raise DiskError(f"{disk} has no {DATA_LABEL}, by label or at byte {place.start_bytes}")
