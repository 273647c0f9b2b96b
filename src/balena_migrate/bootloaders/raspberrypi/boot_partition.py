# SPDX-License-Identifier: Apache-2.0
"""Which mounted file system the firmware of a Raspberry Pi boots from, and the text files on it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from balena_migrate.bootloaders.raspberrypi.board import Board, Chip, find_board
from balena_migrate.bootloaders.raspberrypi.config_txt import CONFIG
from balena_migrate.facts import FAT, BlockDevice, DiskFacts, Facts, Mount
from balena_migrate.findings import Finding, blocker

FILTER_KNOWN_S = 1741564800
"""2025-03-10: the boot loader that brought [boot_partition=...] (rpi-eeprom, firmware-2712/release-notes.md)."""


def boot_mounts(facts: Facts) -> tuple[Mount, ...]:
    """The mounted FAT file systems with a config.txt that may be the boot partition; only one where that is certain.

    Those on the root's disk come before others, and of them those at or below /boot.
    """
    disks = facts.disks
    found = [m for m in fat_mounts(disks) if path_on(m, CONFIG) in {**facts.boot.files, **facts.boot.unreadable}]
    near = [mount for mount in found if disks.disks_below(mount.mount_point) == disks.disks_below("/")]
    usual = [mount for mount in near if PurePosixPath(mount.mount_point).is_relative_to("/boot")]
    best = usual or near or found
    return tuple({mount.source: mount for mount in best}.values())


def boot_mount(facts: Facts) -> Mount | None:
    """The mounted FAT file system with config.txt, wherever it is; None if that is not certain."""
    found = boot_mounts(facts)
    return found[0] if len(found) == 1 else None


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where stage 2 is started from: the board, and the boot partition that its firmware reads."""

    board: Board
    mount: Mount


def find_place(facts: Facts) -> Place | Finding:
    """Board and boot partition, or the reason why one of them is not certain."""
    board, mount = find_board(facts.hardware), boot_mount(facts)
    if board is None:
        cause = f"the Raspberry Pi with revision code {facts.hardware.revision or 'unknown'} is unknown"
        return blocker("pi-unknown", cause)
    return Place(board=board, mount=mount) if mount else _no_boot_mount(facts)


def fat_mounts(disks: DiskFacts) -> list[Mount]:
    """Whole FAT file systems: stage 2 mounts them again, and knows nothing of folders bound to other places."""
    return [mount for mount in disks.mounts if mount.fstype in FAT and mount.root == "/"]


def first_fat(disks: DiskFacts, mount: Mount) -> BlockDevice | None:
    """The first FAT partition of the mount's disk, which the firmware takes for partition 0 (autoboot); None where that
    is not certain."""
    device = disks.find_device(mount.source)
    fats = [d for d in disks.devices if device and d.parents == device.parents and d.fstype in FAT]
    firsts = [d for d in fats if all(d.start_bytes < other.start_bytes for other in fats if other != d)]
    return firsts[0] if firsts else None


def is_first_fat(disks: DiskFacts, mount: Mount) -> bool:
    """Whether this is that partition."""
    first = first_fat(disks, mount)
    return first is not None and first.path == mount.source


def partition_number(facts: Facts, mount: Mount) -> int | None:
    """The number under which the firmware knows the partition; None where that is not certain.

    A GPT may be a hybrid one, in whose MBR the numbers are others: Debian's images for the Raspberry Pi have the boot
    partition as 15 in the one and as 1 in the other.
    """
    device, number = facts.disks.find_device(mount.source), re.search(r"[0-9]+$", mount.source)
    on_gpt = device is not None and any(disk.table_type == "gpt" for disk in facts.disks.chain(device))
    return int(number[0]) if number and not on_gpt else None


def filtered_number(facts: Facts, place: Place) -> int | None:
    """What [boot_partition=...] in config.txt compares; None where that, or whether the firmware knows it, is unknown.

    The Raspberry Pi 5 reads all of config.txt by the boot loader in its EEPROM, and its age is known. Older boards
    read it by the firmware files on the boot partition, whose age is not.
    """
    knows = place.board.chip is Chip.BCM2712 and facts.boot.bootloader_built_s >= FILTER_KNOWN_S
    return partition_number(facts, place.mount) if knows else None


def path_on(mount: Mount, name: str) -> str:
    return str(PurePosixPath(mount.mount_point) / name)


def config_files(files: Mapping[str, str], mount: Mount) -> dict[str, str]:
    """The boot partition's text files, by name in lower case, relative to it."""
    paths = {PurePosixPath(path): text for path, text in files.items()}
    inside = {path: text for path, text in paths.items() if path.is_relative_to(mount.mount_point)}
    return {str(path.relative_to(mount.mount_point)).lower(): text for path, text in inside.items()}


def _no_boot_mount(facts: Facts) -> Finding:
    mounts = boot_mounts(facts)
    if mounts:
        names = " and ".join(f"{mount.source} ({mount.mount_point})" for mount in mounts)
        cause = f"{names} both contain a config.txt, and it is unknown which one the firmware reads"
        return blocker("pi-boot-ambiguous", cause, "unmount the one that the firmware does not read")
    disks = facts.disks
    mounted = {mount.source for mount in disks.mounts}
    idle = [
        device.path
        for device in disks.devices
        if device.fstype in FAT
        and device.path not in mounted
        and set(disks.chain(device)) & set(disks.disks_below("/"))
    ]
    cause = "no FAT file system with a config.txt is mounted, so the boot partition is unknown"
    found = f"; not mounted: {', '.join(idle)}" if idle else ""
    return blocker("pi-no-boot-partition", cause + found, "mount it (mount -a, or see /etc/fstab)")
