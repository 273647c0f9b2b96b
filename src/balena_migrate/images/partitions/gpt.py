# SPDX-License-Identifier: Apache-2.0
"""GPT: its layout, what it says, and a longer last partition.

Source: the UEFI specification 2.10, 5.3.2 for the header and the copy at the disk's end, 5.3.3 for the entries.
"""

from __future__ import annotations

import struct
import uuid
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from balena_migrate.core.errors import ImageError
from balena_migrate.core.units import SECTOR_BYTES
from balena_migrate.images.partitions import Partition, PartitionTable, TableKind
from balena_migrate.images.partitions.mbr import longer_protective_entry
from balena_migrate.images.patches import Block

ENTRIES_LIMIT = 4096

_SIGNATURE = b"EFI PART"
_HEADER = struct.Struct("<8sIIIIQQQQ16sQIII")
_ENTRY = struct.Struct("<16s16sQQQ72s")
_LEGACY_BIOS_BOOTABLE = 1 << 2


class Header(NamedTuple):
    """The fields of a header, as they are there; places are numbers of sectors."""

    signature: bytes
    revision: int
    header_bytes: int
    header_crc: int
    reserved: int
    own_lba: int
    other_lba: int
    first_usable_lba: int
    last_usable_lba: int
    disk_id: bytes
    entries_lba: int
    entries_count: int
    entry_bytes: int
    entries_crc: int

    @property
    def all_entries_bytes(self) -> int:
        return self.entries_count * self.entry_bytes


class Entry(NamedTuple):
    """The fields of an entry, as they are there; `last_lba` is the last sector that belongs to it."""

    type_id: bytes
    id: bytes
    first_lba: int
    last_lba: int
    attributes: int
    name: bytes


# Reading ------------------------------------------------------------------------------------------------------------


def parse_gpt(head: bytes) -> PartitionTable:
    """The table in an image's first MiB. Raises ImageError if it is empty, damaged, or not all of it is there."""
    sector_bytes, header = _parse_header(head)
    entries = _entries(head, header, sector_bytes)
    if len(entries) != header.all_entries_bytes:
        raise ImageError("its GPT is not entirely within the first MiB")
    if zlib.crc32(entries) != header.entries_crc:
        raise ImageError("its GPT is damaged: the entries' checksum is wrong")
    found = (
        _partition(Entry(*_ENTRY.unpack_from(entries, index * header.entry_bytes)), index + 1, sector_bytes)
        for index in range(header.entries_count)
    )
    partitions = tuple(partition for partition in found if partition is not None)
    if not partitions:
        raise ImageError("its partition table is empty")
    disk_id = str(uuid.UUID(bytes_le=header.disk_id))
    return PartitionTable(kind=TableKind.GPT, id=disk_id, partitions=partitions, sector_bytes=sector_bytes)


def _parse_header(head: bytes) -> tuple[int, Header]:
    """The size of a sector, and the header. It is in LBA 1, so only its place tells how long a sector is."""
    sector_bytes = next((size for size in (512, 4096) if head[size : size + 8] == _SIGNATURE), 0)
    if not sector_bytes:
        raise ImageError("its partition table says GPT, but there is no GPT header")
    raw = head[sector_bytes : sector_bytes * 2].ljust(_HEADER.size, b"\0")
    header = Header(*_HEADER.unpack_from(raw))
    if not _HEADER.size <= header.header_bytes <= len(raw):
        raise ImageError(f"its GPT is damaged: a header of {header.header_bytes} bytes")
    if _checksum(header, raw[_HEADER.size : header.header_bytes]) != header.header_crc:
        raise ImageError("its GPT is damaged: the header's checksum is wrong")
    count, size, place = header.entries_count, header.entry_bytes, header.entries_lba
    if not (_ENTRY.size <= size <= 4096 and 0 < count <= ENTRIES_LIMIT and place >= 2):
        raise ImageError(f"its GPT is damaged: {count} entries of {size} bytes at sector {place}")
    return sector_bytes, header


def _entries(head: bytes, header: Header, sector_bytes: int) -> bytes:
    start = header.entries_lba * sector_bytes
    return head[start : start + header.all_entries_bytes]


