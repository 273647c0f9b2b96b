# SPDX-License-Identifier: Apache-2.0
"""What makes a disk boot the new system, and when: the flash engine's `Commit`.

Standard library only.
"""

from __future__ import annotations

from balena_migrate.core.errors import FlashError
from balena_migrate.images.pieces import Piece
from balena_migrate.stage2.flash import CHUNK_BYTES, REWRITES, read_or_nothing
from balena_migrate.stage2.target import Disk

SECTOR_ZERO_BYTES = 4096
"""A sector of the largest size: what the firmware looks at first is in it."""


class FirstMibLast:
    """The first MiB, where partition table and boot loader are, is zeros before anything else is written, and gets its
    content last; of it sector 0 comes last of all. Whatever happens in between, the disk does not boot half a system.
    """

    def __init__(self) -> None:
        self._first = bytearray()

    def begin(self, disk: Disk) -> None:
        """Nothing boots from the disk from here on, until finish()."""
        self._first.clear()
        disk.write(0, bytes(min(CHUNK_BYTES, disk.size_bytes)))
        disk.sync()

    def holds_back(self, piece: Piece) -> bool:
        """Pieces of the first MiB are kept; gaps between them stay zeros."""
        if piece.offset_bytes >= CHUNK_BYTES:
            return False
        self._first.extend(bytes(piece.offset_bytes - len(self._first)))
        self._first.extend(piece.data)
        return True

    def finish(self, disk: Disk) -> None:
        """The first MiB is on the disk, its first sectors last: with them the disk boots."""
        first = bytes(self._first)
        for _ in range(REWRITES + 1):
            disk.write(SECTOR_ZERO_BYTES, first[SECTOR_ZERO_BYTES:])
            disk.sync()
            disk.write(0, first[:SECTOR_ZERO_BYTES])
            disk.sync()
            disk.drop_cache()
            if read_or_nothing(disk, 0, len(first)) == first:
                return
        raise FlashError(f"{disk.path}: its first MiB reads back wrong", hint="the disk is defective")
