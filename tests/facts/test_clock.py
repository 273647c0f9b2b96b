# SPDX-License-Identifier: Apache-2.0
"""What the device's clock must have said once."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from balena_migrate.core.system import System
from balena_migrate.facts.clock import read_clock

RELEASED_S, UPGRADED_S = 1_751_000_000, 1_770_000_000


@pytest.fixture
def device(tmp_path: Path) -> System:
    for path, time_s in (("usr/lib/os-release", RELEASED_S), ("var/lib/dpkg/status", UPGRADED_S)):
        file = tmp_path / path
        file.parent.mkdir(parents=True)
        file.touch()
        os.utime(file, (time_s, time_s))
    return System(tmp_path)


def test_the_newest_file_counts(device: System) -> None:
    found = read_clock(device)
    assert (found.written, found.written_s, found.is_set) == ("/var/lib/dpkg/status", UPGRADED_S, True)


@pytest.mark.parametrize(("now_s", "is_set"), [(640, False), (RELEASED_S, False), (UPGRADED_S + 60, True)])
def test_a_device_without_a_battery(device: System, monkeypatch: pytest.MonkeyPatch, now_s: int, is_set: bool) -> None:
    monkeypatch.setattr(time, "time", lambda: float(now_s))
    assert read_clock(device).is_set is is_set


def test_a_device_without_such_files_may_be_right(tmp_path: Path) -> None:
    found = read_clock(System(tmp_path))
    assert (found.written, found.is_set) == ("", True)