def _checksum(header: Header, rest: bytes) -> int:
    """Over the header with zeros in place of its checksum, and what follows the fields that are known here."""
    return zlib.crc32(_HEADER.pack(*header._replace(header_crc=0)) + rest)


def _partition(entry: Entry, number: int, sector_bytes: int) -> Partition | None:
    if entry.type_id == bytes(16):
        return None
    first, last = entry.first_lba, entry.last_lba
    if not 0 < first <= last:
        raise ImageError(f"its GPT is damaged: partition {number} goes from sector {first} to {last}")
    return Partition(
        number=number,
        start_bytes=first * sector_bytes,
        size_bytes=(last - first + 1) * sector_bytes,
        type=str(uuid.UUID(bytes_le=entry.type_id)).upper(),
        id=str(uuid.UUID(bytes_le=entry.id)),
        name=entry.name.decode("utf-16-le", "replace").split("\0", 1)[0],
        bootable=bool(entry.attributes & _LEGACY_BIOS_BOOTABLE),
    )


# A longer last partition --------------------------------------------------------------------------------------------


def longer_gpt(head: bytes, longer: Partition, disk_bytes: int) -> Iterator[Block]:
    """The protective MBR's entry, the header with its entries, and the copy of both at the end of the disk.

    `head` is the first MiB, whose GPT was found well; sectors have 512 bytes. Raises ImageError without room for it.
    """
    header = Header(*_HEADER.unpack_from(head, SECTOR_BYTES))
    rest = head[SECTOR_BYTES + _HEADER.size : SECTOR_BYTES + header.header_bytes]
    entries = bytearray(_entries(head, header, SECTOR_BYTES))
    place = (longer.number - 1) * header.entry_bytes
    entry = Entry(*_ENTRY.unpack_from(entries, place))
    _ENTRY.pack_into(entries, place, *entry._replace(last_lba=longer.end_bytes // SECTOR_BYTES - 1))

    last = disk_bytes // SECTOR_BYTES - 1
    copy = last - -(-len(entries) // SECTOR_BYTES)
    if longer.end_bytes > copy * SECTOR_BYTES:
        raise ImageError("its GPT has no room for its copy behind the last partition, at the end of the disk")
    primary = header._replace(
        own_lba=1, other_lba=last, last_usable_lba=copy - 1, entries_crc=zlib.crc32(entries), header_crc=0
    )
    backup = primary._replace(own_lba=last, other_lba=1, entries_lba=copy)
    yield longer_protective_entry(head, last)
    yield Block(offset_bytes=SECTOR_BYTES, content=_header_bytes(primary, rest))
    yield Block(offset_bytes=header.entries_lba * SECTOR_BYTES, content=bytes(entries))
    sectors = entries.ljust((last - copy) * SECTOR_BYTES, b"\0")
    content = sectors + _header_bytes(backup, rest).ljust(SECTOR_BYTES, b"\0")
    yield Block(offset_bytes=copy * SECTOR_BYTES, content=bytes(content))


def copy_bytes(head: bytes) -> int:
    """Where the copy of the header is, by the header; `head` as in longer_gpt."""
    return Header(*_HEADER.unpack_from(head, SECTOR_BYTES)).other_lba * SECTOR_BYTES


def _header_bytes(header: Header, rest: bytes) -> bytes:
    """The header with its checksum."""
    return _HEADER.pack(*header._replace(header_crc=_checksum(header, rest))) + rest


# The copy of the header, at the disk's end ------------------------------------------------------------------------


def last_sector(disk_bytes: int) -> int:
    """Where it is on a disk with sectors of 512 bytes."""
    return disk_bytes - SECTOR_BYTES


def is_header(sector: bytes) -> bool:
    """Whether a header is there, valid or not."""
    return sector.startswith(_SIGNATURE)


def erased_copy(disk_bytes: int) -> Block:
    """Zeros in its place, for a disk whose new table is an MBR.

    The kernel and libblkid look for a GPT below a protective MBR only (block/partitions/efi.c), but wipefs(8) and
    programs that repair tables look at the disk's end as well, and find two tables.
    """
    return Block(offset_bytes=last_sector(disk_bytes), content=bytes(SECTOR_BYTES))
