# SPDX-License-Identifier: Apache-2.0
"""Power cuts: which moments are tried, and what a disk has stored at each."""

from __future__ import annotations

import pytest

from balena_migrate.core.units import SECTOR_BYTES
from balena_migrate.workstation.lab.cuts.plan import SHORT_BYTES, Cut, Kept, Phase, durable, plan_cuts, stored
from balena_migrate.workstation.lab.recording import Request

FLUSH = Request()


def write(place: int, sectors: int = 1, *, durable: bool = False) -> Request:
    return Request(start_bytes=place * SECTOR_BYTES, content=bytes([place]) * sectors * SECTOR_BYTES, durable=durable)


#            0         1         2      3         4            5                6      7
REQUESTS = (write(1), write(2), FLUSH, write(3), write(4, 8), write(5, 200), FLUSH, write(6))
PHASE = Phase(name="all", first=0, last=len(REQUESTS))


def kept(cut: Cut, requests: tuple[Request, ...] = REQUESTS, whole: tuple[int, ...] = ()) -> list[tuple[int, int]]:
    """Place and size in sectors of what was stored of the writes that were not flushed."""
    found = stored(requests, cut, durable(requests, cut.after, in_order=False), whole)
    return [(r.start_bytes // SECTOR_BYTES, len(r.content) // SECTOR_BYTES) for r in found]


def test_what_came_before_a_flush_is_stored_once_that_is_completed() -> None:
    assert [durable(REQUESTS, after, in_order=False) for after in range(len(REQUESTS) + 1)] == [
        0,
        0,
        0,
        3,
        3,
        3,
        3,
        7,
        7,
    ]


@pytest.mark.parametrize(
    ("cut", "found"),
    [
        (Cut(after=5), [(3, 1), (4, 8)]),
        (Cut(after=6), [(3, 1), (4, 8), (5, 200)]),
        (Cut(after=6, kept=Kept.ONLY_LAST), [(5, 200)]),
        (Cut(after=6, kept=Kept.ALL_BUT_ONE, one=4), [(3, 1), (5, 200)]),
        (Cut(after=7), []),
    ],
)
def test_of_later_writes_those_are_stored_that_the_cut_says(cut: Cut, found: list[tuple[int, int]]) -> None:
    assert kept(cut) == found


def test_the_last_write_may_be_torn_between_any_two_sectors() -> None:
    sizes = {kept(Cut(after=5, kept=Kept.LAST_TORN, seed=seed))[1][1] for seed in range(200)}
    assert sizes == set(range(8)), "never the whole of it, which is another cut"


def test_a_superblock_is_not_torn() -> None:
    middle = 6 * SECTOR_BYTES
    sizes = {kept(Cut(after=5, kept=Kept.LAST_TORN, seed=seed), whole=(middle,))[1][1] for seed in range(200)}
    assert sizes == {0, 1, 3, 4, 5, 6, 7}


def test_any_part_of_the_later_writes_may_be_stored() -> None:
    found = {
        tuple(place for place, size in kept(Cut(after=6, kept=Kept.RANDOM, seed=seed)) if size) for seed in range(99)
    }
    assert {(), (3,), (4,), (5,), (3, 4), (3, 5), (4, 5), (3, 4, 5)} == found


def test_a_write_that_goes_past_the_cache_is_always_stored() -> None:
    requests = (write(1, durable=True), write(2), write(3))
    assert kept(Cut(after=3, kept=Kept.ONLY_LAST), requests) == [(1, 1), (3, 1)]
    assert kept(Cut(after=3, kept=Kept.ALL_BUT_ONE, one=0), requests) == [(1, 1), (2, 1), (3, 1)]


def test_no_cut_of_a_phase_lies_behind_it() -> None:
    """A write that is lost may wait for its flush longer than the phase lasts."""
    cuts = plan_cuts(REQUESTS, Phase(name="early", first=0, last=5), 200, in_order=False, seed=1)
    assert {cut.after for cut in cuts if cut.one == 3} == {5}
    assert max(cut.after for cut in cuts) == 5


def test_every_flush_and_every_short_write_is_tried_where_there_is_room() -> None:
    cuts = plan_cuts(REQUESTS, PHASE, 200, in_order=False, seed=1)
    assert {cut.after for cut in cuts if cut.kept is Kept.ALL} >= {2, 6, 1, 4, 5, 8}
    assert {cut.one for cut in cuts if cut.kept is Kept.ALL_BUT_ONE} == {0, 1, 3, 4, 7}
    assert {cut.after for cut in cuts if cut.kept is Kept.ONLY_LAST} == {1, 2, 4, 5, 8}
    assert {cut.after for cut in cuts if cut.kept is Kept.LAST_TORN} == {5}, "one sector cannot be torn"
    assert len(cuts) == 200
    assert len(REQUESTS[5].content) > SHORT_BYTES, "a long write is cut where it is drawn"


def test_the_same_seed_draws_the_same_cuts_and_another_one_others() -> None:
    def plan(seed: int) -> tuple[Cut, ...]:
        return plan_cuts(REQUESTS, PHASE, 9, in_order=False, seed=seed)

    assert plan(1) == plan(1) == tuple(sorted(plan(1)))
    assert plan(1) != plan(2)
    assert len(plan(1)) == 9


def test_a_card_which_stores_in_order_loses_nothing_but_the_end() -> None:
    cuts = plan_cuts(REQUESTS, PHASE, 200, in_order=True, seed=1)
    assert {cut.kept for cut in cuts} == {Kept.ALL, Kept.LAST_TORN}
    assert [durable(REQUESTS, after, in_order=True) for after in (1, 4)] == [0, 3]


def test_cuts_lie_within_their_phase() -> None:
    phase = Phase(name="part", first=3, last=6)
    cuts = plan_cuts(REQUESTS, phase, 100, in_order=False, seed=1)
    assert {cut.after for cut in cuts} == {4, 5, 6}
