# SPDX-License-Identifier: Apache-2.0
"""The kernel's argument root=: which file system it names, and which others it may name as well.

The forms are those of Linux (admin-guide/kernel-parameters: root=), of initramfs-tools(7) and of udev's links.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from balena_migrate.facts import BlockDevice, DiskFacts
from balena_migrate.facts.twins import still_there

LINKS = {"by-uuid": "UUID", "by-partuuid": "PARTUUID"}
"""Folders of udev's in /dev/disk whose names are spelled as the values are."""
NO_ID = "00000000"
"""The id of an MBR that has none; Linux makes PARTUUIDs of it all the same, and blkid names none."""


def find_root_argument(command_line: str) -> str:
    """What the last root= of a command line names; "" if there is none."""
    names = [word.removeprefix("root=") for word in command_line.split() if word.startswith("root=")]
    return names[-1] if names else ""


def names_root(disks: DiskFacts, name: str) -> bool | None:
    """Whether what `root=` names is the device of the mounted root; None where the facts do not tell."""
    mount = disks.find_mount("/")
    root = disks.find_device(mount.source) if mount else None
    if root is None or "$" in name:  # a variable of GRUB's
        return None
    kind, value = _kind_and_value(name)
    if kind:
        known = _value_of(disks, root, kind)
        return _same(kind, known, value) if known else None
    if PurePosixPath(name).parent == PurePosixPath("/dev") and disks.find_device(name):
        return root.path == name
    return None


def find_named(disks: DiskFacts, name: str) -> tuple[BlockDevice, ...]:
    """The devices that `root=` may name by a partition's id or by a label; none for a name of another form.

    A UUID is not looked at: stage 2 goes by it too, so twins.find_twins has those of the root anyway.
    """
    kind, value = _kind_and_value(name)
    if kind not in ("PARTUUID", "LABEL"):
        return ()
    found = [d for d in disks.devices if _same(kind, _value_of(disks, d, kind, without_id=NO_ID), value)]
    return still_there(disks, found)


def _kind_and_value(name: str) -> tuple[str, str]:
    """ "UUID" and "1234-ABCD", say; two empty texts for a name of another form."""
    kind, _, value = name.partition("=")
    if value and kind in ("PARTUUID", "UUID", "LABEL"):
        return kind, value
    path = PurePosixPath(name)
    if path.parent.parent == PurePosixPath("/dev/disk") and path.parent.name in LINKS:
        return LINKS[path.parent.name], path.name
    return "", ""


def _same(kind: str, known: str, value: str) -> bool:
    return known == value if kind == "LABEL" else known.lower() == value.lower()


def _value_of(disks: DiskFacts, device: BlockDevice, kind: str, *, without_id: str = "") -> str:
    if kind == "PARTUUID":
        return _partuuid(disks, device, without_id)
    return device.uuid if kind == "UUID" else device.label


def _partuuid(disks: DiskFacts, device: BlockDevice, without_id: str) -> str:
    """The partition's id, on an MBR the disk's with the partition's number (Linux, block/partitions/msdos.c)."""
    table = next((disk for disk in disks.chain(device) if disk.kind == "disk"), None)
    number = re.search(r"[0-9]+$", device.name)
    if device.partuuid or table is None or table.table_type != "dos" or device.kind != "part" or number is None:
        return device.partuuid
    table_id = table.table_id or without_id
    return f"{table_id}-{int(number[0]):02x}" if table_id else ""
