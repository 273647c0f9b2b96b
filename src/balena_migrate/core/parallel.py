# SPDX-License-Identifier: Apache-2.0
"""Work on several items at a time, for what releases the interpreter's lock. Standard library only."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(work: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Generator[Result, None, None]:
    """work(item) of each item, in the items' order, while the next ones are worked on in that many threads.

    So at most `threads` results wait beside the one that was given last. The first error of the work, or of the items,
    is raised. Close it to end the threads.
    """
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[Result]] = deque()
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
