# SPDX-License-Identifier: Apache-2.0
"""What a partition table says, whatever its kind. `table` reads one, `resize` changes one; `mbr` and `gpt` know their
layouts on the disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from balena_migrate.core.units import MIB, SECTOR_BYTES

Read = Callable[[int, int], bytes]
"""read(offset, length) gives these bytes; fewer only at the end."""

HEAD_BYTES = MIB
"""All of a table but the EBRs is in the first MiB, and so is a BIOS boot loader after it."""

EXTENDED_TYPES = ("05", "0f", "85")


class TableKind(StrEnum):
    """The kind of a partition table, by the name that lsblk gives it."""

    DOS = "dos"
    GPT = "gpt"


@dataclass(frozen=True, kw_only=True)
class Partition:
    """`type` is two hexadecimal digits ("0e") in an MBR, a GUID in upper case in GPT.

    `name` and `id`, a GUID in lower case, are GPT's alone.
    """

    number: int
    start_bytes: int
    size_bytes: int
    type: str
    name: str = ""
    id: str = ""
    bootable: bool = False

    @property
    def end_bytes(self) -> int:
        """The first byte behind it."""
        return self.start_bytes + self.size_bytes

    @property
    def is_extended(self) -> bool:
        return self.type in EXTENDED_TYPES


@dataclass(frozen=True, kw_only=True)
class PartitionTable:
    """`id` as lsblk's PTUUID has it: 8 hexadecimal digits for an MBR, a GUID for GPT, in lower case."""

    kind: TableKind
    id: str
    partitions: tuple[Partition, ...]
    sector_bytes: int = SECTOR_BYTES

    def find(self, number: int) -> Partition | None:
        return next((p for p in self.partitions if p.number == number), None)
