# SPDX-License-Identifier: Apache-2.0
"""The stretch of a goal that is in memory at a time: pieces side by side, neighbours on the disk as one run.

Standard library only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from balena_migrate.core.alignment import align_up
from balena_migrate.images.pieces import Piece
from balena_migrate.stage2.aligned import aligned_memory
from balena_migrate.stage2.target import READ_BYTES

CHUNK_BYTES = READ_BYTES
"""The largest piece, and what is read back at once. Larger reads and writes bring nothing on flash memory."""

WINDOW_BYTES = 6 * CHUNK_BYTES
"""What is written between two flushes, which cost a disk with a cache of its own some milliseconds each. There are four
windows at most: one that is being filled, one that is full, one that is being written, one that is being read back."""

_ZEROS = bytes(CHUNK_BYTES)


@dataclass(frozen=True, slots=True)
class Run:
    """Bytes that are next to each other in memory and on the disk."""

    offset_bytes: int
    view: memoryview = field(repr=False)

    @property
    def end_bytes(self) -> int:
        """The first byte behind it, on the disk."""
        return self.offset_bytes + len(self.view)

    def __str__(self) -> str:
        return f"bytes {self.offset_bytes} to {self.end_bytes}"

    def part(self, start_bytes: int, end_bytes: int) -> Run:
        """What of it is between these two bytes of the disk, both of which are in it."""
        return Run(start_bytes, self.view[start_bytes - self.offset_bytes : end_bytes - self.offset_bytes])

    def parts(self, part_bytes: int) -> Iterator[Run]:
        """All of it, cut at each multiple of `part_bytes` on the disk."""
        start = self.offset_bytes
        while start < self.end_bytes:
            end = min(start - start % part_bytes + part_bytes, self.end_bytes)
            yield self.part(start, end)
            start = end


class Window:
    """Pieces, copied into memory that the disk reads by itself; each run begins where O_DIRECT wants it to."""

    def __init__(self) -> None:
        self._memory = aligned_memory(WINDOW_BYTES)
        self._used_bytes = 0
        self.runs: list[Run] = []
        """In the order of the pieces; those that are next to each other on the disk are one."""

    def clear(self) -> None:
        """No piece is in it. The runs that it had are of no use any more."""
        self._used_bytes = 0
        self.runs = []

    @property
    def size_bytes(self) -> int:
        """Of all its runs."""
        return sum(len(run.view) for run in self.runs)

    def takes(self, piece: Piece) -> bool:
        """Whether there is room for it."""
        return align_up(self._used_bytes) + piece.size_bytes <= WINDOW_BYTES

    def add(self, piece: Piece) -> None:
        """It is behind the others. There must be room for it."""
        before = len(self.runs[-1].view) if self.runs and self.runs[-1].end_bytes == piece.offset_bytes else 0
        start = self._used_bytes if before else align_up(self._used_bytes)
        end = start + piece.size_bytes
        self._memory[start:end] = _ZEROS[: piece.size_bytes] if piece.content is None else piece.content
        run = Run(piece.offset_bytes - before, self._memory[start - before : end])
        self.runs[-1 if before else len(self.runs) :] = [run]
        self._used_bytes = end


def windows(pieces: Iterable[Piece], free: list[Window]) -> Iterator[Window]:
    """All pieces that have bytes, in windows; those from `free` are filled before there are new ones."""
    window = _empty(free)
    for piece in pieces:
        if not window.takes(piece):
            yield window
            window = _empty(free)
        if piece.size_bytes:
            window.add(piece)
    if window.runs:
        yield window


def _empty(free: list[Window]) -> Window:
    if not free:
        return Window()
    window = free.pop()
    window.clear()
    return window
