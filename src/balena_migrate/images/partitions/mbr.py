# SPDX-License-Identifier: Apache-2.0
"""The MBR with its chain of extended boot records (EBRs): their layout, what they say, and a longer last partition.

Sources: the UEFI specification 2.10, 5.2.1, for the fields; the kernel's block/partitions/msdos.c for the chain
(logical partitions count from 5; a link is relative to the extended partition's start).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from balena_migrate.core.errors import ImageError
from balena_migrate.core.units import SECTOR_BYTES
from balena_migrate.images.partitions import EXTENDED_TYPES, Partition, PartitionTable, TableKind
from balena_migrate.images.patches import Block

GPT_PROTECTIVE_TYPE = "ee"
LOGICAL_LIMIT = 124
FIRST_LOGICAL = 5
"""The number of the first logical partition, also where there are fewer primary ones."""

_DISK_ID = struct.Struct("<I")
_DISK_ID_OFFSET = 440
_ENTRY = struct.Struct("<B3sB3sII")
_ENTRIES_OFFSET = 446
_SIGNATURE_OFFSET, _SIGNATURE = 510, b"\x55\xaa"

_HEADS, _TRACK_SECTORS, _CYLINDERS = 255, 63, 1024
_SECTORS_LIMIT = 0xFFFFFFFF


class Entry(NamedTuple):
    """One of the four entries of a sector, as it is there. Sectors count from what the entry is relative to."""

    flag: int
    first_chs: bytes
    type_byte: int
    last_chs: bytes
    start: int
    sectors: int

    @property
    def is_used(self) -> bool:
        return bool(self.type_byte and self.sectors)

    @property
    def type(self) -> str:
        """Two hexadecimal digits."""
        return f"{self.type_byte:02x}"

    @property
    def is_extended(self) -> bool:
        return self.type in EXTENDED_TYPES

    @property
    def start_bytes(self) -> int:
        return self.start * SECTOR_BYTES


def has_signature(sector: bytes) -> bool:
    """Whether it ends as an MBR and an EBR do."""
    return len(sector) >= SECTOR_BYTES and sector[_SIGNATURE_OFFSET:SECTOR_BYTES] == _SIGNATURE


def read_entries(sector: bytes) -> tuple[Entry, ...]:
    """All four entries of an MBR or an EBR, also those that are not used."""
    return tuple(Entry(*fields) for fields in _ENTRY.iter_unpack(sector[_ENTRIES_OFFSET:_SIGNATURE_OFFSET]))


def entry_block(sector_offset_bytes: int, index: int, entry: Entry) -> Block:
    """The entry, at its place in the sector at this offset."""
    place = sector_offset_bytes + _ENTRIES_OFFSET + index * _ENTRY.size
    return Block(offset_bytes=place, content=_ENTRY.pack(*entry))


# Reading ------------------------------------------------------------------------------------------------------------


def parse_mbr(head: bytes) -> PartitionTable:
    """The table without its logical partitions. Raises ImageError if it is empty or damaged."""
    found = (_partition(entry, number, base_bytes=0) for number, entry in enumerate(read_entries(head), start=1))
    partitions = tuple(partition for partition in found if partition is not None)
    if not partitions:
        raise ImageError("its partition table is empty")
    disk_id = _DISK_ID.unpack_from(head, _DISK_ID_OFFSET)[0]
    return PartitionTable(kind=TableKind.DOS, id=f"{disk_id:08x}", partitions=partitions)


class LogicalPartitions:
    """The chain of EBRs of an MBR, for what reads a disk and for a stream that passes only once.

    `found` are the logical partitions of the EBRs so far; `wanted` is the offset of the next EBR, None at the end.
    """

    def __init__(self, table: PartitionTable) -> None:
        self._extended = next((p for p in table.partitions if p.is_extended), None)
        self._seen: set[int] = set()
        self.found: tuple[Partition, ...] = ()
        self.wanted = self._extended.start_bytes if self._extended and table.kind == TableKind.DOS else None

    def take(self, sector: bytes) -> None:
        """Read the EBR that is wanted.

        Raises ImageError if the chain is damaged, leaves the extended partition or runs in circles.
        """
        here, extended = self.wanted, self._extended
        assert here is not None and extended is not None, "no EBR is wanted"
        if here in self._seen or len(self._seen) > LOGICAL_LIMIT:
            raise ImageError("the chain of its logical partitions runs in circles or is too long")
        self._seen.add(here)
        logical, self.wanted = _parse_ebr(sector, here, extended, number=FIRST_LOGICAL + len(self.found))
        self.found += (logical,) if logical else ()


def _parse_ebr(sector: bytes, here: int, extended: Partition, *, number: int) -> tuple[Partition | None, int | None]:
    """The logical partition that an EBR describes, if any, and the offset of the next EBR, if any."""
    if not has_signature(sector):
        raise ImageError(f"the extended boot record at byte {here} is damaged or missing")
    found = (_partition(entry, number, base_bytes=here) for entry in read_entries(sector))
    used = [partition for partition in found if partition is not None]
    logical = next((partition for partition in used if not partition.is_extended), None)
    link = next((partition for partition in used if partition.is_extended), None)
    following = extended.start_bytes + link.start_bytes - here if link else None
    for end in (logical.end_bytes if logical else 0, following or 0):
        if end > extended.end_bytes:
            raise ImageError(f"the extended boot record at byte {here} leads out of the extended partition")
    return logical, following


def _partition(entry: Entry, number: int, *, base_bytes: int) -> Partition | None:
    """What an entry describes, None if it is unused. Its start counts from `base_bytes`."""
    if not entry.is_used:
        return None
    if entry.flag & 0x7F:
        raise ImageError(f"an entry of its partition table has the flag {entry.flag:#04x}, neither 0x00 nor 0x80")
    return Partition(
        number=number,
        start_bytes=base_bytes + entry.start_bytes,
        size_bytes=entry.sectors * SECTOR_BYTES,
        type=entry.type,
        bootable=entry.flag == 0x80,
    )


# A longer last partition --------------------------------------------------------------------------------------------


def longer_mbr(head: bytes, records: tuple[Block, ...], table: PartitionTable, longer: Partition) -> Iterator[Block]:
    """The entries that end with the last partition: its own, and those of what it is in."""
    extended = next((part for part in table.partitions if part.is_extended), None)
    if longer.number < FIRST_LOGICAL or extended is None:
        yield _ending_at(0, head, longer.number - 1, longer.end_bytes, base_bytes=0)
        return
    yield _ending_at(0, head, extended.number - 1, longer.end_bytes, base_bytes=0)
    own = {record.offset_bytes for record in records if _describes(record, longer)}
    for record in records:
        here = record.offset_bytes
        for index, entry in enumerate(read_entries(record.content)):
            if not entry.is_used:
                continue
            if not entry.is_extended and here + entry.start_bytes == longer.start_bytes:
                yield _ending_at(here, record.content, index, longer.end_bytes, base_bytes=here)
            if entry.is_extended and extended.start_bytes + entry.start_bytes in own:
                yield _ending_at(here, record.content, index, longer.end_bytes, base_bytes=extended.start_bytes)


def longer_protective_entry(head: bytes, last_sector: int) -> Block:
    """The entry of a GPT's MBR that covers the disk up to this sector."""
    entries = read_entries(head)
    index = next(index for index, entry in enumerate(entries) if entry.type == GPT_PROTECTIVE_TYPE)
    return entry_block(0, index, entries[index]._replace(sectors=min(last_sector, _SECTORS_LIMIT)))


def _describes(record: Block, partition: Partition) -> bool:
    """Whether this EBR is the partition's own."""
    return any(
        entry.is_used and not entry.is_extended and record.offset_bytes + entry.start_bytes == partition.start_bytes
        for entry in read_entries(record.content)
    )


def _ending_at(offset_bytes: int, sector: bytes, index: int, end_bytes: int, *, base_bytes: int) -> Block:
    """The entry, ending at `end_bytes` in both forms in which it says so; its start counts from `base_bytes`."""
    entry, end = read_entries(sector)[index], end_bytes // SECTOR_BYTES
    sectors = end - base_bytes // SECTOR_BYTES - entry.start
    return entry_block(offset_bytes, index, entry._replace(last_chs=_chs(end - 1), sectors=sectors))


def _chs(sector: int) -> bytes:
    """Cylinder, head and sector in a partition table's three bytes; fe ff ff beyond the last cylinder, as parted has
    it."""
    cylinder, rest = divmod(sector, _HEADS * _TRACK_SECTORS)
    if cylinder >= _CYLINDERS:
        return b"\xfe\xff\xff"
    head, place = divmod(rest, _TRACK_SECTORS)
    return bytes((head, place + 1 | (cylinder >> 8) << 6, cylinder & 0xFF))
