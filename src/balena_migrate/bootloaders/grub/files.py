# SPDX-License-Identifier: Apache-2.0
"""GRUB's files on Debian and Ubuntu, and where GRUB finds /boot."""

from __future__ import annotations

from pathlib import PurePosixPath

from balena_migrate.core.errors import ImageError
from balena_migrate.facts import BlockDevice, Facts, Mount

FOLDER = "/boot/grub"
GRUB_CFG = f"{FOLDER}/grub.cfg"
GRUB_CFG_SIGNATURE = f"{GRUB_CFG}.sig"
GRUBENV = f"{FOLDER}/grubenv"
CUSTOM_CFG = f"{FOLDER}/custom.cfg"


def boot_file_system(facts: Facts) -> tuple[Mount, BlockDevice]:
    """The mount that contains GRUB's folder, and its device. Raises ImageError if that is no block device."""
    mount = facts.disks.find_mount(FOLDER)
    device = facts.disks.find_device(mount.source) if mount else None
    if mount is None or device is None:
        raise ImageError(f"{FOLDER} is not on a block device")
    return mount, device


def boot_prefix(mount: Mount) -> str:
    """/boot as GRUB sees it on its file system: "" if /boot is a file system of its own."""
    inside = PurePosixPath("/boot").relative_to(mount.mount_point)
    path = str(PurePosixPath(mount.root) / inside)
    return "" if path == "/" else path


def kernel_path(facts: Facts) -> str:
    """The running kernel's file, by the name that Debian's and Ubuntu's packages give it."""
    return f"/boot/vmlinuz-{facts.boot.kernel_release}"
