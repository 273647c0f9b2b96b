# SPDX-License-Identifier: Apache-2.0
"""What a PC with UEFI starts: by its variables, the GPT, and the EFI partition's files."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from balena_migrate.core.errors import CommandError, LabError
from balena_migrate.core.units import SECTOR_BYTES
from balena_migrate.workstation.lab.cuts.fat import read_fat
from balena_migrate.workstation.lab.cuts.grub import GRUB_FILES, GrubPlace, grub_starts
from balena_migrate.workstation.lab.cuts.starts import Loaded, Starts
from balena_migrate.workstation.lab.disks import read_table
from balena_migrate.workstation.lab.fat_state import FatState
from balena_migrate.workstation.lab.variables import BootEntry, read_boot_variables

_ON_A_GPT = re.compile(r"HD\(\d+,GPT,([0-9a-f-]+),0x[0-9a-f]+,0x[0-9a-f]+\)/(\\.+)")
GRUB_NAMES = ("grubx64.efi", "grub.cfg")
"""What the shim of a distribution goes on with, in its own folder."""


@dataclass(frozen=True, kw_only=True)
class Uefi:
    """A firmware with UEFI, which starts a kernel of its own accord, or a distribution's GRUB."""

    @property
    def boot_files(self) -> tuple[str, ...]:
        return GRUB_FILES

    def starts(self, disk: Path) -> Starts:
        variables = read_boot_variables(disk)
        if variables is None:
            raise LabError(f"there is no variable store beside {disk}")
        for entry in variables.in_order:
            if started := _start(disk, entry):
                return started
        raise LabError("none of the firmware's boot entries leads to a file on the disk")


def _start(disk: Path, entry: BootEntry) -> Starts | None:
    """What an entry starts; None if its file is not there. Raises LabError if what it starts is not whole."""
    match = _ON_A_GPT.fullmatch(entry.path)
    found = _find_partition(disk, match[1]) if match else None
    if match is None or found is None:
        return None
    number, start_bytes = found
    program = PureWindowsPath(match[2])
    with read_fat(disk, start_bytes) as fat:
        if not fat.exists(_plain(program)):
            return None
        words = entry.arguments.split()
        initrds = [word.removeprefix("initrd=") for word in words if word.startswith("initrd=")]
        if initrds:
            return Starts(
                kernel=_loaded(fat, program),
                initramfs=tuple(_loaded(fat, PureWindowsPath(name)) for name in initrds),
                arguments=tuple(words),
            )
        loaders = tuple(_loaded(fat, program.with_name(name)) for name in (program.name, *GRUB_NAMES))
    started = grub_starts(disk, GrubPlace(root=f"hd0,gpt{number}", folder=f"/{_plain(program.parent)}"))
    return Starts(kernel=started.kernel, initramfs=started.initramfs, arguments=started.arguments, others=loaders)


def _find_partition(disk: Path, uuid: str) -> tuple[int, int] | None:
    """Number and start of a partition, by either of the GPT's two copies, as the firmware has it."""
    try:
        table = read_table(disk)
    except CommandError:
        raise LabError("the disk has no partition table") from None
    for number, part in enumerate(table.get("partitions", ()), start=1):
        if part.get("uuid", "").lower() == uuid:
            return number, part["start"] * SECTOR_BYTES
    return None


def _plain(path: PureWindowsPath) -> str:
    """The path on the FAT, from its root."""
    return "/".join(path.parts[1:])


def _loaded(fat: FatState, path: PureWindowsPath) -> Loaded:
    return Loaded(path=str(path), digest=hashlib.sha256(fat.read(_plain(path))).hexdigest())
