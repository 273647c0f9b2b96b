# SPDX-License-Identifier: Apache-2.0
"""Lets one thing go wrong on a virtual device, and finds out what is there afterwards."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from enum import Enum, auto
from pathlib import Path

from balena_migrate.core.errors import LabError, MigrateError
from balena_migrate.core.retry import retry
from balena_migrate.status import DeviceState
from balena_migrate.workstation.lab import owner
from balena_migrate.workstation.lab.acts import COMMAND_TIMEOUT_S, LAST_CHARACTERS, REPORT_BEGINS
from balena_migrate.workstation.lab.console import PROMPT
from balena_migrate.workstation.lab.cuts.overlay import overlaid
from balena_migrate.workstation.lab.disks import copy_disk
from balena_migrate.workstation.lab.fault import DISK_ERRORS, SWAPPED, Cell
from balena_migrate.workstation.lab.fault_device import FILLER, MARK
from balena_migrate.workstation.lab.faults.result import NEEDS_A_RESET, Outcome, Played
from balena_migrate.workstation.lab.faults.stage import ENDED, answer, begin, next_place, stopped
from balena_migrate.workstation.lab.run import PROGRAM, Record, Run
from balena_migrate.workstation.lab.timeline import Timeline
from balena_migrate.workstation.lab.variables import copy_store
from balena_migrate.workstation.lab.virtual import Boot, Moment, VirtualDevice

FAILS_S = 15.0
"""How long the disk fails."""
SILENT_S = 240.0
"""A device that shows nothing for so long does nothing any more: stage 2 waits 180 s for the old root's disk, and a
watchdog or the kernel's reboot after a panic comes within 60 s."""
STAGE1_SILENT_S = 30.0
"""Of stage 1, where nothing waits for a hang or for a panic of the old system's kernel to end."""
LIMIT_S = 1200.0
STARTS = 3
"""A device that has not come up after as many starts does not come up."""
POLL_S = 0.5


class Up(Enum):
    """What a device does that was switched on."""

    OLD = auto()
    NEW = auto()
    OFF = auto()
    """It went off, to start again."""
    ENDED = auto()
    """Stage 1 ended, and the device is still on."""
    STUCK = auto()


@contextlib.contextmanager
def copy_of(record: Record, folder: Path) -> Iterator[Record]:
    """The same device, off, on copies of its drives, which are in the folder meanwhile."""
    disk, *others = record.prepared.drives
    with tempfile.TemporaryDirectory(prefix="device-", dir=folder) as name, overlaid(disk, Path(name)) as shown:
        for other in others:
            copy_disk(other, shown.with_name(other.name))
        copy_store(disk, shown)
        prepared = replace(record.prepared, drives=(shown, *(shown.with_name(other.name) for other in others)))
        yield Record(prepared=prepared, before=record.before, disk_before=None, left=record.left)


def play(cells: Sequence[Cell], record: Record, folder: Path, logs: Path) -> Iterator[Played]:
    """Let each of these faults of one stage happen, on a device for itself; `logs` gets the consoles' logs.

    The device of the record runs that stage once, and is stopped at each place. From there, one goes on for each fault,
    on copies of the disks. For stage 2, the device is one that stage 1 has armed. Raises LabError if the stage ends
    without any fault.
    """
    left = list(cells)
    with _device(record, folder, logs / f"stage-{cells[0].stage}") as run:
        begin(run, cells[0].stage)
        while left:
            place = next_place(run)
            here = [cell for cell in left if cell.place == place]
            left = [cell for cell in left if cell.place != place]
            if here:
                with stopped(run, folder) as (record, moment):
                    yield from (_play(cell, record, moment, folder, logs) for cell in here)
            answer(run.on, cells[0].stage, "")


@contextlib.contextmanager
def _device(record: Record, folder: Path, logs: Path) -> Iterator[Run]:
    """A device, off, on an overlay of the record's disk."""
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir(parents=True)
    with copy_of(record, folder) as copied:
        prepared, line = copied.prepared, Timeline(lambda text: None)
        device = VirtualDevice(machine=prepared.machine, drives=prepared.drives, folder=logs, timeline=line)
        with Run(record=copied, virtual=device) as run:
            yield run


def _play(cell: Cell, record: Record, moment: Moment, folder: Path, logs: Path) -> Played:
    began_s = time.monotonic()
    with _device(record, folder, logs / f"{cell.stage}-{cell.place}-{cell.fault}".replace(" ", "-")) as run:
        try:
            outcome, cycled, said = _let_happen(run, cell, moment)
        except (MigrateError, ValueError) as error:
            outcome, cycled, said = Outcome.UNCLEAR, False, str(error)
    seconds = round(time.monotonic() - began_s, 1)
    return Played(cell=cell, outcome=outcome, power_cycled=cycled, said=said, seconds=seconds)


