# SPDX-License-Identifier: Apache-2.0
"""Threads before and behind the one that does the work: each item passes from one to the next.

Standard library only.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Generator, Iterator
from typing import TypeVar

T = TypeVar("T")

WAITING = 1
"""How many items are between two threads at most."""


class _Failure:
    """The error of the first thread, for the second to raise."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


def ahead(items: Iterator[T]) -> Generator[T, None, None]:
    """The same items, made in another thread while the last one is used. Close it to end the thread."""
    ready: queue.Queue[tuple[T] | _Failure | None] = queue.Queue(WAITING)
    stopped = threading.Event()

    def put(item: tuple[T] | _Failure | None) -> None:
        while not stopped.is_set():
            with contextlib.suppress(queue.Full):
                ready.put(item, timeout=0.1)
                return

    def work() -> None:
        try:
            for item in items:
                put((item,))
                if stopped.is_set():
                    return
            put(None)
        except BaseException as error:
            put(_Failure(error))

    thread = threading.Thread(target=work, name="ahead", daemon=True)
    thread.start()
    try:
        while (got := ready.get()) is not None:
            if isinstance(got, _Failure):
                raise got.error
            yield got[0]
    finally:
        stopped.set()
        thread.join()


@contextlib.contextmanager
def behind(work: Callable[[T], None]) -> Iterator[Callable[[T], None]]:
    """put(item) has the work done on it in another thread, in the order of the items. At the end of the block all of it
    is done.

    The first error of the work is raised by the next put(), or at the end; no work is done after it.
    """
    waiting: queue.Queue[tuple[T] | None] = queue.Queue(WAITING)
    errors: list[BaseException] = []

    def run() -> None:
        while (got := waiting.get()) is not None:
            if not errors:
                try:
                    work(got[0])
                except BaseException as error:
                    errors.append(error)

    def put(item: T) -> None:
        if errors:
            raise errors[0]
        waiting.put((item,))

    thread = threading.Thread(target=run, name="behind", daemon=True)
    thread.start()
    try:
        yield put
    finally:
        waiting.put(None)
        thread.join()
    if errors:
        raise errors[0]
