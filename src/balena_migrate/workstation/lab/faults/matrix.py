# SPDX-License-Identifier: Apache-2.0
"""What can go wrong, and where: stage 1's changes and stage 2's steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from balena_migrate.core.changes import ActionName
from balena_migrate.core.steps import Step
from balena_migrate.workstation.lab.faulty_disk import DiskError


class Fault(StrEnum):
    """What goes wrong, as soon as a step has begun.

    Errors of the disk last for a while (balena_migrate.workstation.lab.faults.play.FAILS_S), as those of a loose plug
    do; all else stays.
    """

    KILLED = "killed"
    """The stage's process is killed."""
    HANG = "hang"
    """The stage's process stops, and all of its threads."""
    PANIC = "panic"
    """The kernel panics."""
    MEMORY = "memory short"
    """Nearly all memory is taken."""
    READ_ERROR = "read error"
    WRITE_ERROR = "write error"
    FLUSH_ERROR = "flush error"
    FULL = "disk full"
    """The file systems to which the step writes are full."""
    MISSING = "file missing"
    """The file that the step works with is gone."""
    CHANGED = "file changed"
    """It has other content."""


DISK_ERRORS = {
    Fault.READ_ERROR: DiskError.READ,
    Fault.WRITE_ERROR: DiskError.WRITE,
    Fault.FLUSH_ERROR: DiskError.FLUSH,
}
WITH_FILES = (Step.MODULES, Step.RESTORE_BOOT, Step.SECURE, Step.TRANSFER)
"""The steps of stage 2 that work with files: of the others, none reads or writes one."""
WRITING = (Step.RESTORE_BOOT, Step.SECURE, Step.TRANSFER, Step.MACHINE_ID)
"""The steps of stage 2 that write to a file system; SECURE, as one that goes back, the reason."""
SWAPPED = (Fault.MISSING, Fault.CHANGED)


@dataclass(frozen=True, kw_only=True, order=True)
class Cell:
    """One fault at one place: a change of stage 1 by its ActionName, or a Step of stage 2."""

    stage: int
    place: str
    fault: Fault

    def __str__(self) -> str:
        return f"stage {self.stage}, {self.place}, {self.fault}"

    @property
    def step(self) -> Step | None:
        """The step of stage 2; None in stage 1."""
        return Step(self.place) if self.stage == 2 else None


def cells(changes: tuple[ActionName, ...], steps: tuple[Step, ...]) -> Iterator[Cell]:
    """Every fault at each of the places where it can happen, fault by fault."""
    for fault in Fault:
        for step in steps:
            if (fault is not Fault.FULL or step in WRITING) and (fault not in SWAPPED or step in WITH_FILES):
                yield Cell(stage=2, place=step, fault=fault)
    for fault in Fault:
        for change in changes:
            yield Cell(stage=1, place=change, fault=fault)
