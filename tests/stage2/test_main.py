# SPDX-License-Identifier: Apache-2.0
"""Stage 2 without a hand-over that it can read gives the machine back to the old system, and reboots nothing."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from balena_migrate.core.errors import DiskError
from balena_migrate.core.handover import Handover, dump_handover
from balena_migrate.core.stage2_result import Stage2Ending, Stage2Result
from balena_migrate.core.steps import Step
from balena_migrate.core.system import System
from balena_migrate.stage2 import boot, kernel, line, main, oldsystem
from balena_migrate.stage2.console import Console
from balena_migrate.stage2.line import Crossed
from balena_migrate.stage2.strategies import Stage2Strategy
from tests.support.handover import HANDOVER


@pytest.mark.parametrize("mounted", [True, False])
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "No such file or directory"),
        ("", "Expecting value"),
        ('{"format": 99}', "format 99 is unknown"),
        ('{"format": 2}', "target"),
        (dump_handover(replace(HANDOVER, strategy="OTHER")).decode(), "unknown strategy OTHER"),
    ],
)
def test_a_hand_over_that_is_missing_or_damaged_leads_back(
    tmp_path: Path,
    text: str | None,
    reason: str,
    mounted: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With it the record of the old config.txt is gone: the old system boots, and its `undo` has a record too.

    Where init leaves mounting to us, it reboots: nothing says where the old root is.
    """
    if text is not None:
        (tmp_path / "etc").mkdir()
        (tmp_path / "etc/balena-migrate-stage2.conf").write_text(text)
    monkeypatch.setattr(main, "System", lambda *_, **__: System(tmp_path))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(kernel, "reboot", lambda: pytest.fail("rebooted"))
    monkeypatch.setattr(sys, "argv", ["stage2", *([str(tmp_path)] if mounted else [])])
    if mounted:
        main.main()
    else:
        with pytest.raises(SystemExit) as ended:
            main.main()
        assert ended.value.code == boot.FAILED
    said = capsys.readouterr().out
    assert "going back to the old system" in said
    assert reason in said


def test_where_the_old_root_does_not_appear_the_log_drive_has_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the only place left; and the boot configuration comes first."""
    done: list[str] = []
    kept: list[str] = []

    def no_root(*_: object) -> None:
        raise DiskError("no file system has the UUID 1111-root")

    @contextlib.contextmanager
    def drive(machine: System, handover: Handover, console: Console) -> Iterator[None]:
        done.append("log drive")
        yield
        kept.extend(console.lines)

    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/balena-migrate-stage2.conf").write_bytes(dump_handover(HANDOVER))
    monkeypatch.setattr(main, "System", lambda *_, **__: System(tmp_path))
    monkeypatch.setattr(boot, "mount_root", no_root)
    monkeypatch.setattr(boot, "restore_without_root", lambda *_: done.append("boot configuration"))
    monkeypatch.setattr(oldsystem, "logging_to_drive", drive)
    assert main.boot_and_start(Console()) == boot.FAILED
    assert done == ["boot configuration", "log drive"]
    assert any("no file system has the UUID 1111-root" in line for line in kept)


def test_before_the_line_one_that_follows_takes_back_what_was_written_and_says_where_the_other_died(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not try again: what killed the first one may be there still."""
    done: list[object] = []

    @contextlib.contextmanager
    def mounted(*_: object) -> Iterator[None]:
        done.append("mounted")
        yield
        done.append("unmounted")

    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/balena-migrate-stage2.conf").write_bytes(dump_handover(HANDOVER))
    strategy = Stage2Strategy(
        name="DEFAULT", migrate=lambda _: pytest.fail("begun anew"), go_on=lambda *_: pytest.fail("gone on")
    )
    monkeypatch.setattr(main, "System", lambda *_, **__: System(tmp_path))
    monkeypatch.setattr(main, "strategy_named", lambda _: strategy)
    monkeypatch.setattr(oldsystem, "mounted_beside", mounted)
    monkeypatch.setattr(oldsystem, "restore_boot", lambda *_: done.append("boot configuration"))
    monkeypatch.setattr(oldsystem, "keep_result", lambda *arguments: done.append(arguments[4]))
    monkeypatch.setattr(kernel, "reboot", lambda: done.append("reboot"))
    main.start(Console(earlier=["balena-migrate: [1.000] step secure started"]), tmp_path)
    reason = "stage 2's process was killed, as the kernel does where memory runs out"
    result = Stage2Result(ending=Stage2Ending.FAILED, step=Step.SECURE, reason=reason)
    assert done == ["mounted", "boot configuration", "unmounted", result, "reboot"]


def test_behind_the_line_nothing_of_the_old_system_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is gone, and what is left to do needs nothing of it."""
    done: list[object] = []
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/balena-migrate-stage2.conf").write_bytes(dump_handover(HANDOVER))
    monkeypatch.setattr(line, "NOTE", tmp_path / "line")
    line.note(Crossed(target="/dev/sda"))
    strategy = Stage2Strategy(
        name="DEFAULT", migrate=lambda _: pytest.fail("begun anew"), go_on=lambda _, crossed: done.append(crossed)
    )
    monkeypatch.setattr(main, "System", lambda *_, **__: System(tmp_path))
    monkeypatch.setattr(main, "strategy_named", lambda _: strategy)
    monkeypatch.setattr(boot, "mount_root", lambda *_: pytest.fail("looked for"))
    monkeypatch.setattr(boot, "mount_for_init", lambda *_: None)
    monkeypatch.setattr(kernel, "reboot", lambda: done.append("reboot"))
    main.boot_and_start(Console())
    assert done == [Crossed(target="/dev/sda"), "reboot"]
