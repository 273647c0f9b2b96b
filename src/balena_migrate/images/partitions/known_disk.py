# SPDX-License-Identifier: Apache-2.0
"""Disks and file systems that stage 1 knew, found again in both stages by what identifies them.

Names change between two starts, and a copy of a disk has its UUIDs and the id of its partition table too. So a file
system is looked for on the disk that it was on, and of disks that are alike the serial number decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import PurePosixPath

from balena_migrate.core.blockdev import device_node, read_number, read_probes, read_serial, whole_disks
from balena_migrate.core.errors import DiskError, FileError
from balena_migrate.core.handover import DiskIdentity, FileSystem, Place
from balena_migrate.core.retry import retry
from balena_migrate.core.system import System
from balena_migrate.core.units import SECTOR_BYTES
from balena_migrate.images.partitions.device import read_table_id

WAIT_S = 20.0
PAUSE_S = 0.5


def read_identity(system: System, name: str) -> DiskIdentity:
    """What identifies the disk with this name of the kernel's, "sda"."""
    return DiskIdentity(
        name=name,
        size_bytes=_size_bytes(system, name),
        table_id=_table_id(system, name),
        serial=read_serial(system, name),
    )


def find_place(system: System, path: str) -> Place | None:
    """Where the device is that has this path, "/dev/sda1"; None unless it is a disk or a partition of one."""
    name = PurePosixPath(path).relative_to("/dev").as_posix().replace("/", "!")  # as in cciss!c0d0
    for disk in whole_disks(system):
        if name == disk:
            return Place(disk=read_identity(system, disk), start_bytes=0)
        if system.exists(f"/sys/class/block/{disk}/{name}/partition"):
            start_bytes = read_number(system, f"/sys/class/block/{name}/start") * SECTOR_BYTES
            return Place(disk=read_identity(system, disk), start_bytes=start_bytes)
    return None


def choose_disks(wanted: DiskIdentity, found: Mapping[str, DiskIdentity]) -> tuple[str, ...]:
    """The keys of those that may be the disk: of its size and with its table's id; none where no disk has both.

    A serial number that is known of both and differs is another disk's. One that is the same decides among several;
    where it is known of one alone, it says nothing: not every driver shows it.
    """
    alike = {key: disk for key, disk in found.items() if _may_be(wanted, disk)}
    same = tuple(key for key, disk in alike.items() if wanted.serial and disk.serial == wanted.serial)
    return same or tuple(alike)


def _may_be(wanted: DiskIdentity, disk: DiskIdentity) -> bool:
    known = wanted.serial and disk.serial
    return (wanted.size_bytes, wanted.table_id) == (disk.size_bytes, disk.table_id) and (
        not known or wanted.serial == disk.serial
    )


def find_target(system: System, identity: DiskIdentity) -> str:
    """The one disk that this identifies; another name than before is fine. Raises DiskError."""
    names = [name for name in whole_disks(system) if _size_bytes(system, name) == identity.size_bytes]
    found = choose_disks(identity, {name: read_identity(system, name) for name in names})
    if len(found) != 1:
        what = f"{identity.size_bytes} bytes, table {identity.table_id}, serial {identity.serial or 'unknown'}"
        count = f"{len(found)} disks match" if found else "no disk matches"
        raise DiskError(f"{count} the one that stage 1 saw as {identity.name} ({what})")
    return device_node(found[0])


def find_file_system(
    system: System,
    wanted: FileSystem,
    *,
    limit_s: float | None = None,
    failed: Callable[[Exception], object] | None = None,
) -> str:
    """The one device with this file system; slow buses are waited for, and `failed` is called after each look.

    It is the one on the disk that it was on. Where that disk does not appear, the only one with its UUID will do: what
    a driver shows of its disk may have changed. Raises DiskError, also where several may be it.
    """

    def find() -> str:
        found = _with_uuid(system, wanted.uuid)
        near = _where_it_was(system, wanted.place, found) if wanted.place else found
        if len(near) == 1:
            return near[0]
        if not found:
            raise DiskError(f"no file system has the UUID {wanted.uuid}")
        have = " and ".join(found) + (" has" if len(found) == 1 else " have the same")
        where = (
            ""
            if near or not wanted.place
            else f", and none is on the disk that stage 1 saw as {wanted.place.disk.name}"
        )
        raise DiskError(f"{have} UUID {wanted.uuid}{where}")

    try:
        return retry(find, on=DiskError, limit_s=WAIT_S if limit_s is None else limit_s, pause_s=PAUSE_S, failed=failed)
    except DiskError:
        only = _with_uuid(system, wanted.uuid)
        if len(only) != 1:
            raise
        return only[0]


def _with_uuid(system: System, uuid: str) -> tuple[str, ...]:
    return tuple(probe.path for probe in read_probes(system) if probe.values.get("UUID") == uuid)


def _where_it_was(system: System, place: Place, paths: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the devices that begin where it did on a disk that may be its own."""
    places = {path: find_place(system, path) for path in paths}
    disks = {path: found.disk for path, found in places.items() if found and found.start_bytes == place.start_bytes}
    return choose_disks(place.disk, disks)


def _size_bytes(system: System, name: str) -> int:
    return read_number(system, f"/sys/class/block/{name}/size") * SECTOR_BYTES


def _table_id(system: System, name: str) -> str:
    """A disk that cannot be read is not the one that stage 1 read."""
    try:
        return read_table_id(system, device_node(name))
    except FileError:
        return ""
