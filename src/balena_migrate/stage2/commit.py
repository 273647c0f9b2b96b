# SPDX-License-Identifier: Apache-2.0
"""What makes a disk boot the new system, and when: the flash engine's `Commit`.

Standard library only.
"""

from __future__ import annotations

from balena_migrate.core.progress import Say
from balena_migrate.images.pieces import Piece
from balena_migrate.stage2.aligned import aligned_memory
from balena_migrate.stage2.readback import write, write_right
from balena_migrate.stage2.target import Disk
from balena_migrate.stage2.window import CHUNK_BYTES, Run

SECTOR_ZERO_BYTES = 4096
"""A sector of the largest size: what the firmware looks at first is in it."""


class FirstMibLast:
    """The first MiB, where partition table and boot loader are, is zeros before anything else is written, and gets its
    content last; of it sector 0 comes last of all. Whatever happens in between, the disk does not boot half a system.
    """

    def __init__(self) -> None:
        self._first = aligned_memory(CHUNK_BYTES)

    def begin(self, disk: Disk, say: Say) -> None:
        """Nothing boots from the disk from here on, until finish()."""
        write(disk, (_on(disk, aligned_memory(CHUNK_BYTES)),), say)

    def holds_back(self, piece: Piece) -> bool:
        """Pieces of the first MiB are kept; gaps between them stay zeros."""
        if piece.offset_bytes >= CHUNK_BYTES:
            return False
        self._first[piece.offset_bytes : piece.end_bytes] = piece.data
        return True

    def finish(self, disk: Disk, say: Say) -> None:
        """The first MiB is on the disk, and found right; its first sectors last: with them the disk boots."""
        first = _on(disk, self._first)
        write_right(disk, first.part(SECTOR_ZERO_BYTES, first.end_bytes), say)
        write_right(disk, first.part(0, SECTOR_ZERO_BYTES), say)


def _on(disk: Disk, first: memoryview) -> Run:
    """The first MiB, or all of a smaller disk."""
    return Run(0, first[: disk.size_bytes])
