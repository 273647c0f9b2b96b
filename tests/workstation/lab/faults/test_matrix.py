# SPDX-License-Identifier: Apache-2.0
"""Every fault is played at every place where it can happen."""

from __future__ import annotations

from dataclasses import replace

import pytest

from balena_migrate.core.changes import ActionName
from balena_migrate.core.steps import Step
from balena_migrate.workstation.lab.fault import Cell, Fault
from balena_migrate.workstation.lab.faults.matrix import cells

STEPS = (Step.MODULES, Step.SECURE, Step.FLASH, Step.TRANSFER)
ALL = tuple(cells((ActionName.INITRAMFS,), STEPS))


def places(fault: Fault) -> list[str]:
    return [cell.place for cell in ALL if cell.fault is fault]


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault not in (Fault.FULL, Fault.MISSING, Fault.CHANGED)])
def test_what_can_happen_anywhere_is_played_everywhere(fault: Fault) -> None:
    assert places(fault) == [*STEPS, "initramfs"]


@pytest.mark.parametrize(
    ("fault", "where"),
    [
        (Fault.FULL, ["secure", "transfer", "initramfs"]),
        (Fault.MISSING, ["modules", "secure", "transfer", "initramfs"]),
        (Fault.CHANGED, ["modules", "secure", "transfer", "initramfs"]),
    ],
)
def test_what_is_about_files_is_played_where_there_are_some(fault: Fault, where: list[str]) -> None:
    assert places(fault) == where


def test_a_change_of_stage_1_is_no_step_even_if_it_is_called_like_one() -> None:
    cell = Cell(stage=2, place="boot-entry", fault=Fault.HANG)
    assert cell.step is Step.BOOT_ENTRY
    assert replace(cell, stage=1).step is None
