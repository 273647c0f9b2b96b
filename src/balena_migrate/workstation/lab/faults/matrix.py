# SPDX-License-Identifier: Apache-2.0
"""What can go wrong where: in stage 1's changes and in stage 2's steps."""

from __future__ import annotations

from collections.abc import Iterator

from balena_migrate.core.changes import ActionName
from balena_migrate.core.steps import Step
from balena_migrate.workstation.lab.fault import SWAPPED, Cell, Fault

WITH_FILES = (Step.MODULES, Step.RESTORE_BOOT, Step.SECURE, Step.TRANSFER)
"""The steps of stage 2 that work with files: of the others, none reads or writes one."""
WRITING = (Step.RESTORE_BOOT, Step.SECURE, Step.TRANSFER, Step.MACHINE_ID)
"""The steps of stage 2 that write to a file system; SECURE, as one that goes back, the reason."""


def cells(changes: tuple[ActionName, ...], steps: tuple[Step, ...]) -> Iterator[Cell]:
    """Every fault at each of the places where it can happen, fault by fault."""
    for fault in Fault:
        for step in steps:
            if (fault is not Fault.FULL or step in WRITING) and (fault not in SWAPPED or step in WITH_FILES):
                yield Cell(stage=2, place=step, fault=fault)
    for fault in Fault:
        for change in changes:
            yield Cell(stage=1, place=change, fault=fault)
