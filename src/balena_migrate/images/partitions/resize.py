# SPDX-License-Identifier: Apache-2.0
"""A partition table in which the last partition is longer than the image has it, as blocks over the image's own.

It is read back by the very parsers that read the image's, before anything is done with it. Sources: as for tables.py;
for the order of the copy of a GPT at the disk's end the UEFI specification 2.10, 5.3.2.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace

from balena_migrate.core.errors import ImageError
from balena_migrate.images.partitions.table import (
    EXTENDED_TYPES,
    GPT_PROTECTIVE_TYPE,
    SECTOR_BYTES,
    Partition,
    PartitionTable,
    TableKind,
    read_table,
)
from balena_migrate.images.patches import Block, Patches

ENTRIES_OFFSET = 446
ENTRY_BYTES = 16
_HEADS, _TRACK_SECTORS, _CYLINDERS = 255, 63, 1024
_SECTORS_LIMIT = 0xFFFFFFFF


def lengthened(
    head: bytes, records: tuple[Block, ...], table: PartitionTable, last: Partition, size_bytes: int, disk_bytes: int
) -> tuple[Block, ...]:
    """The blocks that make `last` so long, in the order of their offsets; of a GPT also its copy at the disk's end.

    `head` is the first MiB, `records` are the extended boot records, and sectors have 512 bytes.
    Raises ImageError where the new table would not be read as it is meant.
    """
    longer = replace(last, size_bytes=size_bytes)
    if table.kind is TableKind.GPT:
        blocks = tuple(_gpt_blocks(head, longer, disk_bytes))
    else:
        blocks = tuple(_mbr_blocks(head, records, table, longer))
    _check(head, records, blocks, _expected(table, longer), disk_bytes)
    return blocks


def _expected(table: PartitionTable, longer: Partition) -> PartitionTable:
    """The table with the longer partition, and with the extended one that has to hold it."""

    def changed(part: Partition) -> Partition:
        if part.number == longer.number:
            return longer
        if longer.number > 4 and part.is_extended:
            return replace(part, size_bytes=longer.end_bytes - part.start_bytes)
        return part

    return replace(table, partitions=tuple(changed(part) for part in table.partitions))


def _check(
    head: bytes, records: tuple[Block, ...], blocks: tuple[Block, ...], expected: PartitionTable, disk_bytes: int
) -> None:
    patches = Patches(size_bytes=disk_bytes, blocks=blocks)
    sectors = {0: head, **{record.offset_bytes: record.content for record in records}}

    def read(offset: int, length: int) -> bytes:
        return patches.apply(offset, sectors.get(offset, b"")[:length])

    if any(part.end_bytes > disk_bytes for part in expected.partitions) or read_table(read) != expected:
        raise ImageError("its partition table cannot be changed so that its last partition is longer")


# MBR ----------------------------------------------------------------------------------------------------------------


def _mbr_blocks(head: bytes, records: tuple[Block, ...], table: PartitionTable, longer: Partition) -> Iterator[Block]:
    """The entries that end with the partition: its own, and those of what it lies in."""
    extended = next((part for part in table.partitions if part.is_extended), None)
    if longer.number <= 4 or extended is None:
        yield _entry_block(head, 0, longer.number - 1, 0, longer.end_bytes)
        return
    yield _entry_block(head, 0, extended.number - 1, 0, longer.end_bytes)
    own = {record.offset_bytes for record in records if _find_entry(record, record.offset_bytes, longer.start_bytes)}
    for record in records:
        for index, kind, start_bytes in _entries(record.content):
            if kind not in EXTENDED_TYPES and record.offset_bytes + start_bytes == longer.start_bytes:
                yield _entry_block(record.content, record.offset_bytes, index, record.offset_bytes, longer.end_bytes)
            if kind in EXTENDED_TYPES and extended.start_bytes + start_bytes in own:
                yield _entry_block(record.content, record.offset_bytes, index, extended.start_bytes, longer.end_bytes)


def _find_entry(record: Block, base_bytes: int, start_bytes: int) -> bool:
    return any(
        kind not in EXTENDED_TYPES and base_bytes + start == start_bytes for _, kind, start in _entries(record.content)
    )


def _entries(sector: bytes) -> Iterator[tuple[int, int, int]]:
    """Index, type and start of each entry in use."""
    for index in range(4):
        kind, start, count = struct.unpack_from("<4xB3xII", sector, ENTRIES_OFFSET + ENTRY_BYTES * index)
        if kind and count:
            yield index, kind, start * SECTOR_BYTES


def _entry_block(sector: bytes, offset_bytes: int, index: int, base_bytes: int, end_bytes: int) -> Block:
    """The entry, ending at `end_bytes` in both forms in which it says so; its start counts from `base_bytes`."""
    place = ENTRIES_OFFSET + ENTRY_BYTES * index
    entry = sector[place : place + ENTRY_BYTES]
    start = struct.unpack_from("<I", entry, 8)[0]
    end = end_bytes // SECTOR_BYTES
    count = end - base_bytes // SECTOR_BYTES - start
    content = entry[:5] + _chs(end - 1) + entry[8:12] + struct.pack("<I", count)
    return Block(offset_bytes=offset_bytes + place, content=content)


def _chs(sector: int) -> bytes:
    """Cylinder, head and sector in a partition table's three bytes; what lies too far is fe ff ff, as parted has it."""
    cylinder, rest = divmod(sector, _HEADS * _TRACK_SECTORS)
    if cylinder >= _CYLINDERS:
        return b"\xfe\xff\xff"
    head, place = divmod(rest, _TRACK_SECTORS)
    return bytes((head, place + 1 | (cylinder >> 8) << 6, cylinder & 0xFF))


