# SPDX-License-Identifier: Apache-2.0
"""Devices with the same UUID, and disks that are alike: a copy of the disk has all of it as well."""

from __future__ import annotations

import re
from collections.abc import Sequence

from balena_migrate.core.handover import DiskIdentity
from balena_migrate.facts import FAT, BlockDevice, DiskFacts
from balena_migrate.images.partitions.known_disk import choose_disks

_RANDOM_UUID = "cat /proc/sys/kernel/random/uuid"
_NEW_UUID = {
    **dict.fromkeys(("ext2", "ext3", "ext4"), "tune2fs -U random {path}"),
    **dict.fromkeys(FAT, "mlabel -n -i {path} ::"),
    "xfs": "xfs_admin -U generate {path}",
}
"""tune2fs(8), mlabel(1), xfs_admin(8); each is for a file system that is not mounted."""


def find_twins(disks: DiskFacts, uuid: str) -> tuple[BlockDevice, ...]:
    """The devices with this UUID that the next start will find as well."""
    return still_there(disks, [d for d in disks.devices if d.uuid == uuid and not d.fstype.endswith("_member")])


def still_there(disks: DiskFacts, found: Sequence[BlockDevice]) -> tuple[BlockDevice, ...]:
    """Those of the devices that are there at the next start as well: no loop devices; none that another lies on, as a
    RAID of one disk shows the same file system on both."""
    real = [device for device in found if all(below.kind != "loop" for below in disks.chain(device))]
    return tuple(d for d in real if not any(d in disks.chain(other) for other in real if other is not d))


def find_alike(disks: DiskFacts, disk: BlockDevice) -> tuple[BlockDevice, ...]:
    """The disks that stage 2 could take for this one, itself among them."""
    found = {device.name: device for device in disks.devices if device.kind == "disk"}
    names = choose_disks(_identity(disk), {name: _identity(device) for name, device in found.items()})
    return tuple(found[name] for name in names)


def _identity(disk: BlockDevice) -> DiskIdentity:
    return DiskIdentity(name=disk.name, size_bytes=disk.size_bytes, table_id=disk.table_id, serial=disk.serial)


def twin_remedy(disks: DiskFacts, twins: Sequence[BlockDevice]) -> str:
    """How the copy among devices with the same UUID gets another: it is the one that is not mounted.

    A command for the wrong one would keep the device from starting, so there is none where that is not certain. A copy
    on the same disk, as the systems A and B of some images are, cannot be unplugged.
    """
    mounted = {mount.source for mount in disks.mounts}
    copies = [device for device in twins if device.path not in mounted]
    commands = [_NEW_UUID[device.fstype].format(path=device.path) for device in copies if device.fstype in _NEW_UUID]
    certain = len(copies) == len(twins) - 1 and len(commands) == len(copies)
    rename = f"give it another UUID ({'; '.join(commands)})" if certain else ""
    if all(twin.kind == "part" and twin.parents == twins[0].parents for twin in twins):
        return rename
    return f"unplug the copy, or {rename}" if rename else "unplug the copy"


def new_table_id(disk: BlockDevice) -> str:
    """The command that gives the disk's partition table another id (sfdisk(8)), and on an MBR its partitions theirs."""
    fresh = f"$({_RANDOM_UUID})" if disk.table_type == "gpt" else "0x$(od -An -N4 -tx4 /dev/urandom | tr -d ' ')"
    return f"sfdisk --disk-id {disk.path} {fresh}"


def new_partuuid(disks: DiskFacts, device: BlockDevice) -> str:
    """The command that gives the partition another id."""
    disk = next(disk for disk in disks.chain(device) if disk.kind == "disk")
    number = re.search(r"[0-9]+$", device.name)
    if disk.table_type != "gpt" or number is None:
        return new_table_id(disk)
    return f"sfdisk --part-uuid {disk.path} {number[0]} $({_RANDOM_UUID})"
