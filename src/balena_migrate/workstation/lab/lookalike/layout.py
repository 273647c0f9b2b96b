# SPDX-License-Identifier: Apache-2.0
"""Where each partition of an image starts and ends, and its partition table.

An MBR is written byte by byte, as parted writes balenaOS's: a gap of 4 MiB before each logical partition,
the first EBR at the start of the extended partition, the second one 128 sectors before its partition. (sfdisk
would put them elsewhere.)
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from balena_migrate.core.units import MIB, SECTOR_BYTES
from balena_migrate.workstation.lab.disklayout import GPT_END_BYTES, Table
from balena_migrate.workstation.lab.lookalike.gpt import TYPE_ESP, TYPE_LINUX_GUID, gpt_sectors
from balena_migrate.workstation.lab.lookalike.specs import ImageSpec

ALIGNMENT_BYTES = 4 * MIB
SECOND_EBR_BEFORE_BYTES = 128 * SECTOR_BYTES
TYPE_FAT16, TYPE_FAT32, TYPE_LINUX = "e", "c", "83"
TYPE_EXTENDED, TYPE_EXTENDED_LINK = "f", "5"
TABLE_OFFSET = 446


@dataclass(frozen=True, kw_only=True)
class Partition:
    """`label` is the file system's, and in a GPT the partition's name; the extended partition has none.

    `type_code` is the type as sfdisk has it: hexadecimal in an MBR, a GUID in a GPT.
    """

    number: int
    label: str
    start_bytes: int
    size_bytes: int
    type_code: str

    @property
    def end_bytes(self) -> int:
        return self.start_bytes + self.size_bytes


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The partitions by number, from 1, and the size of the whole image."""

    partitions: tuple[Partition, ...]
    size_bytes: int
    table: Table

    def labelled(self, label: str) -> Partition:
        """The partition with this label; there is exactly one."""
        (found,) = (part for part in self.partitions if part.label == label)
        return found


def plan_layout(spec: ImageSpec) -> Layout:
    """The partitions of an image."""
    return _plan_gpt(spec) if spec.table is Table.GPT else _plan_mbr(spec)


def table_sectors(layout: Layout) -> dict[int, bytes]:
    """What the table consists of, by byte offsets in the image. An MBR has no boot code and the disk id 0."""
    if layout.table is Table.DOS:
        return _mbr_sectors(layout)
    names = [(part.label, part.type_code, part.start_bytes, part.size_bytes) for part in layout.partitions]
    return gpt_sectors(names, layout.size_bytes)


def _plan_gpt(spec: ImageSpec) -> Layout:
    """No extended partition and no gaps; resin-data ends where the MiB with the table's backup begins."""
    sizes = {
        "resin-boot": spec.boot_bytes,
        "resin-rootA": spec.root_bytes,
        "resin-rootB": spec.root_bytes,
        "resin-state": spec.state_bytes,
        "resin-data": spec.data_bytes + 3 * ALIGNMENT_BYTES - GPT_END_BYTES,
    }
    parts, start = [], ALIGNMENT_BYTES
    for number, (label, size) in enumerate(sizes.items(), start=1):
        kind = TYPE_ESP if number == 1 else TYPE_LINUX_GUID
        parts.append(Partition(number=number, label=label, start_bytes=start, size_bytes=size, type_code=kind))
        start += size
    return Layout(partitions=tuple(parts), size_bytes=start + GPT_END_BYTES, table=Table.GPT)


def _plan_mbr(spec: ImageSpec) -> Layout:
    parts: list[Partition] = []

    def add(number: int, label: str, start: int, size: int, kind: str) -> int:
        parts.append(Partition(number=number, label=label, start_bytes=start, size_bytes=size, type_code=kind))
        return start + size

    fat = TYPE_FAT32 if spec.fat_bits == 32 else TYPE_FAT16
    end = add(1, "resin-boot", ALIGNMENT_BYTES, spec.boot_bytes, fat)
    end = add(2, "resin-rootA", end, spec.root_bytes, TYPE_LINUX)
    end = add(3, "resin-rootB", end, spec.root_bytes, TYPE_LINUX)
    # The partition is one alignment unit larger than the file system made for it.
    data = spec.data_bytes + ALIGNMENT_BYTES
    extended = end
    add(4, "", extended, 2 * ALIGNMENT_BYTES + spec.state_bytes + data, TYPE_EXTENDED)
    end = add(5, "resin-state", extended + ALIGNMENT_BYTES, spec.state_bytes, TYPE_LINUX)
    end = add(6, "resin-data", end + ALIGNMENT_BYTES, data, TYPE_LINUX)
    return Layout(partitions=tuple(parts), size_bytes=end, table=Table.DOS)


def _mbr_sectors(layout: Layout) -> dict[int, bytes]:
    """The MBR and both EBRs."""
    boot, root_a, root_b, extended, state, data = layout.partitions
    ebr2_start = data.start_bytes - SECOND_EBR_BEFORE_BYTES
    ebr2_size = data.end_bytes - ebr2_start
    mbr = [_entry(part, 0, bootable=part is boot) for part in (boot, root_a, root_b, extended)]
    link = _pack(0, TYPE_EXTENDED_LINK, ebr2_start - extended.start_bytes, ebr2_size, ebr2_start)
    return {
        0: _sector(mbr),
        extended.start_bytes: _sector([_entry(state, extended.start_bytes), link]),
        ebr2_start: _sector([_entry(data, ebr2_start)]),
    }


def _entry(part: Partition, base_bytes: int, *, bootable: bool = False) -> bytes:
    flag = 0x80 if bootable else 0
    return _pack(flag, part.type_code, part.start_bytes - base_bytes, part.size_bytes, part.start_bytes)


def _pack(flag: int, kind: str, start_bytes: int, size_bytes: int, absolute_bytes: int) -> bytes:
    first = absolute_bytes // SECTOR_BYTES
    count = size_bytes // SECTOR_BYTES
    chs = _chs(first), _chs(first + count - 1)
    return struct.pack("<B3sB3sII", flag, chs[0], int(kind, 16), chs[1], start_bytes // SECTOR_BYTES, count)


def _chs(sector: int) -> bytes:
    """Cylinder, head, sector for 255 heads and 63 sectors; fe ff ff if out of range."""
    cylinder, rest = divmod(sector, 255 * 63)
    if cylinder > 1023:
        return b"\xfe\xff\xff"
    return bytes((rest // 63, (rest % 63 + 1) | (cylinder >> 2 & 0xC0), cylinder & 0xFF))


def _sector(entries: list[bytes]) -> bytes:
    return bytes(TABLE_OFFSET) + b"".join(entries).ljust(64, b"\0") + b"\x55\xaa"
