# SPDX-License-Identifier: Apache-2.0
"""What is tried again, how often, and who hears of it. The policy is here and nowhere else.

Before the line an error leads back at once, and only the reason is tried to be kept for a while (`for_a_while`).

Until the disk boots, giving up would leave a device that boots nothing: what fails then is tried without end
(`without_end`), first the write, the flush or the commit that failed, and whatever else goes wrong by a flash from the
start. The watchdogs are fed by a thread of their own meanwhile. Once the disk boots, each step is tried a few times
(`again`) and then left out: a device without its backup is better than one that never starts.

A damaged image is no exception. It was found right in memory before the line, so either memory failed for a moment,
and the next try is right, or for good, and then no other way is left either.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

from balena_migrate.core.errors import MigrateError
from balena_migrate.core.progress import Say
from balena_migrate.core.retry import retry
from balena_migrate.stage2.console import Console

T = TypeVar("T")

TRIES = 5
PAUSE_S = 5.0

PAUSES_S = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0)
"""Before the second try, the third, and so on; then the last one always: who waits hears from it twice a minute."""


KEEP_LIMIT_S = 60.0
"""How long the reason for going back is tried to be kept: a disk that fails for a moment, as at a loose plug, is the
very thing that an owner wants to hear of."""


def for_a_while(console: Console, work: Callable[[], object]) -> None:
    """The work is done within KEEP_LIMIT_S. Raises the last try's error."""
    _retry(console, work, limit_s=KEEP_LIMIT_S)


def again(console: Console, work: Callable[[], object]) -> None:
    """The work is done, at the first or at a later try. Raises the last try's error."""
    _retry(console, work, tries=TRIES)


def _retry(console: Console, work: Callable[[], object], *, tries: float = math.inf, limit_s: float = math.inf) -> None:
    def failed(error: Exception) -> None:
        console.say(f"{describe(error)}; trying again")

    retry(work, on=(MigrateError, OSError), tries=tries, limit_s=limit_s, pause_s=PAUSE_S, failed=failed)


def without_end(say: Say, what: str, work: Callable[[], T], *, on: type[Exception] = OSError) -> T:
    """What the work returns at the first try that does not fail with one of the errors `on`.

    say(text) is called after each try that fails: what it was, the reason, which try, and when the next one comes.
    """
    failures = 0

    def failed(error: Exception) -> None:
        nonlocal failures
        failures += 1
        pause_s = PAUSES_S[min(failures, len(PAUSES_S)) - 1]
        say(f"{what}: {describe(error)}; try {failures} failed, the next one comes in {pause_s:.0f} s")

    return retry(work, on=on, pause_s=PAUSES_S, failed=failed)


def describe(error: Exception) -> str:
    """One line for an error; of an unforeseen one also its kind."""
    return str(error) if isinstance(error, MigrateError) else f"{type(error).__name__}: {error}"
