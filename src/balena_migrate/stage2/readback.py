# SPDX-License-Identifier: Apache-2.0
"""Whether a disk holds what was written to it, and what is done where it does not.

Standard library only.
"""

from __future__ import annotations

import os
import zlib
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from balena_migrate.core.alignment import ALIGNMENT_BYTES, align_down
from balena_migrate.core.errors import FlashError
from balena_migrate.core.progress import Say
from balena_migrate.core.units import KIB, format_size
from balena_migrate.stage2.aligned import same
from balena_migrate.stage2.patience import without_end
from balena_migrate.stage2.target import Disk
from balena_migrate.stage2.window import CHUNK_BYTES, Run

REWRITES = 3
"""How often what reads back wrong is written again, in parts of each size."""

PART_BYTES = (CHUNK_BYTES, 64 * KIB, ALIGNMENT_BYTES)
"""A flash memory with one bad spot may take all that is around it, and the spot itself when it is written alone."""

GAP_BYTES = 64 * KIB
"""To read a smaller gap with its neighbours is quicker than to read each by itself."""

PLACES_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Wrong:
    """A run that the disk does not hold, and why."""

    run: Run
    reason: str


def find_wrong(disk: Disk, runs: Iterable[Run]) -> list[Wrong]:
    """The parts of the runs that the disk does not hold. What cannot be read is as wrong as wrong bytes."""
    wrong: list[Wrong] = []
    for parts in _close_together(runs):
        if len(parts) == 1 or not _all_there(disk, parts):
            wrong += [Wrong(part, reason) for part in parts if (reason := _look(disk, part))]
    return wrong


def _close_together(runs: Iterable[Run]) -> Iterator[list[Run]]:
    """The runs in parts; those of one CHUNK_BYTES of the disk that have small gaps between them are together."""
    found: list[Run] = []
    for run in runs:
        for part in run.parts(CHUNK_BYTES):
            if found and not _are_close(found[-1], part):
                yield found
                found = []
            found.append(part)
    if found:
        yield found


def _are_close(before: Run, part: Run) -> bool:
    gap_bytes = part.offset_bytes - before.end_bytes
    return 0 <= gap_bytes <= GAP_BYTES and before.offset_bytes // CHUNK_BYTES == part.offset_bytes // CHUNK_BYTES


def _all_there(disk: Disk, parts: list[Run]) -> bool:
    """Whether one read over all of them gives each."""
    start = parts[0].offset_bytes
    try:
        got = disk.read(start, parts[-1].end_bytes - start)
    except OSError:
        return False
    return all(same(got[part.offset_bytes - start : part.end_bytes - start], part.view) for part in parts)


def _look(disk: Disk, part: Run) -> str:
    """What is wrong with it; "" if nothing is."""
    try:
        return "" if same(disk.read(part.offset_bytes, len(part.view)), part.view) else "read back wrong"
    except OSError as error:
        return f"cannot be read back: {os.strerror(error.errno or 0)}"


def write(disk: Disk, runs: Iterable[Run], say: Say) -> None:
    """The runs are written and flushed, however many tries it takes.

    All of them are written again after an error: where a flush fails, the kernel keeps nothing that it did not write
    (fsync(2): a page that failed may be marked clean).
    """
    runs = tuple(runs)
    if runs:
        what = f"{disk.path}: writing bytes {runs[0].offset_bytes} to {runs[-1].end_bytes}"
        without_end(say, what, lambda: _write_once(disk, runs))


def _write_once(disk: Disk, runs: Iterable[Run]) -> None:
    for run in runs:
        disk.write(run.offset_bytes, run.view)
    disk.sync()


def write_right(disk: Disk, run: Run, say: Say) -> None:
    """The disk holds the run, which was read back. Raises FlashError where it does not take it."""
    write(disk, (run,), say)
    for wrong in find_wrong(disk, (run,)):
        put_right(disk, wrong, say)


def put_right(disk: Disk, wrong: Wrong, say: Say) -> None:
    """The disk holds the run, which was found wrong: it is written again, as a whole and then in smaller parts.

    Raises FlashError with the places where that does not help.
    """
    left = [wrong]
    for part_bytes in PART_BYTES:
        say(f"{disk.path}: {_places(left)}; written again in parts of {format_size(part_bytes)}")
        left = [found for item in left for part in item.run.parts(part_bytes) for found in _rewrite(disk, part, say)]
        if not left:
            return
    raise FlashError(
        f"{disk.path}: {_places(left)}, however often they are written",
        hint="the disk is defective, or smaller than it claims",
    )


def _rewrite(disk: Disk, part: Run, say: Say) -> list[Wrong]:
    """The part, if it is wrong after REWRITES tries."""
    wrong: list[Wrong] = []
    for _ in range(REWRITES):
        write(disk, (part,), say)
        wrong = find_wrong(disk, (part,))
        if not wrong:
            break
    return wrong


def _places(wrong: list[Wrong]) -> str:
    shown = ", ".join(f"{item.run} {item.reason}" for item in wrong[:PLACES_SHOWN])
    return shown + (f" and {len(wrong) - PLACES_SHOWN} more places" if wrong[PLACES_SHOWN:] else "")


class Witnesses:
    """One block of each piece, by which it is known later whether the piece is still there. Of pieces that are close
    together, it is a block of the largest."""

    def __init__(self) -> None:
        self._offsets = array("Q")
        self._sizes = array("H")
        self._checksums = array("L")

    def add(self, runs: Iterable[Run]) -> None:
        """A block from the middle, or all of a piece that has no whole block."""
        for parts in _close_together(runs):
            self._add(_block_of(max(parts, key=lambda part: len(part.view))))

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
