# SPDX-License-Identifier: Apache-2.0
"""After the line: without end until the disk boots, a few times then."""

from __future__ import annotations

import errno
import io
import time

import pytest

from balena_migrate.core.errors import DiskError, FlashError
from balena_migrate.stage2.console import Console
from balena_migrate.stage2.patience import PAUSES_S, TRIES, again, without_end


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    found: list[float] = []
    monkeypatch.setattr(time, "sleep", found.append)
    return found


class Work:
    """Fails with this error at the first `times` tries."""

    def __init__(self, times: int, error: Exception) -> None:
        self.left, self.error, self.tries = times, error, 0

    def __call__(self) -> str:
        self.tries += 1
        if self.tries <= self.left:
            raise self.error
        return "done"


def test_without_end_each_failed_try_is_said_with_the_pause_that_follows(pauses: list[float]) -> None:
    said: list[str] = []
    work = Work(1000, OSError(errno.EIO, "Input/output error"))
    assert without_end(said.append, "disk: byte 7", work) == "done"
    assert said[0] == "disk: byte 7: OSError: [Errno 5] Input/output error; try 1 failed, the next one comes in 1 s"
    assert said[-1].endswith("try 1000 failed, the next one comes in 30 s")
    assert len(said) == len(pauses) == 1000
    assert pauses[: len(PAUSES_S)] == list(PAUSES_S)
    assert set(pauses[len(PAUSES_S) :]) == {30.0}


def test_another_error_is_not_tried_again() -> None:
    with pytest.raises(FlashError):
        without_end(lambda text: None, "disk", Work(1, FlashError("image")))
    assert without_end(lambda text: None, "flash", Work(1, ZeroDivisionError()), on=Exception) == "done"


def test_again_gives_up_after_some_tries(pauses: list[float]) -> None:
    console = Console(io.StringIO())
    again(console, Work(TRIES - 1, DiskError("busy")))
    with pytest.raises(DiskError):
        again(console, Work(TRIES, DiskError("busy")))
    assert len(pauses) == 2 * (TRIES - 1)
    assert "busy; trying again" in console.lines[0]
