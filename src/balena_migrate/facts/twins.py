# SPDX-License-Identifier: Apache-2.0
"""Devices with the same UUID: a copy of the disk has it as well."""

from __future__ import annotations

from collections.abc import Sequence

from balena_migrate.facts import FAT, BlockDevice, DiskFacts

_NEW_UUID = {
    **dict.fromkeys(("ext2", "ext3", "ext4"), "tune2fs -U random {path}"),
    **dict.fromkeys(FAT, "mlabel -n -i {path} ::"),
    "xfs": "xfs_admin -U generate {path}",
}
"""tune2fs(8), mlabel(1), xfs_admin(8); each is for a file system that is not mounted."""


def twin_remedy(disks: DiskFacts, twins: Sequence[BlockDevice]) -> str:
    """How the copy among devices with the same UUID gets another: it is the one that is not mounted.

    A command for the wrong one would keep the device from starting, so there is none where that is not certain.
    """
    mounted = {mount.source for mount in disks.mounts}
    copies = [device for device in twins if device.path not in mounted]
    commands = [_NEW_UUID[device.fstype].format(path=device.path) for device in copies if device.fstype in _NEW_UUID]
    if len(copies) != len(twins) - 1 or len(commands) != len(copies):
        return "unplug the copy"
    return f"unplug the copy, or give it another UUID ({'; '.join(commands)})"
