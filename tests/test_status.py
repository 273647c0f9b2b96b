# SPDX-License-Identifier: Apache-2.0
"""`status` tells where a device stands, whatever happened to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from balena_migrate.core import journal
from balena_migrate.core.changes import ActionName, Undo, UndoRecord, WriteFile
from balena_migrate.core.journal import Entry, Event, Journal
from balena_migrate.core.stage2_result import Stage2Ending, Stage2Result
from balena_migrate.core.steps import Step
from balena_migrate.core.system import System
from balena_migrate.status import WORDS, DeviceState, Status, find_device_state, read_status

BEGIN = Entry(event=Event.BEGIN)
INTENT = Entry(event=Event.INTENT, number=1, record=UndoRecord(undo=Undo.REMOVE, path="/x"))
PREPARED = Entry(event=Event.PREPARED)
ARMED = Entry(event=Event.ARMED, boot_id="first")
END = Entry(event=Event.END)
FAILED = Stage2Result(ending=Stage2Ending.FAILED, step=Step.SECURE, reason="memory is too small")
NO_FLASH = Stage2Result(ending=Stage2Ending.NO_FLASH)


@pytest.mark.parametrize(
    ("entries", "result", "boot_id", "state"),
    [
        ((), None, "first", DeviceState.NOTHING),
        ((BEGIN, INTENT), None, "first", DeviceState.PARTLY),
        ((BEGIN, INTENT, PREPARED), None, "first", DeviceState.PREPARED),
        ((BEGIN, INTENT, PREPARED), None, "second", DeviceState.PREPARED),
        ((BEGIN, INTENT, PREPARED), NO_FLASH, "second", DeviceState.NO_FLASH),
        ((BEGIN, INTENT, PREPARED), FAILED, "second", DeviceState.FAILED),
        ((BEGIN, INTENT, PREPARED, END), None, "second", DeviceState.UNDONE),
        ((BEGIN, INTENT, ARMED), None, "first", DeviceState.ARMED),
        ((BEGIN, INTENT, ARMED), None, "second", DeviceState.NOT_STARTED),
        ((BEGIN, INTENT, ARMED), NO_FLASH, "second", DeviceState.NO_FLASH),
        ((BEGIN, INTENT, ARMED), FAILED, "second", DeviceState.FAILED),
        ((BEGIN, INTENT, ARMED, END), FAILED, "second", DeviceState.UNDONE),
    ],
)
def test_where_a_device_stands(
    entries: tuple[Entry, ...], result: Stage2Result | None, boot_id: str, state: DeviceState
) -> None:
    assert find_device_state(Journal(entries=entries), result, boot_id) is state


def test_the_reason_of_a_failure_is_told_with_its_step() -> None:
    text = Status(state=DeviceState.FAILED, changes=3, stage2_result=FAILED).text
    assert "failed in step secure: memory is too small" in text


def test_a_whole_stage_1_without_the_boot_change_is_prepared_until_undo(tmp_path: Path) -> None:
    """NO_SETUP: nothing was interrupted, and the next boot is the old system's."""
    (tmp_path / "var/lib").mkdir(parents=True)
    system = System(tmp_path)
    journal.apply(
        system,
        (WriteFile(name=ActionName.BOOT_NEXT, title="a file", path="/prepared", content=b"x"),),
        lambda _: None,
        arm=False,
    )
    status = read_status(system)
    assert (status.state, status.changes) == (DeviceState.PREPARED, 1)
    assert "nothing is armed" in status.text and "interrupted" not in status.text
    journal.undo(system, lambda _: None)
    assert read_status(system).state is DeviceState.UNDONE


def test_every_state_has_its_words() -> None:
    assert set(WORDS) == set(DeviceState)
