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
"""How many items are made ahead at most, beside the one that is being made."""


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
    """put(item) has the work done on it in another thread, once that on the last item is done, for which it waits. At
    the end of the block all of it is done.

    The first error of the work is raised by the next put(), or at the end; no work is done after it.
    """
    items: queue.Queue[tuple[T] | None] = queue.Queue()
    errors: list[BaseException] = []

    def run() -> None:
        while (got := items.get()) is not None:
            try:
                work(got[0])
            except BaseException as error:
                errors.append(error)
            items.task_done()

    def put(item: T) -> None:
        items.join()
        if errors:
            raise errors[0]
        items.put((item,))

    thread = threading.Thread(target=run, name="behind", daemon=True)
    thread.start()
    try:
        yield put
    finally:
        items.put(None)
        thread.join()
    if errors:
        raise errors[0]
