# SPDX-License-Identifier: Apache-2.0
"""Partition tables: the MBR with its chain of extended boot records (EBRs), and GPT.

The parsers are pure functions of bytes, so one code reads an image that streams by, an image file, and a disk after
the flash. Nothing here believes a table: what leads out of it, runs in circles or is absurd is an ImageError.

Sources: the UEFI specification 2.10, chapter 5, for GPT and the MBR's fields; the kernel's block/partitions/msdos.c for
the EBR chain (logical partitions count from 5; a link is relative to the extended partition's start).
"""

from __future__ import annotations

import struct
import uuid
import zlib
from collections.abc import Callable, Generator
from dataclasses import dataclass
from enum import StrEnum

from balena_migrate.core.errors import ImageError

Read = Callable[[int, int], bytes]
"""read(offset, length) gives these bytes; fewer only at the end."""

HEAD_BYTES = 1 << 20
"""All of a table but the EBRs lies in the first MiB, and so does a BIOS boot loader behind it."""

SECTOR_BYTES = 512
EXTENDED_TYPES = (0x05, 0x0F, 0x85)
GPT_PROTECTIVE_TYPE = 0xEE
LOGICAL_LIMIT = 124
GPT_ENTRIES_LIMIT = 4096
_MBR_ENTRIES = 446


class TableKind(StrEnum):
    """The kind of a partition table, by the name that lsblk gives it."""

    DOS = "dos"
    GPT = "gpt"


@dataclass(frozen=True, kw_only=True)
class Partition:
    """`type` is two hexadecimal digits ("0e") in an MBR, a GUID in upper case in GPT; `name` is GPT's alone."""

    number: int
    start_bytes: int
    size_bytes: int
    type: str
    name: str = ""
    bootable: bool = False

    @property
    def end_bytes(self) -> int:
        """The first byte behind it."""
        return self.start_bytes + self.size_bytes

    @property
    def is_extended(self) -> bool:
        return self.type in tuple(f"{kind:02x}" for kind in EXTENDED_TYPES)


@dataclass(frozen=True, kw_only=True)
class PartitionTable:
    """`id` as lsblk's PTUUID has it: 8 hexadecimal digits for an MBR, a GUID for GPT, in lower case."""

    kind: TableKind
    id: str
    partitions: tuple[Partition, ...]
    sector_bytes: int = SECTOR_BYTES

    def find(self, number: int) -> Partition | None:
        return next((p for p in self.partitions if p.number == number), None)


def read_table(read: Read) -> PartitionTable:
    """The whole partition table of an image file or disk.

    Raises ImageError where there is none, or where it is damaged.
    """
    table = parse_head(read(0, HEAD_BYTES))
    chain = logical_partitions(table)
    logical: tuple[Partition, ...] = ()
    try:
        offset = next(chain)
        while True:
            offset = chain.send(read(offset, SECTOR_BYTES))
    except StopIteration as end:
        logical = end.value
    return with_logical(table, logical)


def with_logical(table: PartitionTable, logical: tuple[Partition, ...]) -> PartitionTable:
    """The table with its logical partitions behind the primary ones."""
    return PartitionTable(
        kind=table.kind, id=table.id, partitions=table.partitions + logical, sector_bytes=table.sector_bytes
    )


def parse_head(head: bytes) -> PartitionTable:
    """The table without logical partitions, of an image's first MiB (or all of it, where it is smaller).

    Raises ImageError where there is none, or where it is damaged.
    """
    if len(head) < SECTOR_BYTES or head[510:512] != b"\x55\xaa":
        raise ImageError(
            "there is no partition table at its start",
            hint="is it the whole disk image, and no archive of another kind?",
        )
    if any(head[_MBR_ENTRIES + 16 * i + 4] == GPT_PROTECTIVE_TYPE for i in range(4)):
        return _parse_gpt(head)
    return _parse_mbr(head)


# MBR ----------------------------------------------------------------------------------------------------------------


def _parse_mbr(head: bytes) -> PartitionTable:
    partitions = []
    for number in range(1, 5):
        entry = _mbr_entry(head, number - 1, number, base_bytes=0)
        if entry is not None:
            partitions.append(entry)
    if not partitions:
        raise ImageError("its partition table is empty")
    return PartitionTable(
        kind=TableKind.DOS, id=f"{int.from_bytes(head[440:444], 'little'):08x}", partitions=tuple(partitions)
    )


def _mbr_entry(sector: bytes, index: int, number: int, *, base_bytes: int) -> Partition | None:
    """One of the four entries; None where it is unused. Its start counts from `base_bytes`."""
    flag, kind, start, count = struct.unpack_from("<B3xB3xII", sector, _MBR_ENTRIES + 16 * index)
    if kind == 0 or count == 0:
        return None
    if flag & 0x7F:
        raise ImageError(f"entry {index + 1} of its partition table has the flag {flag:#04x}, neither 0x00 nor 0x80")
    return Partition(
        number=number,
        start_bytes=base_bytes + start * SECTOR_BYTES,
        size_bytes=count * SECTOR_BYTES,
        type=f"{kind:02x}",
        bootable=flag == 0x80,
    )


