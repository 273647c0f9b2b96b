# SPDX-License-Identifier: Apache-2.0
"""The state of this device: what the journal says, and what stage 2 left behind."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from balena_migrate.core.journal import Journal, State, read_boot_id, read_journal
from balena_migrate.core.outcome import Ending, Outcome, find_outcome
from balena_migrate.core.system import System


class Standing(StrEnum):
    """The state of a device."""

    NOTHING = "nothing-done"
    PARTLY = "partly-applied"
    PREPARED = "prepared"
    ARMED = "armed"
    NOT_STARTED = "stage2-not-started"
    NO_FLASH = "back-without-flash"
    FAILED = "back-after-failure"
    UNDONE = "undone"


WORDS = {
    Standing.NOTHING: "Nothing was done on this device.",
    Standing.PARTLY: "Stage 1 was interrupted; balena-migrate undo rolls back what it had changed.",
    Standing.PREPARED: (
        "Everything is prepared, but nothing is armed: NO_SETUP kept the boot configuration as it is, and the next "
        "reboot starts the old system. balena-migrate undo rolls the preparations back."
    ),
    Standing.ARMED: "Stage 1 is done: the next reboot starts stage 2. balena-migrate undo rolls it back.",
    Standing.NOT_STARTED: "The device was rebooted after stage 1, but stage 2 did not start.",
    Standing.NO_FLASH: "Stage 2 succeeded up to the flash, which NO_FLASH forbids, and returned to the old system.",
    Standing.FAILED: "Stage 2 failed before the line and returned to the old system.",
    Standing.UNDONE: "Every change was rolled back.",
}


@dataclass(frozen=True, kw_only=True)
class Status:
    """`outcome` is what the last stage 2 left behind, also after an undo."""

    standing: Standing
    changes: int
    """The number of changes that are in place."""
    outcome: Outcome | None

    @property
    def text(self) -> str:
        """The status in prose."""
        lines = [WORDS[self.standing]]
        if self.outcome and self.outcome.ending is Ending.FAILED:
            lines.append(f"The last stage 2 failed in step {self.outcome.step}: {self.outcome.reason}")
        return "\n".join(lines)


def read_status(system: System) -> Status:
    """The status of this device. Raises JournalError or FileError where the journal is damaged."""
    journal, outcome = read_journal(system), find_outcome(system)
    standing = find_standing(journal, outcome, read_boot_id(system))
    return Status(standing=standing, changes=len(journal.pending), outcome=outcome)


def find_standing(journal: Journal, outcome: Outcome | None, boot_id: str) -> Standing:
    """The state of a device, by its journal, by what stage 2 left, and by whether it was rebooted since.

    A stage 2 that somebody started after NO_SETUP, by means of their own, counts like any other.
    """
    match journal.state:
        case State.NOTHING:
            return Standing.NOTHING
        case State.UNDONE:
            return Standing.UNDONE
        case State.PARTLY:
            return Standing.PARTLY
        case State.PREPARED if outcome is None:
            return Standing.PREPARED
        case State.ARMED if journal.armed_boot_id == boot_id:
            return Standing.ARMED
    if outcome is None:
        return Standing.NOT_STARTED
    return Standing.NO_FLASH if outcome.ending is Ending.NO_FLASH else Standing.FAILED
