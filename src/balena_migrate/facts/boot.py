# SPDX-License-Identifier: Apache-2.0
"""How this device was started: firmware, kernel, and the boot loaders' own configuration files."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import PurePath

from balena_migrate.core.efi_variables import find_value
from balena_migrate.core.errors import FileError
from balena_migrate.core.system import System
from balena_migrate.facts import FAT, BootFacts, DiskFacts, Firmware, HardwareFacts, kernel_path
from balena_migrate.facts.efi import read_efi

SECURE_BOOT = "SecureBoot"
"""The variable; UEFI specification 2.10, 3.3."""

_BOOTLOADER = "/proc/device-tree/chosen/bootloader"
TRYBOOT = f"{_BOOTLOADER}/tryboot"
"""A firmware that supports tryboot reports here whether it is on (raspberrypi/documentation, config_txt/autoboot)."""
BUILD_TIMESTAMP = f"{_BOOTLOADER}/build-timestamp"
"""When the boot loader in the EEPROM was built (raspberrypi/documentation, configuration/device-tree: chosen node)."""

TRYBOOT_KERNELS = re.compile(r"\+rpt|-rpi-|-v(6|7|7l|8|8-16k)\+$|-raspi$")
"""The maker's kernels and Ubuntu's: others do not pass on the argument of `reboot` (raspberrypi/linux#3937)."""

NamedFiles = Callable[[Mapping[str, str]], Iterable[str]]
"""Text by path -> the paths of further files that it names."""

PC_MACHINES = ("x86_64", "i386", "i486", "i586", "i686")


def find_firmware(system: System, hardware: HardwareFacts) -> Firmware:
    """What started this device. The kernel makes /sys/firmware/efi if and only if it was started through UEFI."""
    if system.is_dir("/sys/firmware/efi"):
        return Firmware.UEFI
    if hardware.machine in PC_MACHINES:
        return Firmware.BIOS
    if hardware.model.startswith("Raspberry Pi") or any(c.startswith("raspberrypi,") for c in hardware.compatible):
        return Firmware.RASPBERRY_PI
    return Firmware.UNKNOWN


def read_boot(
    system: System, hardware: HardwareFacts, disks: DiskFacts, patterns: Iterable[str], named: NamedFiles
) -> BootFacts:
    """The boot facts; `patterns` and `named` say which configuration files' text is wanted."""
    files, unreadable = read_boot_files(system, patterns, named)
    firmware, kernel = find_firmware(system, hardware), kernel_path(os.uname().release)
    return BootFacts(
        firmware=firmware,
        kernel_release=os.uname().release,
        kernel_command_line=(system.find_text("/proc/cmdline") or "").strip(),
        secure_boot=_read_secure_boot(system),
        efi=read_efi(system, disks, kernel) if firmware is Firmware.UEFI else None,
        kernel_bytes=system.stat(kernel).st_size if system.is_file(kernel) else 0,
        tryboot=knows_tryboot(system, os.uname().release),
        in_tryboot=_read_cell(system, TRYBOOT) != 0,
        bootloader_built_s=_read_cell(system, BUILD_TIMESTAMP),
        initramfs_bytes=_read_initramfs_bytes(system, os.uname().release),
        kernels=find_kernels(system),
        files=files,
        unreadable=unreadable,
        changed=find_changed(system, disks),
        fat_files=tuple(_fat_files(system, disks)),
    )


def find_changed(system: System, disks: DiskFacts) -> tuple[str, ...]:
    """The files on mounted FAT file systems that were written since the kernel was started.

    A time in the future proves nothing: the clock of a device without a battery starts somewhere in the past.
    """
    now_s = time.time()
    started_s = now_s - time.clock_gettime(time.CLOCK_BOOTTIME)
    return tuple(
        sorted(
            str(path)
            for mount in disks.mounts
            if mount.fstype in FAT and mount.root == "/"
            for path in system.files_below(mount.mount_point)
            if started_s < _changed_s(system, path) <= now_s
        )
    )


def _fat_files(system: System, disks: DiskFacts) -> Iterator[str]:
    for mount in disks.mounts:
        if mount.fstype in FAT and mount.root == "/":
            with contextlib.suppress(FileError, OSError):  # a folder that cannot be listed is in `unreadable`
                yield from (str(path) for path in system.glob(f"{mount.mount_point}/*") if system.is_file(path))


def _changed_s(system: System, path: PurePath) -> float:
    """When the file was last changed; 0 where that cannot be read."""
    try:
        return system.stat(path).st_mtime
    except FileError:
        return 0


def read_boot_files(
    system: System, patterns: Iterable[str], named: NamedFiles
) -> tuple[dict[str, str], dict[str, str]]:
    """Path -> text of all files that match the patterns, and of those that `named` finds named in them; and path or
    pattern -> reason of what exists but cannot be read.
    """
    files: dict[str, str] = {}
    unreadable: dict[str, str] = {}
    todo: set[str] = set()
    tried: set[str] = set()
    for pattern in patterns:
        try:
            todo |= {str(path) for path in system.glob(pattern)}
        except (FileError, OSError) as error:
            unreadable[pattern] = _reason(error)
    while todo:
        for path in sorted(todo):
            try:
                if (text := system.find_text(path)) is not None:
                    files[path] = text
            except (FileError, OSError) as error:
                unreadable[path] = _reason(error)
        tried |= todo
        todo = set(named(files)) - tried
    return files, unreadable


def _reason(error: FileError | OSError) -> str:
    return error.reason if isinstance(error, FileError) else os.strerror(error.errno or 0)


def knows_tryboot(system: System, kernel_release: str) -> bool:
    """Whether `reboot "0 tryboot"` makes the Raspberry Pi's firmware read tryboot.txt in place of config.txt, once.

    Of the inits, systemd passes the argument on (reboot(8), systemd's; that of sysvinit has no such argument).
    """
    return system.exists(TRYBOOT) and TRYBOOT_KERNELS.search(kernel_release) is not None and system.runs_systemd


def _read_cell(system: System, path: str) -> int:
    """A device tree's number, which is a big-endian one of 32 bits; 0 where it is not there."""
    try:
        return int.from_bytes(system.read_bytes(path)[:4], "big")
    except FileError:
        return 0


def _read_initramfs_bytes(system: System, release: str) -> int:
    path = f"/boot/initrd.img-{release}"
    return system.stat(path).st_size if system.is_file(path) else 0


def find_kernels(system: System) -> tuple[str, ...]:
    """The kernels in /boot; an empty file is what a power cut during an upgrade leaves behind."""
    found = (str(path) for path in system.glob("/boot/vmlinuz-*"))
    return tuple(sorted(path for path in found if system.is_file(path) and system.stat(path).st_size > 0))


def _read_secure_boot(system: System) -> bool | None:
    try:
        value = find_value(system, SECURE_BOOT)
    except FileError:
        return None
    return value[:1] == b"\1" if value else None
