# SPDX-License-Identifier: Apache-2.0
"""The log on LOG_DRIVE: a stick to which others may have written, opened by root before the line."""

from __future__ import annotations

import contextlib
import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from balena_migrate.core.paths import MIGRATE_LOG
from balena_migrate.core.system import System
from balena_migrate.stage2 import kernel, oldsystem
from balena_migrate.stage2.console import Console
from tests.support.handover import HANDOVER


@pytest.fixture
def stick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "stick"
    folder.mkdir()

    @contextlib.contextmanager
    def mounted(*_: object) -> Iterator[None]:
        yield

    monkeypatch.setattr(kernel, "mounted", mounted)
    monkeypatch.setattr(oldsystem, "find_file_system", lambda *_: "/dev/none")
    monkeypatch.setattr(oldsystem, "LOG_DRIVE", folder)
    return folder


def log(text: str) -> str:
    """What the console shows while this is logged."""
    console = Console(io.StringIO())
    with oldsystem.logging_to_drive(System("/none"), HANDOVER, console):
        console.say(text)
    return "\n".join(console.lines)


def test_an_earlier_log_is_replaced_by_one_that_is_roots_alone(stick: Path) -> None:
    before = os.umask(0)
    try:
        log("first")
    finally:
        os.umask(before)
    log("second")
    assert "second" in (stick / MIGRATE_LOG).read_text() and "first" not in (stick / MIGRATE_LOG).read_text()
    assert stat.S_IMODE((stick / MIGRATE_LOG).stat().st_mode) == 0o600


def test_a_link_in_place_of_the_log_leads_nowhere(stick: Path, tmp_path: Path) -> None:
    """It could lead to a disk."""
    (tmp_path / "disk").write_text("of the old system")
    (stick / MIGRATE_LOG).symlink_to(tmp_path / "disk")
    assert "no log drive: " in log("text")
    assert (tmp_path / "disk").read_text() == "of the old system"


def test_a_pipe_in_place_of_the_log_does_not_stop_us(stick: Path) -> None:
    os.mkfifo(stick / MIGRATE_LOG)
    assert "no log drive: " in log("text")
