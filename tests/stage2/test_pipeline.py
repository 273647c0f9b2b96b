# SPDX-License-Identifier: Apache-2.0
"""Threads before and behind the one that works: order, errors, and an end of each in any case."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator

import pytest

from balena_migrate.stage2.pipeline import WAITING, ahead, behind


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """There are as many as before."""
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def put_all(work: Callable[[int], None], items: Iterable[int]) -> None:
    with behind(work) as put:
        for item in items:
            put(item)


def test_all_items_come_in_their_order() -> None:
    assert list(ahead(iter(range(100)))) == list(range(100))


def test_what_is_made_ahead_is_bounded() -> None:
    made: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    with contextlib.closing(ahead(numbers())) as items:
        assert next(items) == 0
        assert next(items) == 1
        assert len(made) <= 2 + WAITING + 2


def test_an_error_before_comes_at_its_place() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("made")

    found = ahead(items())
    assert next(found) == 1
    with pytest.raises(ValueError, match="made"):
        next(found)


def test_work_behind_is_done_in_order_and_all_of_it_at_the_end_of_the_block() -> None:
    done: list[int] = []
    here = threading.current_thread()
    elsewhere: list[bool] = []

    def work(item: int) -> None:
        done.append(item)
        elsewhere.append(threading.current_thread() is not here)

    with behind(work) as put:
        for number in range(50):
            put(number)
    assert done == list(range(50))
    assert all(elsewhere)


def test_one_item_is_behind_at_a_time_and_the_next_is_made_meanwhile() -> None:
    """Four windows are enough for that reason: put() waits for the work on the last item, and not for its own."""
    free, working = threading.Event(), threading.Event()

    def work(item: int) -> None:
        working.set()
        assert free.wait(30)

    with behind(work) as put:
        put(1)
        assert working.wait(30)
        other = threading.Thread(target=lambda: put(2))
        other.start()
        other.join(0.1)
        assert other.is_alive()
        free.set()
        other.join(30)
        assert not other.is_alive()


def test_an_error_behind_is_raised_at_the_end_at_the_latest() -> None:
    def work(item: int) -> None:
        raise ValueError(f"item {item}")

    with pytest.raises(ValueError, match="item 7"), behind(work) as put:
        put(7)


def test_after_an_error_behind_no_more_work_is_done() -> None:
    done: list[int] = []

    def work(item: int) -> None:
        done.append(item)
        raise ValueError("once")

    with pytest.raises(ValueError, match="once"):
        put_all(work, range(1000))
    assert done == [0]


def test_an_error_in_the_block_comes_through_once_the_work_has_ended() -> None:
    done: list[int] = []

    def items() -> Iterator[int]:
        yield 1
        raise KeyError

    with pytest.raises(KeyError):
        put_all(done.append, items())
    assert done == [1]
