"""The superblock of an ext2, ext3 or ext4 file system, as far as we need it (Linux, Documentation/filesystems/ext4)."""

from __future__ import annotations

import struct

SUPERBLOCK_OFFSET = 1024
SUPERBLOCK_BYTES = 1024

_MAGIC = 0xEF53
_64BIT = 0x80


def parse_free_bytes(superblock: bytes) -> int | None:
    """The free space, reserved blocks included; None where this is no such superblock."""
    if len(superblock) < SUPERBLOCK_BYTES:
        return None
    free, log_block = struct.unpack_from("<I", superblock, 12)[0], struct.unpack_from("<I", superblock, 24)[0]
    if struct.unpack_from("<H", superblock, 56)[0] != _MAGIC or log_block > 6:
        return None
    if struct.unpack_from("<I", superblock, 96)[0] & _64BIT:
        free += struct.unpack_from("<I", superblock, 0x158)[0] << 32
    return int(free << 10 << log_block)
