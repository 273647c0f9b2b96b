# SPDX-License-Identifier: Apache-2.0
"""What is true of this device. Gathering only reads; every parser is a pure function of text.

`Facts` goes to JSON and back (`balena-migrate facts --json`), so that a device can be recorded and
inspected elsewhere. It contains no secrets.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePosixPath

from balena_migrate.core.memory import MemoryFacts
from balena_migrate.core.units import SECTOR_BYTES
from balena_migrate.facts.network import NetworkFacts

FACTS_FORMAT = 1

FAT = ("vfat", "msdos")
"""The kernel's names of FAT file systems."""


CLOCK_SLACK_S = 86_400
"""A clock may be behind a file by this time: it was set back, or the file comes from a machine whose clock is ahead."""


class Firmware(StrEnum):
    """What starts the boot loader."""

    BIOS = "bios"
    UEFI = "uefi"
    RASPBERRY_PI = "raspberry-pi"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class OsFacts:
    """From os-release(5), but for `rpi_issue`; empty text where a field is missing."""

    id: str = ""
    version_id: str = ""
    pretty_name: str = ""
    rpi_issue: str = ""
    """The first line of /etc/rpi-issue, which pi-gen writes into every Raspberry Pi OS."""

    @property
    def name(self) -> str:
        """What os-release calls the system, "" if there is no os-release."""
        return self.pretty_name or f"{self.id} {self.version_id}".strip()


@dataclass(frozen=True, kw_only=True)
class HardwareFacts:
    """The machine: `machine` is the kernel's architecture (uname -m), not user space's."""

    machine: str
    userland: str = ""
    """Debian's name of user space's architecture (dpkg --print-architecture), "" if unknown."""
    model: str = ""
    """/proc/device-tree/model without its final NUL."""
    compatible: tuple[str, ...] = ()
    revision: str = ""
    """The Raspberry Pi's revision code in hexadecimal, as found (with the warranty bits); "" on other machines."""
    long_mode: bool = False
    """Whether a PC's processor runs 64-bit kernels, whatever kernel it runs now."""


_NO_DISKS = ("ram", "zram", "nbd", "rbd", "drbd", "bcache", "iscsi", "fcoe")
"""Drivers and transports of what lsblk calls a disk, and stage 2 has neither the programs nor the network for."""


@dataclass(frozen=True, kw_only=True)
class BlockDevice:
    """A block device as lsblk shows it; sizes and offsets in bytes."""

    name: str
    path: str
    kind: str
    """lsblk's TYPE: disk, part, lvm, crypt, raid1, loop, ..."""
    size_bytes: int
    parents: tuple[str, ...] = ()
    start_bytes: int = 0
    sector_bytes: int = SECTOR_BYTES
    fstype: str = ""
    label: str = ""
    uuid: str = ""
    partuuid: str = ""
    table_id: str = ""
    table_type: str = ""
    """ "dos" or "gpt"; on a partition that of its disk."""
    part_type: str = ""
    """Of a partition: the GUID of its type in lower case, or of an MBR its number ("0xef")."""
    serial: str = ""
    model: str = ""
    transport: str = ""
    """lsblk's TRAN: sata, nvme, usb, mmc, iscsi, ...; "" where it knows none."""
    read_only: bool = False
    luks_tokens: tuple[str, ...] = ()
    """What unlocks it, where the root is on it: the types of the tokens in its LUKS2 header."""

    @property
    def layer(self) -> str:
        """What it is if it is neither a partition nor a disk that every kernel finds by itself, else "".

        lsblk's TYPE, or what it calls a disk all the same: one in memory, on the network, or made of other disks.
        """
        if self.kind not in ("part", "disk"):
            return self.kind
        driver = self.name.rstrip("0123456789")
        if self.kind == "disk" and driver in _NO_DISKS:
            return driver
        return self.transport if self.transport in _NO_DISKS else ""


@dataclass(frozen=True, kw_only=True)
class Mount:
    """One line of /proc/self/mountinfo with the size and free space of its file system, in bytes."""

    source: str
    mount_point: str
    fstype: str
    root: str = "/"
    options: tuple[str, ...] = ()
    size_bytes: int = 0
    free_bytes: int = 0
    block_bytes: int = 0
    """Every file takes a multiple of it (on FAT: a cluster); 0 where unknown."""


