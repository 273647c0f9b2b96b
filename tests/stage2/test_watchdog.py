# SPDX-License-Identifier: Apache-2.0
"""Watchdogs: those that run are fed, those that could not be stopped again are not started."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from balena_migrate.core.system import System
from balena_migrate.stage2 import memory_peak, watchdog
from balena_migrate.stage2.memory_peak import MemoryPeak
from balena_migrate.stage2.watchdog import feeding_watchdogs, usable_watchdogs


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


def wait_for(done: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 10
    while not done() and time.monotonic() < deadline_s:
        time.sleep(0.01)


def test_it_feeds_and_stops_the_watchdog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "PAUSE_S", 0.01)
    node = tmp_path / "dev/watchdog0"
    with feeding_watchdogs(machine(tmp_path, {"watchdog0": ("inactive", "0")})):
        wait_for(lambda: node.stat().st_size >= 2)
    fed = node.read_bytes()
    assert fed.startswith(b"\0\0")
    assert fed.endswith(b"V")


def test_the_peak_of_memory_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_peak, "PAUSE_S", 0.01)
    memory = MemoryPeak(machine(tmp_path, {}))
    with memory.sampled():
        wait_for(lambda: memory.peak_bytes > 0)
        (tmp_path / "proc/meminfo").write_text("MemTotal: 1000 kB\nMemAvailable: 700 kB\n")
    assert memory.peak_bytes == 600 << 10


def test_memory_that_cannot_be_read_ends_no_feeding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "PAUSE_S", 0.01)
    monkeypatch.setattr(memory_peak, "PAUSE_S", 0.01)
    system = machine(tmp_path, {"watchdog0": ("inactive", "0")})
    (tmp_path / "proc/meminfo").unlink()
    node, memory = tmp_path / "dev/watchdog0", MemoryPeak(system)
    with feeding_watchdogs(system), memory.sampled():
        time.sleep(0.1)
        fed = node.stat().st_size
        wait_for(lambda: node.stat().st_size > fed)
        assert node.stat().st_size > fed
    assert memory.peak_bytes == 0
