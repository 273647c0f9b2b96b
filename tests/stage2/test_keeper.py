# SPDX-License-Identifier: Apache-2.0
"""Watchdogs: those that run are fed, those that could not be stopped again are not started."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from balena_migrate.core.system import System
from balena_migrate.stage2 import keeper
from balena_migrate.stage2.keeper import Keeper, usable_watchdogs


def machine(root: Path, states: dict[str, tuple[str, str]]) -> System:
    (root / "dev").mkdir()
    (root / "proc").mkdir()
    (root / "proc/meminfo").write_text("MemTotal: 1000 kB\nMemAvailable: 400 kB\n")
    for name, (state, nowayout) in states.items():
        folder = root / f"sys/class/watchdog/{name}"
        folder.mkdir(parents=True)
        (folder / "state").write_text(state + "\n")
        if nowayout:
            (folder / "nowayout").write_text(nowayout + "\n")
        (root / f"dev/{name}").touch()
    return System(root)


def test_which_watchdogs_are_used(tmp_path: Path) -> None:
    states = {
        "watchdog0": ("inactive", "0"),
        "watchdog1": ("inactive", "1"),
        "watchdog2": ("active", "1"),
        "watchdog3": ("inactive", ""),
    }
    assert [path.name for path in usable_watchdogs(machine(tmp_path, states))] == ["watchdog0", "watchdog2"]


def test_it_feeds_notes_memory_and_stops_the_watchdog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "PAUSE_S", 0.01)
    with Keeper(machine(tmp_path, {"watchdog0": ("inactive", "0")})) as running:
        deadline_s = time.monotonic() + 10
        while (tmp_path / "dev/watchdog0").stat().st_size < 2 and time.monotonic() < deadline_s:
            time.sleep(0.01)
    fed = (tmp_path / "dev/watchdog0").read_bytes()
    assert fed.startswith(b"\0\0")
    assert fed.endswith(b"V")
    assert running.peak_memory_bytes == 600 << 10
