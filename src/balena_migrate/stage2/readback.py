# SPDX-License-Identifier: Apache-2.0
"""Whether a disk holds what was written to it, and what is done where it does not.

Standard library only.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Iterable

from balena_migrate.core.errors import FlashError
from balena_migrate.core.progress import Say
from balena_migrate.core.units import KIB
from balena_migrate.stage2.aligned import ALIGNMENT_BYTES, align_down, same
from balena_migrate.stage2.patience import without_end
from balena_migrate.stage2.target import Disk
from balena_migrate.stage2.window import CHUNK_BYTES, Run

REWRITES = 3
"""How often what reads back wrong is written again, in parts of each size."""

PART_BYTES = (CHUNK_BYTES, 64 * KIB, ALIGNMENT_BYTES)
"""A flash memory with one bad spot may take all that is around it, and the spot itself when it is written alone."""

PLACES_SHOWN = 8


def holds(disk: Disk, run: Run) -> bool:
    """Whether the disk gives these bytes, CHUNK_BYTES at most. What cannot be read is as wrong as wrong bytes."""
    try:
        return same(disk.read(run.offset_bytes, len(run.view)), run.view)
    except OSError:
        return False


def find_wrong(disk: Disk, runs: Iterable[Run]) -> list[Run]:
    """The parts of the runs, CHUNK_BYTES at most, that the disk does not hold."""
    return [part for run in runs for part in run.parts(CHUNK_BYTES) if not holds(disk, part)]


def write(disk: Disk, runs: Iterable[Run], say: Say) -> None:
    """The runs are written and flushed, however many tries it takes.

    All of them are written again after an error: where a flush fails, the kernel keeps nothing that it did not write
    (fsync(2): a page that failed may be marked clean).
    """
    runs = tuple(runs)
    if runs:
        what = f"{disk.path}: writing bytes {runs[0].offset_bytes} to {runs[-1].end_bytes}"
        without_end(say, what, lambda: _write_once(disk, runs))


def write_right(disk: Disk, run: Run, say: Say) -> None:
    """The disk holds the run, which was read back. Raises FlashError where it does not take it."""
    write(disk, (run,), say)
    for wrong in find_wrong(disk, (run,)):
        put_right(disk, wrong, say)


def _write_once(disk: Disk, runs: Iterable[Run]) -> None:
    for run in runs:
        disk.write(run.offset_bytes, run.view)
    disk.sync()


def put_right(disk: Disk, wrong: Run, say: Say) -> None:
    """The disk holds the run, which was found wrong: it is written again, as a whole and then in smaller parts.

    Raises FlashError with the places where that does not help.
    """
    say(f"{disk.path}: {wrong} read back wrong, and are written again")
    left = [wrong]
    for part_bytes in PART_BYTES:
        left = [part for run in left for part in run.parts(part_bytes) if not _rewritten(disk, part, say)]
    if left:
        places = ", ".join(map(str, left[:PLACES_SHOWN])) + (" and more" if left[PLACES_SHOWN:] else "")
        raise FlashError(
            f"{disk.path}: {places} read back wrong, however often they are written",
            hint="the disk is defective, or smaller than it claims",
        )


def _rewritten(disk: Disk, part: Run, say: Say) -> bool:
    for _ in range(REWRITES):
        write(disk, (part,), say)
        if holds(disk, part):
            return True
    return False


class Witnesses:
    """One block of each piece, by which it is known later whether the piece is still there."""

    def __init__(self) -> None:
        self._offsets = array("Q")
        self._sizes = array("H")
        self._checksums = array("L")

    def add(self, runs: Iterable[Run]) -> None:
        """A block from the middle of each part of these runs, or all of a part that has no whole block."""
        for run in runs:
            for part in run.parts(CHUNK_BYTES):
                self._add(_block_of(part))

    def find_wrong(self, disk: Disk) -> list[int]:
        """The offsets of the blocks that the disk does not give any more."""
        known = zip(self._offsets, self._sizes, self._checksums, strict=True)
        return [offset for offset, size, checksum in known if _checksum(disk, offset, size) != checksum]

    def _add(self, block: Run) -> None:
        self._offsets.append(block.offset_bytes)
        self._sizes.append(len(block.view))
        self._checksums.append(zlib.crc32(block.view))


def _block_of(part: Run) -> Run:
    middle = align_down(part.offset_bytes + len(part.view) // 2)
    if part.offset_bytes <= middle and middle + ALIGNMENT_BYTES <= part.end_bytes:
        return part.part(middle, middle + ALIGNMENT_BYTES)
    return part.part(part.offset_bytes, min(part.end_bytes, part.offset_bytes + ALIGNMENT_BYTES))


def _checksum(disk: Disk, offset_bytes: int, size_bytes: int) -> int | None:
    try:
        return zlib.crc32(disk.read(offset_bytes, size_bytes))
    except OSError:
        return None
