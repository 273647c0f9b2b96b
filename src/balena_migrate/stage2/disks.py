# SPDX-License-Identifier: Apache-2.0
"""Finds file systems and the target disk by what identifies them, never by their names alone."""

from __future__ import annotations

from pathlib import PurePosixPath

from balena_migrate.core.balena import DATA_LABEL
from balena_migrate.core.blockdev import read_probes, read_serial, whole_disks
from balena_migrate.core.errors import DiskError, FileError
from balena_migrate.core.handover import DataPartition, DiskIdentity
from balena_migrate.core.retry import retry
from balena_migrate.core.system import System
from balena_migrate.core.units import SECTOR_BYTES
from balena_migrate.images.partitions.device import read_table_id

WAIT_S = 20.0
PAUSE_S = 0.5


def find_file_system(system: System, uuid: str, *, limit_s: float | None = None) -> str:
    """The one device with this file system; slow buses are waited for.

    Raises DiskError, also where a second one has the same UUID, as a copy of the disk has: either may be the wrong one.
    """

    def find() -> str:
        found = [probe.path for probe in read_probes(system) if probe.values.get("UUID") == uuid]
        if len(found) > 1:
            raise DiskError(f"{' and '.join(found)} have the same UUID {uuid}")
        if not found:
            raise DiskError(f"no file system has the UUID {uuid}")
        return found[0]

    return retry(find, on=DiskError, limit_s=WAIT_S if limit_s is None else limit_s, pause_s=PAUSE_S)


def find_target(system: System, identity: DiskIdentity) -> str:
    """The one disk with this size, table id and serial; another name than before is fine. Raises DiskError."""
    found = [
        name
        for name in whole_disks(system)
        if _number(system, f"/sys/class/block/{name}/size") * SECTOR_BYTES == identity.size_bytes
        and _has_table(system, f"/dev/{name}", identity.table_id)
        and read_serial(system, name) == identity.serial
    ]
    if len(found) != 1:
        what = f"{identity.size_bytes} bytes, table {identity.table_id}, serial {identity.serial or 'unknown'}"
        count = f"{len(found)} disks match" if found else "no disk matches"
        raise DiskError(f"{count} the one that stage 1 saw as {identity.name} ({what})")
    return f"/dev/{found[0]}"


def _has_table(system: System, path: str, table_id: str) -> bool:
    """A disk that cannot be read is not the one that stage 1 read."""
    try:
        return read_table_id(system, path) == table_id
    except FileError:
        return False


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
        if _number(system, f"/sys/class/block/{name}/start") * SECTOR_BYTES == place.start_bytes:
            return f"/dev/{name}"
    raise DiskError(f"{disk} has no {DATA_LABEL}, by label or at byte {place.start_bytes}")


def _number(system: System, path: str) -> int:
    try:
        return int(system.read_text(path))
    except (FileError, ValueError):
        return 0
