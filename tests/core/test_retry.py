# SPDX-License-Identifier: Apache-2.0
"""Work is tried as often and for as long as was asked for, and nothing else in the source waits for a second chance."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from balena_migrate.core.retry import retry


class Clock:
    """The time of the test: pauses pass at once, and are kept. Those of another test's thread, which may not have
    ended yet, are none of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1000.0
        self.thread, self.real_sleep = threading.current_thread(), time.sleep
        self.pauses: list[float] = []
        monkeypatch.setattr(time, "monotonic", lambda: self.now_s)
        monkeypatch.setattr(time, "sleep", self.sleep)

    def sleep(self, pause_s: float) -> None:
        if threading.current_thread() is not self.thread:
            self.real_sleep(pause_s)
            return
        self.pauses.append(pause_s)
        self.now_s += pause_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def failing(*errors: Exception) -> Callable[[], str]:
    """Work that raises these errors, one at each try, and then is done."""
    coming = list(errors)

    def work() -> str:
        if coming:
            raise coming.pop(0)
        return "done"

    return work


def test_the_first_try_that_succeeds_is_the_last(clock: Clock) -> None:
    assert retry(failing(), on=OSError, pause_s=5, tries=1) == "done"
    assert retry(failing(OSError(), OSError()), on=OSError, pause_s=5, tries=3) == "done"
    assert clock.pauses == [5, 5]


def test_the_last_tries_error_is_raised_and_no_pause_follows_it(clock: Clock) -> None:
    first, second, third = map(OSError, "123")
    reported: list[Exception] = []
    with pytest.raises(OSError, match="3") as raised:
        retry(failing(first, second, third), on=OSError, pause_s=5, tries=3, failed=reported.append)
    assert (raised.value, reported, clock.pauses) == (third, [first, second], [5, 5])


def test_several_pauses_come_one_after_the_other_and_the_last_one_from_then_on(clock: Clock) -> None:
    assert retry(failing(*(OSError() for _ in range(5))), on=OSError, pause_s=(1, 2, 30)) == "done"
    assert clock.pauses == [1, 2, 30, 30, 30]


def test_there_is_one_try_after_the_limit(clock: Clock) -> None:
    with pytest.raises(OSError, match="5"):
        retry(failing(*map(OSError, "12345678")), on=OSError, pause_s=0.5, limit_s=1.5)
    assert clock.now_s == 1002
    with pytest.raises(OSError, match="1"):
        retry(failing(*map(OSError, "1")), on=OSError, pause_s=1, limit_s=-1)


def test_another_error_ends_it_at_once(clock: Clock) -> None:
    with pytest.raises(ValueError, match="other"):
        retry(failing(OSError(), ValueError("other"), OSError()), on=OSError, pause_s=1, tries=9)
    assert clock.pauses == [1]


def test_the_one_who_is_called_with_an_error_can_end_it(clock: Clock) -> None:
    def give_up(error: Exception) -> None:
        raise error

    with pytest.raises(OSError, match="1"):
        retry(failing(OSError("1"), OSError("2")), on=OSError, pause_s=1, tries=9, failed=give_up)
    assert clock.pauses == []