# GPT ----------------------------------------------------------------------------------------------------------------


def _gpt_blocks(head: bytes, longer: Partition, disk_bytes: int) -> Iterator[Block]:
    """The protective MBR's entry, the header with its entries, and the copy of both at the end of the disk."""
    header_bytes = struct.unpack_from("<I", head, SECTOR_BYTES + 12)[0]
    header = head[SECTOR_BYTES : SECTOR_BYTES + header_bytes]
    entries_sector, count, entry_bytes = struct.unpack_from("<QII", header, 72)
    entries_start = entries_sector * SECTOR_BYTES
    entries = bytearray(head[entries_start : entries_start + count * entry_bytes])
    struct.pack_into("<Q", entries, (longer.number - 1) * entry_bytes + 40, longer.end_bytes // SECTOR_BYTES - 1)

    last = disk_bytes // SECTOR_BYTES - 1
    copy = last - -(-len(entries) // SECTOR_BYTES)
    yield _protective_entry(head, last)
    primary = _gpt_header(header, entries, (1, last), copy - 1, entries_sector)
    yield Block(offset_bytes=SECTOR_BYTES, content=primary)
    yield Block(offset_bytes=entries_start, content=bytes(entries))
    backup = _gpt_header(header, entries, (last, 1), copy - 1, copy)
    content = entries.ljust((last - copy) * SECTOR_BYTES, b"\0") + backup.ljust(SECTOR_BYTES, b"\0")
    yield Block(offset_bytes=copy * SECTOR_BYTES, content=bytes(content))


def _protective_entry(head: bytes, last_sector: int) -> Block:
    index = next(index for index, kind, _ in _entries(head) if kind == GPT_PROTECTIVE_TYPE)
    place = ENTRIES_OFFSET + ENTRY_BYTES * index
    content = head[place : place + 12] + struct.pack("<I", min(last_sector, _SECTORS_LIMIT))
    return Block(offset_bytes=place, content=content)


def _gpt_header(
    header: bytes, entries: bytes | bytearray, places: tuple[int, int], last_usable: int, entries_sector: int
) -> bytes:
    """A header with its checksums; `places` are its own sector and that of the other header."""
    made = bytearray(header)
    struct.pack_into("<QQ", made, 24, *places)
    struct.pack_into("<Q", made, 48, last_usable)
    struct.pack_into("<Q", made, 72, entries_sector)
    struct.pack_into("<I", made, 88, zlib.crc32(entries))
    struct.pack_into("<I", made, 16, 0)
    struct.pack_into("<I", made, 16, zlib.crc32(made))
    return bytes(made)
