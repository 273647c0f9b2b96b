# SPDX-License-Identifier: Apache-2.0
"""`status` tells where a device stands, whatever happened to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from balena_migrate.core import journal
from balena_migrate.core.changes import ActionName, Undo, UndoRecord, WriteFile
from balena_migrate.core.journal import Entry, Event, Journal
from balena_migrate.core.outcome import Ending, Outcome
from balena_migrate.core.steps import Step
from balena_migrate.core.system import System
from balena_migrate.status import WORDS, Standing, Status, find_standing, read_status

BEGIN = Entry(event=Event.BEGIN)
INTENT = Entry(event=Event.INTENT, number=1, record=UndoRecord(undo=Undo.REMOVE, path="/x"))
PREPARED = Entry(event=Event.PREPARED)
ARMED = Entry(event=Event.ARMED, boot_id="first")
END = Entry(event=Event.END)
FAILED = Outcome(ending=Ending.FAILED, step=Step.SECURE, reason="memory is too small")
NO_FLASH = Outcome(ending=Ending.NO_FLASH)


@pytest.mark.parametrize(
    ("entries", "outcome", "boot_id", "standing"),
    [
        ((), None, "first", Standing.NOTHING),
        ((BEGIN, INTENT), None, "first", Standing.PARTLY),
        ((BEGIN, INTENT, PREPARED), None, "first", Standing.PREPARED),
        ((BEGIN, INTENT, PREPARED), None, "second", Standing.PREPARED),
        ((BEGIN, INTENT, PREPARED), NO_FLASH, "second", Standing.NO_FLASH),
        ((BEGIN, INTENT, PREPARED), FAILED, "second", Standing.FAILED),
        ((BEGIN, INTENT, PREPARED, END), None, "second", Standing.UNDONE),
        ((BEGIN, INTENT, ARMED), None, "first", Standing.ARMED),
        ((BEGIN, INTENT, ARMED), None, "second", Standing.NOT_STARTED),
        ((BEGIN, INTENT, ARMED), NO_FLASH, "second", Standing.NO_FLASH),
        ((BEGIN, INTENT, ARMED), FAILED, "second", Standing.FAILED),
        ((BEGIN, INTENT, ARMED, END), FAILED, "second", Standing.UNDONE),
    ],
)
def test_where_a_device_stands(
    entries: tuple[Entry, ...], outcome: Outcome | None, boot_id: str, standing: Standing
) -> None:
    assert find_standing(Journal(entries=entries), outcome, boot_id) is standing


def test_the_reason_of_a_failure_is_told_with_its_step() -> None:
    text = Status(standing=Standing.FAILED, changes=3, outcome=FAILED).text
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
    assert (status.standing, status.changes) == (Standing.PREPARED, 1)
    assert "nothing is armed" in status.text and "interrupted" not in status.text
    journal.undo(system, lambda _: None)
    assert read_status(system).standing is Standing.UNDONE


def test_every_state_has_its_words() -> None:
    assert set(WORDS) == set(Standing)
