# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balena_migrate.core.block_map import RANGES_LIMIT, BlockMap, Range, block_map
from balena_migrate.core.units import KIB
from balena_migrate.core.values import from_json, to_json

LENGTHS = st.lists(st.tuples(st.integers(0, 3 * KIB), st.integers(1, 20 * KIB)), max_size=20)


def ranges(lengths: list[tuple[int, int]]) -> list[Range]:
    """Each pair is a gap and the length of the range behind it."""
    found, end = [], 0
    for gap, length in lengths:
        found.append(Range(end + gap, end + gap + length))
        end += gap + length
    return found


@given(LENGTHS, st.randoms())
def test_whole_blocks_of_what_is_free_are_free_and_no_others(
    lengths: list[tuple[int, int]], order: random.Random
) -> None:
    free = ranges(lengths)
    shuffled = list(free)
    order.shuffle(shuffled)
    found = block_map(shuffled)
    wanted = [
        block
        for block in range((free[-1].end_bytes if free else 0) // 4096)
        if _covered(free, block * 4096, block * 4096 + 4096)
    ]
    got = [block for part in found.free for block in range(part.start_bytes // 4096, part.end_bytes // 4096)]
    assert got == wanted


def _covered(free: list[Range], start: int, end: int) -> bool:
    """Whether all bytes are free: ranges may touch each other."""
    for part in free:
        if part.start_bytes <= start < part.end_bytes:
            start = part.end_bytes
    return start >= end


@given(LENGTHS, st.integers(0, 400 * KIB))
def test_used_is_all_that_is_not_free(lengths: list[tuple[int, int]], size_bytes: int) -> None:
    found = block_map(ranges(lengths))
    used = {byte // 4096 for part in found.used(size_bytes) for byte in range(part.start_bytes, part.end_bytes, 4096)}
    free = {byte // 4096 for part in found.free for byte in range(part.start_bytes, part.end_bytes, 4096)}
    assert used == set(range(-(-size_bytes // 4096))) - free
    assert all(0 <= part.start_bytes < part.end_bytes <= size_bytes for part in found.used(size_bytes))


def test_of_too_many_ranges_the_smallest_are_not_free() -> None:
    many = [Range(n * 16 * KIB, n * 16 * KIB + (8 if n % 3 else 4) * KIB) for n in range(RANGES_LIMIT + 100)]
    found = block_map(many)
    assert len(found.free) == RANGES_LIMIT
    dropped = set(many) - set(found.free)
    assert {part.size_bytes for part in dropped} == {4 * KIB}


@pytest.mark.parametrize("free", [(Range(8, 8),), (Range(0, 8), Range(4, 12)), (Range(8, 12), Range(0, 4))])
def test_ranges_that_are_no_map_are_refused(free: tuple[Range, ...]) -> None:
    with pytest.raises(ValueError, match="block map"):
        BlockMap(free=free)
    with pytest.raises(ValueError, match="block map"):
        from_json(BlockMap, to_json({"free": free}))


def test_nothing_is_free_at_first() -> None:
    assert BlockMap().used(5) == (Range(0, 5),)
    assert BlockMap().used(0) == ()
