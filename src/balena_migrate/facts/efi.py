# SPDX-License-Identifier: Apache-2.0
"""UEFI firmware: its size, what it starts, and whether its variables can be changed."""

from __future__ import annotations

from balena_migrate.core.efi_variables import EFIVARFS, EFIVARS, find_options, find_order, find_value, parse_numbers
from balena_migrate.core.errors import FileError
from balena_migrate.core.load_option import parse_option
from balena_migrate.core.mountinfo import MountInfo, read_mountinfo
from balena_migrate.core.paths import EFI_KERNEL_NAME, INITRAMFS_NAME
from balena_migrate.core.system import System
from balena_migrate.facts import ESP_TYPES, FAT, BlockDevice, DiskFacts, EfiFacts, FirmwareEntry, Mount
from balena_migrate.images.efi_program import HEAD_BYTES, X86_64, parse_machine

PLATFORM_SIZE = "/sys/firmware/efi/fw_platform_size"
"""The kernel's Documentation/ABI/testing/sysfs-firmware-efi; since Linux 4.0."""


def find_esps(disks: DiskFacts) -> tuple[tuple[Mount, BlockDevice], ...]:
    """The EFI system partitions that are mounted whole, in the order of their mounts; one mounted twice only once."""
    found: dict[str, tuple[Mount, BlockDevice]] = {}
    for mount in disks.mounts:
        device = disks.find_device(mount.source)
        if device and device.part_type in ESP_TYPES and mount.fstype in FAT and mount.root == "/":
            found.setdefault(device.name, (mount, device))
    return tuple(found.values())


def read_efi(system: System, disks: DiskFacts, kernel: str) -> EfiFacts:
    """What is true of the firmware; `kernel` is the running kernel's file. Raises FileError."""
    mounted = next((m for m in read_mountinfo(system) if (m.fstype, m.mount_point) == (EFIVARFS, EFIVARS)), None)
    entries, damaged = read_entries(system)
    current, following = _read_number(system, "BootCurrent"), _read_number(system, "BootNext")
    bits = (system.find_text(PLATFORM_SIZE) or "").strip()
    return EfiFacts(
        bits=int(bits) if bits in ("32", "64") else 0,
        readable=mounted is not None,
        unwritable=_unwritable(mounted),
        free_bytes=_free_bytes(system) if mounted else None,
        current=current,
        next=following,
        order=find_order(system),
        entries=entries,
        damaged=damaged,
        kernel_stub=has_stub(system, kernel),
        left_over=tuple(
            path
            for mount, _ in find_esps(disks)
            for path in (f"{mount.mount_point}/{name}" for name in (EFI_KERNEL_NAME, INITRAMFS_NAME))
            if system.exists(path)
        ),
    )


def _unwritable(mounted: MountInfo | None) -> str:
    if mounted is None:
        return f"{EFIVARFS} is not mounted at {EFIVARS}"
    return f"{EFIVARS} is mounted read-only" if "ro" in (*mounted.options, *mounted.super_options) else ""


def read_entries(system: System) -> tuple[tuple[FirmwareEntry, ...], tuple[str, ...]]:
    """The boot options, by number, and the names of those that make no sense."""
    entries, damaged = [], []
    for number, value in sorted(find_options(system).items()):
        try:
            option = parse_option(value)
        except ValueError:
            damaged.append(f"Boot{number:04X}")
            continue
        partuuid = option.hard_drive.partuuid if option.hard_drive else ""
        entries.append(FirmwareEntry(number=number, label=option.label, partuuid=partuuid, file=option.file))
    return tuple(entries), tuple(damaged)


def _read_number(system: System, name: str) -> int | None:
    try:
        return next(iter(parse_numbers(find_value(system, name) or b"")), None)
    except FileError:
        return None


def _free_bytes(system: System) -> int | None:
    """efivarfs says it since Linux 6.6, without the 5 KiB that the kernel keeps free on a PC; before, its size is 0."""
    try:
        space = system.statvfs(EFIVARS)
    except FileError:
        return None
    return space.f_bavail * space.f_frsize if space.f_blocks else None


def has_stub(system: System, kernel: str) -> bool:
    """Whether 64-bit firmware can start the kernel's file itself: it is a PE file then.

    Source: the kernel's Documentation/admin-guide/efi-stub.rst.
    """
    try:
        with system.open(kernel) as file:
            return parse_machine(file.read(HEAD_BYTES)) == X86_64
    except (FileError, OSError):
        return False
