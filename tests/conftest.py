"""What holds for all tests: a unit test may start no process; only marked ones may."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

MAY_START_PROCESSES = ("processes", "loop", "kit", "vm")


@pytest.fixture(autouse=True)
def no_processes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fails a test that starts a program without saying so by its marker."""
    if not any(request.node.get_closest_marker(name) for name in MAY_START_PROCESSES):

        def refuse(*args: Any, **kwargs: Any) -> None:
            raise AssertionError(f"this test may start no process: {args}")

        monkeypatch.setattr(subprocess.Popen, "__init__", refuse)
    yield