def _let_happen(run: Run, cell: Cell, moment: Moment) -> tuple[Outcome, bool, str]:
    """What is there afterwards, whether the device had to be switched off and on for it, and what it said. Raises
    MigrateError or ValueError where that cannot be found out."""
    boot, failing = run.go_on_from(moment), DISK_ERRORS.get(cell.fault)
    if failing:
        boot.emulator.fail_disk(failing)
    answer(boot, cell.stage, cell.fault)
    line = boot.console.wait_for(f"{MARK}|{ENDED}", LIMIT_S)
    if line[0] != MARK:
        raise LabError("nothing went wrong", hint=boot.console.text[-LAST_CHARACTERS:])
    if failing:
        time.sleep(FAILS_S)
        boot.emulator.heal_disk()
    found, cycled = _until_up(run, cell)
    outcome, said = _look(run, found, cell)
    return outcome, cycled, said


def _until_up(run: Run, cell: Cell) -> tuple[Up, bool]:
    """What came up in the end, and whether the device had to be switched off and on for it."""
    in_stage1 = cell.step is None
    silent_s = STAGE1_SILENT_S if in_stage1 and cell.fault in NEEDS_A_RESET else SILENT_S
    cycled, found = False, _watch(run.on, silent_s=silent_s, in_stage1=in_stage1)
    for _ in range(STARTS):
        if found in (Up.OLD, Up.NEW):
            break
        cycled |= found is Up.STUCK
        if found is Up.OFF:
            run.wait_off()
        else:
            run.cut_power()
        found = _watch(run.switch_on())
    return found, cycled


def _watch(boot: Boot, *, silent_s: float = SILENT_S, in_stage1: bool = False) -> Up:
    """Wait until it is clear what the device does; in stage 1, the old system is up already."""
    shown, changed_s = "", time.monotonic()

    def look() -> Up:
        found = _find_up(boot, in_stage1=in_stage1)
        if found is None:
            raise LabError("it is not clear yet")
        return found

    def give_up_on_silence(error: Exception) -> None:
        nonlocal shown, changed_s
        if boot.console.text != shown:
            shown, changed_s = boot.console.text, time.monotonic()
        elif time.monotonic() - changed_s > silent_s:
            raise error

    try:
        return retry(look, on=LabError, limit_s=LIMIT_S, pause_s=POLL_S, failed=give_up_on_silence)
    except LabError:
        return Up.STUCK


def _find_up(boot: Boot, *, in_stage1: bool) -> Up | None:
    """What the device does by now; None if that is not clear."""
    text = boot.console.text
    if REPORT_BEGINS in text:
        return Up.NEW
    if boot.is_off:
        return Up.OFF
    if ENDED in text:
        return Up.ENDED
    return Up.OLD if not in_stage1 and re.search(PROMPT, boot.shell_line.text) else None


def _look(run: Run, found: Up, cell: Cell) -> tuple[Outcome, str]:
    """What is there, and what it says; afterwards the device is off."""
    if found is Up.NEW:
        return Outcome.NEW, ""
    if found is not Up.OLD:
        return Outcome.NOTHING, run.on.console.text[-LAST_CHARACTERS:]
    shell = run.old_system()
    status = json.loads(shell.run(f"{PROGRAM} status --json", timeout_s=COMMAND_TIMEOUT_S))
    shell.run(f"{PROGRAM} undo 2>&1", timeout_s=COMMAND_TIMEOUT_S)
    run.power_off()
    run.record.left = _left_by(cell)
    failed = [check for check in run.old_system_checks() if not check.passed]
    if failed:
        return Outcome.OLD_CHANGED, "; ".join(f"{check.name}: {check.found}" for check in failed)
    return _judge(cell, DeviceState(status["state"]), status["stage2_result"] or {})


def _left_by(cell: Cell) -> tuple[str, ...]:
    """What the fault itself leaves on the old system."""
    return (FILLER, f"*/{FILLER}", *((f"{owner.HOME_DIR}/*",) if cell.fault in SWAPPED else ()))


def _judge(cell: Cell, state: DeviceState, result: Mapping[str, str]) -> tuple[Outcome, str]:
    """Whether `status` says what went wrong, or at least that something did."""
    if cell.step is None:
        known = state in (DeviceState.NOTHING, DeviceState.PARTLY, DeviceState.UNDONE)
        return (Outcome.OLD_WITH_REASON if known else Outcome.OLD_CHANGED), state
    if state is DeviceState.FAILED and result.get("reason"):
        return Outcome.OLD_WITH_REASON, f"{result.get('step')}: {result['reason']}"
    return (Outcome.OLD if state is DeviceState.NOT_STARTED else Outcome.OLD_CHANGED), state
