# SPDX-License-Identifier: Apache-2.0
"""Work that is done again and again in a thread of its own."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def every(pause_s: float, work: Callable[[], None]) -> Iterator[None]:
    """The work is done each `pause_s` seconds while this is entered. It must not raise."""
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(pause_s):
            work()

    thread = threading.Thread(target=run, name=work.__name__, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
