# SPDX-License-Identifier: Apache-2.0
"""Work on several items at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from balena_migrate.core.parallel import in_order


def test_results_come_in_the_order_of_the_items_whichever_is_ready_first() -> None:
    def work(number: int) -> int:
        time.sleep(0.02 if number % 2 == 0 else 0)
        return number * number

    assert list(in_order(work, range(20), 3)) == [number * number for number in range(20)]


def test_as_many_are_worked_on_at_a_time_as_there_are_threads() -> None:
    both = threading.Barrier(2, timeout=10)
    assert sorted(in_order(lambda _: both.wait(), range(6), 2)) == [0, 0, 0, 1, 1, 1]


def test_no_more_items_are_taken_than_there_are_threads_ahead() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        while True:
            taken += 1
            yield taken

    results = in_order(lambda item: item, items(), 2)
    for given in (1, 2, 3):
        assert next(results) == given and taken == given + 2


def test_an_error_of_the_work_is_raised_in_its_place() -> None:
    results = in_order(lambda number: 6 // (3 - number), range(9), 2)
    assert [next(results) for _ in range(3)] == [2, 3, 6]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_an_error_of_the_items_is_raised() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        list(in_order(lambda item: item, items(), 2))


def test_no_thread_is_left_when_it_is_closed() -> None:
    before = threading.active_count()
    results = in_order(lambda item: item, range(100), 2)
    assert next(results) == 0 and threading.active_count() > before
    results.close()
    assert threading.active_count() == before
