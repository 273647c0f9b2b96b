# SPDX-License-Identifier: Apache-2.0
"""The state of this device: who changes it now, what the journal says, and what stage 2 left behind."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from balena_migrate.core.journal import Journal, JournalState, read_boot_id, read_journal
from balena_migrate.core.lock import Holder, find_holder
from balena_migrate.core.stage2_result import Stage2Ending, Stage2Result, find_stage2_result
from balena_migrate.core.system import System


class DeviceState(StrEnum):
    """The state of a device."""

    NOTHING = "nothing-done"
    IN_PROGRESS = "in-progress"
    PARTLY = "partly-applied"
    PREPARED = "prepared"
    ARMED = "armed"
    NOT_STARTED = "stage2-not-started"
    NO_FLASH = "back-without-flash"
    FAILED = "back-after-failure"
    UNDONE = "undone"


WORDS = {
    DeviceState.NOTHING: "Nothing was done on this device.",
    DeviceState.IN_PROGRESS: "Stage 1 or its undo is at work.",
    DeviceState.PARTLY: "Stage 1 was interrupted; balena-migrate undo rolls back what it had changed.",
    DeviceState.PREPARED: (
        "Everything is prepared, but nothing is armed: NO_SETUP kept the boot configuration as it is, and the next "
        "reboot starts the old system. balena-migrate undo rolls the preparations back."
    ),
    DeviceState.ARMED: "Stage 1 is done: the next reboot starts stage 2. balena-migrate undo rolls it back.",
    DeviceState.NOT_STARTED: (
        "The device was rebooted after stage 1, but stage 2 did not start, or was cut off; balena-migrate undo rolls "
        "back what stage 1 had changed."
    ),
    DeviceState.NO_FLASH: "Stage 2 succeeded up to the flash, which NO_FLASH forbids, and returned to the old system.",
    DeviceState.FAILED: "Stage 2 failed before the line and returned to the old system.",
    DeviceState.UNDONE: "Every change was rolled back.",
}


@dataclass(frozen=True, kw_only=True)
class Status:
    """`stage2_result` is what the last stage 2 left behind, also after an undo."""

    state: DeviceState
    changes: int
    """The number of changes that are in place."""
    stage2_result: Stage2Result | None
    holder: Holder | None = None
    """Who changes the device now, if the state is IN_PROGRESS."""

    @property
    def text(self) -> str:
        """The status in prose."""
        lines = [WORDS[self.state]]
        if self.holder:
            lines.append(f"It is {self.holder.text}.")
        if self.stage2_result and self.stage2_result.ending is Stage2Ending.FAILED:
            lines.append(f"The last stage 2 failed in step {self.stage2_result.step}: {self.stage2_result.reason}")
        return "\n".join(lines)


def read_status(system: System) -> Status:
    """The status of this device. Raises JournalError or FileError where the journal is damaged.

    Who changes the device is looked up before the journal: a run that begins in between takes seconds to its first
    change, and one that ends in between is not taken for one that was interrupted.
    """
    holder = find_holder(system)
    journal, result = read_journal(system), find_stage2_result(system)
    state = DeviceState.IN_PROGRESS if holder else find_device_state(journal, result, read_boot_id(system))
    return Status(state=state, changes=len(journal.pending), stage2_result=result, holder=holder)


def find_device_state(journal: Journal, result: Stage2Result | None, boot_id: str) -> DeviceState:
    """The state of a device, by its journal, by what stage 2 left, and by whether it was rebooted since.

    A stage 2 that somebody started after NO_SETUP, by means of their own, counts like any other.
    """
    match journal.state:
        case JournalState.NOTHING:
            return DeviceState.NOTHING
        case JournalState.UNDONE:
            return DeviceState.UNDONE
        case JournalState.PARTLY:
            return DeviceState.PARTLY
        case JournalState.PREPARED if result is None:
            return DeviceState.PREPARED
        case JournalState.ARMED if journal.armed_boot_id == boot_id:
            return DeviceState.ARMED
    if result is None:
        return DeviceState.NOT_STARTED
    return DeviceState.NO_FLASH if result.ending is Stage2Ending.NO_FLASH else DeviceState.FAILED
