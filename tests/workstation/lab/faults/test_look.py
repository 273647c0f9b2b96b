# SPDX-License-Identifier: Apache-2.0
"""What the old system says after a fault, and whether that is enough."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from balena_migrate.core.steps import Step
from balena_migrate.status import DeviceState
from balena_migrate.workstation.lab.fault import Cell, Fault
from balena_migrate.workstation.lab.faults import look
from balena_migrate.workstation.lab.faults.result import Outcome
from balena_migrate.workstation.lab.result import Check

STAGE1 = Cell(stage=1, place="initramfs", fault=Fault.KILLED)
STAGE2 = Cell(stage=2, place=Step.SECURE, fault=Fault.KILLED)
REASON = {"step": "secure", "reason": "Input/output error"}


def judged(cell: Cell, state: DeviceState, result: Mapping[str, str], found: str = "") -> tuple[Outcome, str]:
    check = Check(name="the old system is unchanged", passed=not found, expected="no change", found=found)
    run: Any = SimpleNamespace(old_system_checks=lambda: [check])
    return look.judge_old_system(run, cell, state, result)


@pytest.mark.parametrize(
    ("cell", "state", "result", "outcome"),
    [
        (STAGE1, DeviceState.UNDONE, {}, Outcome.OLD_WITH_REASON),
        (STAGE1, DeviceState.PARTLY, {}, Outcome.OLD_WITH_REASON),
        (STAGE1, DeviceState.NOTHING, {}, Outcome.OLD_WITH_REASON),
        (STAGE1, DeviceState.NOT_STARTED, {}, Outcome.OLD),
        (STAGE1, DeviceState.FAILED, REASON, Outcome.OLD_WITH_REASON),
        (STAGE1, DeviceState.FAILED, {}, Outcome.OLD_CHANGED),
        (STAGE2, DeviceState.FAILED, REASON, Outcome.OLD_WITH_REASON),
        (STAGE2, DeviceState.FAILED, {}, Outcome.OLD_CHANGED),
        (STAGE2, DeviceState.NOT_STARTED, {}, Outcome.OLD),
        (STAGE2, DeviceState.NOTHING, {}, Outcome.OLD_CHANGED),
    ],
)
def test_status_has_to_say_that_something_went_wrong(
    cell: Cell, state: DeviceState, result: Mapping[str, str], outcome: Outcome
) -> None:
    assert judged(cell, state, result)[0] is outcome


def test_the_reason_is_said_with_its_step() -> None:
    assert judged(STAGE2, DeviceState.FAILED, REASON)[1] == "secure: Input/output error"


@pytest.mark.parametrize("cell", [STAGE1, STAGE2])
def test_a_file_that_changed_counts_whatever_status_says(cell: Cell) -> None:
    found = judged(cell, DeviceState.UNDONE, REASON, found="~etc/fstab")
    assert found == (Outcome.OLD_CHANGED, "the old system is unchanged: ~etc/fstab")
