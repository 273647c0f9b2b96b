# SPDX-License-Identifier: Apache-2.0
"""A GPT as parted writes it: a protective MBR, and the table at the start and once more at the image's end."""

from __future__ import annotations

import struct
import uuid
import zlib
from collections.abc import Sequence

from balena_migrate.core.units import SECTOR_BYTES

TYPE_ESP = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
TYPE_LINUX_GUID = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
_ENTRIES, _ENTRY_BYTES = 128, 128
_ENTRY_SECTORS = _ENTRIES * _ENTRY_BYTES // SECTOR_BYTES
_HEADER_BYTES = 92
_PROTECTIVE = 0xEE

Row = tuple[str, str, int, int]
"""A partition's name, its type, where it starts and its size, both in bytes."""


def gpt_sectors(rows: Sequence[Row], size_bytes: int) -> dict[int, bytes]:
    """All of the table, by byte offsets in an image of that size; the GUIDs are made of the names.

    Source: UEFI specification 2.10, 5.3.
    """
    last = size_bytes // SECTOR_BYTES - 1
    entries = b"".join(_entry(row) for row in rows).ljust(_ENTRIES * _ENTRY_BYTES, b"\0")
    backup = last - _ENTRY_SECTORS
    return {
        0: _protective_mbr(last),
        SECTOR_BYTES: _header(entries, here=1, other=last, table=2, last=last),
        2 * SECTOR_BYTES: entries,
        backup * SECTOR_BYTES: entries,
        last * SECTOR_BYTES: _header(entries, here=last, other=1, table=backup, last=last),
    }


def _entry(row: Row) -> bytes:
    name, kind, start_bytes, size_bytes = row
    first, sectors = start_bytes // SECTOR_BYTES, size_bytes // SECTOR_BYTES
    guids = uuid.UUID(kind).bytes_le + _guid(name)
    return guids + struct.pack("<QQQ", first, first + sectors - 1, 0) + name.encode("utf-16-le").ljust(72, b"\0")


def _header(entries: bytes, *, here: int, other: int, table: int, last: int) -> bytes:
    first_usable, last_usable = 2 + _ENTRY_SECTORS, last - _ENTRY_SECTORS - 1
    head = struct.pack("<8sIIII", b"EFI PART", 0x10000, _HEADER_BYTES, 0, 0)
    head += struct.pack("<QQQQ", here, other, first_usable, last_usable) + _guid("disk")
    head += struct.pack("<QIII", table, _ENTRIES, _ENTRY_BYTES, zlib.crc32(entries))
    checked = head[:16] + struct.pack("<I", zlib.crc32(head)) + head[20:]
    return checked.ljust(SECTOR_BYTES, b"\0")


def _protective_mbr(last: int) -> bytes:
    sectors = min(last, 0xFFFFFFFF)
    entry = struct.pack("<B3sB3sII", 0, b"\0\2\0", _PROTECTIVE, b"\xff\xff\xff", 1, sectors)
    return bytes(446) + entry.ljust(64, b"\0") + b"\x55\xaa"


def _guid(name: str) -> bytes:
    return uuid.uuid5(uuid.NAMESPACE_OID, f"balenaOS look-alike {name}").bytes_le
