# SPDX-License-Identifier: Apache-2.0
"""Where this device stands: what the journal says, and what stage 2 left behind."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from balena_migrate.core.journal import Journal, State, read_boot_id, read_journal
from balena_migrate.core.outcome import Ending, Outcome, find_outcome
from balena_migrate.core.system import System


class Standing(StrEnum):
    """Where a device stands."""

    NOTHING = "nothing-done"
    PARTLY = "partly-applied"
    ARMED = "armed"
    NOT_STARTED = "stage2-not-started"
    NO_FLASH = "back-without-flash"
    FAILED = "back-after-failure"
    UNDONE = "undone"


WORDS = {
    Standing.NOTHING: "Nothing was done on this device.",
    Standing.PARTLY: "Stage 1 was interrupted; balena-migrate undo takes back what it had done.",
    Standing.ARMED: "Stage 1 is done: the next reboot starts stage 2. balena-migrate undo takes it back.",
    Standing.NOT_STARTED: "The device was rebooted since stage 1, but stage 2 did not start.",
    Standing.NO_FLASH: "Stage 2 ran up to the flash, which NO_FLASH forbade, and came back. All was well.",
    Standing.FAILED: "Stage 2 failed before the line and came back to the old system.",
    Standing.UNDONE: "Everything was taken back.",
}


@dataclass(frozen=True, kw_only=True)
class Status:
    """`outcome` is what the newest stage 2 left behind, also after an undo."""

    standing: Standing
    changes: int
    """How many changes are applied now."""
    outcome: Outcome | None

    @property
    def text(self) -> str:
        """For a person."""
        lines = [WORDS[self.standing]]
        if self.outcome and self.outcome.ending is Ending.FAILED:
            lines.append(f"The newest stage 2 failed in step {self.outcome.step}: {self.outcome.reason}")
        return "\n".join(lines)


def read_status(system: System) -> Status:
    """The status of this device. Raises JournalError or FileError where the journal is damaged."""
    journal, outcome = read_journal(system), find_outcome(system)
    standing = find_standing(journal, outcome, read_boot_id(system))
    return Status(standing=standing, changes=len(journal.pending), outcome=outcome)


def find_standing(journal: Journal, outcome: Outcome | None, boot_id: str) -> Standing:
    """Where a device stands, by its journal, by what stage 2 left, and by whether it was started since."""
    if journal.state is State.NOTHING:
        return Standing.NOTHING
    if journal.state is State.UNDONE:
        return Standing.UNDONE
    if journal.state is State.PARTLY:
        return Standing.PARTLY
    if journal.armed_boot_id == boot_id:
        return Standing.ARMED
    if outcome is None:
        return Standing.NOT_STARTED
    return Standing.NO_FLASH if outcome.ending is Ending.NO_FLASH else Standing.FAILED