def logical_partitions(table: PartitionTable) -> Generator[int, bytes, tuple[Partition, ...]]:
    """Yields the offset of each EBR, is sent its sector, and returns the logical partitions.

    A generator, so that the same code reads a disk and a stream that passes only once.
    Raises ImageError where the chain is damaged, leaves the extended partition or runs in circles.
    """
    if table.kind != TableKind.DOS:
        return ()
    extended = next((p for p in table.partitions if p.is_extended), None)
    found: list[Partition] = []
    seen: set[int] = set()
    here = extended.start_bytes if extended else None
    while extended is not None and here is not None:
        if here in seen or len(seen) > LOGICAL_LIMIT:
            raise ImageError("the chain of its logical partitions runs in circles or is too long")
        seen.add(here)
        sector = yield here
        logical, here = _parse_ebr(sector, here, extended, number=5 + len(found))
        if logical is not None:
            found.append(logical)
    return tuple(found)


def _parse_ebr(sector: bytes, here: int, extended: Partition, *, number: int) -> tuple[Partition | None, int | None]:
    """The logical partition that an EBR describes, if any, and the offset of the next EBR, if any."""
    if len(sector) < SECTOR_BYTES or sector[510:512] != b"\x55\xaa":
        raise ImageError(f"the extended boot record at byte {here} is damaged or missing")
    logical = None
    following = None
    for index in range(4):
        entry = _mbr_entry(sector, index, number, base_bytes=here)
        if entry is None:
            continue
        if not entry.is_extended:
            logical = logical or entry
        elif following is None:
            following = extended.start_bytes + entry.start_bytes - here
    for end in (logical.end_bytes if logical else 0, following or 0):
        if end > extended.end_bytes:
            raise ImageError(f"the extended boot record at byte {here} leads out of the extended partition")
    return logical, following


# GPT ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _GptHeader:
    sector_bytes: int
    disk_id: str
    entries_start: int
    entries_count: int
    entry_bytes: int
    entries_crc: int


def _parse_gpt(head: bytes) -> PartitionTable:
    header = _parse_gpt_header(head)
    entries = head[header.entries_start : header.entries_start + header.entries_count * header.entry_bytes]
    if len(entries) != header.entries_count * header.entry_bytes:
        raise ImageError("its GPT lies outside of its first MiB, where it is not looked for")
    if zlib.crc32(entries) != header.entries_crc:
        raise ImageError("its GPT is damaged: the entries' checksum is wrong")
    partitions = []
    for index in range(header.entries_count):
        entry = entries[index * header.entry_bytes :][:128]
        partition = _gpt_entry(entry, index + 1, header.sector_bytes)
        if partition is not None:
            partitions.append(partition)
    if not partitions:
        raise ImageError("its partition table is empty")
    return PartitionTable(
        kind=TableKind.GPT, id=header.disk_id, partitions=tuple(partitions), sector_bytes=header.sector_bytes
    )


def _parse_gpt_header(head: bytes) -> _GptHeader:
    """The header lies in LBA 1, and how long a sector is only its place tells."""
    sector_bytes = next((size for size in (512, 4096) if head[size : size + 8] == b"EFI PART"), 0)
    if not sector_bytes:
        raise ImageError("its partition table says GPT, but there is no GPT header")
    raw = head[sector_bytes : sector_bytes * 2]
    header_bytes, crc = struct.unpack_from("<II", raw, 12)
    if not 92 <= header_bytes <= len(raw):
        raise ImageError(f"its GPT is damaged: a header of {header_bytes} bytes")
    if zlib.crc32(raw[:16] + bytes(4) + raw[20:header_bytes]) != crc:
        raise ImageError("its GPT is damaged: the header's checksum is wrong")
    entries_lba, count, entry_bytes, entries_crc = struct.unpack_from("<QIII", raw, 72)
    if not (128 <= entry_bytes <= 4096 and 0 < count <= GPT_ENTRIES_LIMIT and entries_lba >= 2):
        raise ImageError(f"its GPT is damaged: {count} entries of {entry_bytes} bytes at sector {entries_lba}")
    return _GptHeader(
        sector_bytes=sector_bytes,
        disk_id=str(uuid.UUID(bytes_le=raw[56:72])),
        entries_start=entries_lba * sector_bytes,
        entries_count=count,
        entry_bytes=entry_bytes,
        entries_crc=entries_crc,
    )


def _gpt_entry(entry: bytes, number: int, sector_bytes: int) -> Partition | None:
    first, last, attributes = struct.unpack_from("<QQQ", entry, 32)
    if entry[:16] == bytes(16):
        return None
    if not 0 < first <= last:
        raise ImageError(f"its GPT is damaged: partition {number} goes from sector {first} to {last}")
    return Partition(
        number=number,
        start_bytes=first * sector_bytes,
        size_bytes=(last - first + 1) * sector_bytes,
        type=str(uuid.UUID(bytes_le=entry[:16])).upper(),
        name=entry[56:128].decode("utf-16-le", "replace").split("\0", 1)[0],
        bootable=bool(attributes & 4),
    )
