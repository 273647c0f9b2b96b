# SPDX-License-Identifier: Apache-2.0
"""What is there of the old system after a fault: in the running device, or on its disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict

from balena_migrate.core.stage2_result import find_stage2_result
from balena_migrate.core.system import System
from balena_migrate.status import DeviceState
from balena_migrate.workstation.lab import owner
from balena_migrate.workstation.lab.acts import COMMAND_TIMEOUT_S
from balena_migrate.workstation.lab.cuts.chains import Chain
from balena_migrate.workstation.lab.cuts.judge import expected_status, repair
from balena_migrate.workstation.lab.disks import mounted_system
from balena_migrate.workstation.lab.fault import SWAPPED, Cell
from balena_migrate.workstation.lab.fault_device import FILLER
from balena_migrate.workstation.lab.faults.result import Outcome
from balena_migrate.workstation.lab.run import PROGRAM, Run


def look_into(run: Run, cell: Cell) -> tuple[Outcome, str]:
    """What there is where the old system is up, and what its `status` says; afterwards the device is off."""
    shell = run.old_system()
    status = json.loads(shell.run(f"{PROGRAM} status --json", timeout_s=COMMAND_TIMEOUT_S))
    shell.run(f"{PROGRAM} undo 2>&1", timeout_s=COMMAND_TIMEOUT_S)
    run.power_off()
    run.record.left = _left_by(cell)
    return judge_old_system(run, cell, DeviceState(status["state"]), status["stage2_result"] or {})


def look_at_disk(run: Run, cell: Cell, chain: Chain) -> tuple[Outcome, str]:
    """The same for a device that is off and would start the old system: what `status` has to say is on its disk.

    Raises LabError if a file system is not as a start of the old system would mend it.
    """
    disk, systems = run.prepared.disk, run.prepared.file_systems
    for system in systems:
        if not system.fat:
            repair(disk, system.span)
    with mounted_system(disk, systems, read_only=True) as root:
        state, result = expected_status(root), find_stage2_result(System(root))
    run.record.left = (*_left_by(cell), *run.may_be_left(), *chain.boot_files)
    return judge_old_system(run, cell, state, asdict(result) if result else {})


def _left_by(cell: Cell) -> tuple[str, ...]:
    """What the fault itself leaves on the old system."""
    return (FILLER, f"*/{FILLER}", *((f"{owner.HOME_DIR}/*",) if cell.fault in SWAPPED else ()))


def judge_old_system(run: Run, cell: Cell, state: DeviceState, result: Mapping[str, str]) -> tuple[Outcome, str]:
    """Whether the old system is as it was, and `status` says what went wrong, or at least that something did."""
    failed = [check for check in run.old_system_checks() if not check.passed]
    if failed:
        return Outcome.OLD_CHANGED, "; ".join(f"{check.name}: {check.found}" for check in failed)
    if state is DeviceState.FAILED and result.get("reason"):
        return Outcome.OLD_WITH_REASON, f"{result.get('step')}: {result['reason']}"
    if cell.stage == 1 and state in (DeviceState.NOTHING, DeviceState.PARTLY, DeviceState.UNDONE):
        return Outcome.OLD_WITH_REASON, state
    return (Outcome.OLD if state is DeviceState.NOT_STARTED else Outcome.OLD_CHANGED), state
