# SPDX-License-Identifier: Apache-2.0
"""Which parts of an image have to be on the disk, and which need not: stage 1 finds out, stage 2 goes by it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

from balena_migrate.core.alignment import align_down, align_up

RANGES_LIMIT = 16_384
"""The most ranges that a map holds, so that it stays small; a new file system has some hundred."""


@dataclass(frozen=True, slots=True)
class Range:
    """A stretch of an image, or of a disk."""

    start_bytes: int
    end_bytes: int
    """The first byte behind it."""

    @property
    def size_bytes(self) -> int:
        return self.end_bytes - self.start_bytes


@dataclass(frozen=True, kw_only=True)
class BlockMap:
    """What of an image is free: provably nothing of it is ever read. All else has to be written, zeros too.

    The ranges are in order, and none touches another. Raises ValueError where they are not.
    """

    free: tuple[Range, ...] = ()

    def __post_init__(self) -> None:
        if any(free.start_bytes >= free.end_bytes for free in self.free):
            raise ValueError("a range of a block map is empty")
        if any(free.end_bytes >= following.start_bytes for free, following in itertools.pairwise(self.free)):
            raise ValueError("the ranges of a block map are not in order")

    @property
    def free_bytes(self) -> int:
        return sum(free.size_bytes for free in self.free)

    def used(self, size_bytes: int) -> tuple[Range, ...]:
        """The ranges that have to be written of an image of this size."""
        starts = [0, *(free.end_bytes for free in self.free)]
        ends = [*(free.start_bytes for free in self.free), size_bytes]
        pairs = ((start, min(end, size_bytes)) for start, end in zip(starts, ends, strict=True))
        return tuple(Range(start, end) for start, end in pairs if start < end)


def block_map(free: Iterable[Range]) -> BlockMap:
    """The map for these free ranges, in any order, of which none overlaps another.

    They are cut to the alignment. Where they are too many, the smallest are not free: to write them costs the least.
    """
    joined: list[Range] = []
    for part in sorted(free, key=lambda part: part.start_bytes):
        if joined and joined[-1].end_bytes == part.start_bytes:
            part = Range(joined.pop().start_bytes, part.end_bytes)
        joined.append(part)
    aligned = [part for part in map(_aligned, joined) if part.start_bytes < part.end_bytes]
    largest = sorted(aligned, key=lambda part: part.size_bytes)[-RANGES_LIMIT:]
    return BlockMap(free=tuple(sorted(largest, key=lambda part: part.start_bytes)))


def _aligned(part: Range) -> Range:
    """What of the range every disk can leave out: it can write nothing smaller than an aligned block."""
    return Range(align_up(part.start_bytes), align_down(part.end_bytes))
