# SPDX-License-Identifier: Apache-2.0
"""GRUB's files on Debian and Ubuntu, on the EFI system partition (ESP) too, and where GRUB finds /boot."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from balena_migrate.core.errors import ImageError
from balena_migrate.facts import FAT, BlockDevice, DiskFacts, Facts, Mount

FOLDER = "/boot/grub"
GRUB_CFG = f"{FOLDER}/grub.cfg"
GRUB_CFG_SIGNATURE = f"{GRUB_CFG}.sig"
GRUBENV = f"{FOLDER}/grubenv"
CUSTOM_CFG = f"{FOLDER}/custom.cfg"
GRUB2_CFG = "/boot/grub2/grub.cfg"
"""Where Fedora, its relatives and openSUSE have it."""
ESP_POINTS = ("/boot/efi", "/efi", "/boot")


def boot_file_system(facts: Facts) -> tuple[Mount, BlockDevice]:
    """The mount that contains GRUB's folder, and its device. Raises ImageError if that is no block device."""
    mount = facts.disks.find_mount(FOLDER)
    device = facts.disks.find_device(mount.source) if mount else None
    if mount is None or device is None:
        where = f"{mount.source} ({mount.fstype})" if mount else "an unknown file system"
        raise ImageError(f"{FOLDER} is on {where}, which is not a block device")
    return mount, device


def stub_patterns(disks: DiskFacts) -> tuple[str, ...]:
    """Where a grub.cfg on an ESP may be: one pattern for each ESP, however often it is mounted."""
    points = {mount.source: mount.mount_point for mount in esp_mounts(disks)}
    return tuple(f"{point}/[Ee][Ff][Ii]/*/grub.cfg" for point in points.values())


def esp_mounts(disks: DiskFacts) -> tuple[Mount, ...]:
    """The mounts of ESPs, by their usual places: a FAT file system elsewhere may be anything, as a stick for others."""
    return tuple(mount for mount in disks.mounts if mount.fstype in FAT and mount.mount_point in ESP_POINTS)


def is_on_esp(path: str) -> bool:
    """Whether this is such a path."""
    return re.search(r"/efi/[^/]+/grub\.cfg$", path, re.IGNORECASE) is not None


def boot_prefix(mount: Mount) -> str:
    """/boot as GRUB sees it on its file system: "" if /boot is a file system of its own."""
    inside = PurePosixPath("/boot").relative_to(mount.mount_point)
    path = str(PurePosixPath(mount.root) / inside)
    return "" if path == "/" else path
