# SPDX-License-Identifier: Apache-2.0
"""Where each partition of an image starts and ends, and its partition table.

The table is written byte by byte, as parted writes balenaOS's: a gap of 4 MiB before each logical partition,
the first EBR at the start of the extended partition, the second one 128 sectors before its partition. (sfdisk
would put them elsewhere.)
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from balena_migrate.core.units import MIB, SECTOR_BYTES
from balena_migrate.workstation.lab.lookalike.specs import ImageSpec

ALIGNMENT_BYTES = 4 * MIB
SECOND_EBR_BEFORE_BYTES = 128 * SECTOR_BYTES
TYPE_FAT16, TYPE_FAT32, TYPE_LINUX = 0x0E, 0x0C, 0x83
TYPE_EXTENDED, TYPE_EXTENDED_LINK = 0x0F, 0x05
TABLE_OFFSET = 446


@dataclass(frozen=True, kw_only=True)
class Partition:
    """`label` is the file system's; the extended partition has none."""

    number: int
    label: str
    start_bytes: int
    size_bytes: int
    type_byte: int

    @property
    def end_bytes(self) -> int:
        return self.start_bytes + self.size_bytes


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The partitions by number, 1 to 6, and the size of the whole image."""

    partitions: tuple[Partition, ...]
    size_bytes: int

    def labelled(self, label: str) -> Partition:
        """The partition with this label; there is exactly one."""
        (found,) = (part for part in self.partitions if part.label == label)
        return found


def plan_layout(spec: ImageSpec) -> Layout:
    """The partitions of an image with an MBR."""
    parts: list[Partition] = []

    def add(number: int, label: str, start: int, size: int, kind: int) -> int:
        parts.append(Partition(number=number, label=label, start_bytes=start, size_bytes=size, type_byte=kind))
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
    return Layout(partitions=tuple(parts), size_bytes=end)


def table_sectors(layout: Layout) -> dict[int, bytes]:
    """The MBR (without boot code, disk id 0) and both EBRs, by their byte offsets in the image."""
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
    return _pack(flag, part.type_byte, part.start_bytes - base_bytes, part.size_bytes, part.start_bytes)


def _pack(flag: int, kind: int, start_bytes: int, size_bytes: int, absolute_bytes: int) -> bytes:
    first = absolute_bytes // SECTOR_BYTES
    count = size_bytes // SECTOR_BYTES
    chs = _chs(first), _chs(first + count - 1)
    return struct.pack("<B3sB3sII", flag, chs[0], kind, chs[1], start_bytes // SECTOR_BYTES, count)


def _chs(sector: int) -> bytes:
    """Cylinder, head, sector for 255 heads and 63 sectors; fe ff ff if out of range."""
    cylinder, rest = divmod(sector, 255 * 63)
    if cylinder > 1023:
        return b"\xfe\xff\xff"
    return bytes((rest // 63, (rest % 63 + 1) | (cylinder >> 2 & 0xC0), cylinder & 0xFF))


def _sector(entries: list[bytes]) -> bytes:
    return bytes(TABLE_OFFSET) + b"".join(entries).ljust(64, b"\0") + b"\x55\xaa"