@dataclass(frozen=True, kw_only=True)
class DiskFacts:
    devices: tuple[BlockDevice, ...]
    mounts: tuple[Mount, ...]

    def find_mount(self, path: str) -> Mount | None:
        """The mount that contains the path: the longest mount point above it; the last of several on the same point."""
        best: Mount | None = None
        for mount in self.mounts:
            inside = PurePosixPath(path).is_relative_to(mount.mount_point)
            if inside and (best is None or len(mount.mount_point) >= len(best.mount_point)):
                best = mount
        return best

    def mounts_above(self, path: str) -> tuple[Mount, ...]:
        """The mount that contains the path, and those on whose folders it stands: the outermost first."""
        here = PurePosixPath(path)
        found = (self.find_mount(str(point)) for point in reversed((here, *here.parents)))
        return tuple(dict.fromkeys(mount for mount in found if mount is not None))

    def find_device(self, path: str) -> BlockDevice | None:
        """The device with this path (/dev/sda1) or kernel name (sda1)."""
        return next((d for d in self.devices if path in (d.path, d.name)), None)

    def chain(self, device: BlockDevice) -> tuple[BlockDevice, ...]:
        """The device and everything below it, down to its disks; each once."""
        found: list[BlockDevice] = []
        todo = [device]
        while todo:
            here = todo.pop(0)
            if here not in found:
                found.append(here)
                todo += [d for d in self.devices if d.name in here.parents]
        return tuple(found)

    def disks_below(self, path: str) -> tuple[BlockDevice, ...]:
        """The whole disks of the file system that contains `path`; empty if that is not on a block device."""
        mount = self.find_mount(path)
        device = self.find_device(mount.source) if mount else None
        return tuple(d for d in self.chain(device) if d.kind == "disk") if device else ()


ESP_TYPES = ("c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "0xef")
"""The types of an EFI system partition (UEFI specification 2.10, 5.2.2 and 5.3.3)."""


@dataclass(frozen=True, kw_only=True)
class FirmwareEntry:
    """A boot option of UEFI firmware."""

    number: int
    label: str
    partuuid: str
    """Of the partition that the file is on, as BlockDevice.partuuid; "" where it names none."""
    file: str


@dataclass(frozen=True, kw_only=True)
class EfiFacts:
    """UEFI firmware and its variables."""

    bits: int = 0
    """Of the firmware: 64 or 32; 0 where the kernel does not say."""
    unwritable: str = ""
    """Why variables cannot be read or written; "" where they can."""
    readable: bool = True
    free_bytes: int | None = None
    """The room that the kernel leaves for variables; None where it does not say."""
    current: int | None = None
    """The number of the entry that started this system."""
    next: int | None = None
    """The number of the entry that the next start begins with, once (BootNext)."""
    order: tuple[int, ...] = ()
    entries: tuple[FirmwareEntry, ...] = ()
    damaged: tuple[str, ...] = ()
    """The names of variables that make no sense."""
    kernel_stub: bool = False
    """Whether the firmware itself can start the running kernel's file."""
    left_over: tuple[str, ...] = ()
    """Files for stage 2 that are on an EFI system partition already."""

    def find_entry(self, number: int | None) -> FirmwareEntry | None:
        return next((entry for entry in self.entries if entry.number == number), None)


def kernel_path(release: str) -> str:
    """The kernel's file, by the name that Debian's and Ubuntu's packages give it."""
    return f"/boot/vmlinuz-{release}"


@dataclass(frozen=True, kw_only=True)
class BootFacts:
    firmware: Firmware
    kernel_release: str
    kernel_command_line: str
    secure_boot: bool | None = None
    """None where there is no such thing, or it cannot be read."""
    efi: EfiFacts | None = None
    """None where the firmware is not UEFI."""
    kernel_bytes: int = 0
    """The size of the running kernel's file; 0 where it is not where Debian's packages put it."""
    tryboot: bool = False
    """Raspberry Pi: firmware, kernel and init support the one-shot start from tryboot.txt."""
    in_tryboot: bool = False
    """Raspberry Pi: this system was started by such a one-shot start."""
    bootloader_built_s: int = 0
    """Raspberry Pi 4 and later: when the boot loader in the EEPROM was built, in seconds since 1970; 0 if unknown."""
    initramfs_bytes: int = 0
    """The size of the running kernel's own initramfs; 0 where it has none."""
    kernels: tuple[str, ...] = ()
    """The paths of the kernels in /boot (vmlinuz-*) that are not empty."""
    files: dict[str, str] = field(default_factory=dict)
    """Path -> text of the existing configuration files of boot loaders (each boot loader names its own)."""
    unreadable: dict[str, str] = field(default_factory=dict)
    """Path -> the reason why such a file, or a folder of such files, could not be read."""
    changed: tuple[str, ...] = ()
    """The files on mounted FAT file systems that were written since the running kernel was started."""
    fat_files: tuple[str, ...] = ()
    """The files in the root folders of mounted FAT file systems."""


@dataclass(frozen=True, kw_only=True)
class ClockFacts:
    """Seconds since 1970; 0 for unknown."""

    now_s: int = 0
    written_s: int = 0
    """When the newest of some files was written, which was in the past."""
    written: str = ""
    """The path of that file."""

    @property
    def is_set(self) -> bool:
        """Whether the clock may be right. A device without a battery starts somewhere in the past, often in 1970."""
        return self.now_s >= self.written_s - CLOCK_SLACK_S


@dataclass(frozen=True, kw_only=True)
class Facts:
    """All that is true of this device and matters to a migration."""

    os: OsFacts
    hardware: HardwareFacts
    disks: DiskFacts
    boot: BootFacts
    memory: MemoryFacts
    programs: dict[str, str]
    """Name -> path of each installed program, of those that any part of the tool needs."""
    uid: int
    network: NetworkFacts = field(default_factory=NetworkFacts)
    clock: ClockFacts = field(default_factory=ClockFacts)
    format: int = FACTS_FORMAT
