# SPDX-License-Identifier: Apache-2.0
"""What holds for all tests: a unit test may start no process; only marked ones may."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest

CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x20000, 0x4000, 0x40000
"""Linux, sched.h and mount.h."""


def pytest_configure() -> None:
    """Of several test processes, each has its mounts for itself.

    Else a namespace that one makes holds a copy of what another has mounted just then, and keeps it mounted: its
    file system is not written out, and its loop device stays busy, long after the other unmounted it.
    """
    if "PYTEST_XDIST_WORKER" in os.environ and os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWNS) or libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None):
            raise OSError(ctypes.get_errno(), "a test process gets no mounts of its own")


LONGEST = ("tests/vm/test_rehearsals.py", "tests/vm/", "tests/workstation/kit/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest tests come first, so that at the end no test process waits for another one's virtual device."""

    def place(item: pytest.Item) -> int:
        return next((index for index, start in enumerate(LONGEST) if item.nodeid.startswith(start)), len(LONGEST))

    items.sort(key=place)


# How long an example takes says more about what else this machine does than about the code.
hypothesis.settings.register_profile("balena-migrate", deadline=None)
hypothesis.settings.register_profile(
    "fuzz",
    deadline=None,
    max_examples=5000,
    print_blob=True,
    suppress_health_check=list(hypothesis.HealthCheck),
)
"""For tests/fuzz: others in each run, and as many as take half an hour; see docs/testing.md."""
hypothesis.settings.load_profile("balena-migrate")

SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)

MAY_START_PROCESSES = ("processes", "loop", "kit", "vm")


@pytest.fixture(autouse=True)
def no_processes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails a test that starts a program without saying so by its marker."""
    if not any(request.node.get_closest_marker(name) for name in MAY_START_PROCESSES):

        def refuse(*args: Any, **kwargs: Any) -> None:
            raise AssertionError(f"this test may start no process: {args}")

        monkeypatch.setattr(subprocess.Popen, "__init__", refuse)


@pytest.fixture(autouse=True)
def own_signal_handlers() -> Iterator[None]:
    """A test leaves no signal ignored: the programs that later tests start would inherit that, and not end by it."""
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)
