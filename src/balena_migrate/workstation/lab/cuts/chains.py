# SPDX-License-Identifier: Apache-2.0
"""What each kind of device starts from its disk, by its firmware's rules and without a look at what was meant."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from balena_migrate.bootloaders.raspberrypi.board import Board
from balena_migrate.core.errors import LabError
from balena_migrate.core.units import SECTOR_BYTES
from balena_migrate.workstation.lab.cuts.fat import read_fat
from balena_migrate.workstation.lab.cuts.grub import GRUB_FILES, GrubPlace, grub_starts
from balena_migrate.workstation.lab.cuts.starts import Loaded, Starts
from balena_migrate.workstation.lab.cuts.uefi import Uefi
from balena_migrate.workstation.lab.disks import FileSystem, read_partitions, read_table, require_file
from balena_migrate.workstation.lab.fat_state import what_boots
from balena_migrate.workstation.lab.machines.raspberrypi.firmware import find_boot_partition
from balena_migrate.workstation.lab.machines.raspberrypi.machine import PiMachine
from balena_migrate.workstation.lab.prepare import Prepared
from balena_migrate.workstation.lab.variables import store_of


class Chain(Protocol):
    """A firmware and a boot loader."""

    def starts(self, disk: Path) -> Starts:
        """What they start from the disk. Raises LabError with the reason if that is nothing, or not the old loader."""

    @property
    def boot_files(self) -> tuple[str, ...]:
        """Patterns of files of the old system, relative to its root: those that decide what is started."""


@dataclass(frozen=True, kw_only=True)
class BiosGrub:
    """SeaBIOS, which starts what is in the first sector; there GRUB's boot.img, which loads core.img."""

    place: GrubPlace
    code: str
    """The digest of both, as they are on the old system's disk."""

    @property
    def boot_files(self) -> tuple[str, ...]:
        return GRUB_FILES

    def starts(self, disk: Path) -> Starts:
        if boot_code(disk) != self.code:
            raise LabError("the boot code is not the old system's")
        return grub_starts(disk, self.place)


@dataclass(frozen=True, kw_only=True)
class RaspberryPi:
    """A Raspberry Pi's firmware, by its stand-in, which reads the FAT in the state that it is in."""

    board: Board
    folder: str
    """Where the old system mounts it."""

    @property
    def boot_files(self) -> tuple[str, ...]:
        """Also the name that is left of one of ours where a directory was torn within its long form."""
        names = ("config.txt", "cmdline.txt", "balena-migrate*", "BALENA~*")
        return tuple(f"{self.folder}/{name}" for name in names)

    def starts(self, disk: Path) -> Starts:
        with read_fat(disk, find_boot_partition(disk)) as fat:
            boot = what_boots(fat, self.board)
        start = boot.start
        names = (start.kernel, *start.initramfs, start.device_tree)
        digests = (hashlib.sha256(content).hexdigest() for content in boot.contents)
        kernel, *initramfs, tree = (
            Loaded(path=name, digest=digest) for name, digest in zip(names, digests, strict=True)
        )
        return Starts(
            kernel=kernel,
            initramfs=tuple(initramfs),
            others=(tree,),
            arguments=tuple(start.command_line.split()),
        )


def find_chain(disk: Path, prepared: Prepared) -> Chain:
    """The chain of a device with this disk, on which its old system is whole. Raises LabError if there is none here."""
    machine = prepared.machine
    if isinstance(machine, PiMachine):
        assert prepared.fat is not None, "a Raspberry Pi boots from FAT"
        return RaspberryPi(board=machine.board, folder=prepared.fat.folder)
    if store_of(disk).exists():
        return Uefi()
    return bios_grub(disk, prepared.file_systems)


def bios_grub(disk: Path, systems: Sequence[FileSystem]) -> BiosGrub:
    """The chain of an old system's disk with GRUB for BIOS."""
    return BiosGrub(place=_grub_place(disk, systems), code=boot_code(disk))


def _grub_place(disk: Path, systems: Sequence[FileSystem]) -> GrubPlace:
    """Where core.img looks for grub.cfg: on the file system with /boot."""
    system = next((s for s in systems if s.folder == "boot"), systems[0])
    kind = read_table(disk)["label"]
    number = read_partitions(disk).index(system.span) + 1
    return GrubPlace(
        root=f"hd0,{'gpt' if kind == 'gpt' else 'msdos'}{number}", folder="/grub" if system.folder else "/boot/grub"
    )


BOOT_CODE_BYTES = 440
"""What of the first sector is boot code; the disk's id and the partition table follow."""
_KERNEL_SECTOR = 0x5C
"""Where boot.img has the place of core.img's first sector (GRUB 2.06, grub-core/boot/i386/pc/boot.S)."""
_BLOCK = struct.Struct("<QHH")
"""An entry of the block list at the end of that sector: the last one comes first, and one of length 0 ends it."""


def boot_code(disk: Path) -> str:
    """A digest of the boot code and of all that it loads. Raises LabError where there is no GRUB."""
    with require_file(disk).open("rb") as file:
        code = file.read(SECTOR_BYTES)
        if code[510:] != b"\x55\xaa":
            raise LabError("the first sector has no signature: no boot code is started")
        (place,) = struct.unpack_from("<Q", code, _KERNEL_SECTOR)
        file.seek(place * SECTOR_BYTES)
        first = file.read(SECTOR_BYTES)
        digest = hashlib.sha256(code[:BOOT_CODE_BYTES] + first)
        for end in range(SECTOR_BYTES, 0, -_BLOCK.size):
            start, count, _ = _BLOCK.unpack_from(first, end - _BLOCK.size)
            if not count:
                return digest.hexdigest()
            file.seek(start * SECTOR_BYTES)
            digest.update(file.read(count * SECTOR_BYTES))
    raise LabError("GRUB's core image has no end")
