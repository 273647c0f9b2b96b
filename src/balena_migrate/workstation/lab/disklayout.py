# SPDX-License-Identifier: Apache-2.0
"""How the disk of a PC with an old system is divided; its table, its file systems and its fstab come from that."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from balena_migrate.core.units import MIB
from balena_migrate.workstation.lab.disks import (
    FIRST_PARTITION_BYTES,
    FileSystem,
    Span,
    make_ext4,
    make_fat32,
    make_swap,
    make_table,
    mounted_system,
    place,
)

GPT_END_BYTES = MIB
"""Room for the backup of a GPT at the disk's end."""
SWAP_FILE = "swapfile"


class Table(StrEnum):
    """The kind of partition table, as sfdisk calls it."""

    DOS = "dos"
    GPT = "gpt"


class Kind(StrEnum):
    """What a partition holds."""

    BIOS_GRUB = "bios_grub"
    """GRUB's core image, where there is no room for it behind a GPT."""
    ESP = "esp"
    BOOT = "boot"
    SWAP = "swap"
    ROOT = "root"
    USR = "usr"


@dataclass(frozen=True, kw_only=True)
class Part:
    """A partition. `uuid` is its file system's: a FAT's looks like 5C1E-A0B7. Size 0: all that the others leave."""

    kind: Kind
    size_bytes: int = 0
    uuid: str = ""


@dataclass(frozen=True, kw_only=True)
class DiskLayout:
    """`table_id` is "0x5a3c91e7" in an MBR, a UUID in a GPT. The parts are in the table's order, one of size 0.

    With `swap_file_bytes`, the root file system has a swap file of that size.
    """

    table: Table = Table.DOS
    table_id: str
    parts: tuple[Part, ...]
    swap_file_bytes: int = 0

    def spans(self, size_bytes: int) -> dict[Kind, Span]:
        """Where each part is on a disk of that size."""
        free = size_bytes - FIRST_PARTITION_BYTES - (GPT_END_BYTES if self.table is Table.GPT else 0)
        rest = free - sum(part.size_bytes for part in self.parts)
        found, start = {}, FIRST_PARTITION_BYTES
        for part in self.parts:
            found[part.kind] = Span(start_bytes=start, size_bytes=part.size_bytes or rest)
            start += part.size_bytes or rest
        return found

    def file_systems(self, size_bytes: int) -> tuple[FileSystem, ...]:
        """Those that are mounted, each before those below its folder."""
        spans = self.spans(size_bytes)
        mounted = (
            FileSystem(span=spans[part.kind], folder=_FOLDERS[part.kind], fat=part.kind is Kind.ESP)
            for part in self.parts
            if part.kind in _FOLDERS
        )
        return tuple(sorted(mounted, key=lambda system: system.folder))

    @property
    def fstab(self) -> str:
        """Debian's fstab for it."""
        lines = [f"UUID={part.uuid} {_FSTAB[part.kind]}\n" for part in self.parts if part.kind in _FSTAB]
        return "".join([*lines, *([f"/{SWAP_FILE} none swap sw 0 0\n"] if self.swap_file_bytes else [])])

    def find_uuid(self, kind: Kind) -> str:
        """The UUID of the file system of this kind, of which there is one."""
        (found,) = (part.uuid for part in self.parts if part.kind is kind)
        return found


_FOLDERS = {Kind.ROOT: "", Kind.USR: "usr", Kind.BOOT: "boot", Kind.ESP: "boot/efi"}
_FSTAB = {
    Kind.ROOT: "/ ext4 errors=remount-ro 0 1",
    Kind.USR: "/usr ext4 defaults 0 2",
    Kind.BOOT: "/boot ext4 defaults 0 2",
    Kind.ESP: "/boot/efi vfat umask=0077 0 1",
    Kind.SWAP: "none swap sw 0 0",
}
_LINUX_GUID = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
_TYPES = {
    Table.DOS: {Kind.ESP: "ef", Kind.SWAP: "82"},
    # UEFI specification, 5.3.3; GRUB's manual, "BIOS installation"; UAPI's Discoverable Partitions Specification.
    Table.GPT: {
        Kind.BIOS_GRUB: "21686148-6449-6E6F-744E-656564454649",
        Kind.ESP: "C12A7328-F81F-11D2-BA4B-00A0C93EC93B",
        Kind.SWAP: "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F",
    },
}
_OTHER_TYPES = {Table.DOS: "83", Table.GPT: _LINUX_GUID}


def make_laid_out(disk: Path, size_bytes: int, layout: DiskLayout) -> tuple[FileSystem, ...]:
    """Create a sparse disk with that layout and empty file systems; return those that are to be mounted."""
    make_table(disk, size_bytes, list(_script(layout, size_bytes)))
    spans = layout.spans(size_bytes)
    for part in layout.parts:
        _make_content(disk, spans[part.kind], part)
    systems = layout.file_systems(size_bytes)
    for count in range(1, len(systems)):
        with mounted_system(disk, systems[:count]) as root:
            (root / systems[count].folder).mkdir(parents=True)
    if layout.swap_file_bytes:
        _make_swap_file(disk, spans[Kind.ROOT], layout.swap_file_bytes)
    return systems


def _script(layout: DiskLayout, size_bytes: int) -> Iterator[str]:
    yield from (f"label: {layout.table}", f"label-id: {layout.table_id}")
    spans = layout.spans(size_bytes)
    for number, part in enumerate(layout.parts, start=1):
        kind = _TYPES[layout.table].get(part.kind, _OTHER_TYPES[layout.table])
        line = f"{place(spans[part.kind])}, type={kind}"
        if layout.table is Table.GPT:
            line += f", uuid={uuid.uuid5(uuid.UUID(layout.table_id), str(number))}"
        # An MBR's first partition is the active one, as Debian's installer makes it.
        yield line + (", bootable" if layout.table is Table.DOS and number == 1 else "")


def _make_content(disk: Path, span: Span, part: Part) -> None:
    match part.kind:
        case Kind.BIOS_GRUB:
            pass  # grub-install writes it
        case Kind.ESP:
            make_fat32(disk, span, label="ESP", volume_id=part.uuid.replace("-", ""))
        case Kind.SWAP:
            make_swap(disk, span, uuid=part.uuid)
        case Kind.BOOT | Kind.ROOT | Kind.USR:
            make_ext4(disk, span, label=part.kind, uuid=part.uuid)


def _make_swap_file(disk: Path, root: Span, size_bytes: int) -> None:
    with mounted_system(disk, [FileSystem(span=root)]) as folder:
        file = folder / SWAP_FILE
        with file.open("xb") as target:
            os.posix_fallocate(target.fileno(), 0, size_bytes)
        file.chmod(0o600)
        make_swap(file, Span(start_bytes=0, size_bytes=size_bytes), uuid=str(uuid.uuid5(uuid.NAMESPACE_OID, SWAP_FILE)))
