# SPDX-License-Identifier: Apache-2.0
"""`status` tells where a device stands, whatever happened to it."""

from __future__ import annotations

import pytest

from balena_migrate.core.changes import Undo, UndoRecord
from balena_migrate.core.journal import Entry, Event, Journal
from balena_migrate.core.outcome import Ending, Outcome
from balena_migrate.core.steps import Step
from balena_migrate.status import Standing, Status, find_standing

BEGIN = Entry(event=Event.BEGIN)
INTENT = Entry(event=Event.INTENT, number=1, record=UndoRecord(undo=Undo.REMOVE, path="/x"))
ARMED = Entry(event=Event.ARMED, boot_id="first")
END = Entry(event=Event.END)
FAILED = Outcome(ending=Ending.FAILED, step=Step.SECURE, reason="memory is too small")
NO_FLASH = Outcome(ending=Ending.NO_FLASH)


@pytest.mark.parametrize(
    ("entries", "outcome", "boot_id", "standing"),
    [
        ((), None, "first", Standing.NOTHING),
        ((BEGIN, INTENT), None, "first", Standing.PARTLY),
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
