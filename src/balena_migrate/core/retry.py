# SPDX-License-Identifier: Apache-2.0
"""Trying again, with pauses, what fails only for a while."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def retry(
    work: Callable[[], T],
    *,
    on: type[Exception] | tuple[type[Exception], ...],
    pause_s: float | Sequence[float],
    tries: float = math.inf,
    limit_s: float = math.inf,
    failed: Callable[[Exception], object] | None = None,
) -> T:
    """What `work` returns at the first try that does not fail with one of the errors `on`.

    The error of the last try is raised: of number `tries`, or of the first that fails after `limit_s`. `failed` is
    called with each error before that, and may raise it to end the tries. Of several pauses the first comes before the
    second try, and so on; the last one comes from then on.
    """
    pauses = [pause_s] if isinstance(pause_s, (int, float)) else list(pause_s)
    end_s = time.monotonic() + limit_s
    while True:
        tries -= 1
        try:
            return work()
        except on as error:
            if tries <= 0 or time.monotonic() > end_s:
                raise
            if failed:
                failed(error)
        time.sleep(pauses.pop(0) if pauses[1:] else pauses[0])
