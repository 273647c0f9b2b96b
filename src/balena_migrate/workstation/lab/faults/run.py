# SPDX-License-Identifier: Apache-2.0
"""Plays the fault matrix of a chain, cell by cell; what was played in an earlier call is not played again."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping

from balena_migrate.core.changes import ActionName
from balena_migrate.core.errors import LabError
from balena_migrate.core.progress import Say
from balena_migrate.core.steps import Step
from balena_migrate.core.values import to_json
from balena_migrate.workstation.lab.acts import Stage1
from balena_migrate.workstation.lab.cuts.oldstart import find_old_start
from balena_migrate.workstation.lab.engine import Places, kept
from balena_migrate.workstation.lab.fault import Cell
from balena_migrate.workstation.lab.faults.matrix import cells
from balena_migrate.workstation.lab.faults.play import play
from balena_migrate.workstation.lab.faults.result import FaultsResult, Played
from balena_migrate.workstation.lab.resumable import add_done, read_done
from balena_migrate.workstation.lab.run import Record
from balena_migrate.workstation.lab.scenarios import Scenario
from balena_migrate.workstation.lab.wishes import Options

PLAYED, RESULT, LOGS = "faults.jsonl", "faults.json", "faults"


def run_faults(
    scenario: Scenario, options: Options, places: Places, only: Iterable[Cell] | None, say: Say
) -> FaultsResult:
    """The result of all faults, or of some, in a scenario that begins with stage 1.

    The folder of `places` gets a line for each cell that was played, the consoles' logs, and the result so far: a call
    that is ended leaves it, and the next one goes on. Raises LabError if stage 1 fails without any fault.
    """
    ready = kept(scenario, options, places, (), say)
    armed = kept(scenario, options, places, (Stage1(),), say)
    if armed.stuck or not all(check.passed for check in armed.checks):
        raise LabError("stage 1 fails without any fault: " + "; ".join(c.found for c in armed.checks if not c.passed))
    old = find_old_start(ready.prepared)
    planned = tuple(only or cells(changes_of(armed), steps_of(armed)))
    known = {item.cell: item for item in read_done(places.folder / PLAYED, Played)}
    left = [cell for cell in planned if cell not in known]
    for stage, record in ((1, ready), (2, armed)):
        of_stage = [cell for cell in left if cell.stage == stage]
        for item in play(of_stage, record, old, places.folder, places.folder / LOGS) if of_stage else ():
            add_done(places.folder / PLAYED, item)
            known[item.cell] = item
            result = _result(scenario, planned, known)
            (places.folder / RESULT).write_text(json.dumps(to_json(result), indent=2) + "\n")
            say(f"{len(known)} of {len(planned)}, {item.cell}: {item.text} ({item.seconds:.0f} s)")
    return _result(scenario, planned, known)


def _result(scenario: Scenario, planned: tuple[Cell, ...], known: Mapping[Cell, Played]) -> FaultsResult:
    played = tuple(known[cell] for cell in planned if cell in known)
    return FaultsResult(
        scenario=scenario.name,
        description=scenario.description,
        date=time.strftime("%Y-%m-%d"),
        passed=len(played) == len(planned) and all(item.passed for item in played),
        planned=len(planned),
        played=played,
    )


def changes_of(armed: Record) -> tuple[ActionName, ...]:
    """The changes that stage 1 makes on this device."""
    assert armed.armed is not None, "stage 1 has armed it"
    return armed.armed.names


def steps_of(armed: Record) -> tuple[Step, ...]:
    """The steps that stage 2 takes on this device."""
    expect = armed.prepared.expect
    needed = {
        Step.BOOT_ENTRY: armed.before.variables is not None,
        Step.GROW: expect.grows_data,
        Step.MACHINE_ID: bool(expect.machine_id),
    }
    return tuple(step for step in Step if needed.get(step, True))
