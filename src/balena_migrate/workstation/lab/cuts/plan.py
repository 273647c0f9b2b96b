# SPDX-License-Identifier: Apache-2.0
"""Which power cuts are tried: the moment, and what the disk had stored of what it was asked for since the last flush.

A disk has stored all that it got before a flush which it has completed, and of later writes any, in any order; the last
one may be torn between two sectors. A card in a Raspberry Pi's slot gets no flush and stores in order, so there is
nothing but its last write to tear (the model, and how others tried: SQLite's crash tests, dm-log-writes).

Only the two sectors of an ext4 file system's superblock are stored together: Linux writes it in place at each mount,
with one sum over both (fs/ext4/super.c, ext4_commit_super), so without that no start of any Linux would survive a cut.
"""

from __future__ import annotations

import random
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from balena_migrate.core.units import KIB, SECTOR_BYTES
from balena_migrate.workstation.lab.recording import Request

SHORT_BYTES = 64 * KIB
"""What decides is written in requests of no more than this: folders, inodes, journals, boot files, tables. A kernel
writes a long file in longer ones."""


class Kept(StrEnum):
    """What the disk has stored of the writes since the last flush."""

    ALL = "all"
    ONLY_LAST = "only the last"
    ALL_BUT_ONE = "all but one"
    LAST_TORN = "all, the last one torn"
    RANDOM = "a random half, the last one torn"


@dataclass(frozen=True, kw_only=True, order=True)
class Cut:
    """The power fails once the disk got this many requests."""

    after: int
    kept: Kept = Kept.ALL
    one: int = 0
    """With ALL_BUT_ONE: which request is lost."""
    seed: int = 0
    """For what is drawn."""


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A part of a history, by the numbers of its requests: cuts lie behind the first and not behind the last."""

    name: str
    first: int
    last: int


def plan_cuts(requests: Sequence[Request], phase: Phase, count: int, *, in_order: bool, seed: int) -> tuple[Cut, ...]:
    """This many cuts at most, in the order of their moments: a third at flushes, a third at short writes, the rest
    drawn; what one third does not need is drawn, too."""
    draw = random.Random(f"{seed} {phase.name}")
    chosen = set(_sample(list(_at_flushes(requests, phase)), count // 3, draw))
    chosen |= set(_sample(list(_at_short_writes(requests, phase, in_order=in_order)), count // 3, draw))
    for _ in range(10 * count):
        if len(chosen) >= count:
            break
        chosen.add(_drawn(phase, draw, in_order=in_order))
    return tuple(sorted(chosen))


def _sample(cuts: list[Cut], count: int, draw: random.Random) -> list[Cut]:
    return draw.sample(cuts, count) if len(cuts) > count else cuts


def _at_flushes(requests: Sequence[Request], phase: Phase) -> Iterator[Cut]:
    for index in range(phase.first, phase.last):
        if requests[index].is_flush:
            yield Cut(after=index)


def _at_short_writes(requests: Sequence[Request], phase: Phase, *, in_order: bool) -> Iterator[Cut]:
    for index in range(phase.first, phase.last):
        request = requests[index]
        if request.is_flush or len(request.content) > SHORT_BYTES:
            continue
        yield Cut(after=index + 1)
        if len(request.content) > SECTOR_BYTES:
            yield Cut(after=index + 1, kept=Kept.LAST_TORN, seed=index)
        if not in_order:
            yield Cut(after=index + 1, kept=Kept.ONLY_LAST)
            # Behind the phase, a cut is one of the next phase, however early the write that is lost.
            last = min(_next_flush(requests, index), phase.last)
            yield Cut(after=last, kept=Kept.ALL_BUT_ONE, one=index)


def _next_flush(requests: Sequence[Request], index: int) -> int:
    """The moment just before the flush that follows is completed."""
    return next((n for n in range(index, len(requests)) if requests[n].is_flush), len(requests))


def _drawn(phase: Phase, draw: random.Random, *, in_order: bool) -> Cut:
    after = draw.randrange(phase.first + 1, phase.last + 1)
    kept = Kept.LAST_TORN if in_order else Kept.RANDOM
    return Cut(after=after, kept=kept, seed=draw.randrange(1 << 32))


def durable(requests: Sequence[Request], after: int, *, in_order: bool) -> int:
    """How many requests are certainly stored after this many: all before the last flush, or all but the last one."""
    if in_order:
        return after - 1
    return next((index + 1 for index in range(after - 1, -1, -1) if requests[index].is_flush), 0)


def stored(requests: Sequence[Request], cut: Cut, start: int, whole: Container[int]) -> Iterator[Request]:
    """What the disk has stored of the requests from `start` on, which are not flushed.

    At the places in `whole`, in bytes, no write is torn.
    """
    draw = random.Random(cut.seed)
    for index in range(start, cut.after):
        request, is_last = requests[index], index == cut.after - 1
        if request.is_flush:
            continue
        if not request.durable:
            if cut.kept is Kept.ONLY_LAST and not is_last:
                continue
            if cut.kept is Kept.ALL_BUT_ONE and index == cut.one:
                continue
            if cut.kept is Kept.RANDOM and draw.random() < 0.5:
                continue
            if cut.kept in (Kept.LAST_TORN, Kept.RANDOM) and is_last:
                request = _torn(request, draw, whole)
        yield request


def _torn(request: Request, draw: random.Random, whole: Container[int]) -> Request:
    sectors = draw.randrange(len(request.content) // SECTOR_BYTES)
    return request.torn(sectors - (request.start_bytes + sectors * SECTOR_BYTES in whole))
