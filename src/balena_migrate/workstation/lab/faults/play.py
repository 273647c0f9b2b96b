# SPDX-License-Identifier: Apache-2.0
"""Lets one thing go wrong on a virtual device, and finds out what is there afterwards."""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from enum import Enum, auto
from pathlib import Path

from balena_migrate.core.errors import LabError, MigrateError
from balena_migrate.core.retry import retry
from balena_migrate.workstation.lab.acts import LAST_CHARACTERS, REPORT_BEGINS
from balena_migrate.workstation.lab.console import PROMPT
from balena_migrate.workstation.lab.cuts.oldstart import OldStart
from balena_migrate.workstation.lab.cuts.overlay import overlaid
from balena_migrate.workstation.lab.disks import copy_disk
from balena_migrate.workstation.lab.fault import DISK_ERRORS, Cell, Fault
from balena_migrate.workstation.lab.fault_device import MARK
from balena_migrate.workstation.lab.faults.look import look_at_disk, look_into
from balena_migrate.workstation.lab.faults.result import NEEDS_A_RESET, Outcome, Played
from balena_migrate.workstation.lab.faults.stage import ENDED, answer, begin, next_place, stopped
from balena_migrate.workstation.lab.run import Record, Run, begin_on_copies
from balena_migrate.workstation.lab.variables import copy_store
from balena_migrate.workstation.lab.virtual import Boot, Moment

FAILS_S = 15.0
"""How long the disk fails."""
SILENT_S = 240.0
"""A device that shows nothing for so long does nothing any more: stage 2 waits 180 s for the old root's disk."""
RESET_SILENT_S = 90.0
"""The same for a hang or a panic in stage 2: a watchdog, or the kernel's reboot after a panic, comes within 60 s."""
STAGE1_SILENT_S = 30.0
"""And in stage 1, where nothing ends a hang, or a panic of the old system's kernel."""
LIMIT_S = 1200.0
STARTS = 3
"""A device that has not come up after as many starts does not come up."""
POLL_S = 0.5
BOOTED = Fault.KILLED
"""A device whose disk starts the old system is booted after this fault; after any other, its disk is looked at."""


class Up(Enum):
    """What a device does that was switched on."""

    OLD = auto()
    NEW = auto()
    OFF = auto()
    """It went off, to start again."""
    ENDED = auto()
    """Stage 1 ended, and the device is still on."""
    ON_DISK = auto()
    """It is off, and would start the old system."""
    STUCK = auto()


def play(cells: Sequence[Cell], record: Record, old: OldStart, folder: Path, logs: Path) -> Iterator[Played]:
    """Let each of these faults of one stage happen, on a device for itself; `logs` gets the consoles' logs.

    The device of the record runs that stage once, and is stopped at each place. From there, one goes on for each fault,
    on copies of the disks. For stage 2, the device is one that stage 1 has armed. `old` is what it started before.
    Raises LabError if the stage ends without any fault.
    """
    left = list(cells)
    with _device(record, folder, logs / f"stage-{cells[0].stage}") as run:
        begin(run, cells[0].stage)
        while left:
            place = next_place(run)
            here = [cell for cell in left if cell.place == place]
            left = [cell for cell in left if cell.place != place]
            if here:
                with stopped(run, folder) as (stopped_at, moment):
                    yield from (_play(cell, stopped_at, moment, old, folder, logs) for cell in here)
            answer(run.on, cells[0].stage, "")


@contextlib.contextmanager
def _device(record: Record, folder: Path, logs: Path) -> Iterator[Run]:
    """The record's device, off, on copies of its drives, which are in the folder meanwhile."""
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir(parents=True)
    disk, *others = record.prepared.drives
    with tempfile.TemporaryDirectory(prefix="device-", dir=folder) as name, overlaid(disk, Path(name)) as shown:
        for other in others:
            copy_disk(other, shown.with_name(other.name))
        copy_store(disk, shown)
        with begin_on_copies(record, shown, logs) as run:
            yield run


def _play(cell: Cell, record: Record, moment: Moment, old: OldStart, folder: Path, logs: Path) -> Played:
    began_s = time.monotonic()
    with _device(record, folder, logs / f"{cell.stage}-{cell.place}-{cell.fault}".replace(" ", "-")) as run:
        try:
            outcome, cycled, said = _let_happen(run, cell, moment, old)
        except (MigrateError, ValueError) as error:
            outcome, cycled, said = Outcome.UNCLEAR, False, str(error)
    seconds = round(time.monotonic() - began_s, 1)
    return Played(cell=cell, outcome=outcome, power_cycled=cycled, said=said, seconds=seconds)


def _let_happen(run: Run, cell: Cell, moment: Moment, old: OldStart) -> tuple[Outcome, bool, str]:
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
    found, cycled = _until_up(run, cell, old)
    match found:
        case Up.NEW:
            return Outcome.NEW, cycled, ""
        case Up.OLD:
            outcome, said = look_into(run, cell)
        case Up.ON_DISK:
            outcome, said = look_at_disk(run, cell, old.chain)
        case _:
            outcome, said = Outcome.NOTHING, run.on.console.text[-LAST_CHARACTERS:]
    return outcome, cycled, said


def _until_up(run: Run, cell: Cell, old: OldStart) -> tuple[Up, bool]:
    """What came up in the end, and whether the device had to be switched off and on for it.

    A device that goes off is switched on again; where its disk starts the old system, only after the BOOTED fault, and
    LabError is raised if something else comes up.
    """
    in_stage1, silent_s = cell.step is None, SILENT_S
    if cell.fault in NEEDS_A_RESET:
        silent_s = STAGE1_SILENT_S if in_stage1 else RESET_SILENT_S
    cycled, found = False, _watch(run.on, silent_s=silent_s, in_stage1=in_stage1)
    for _ in range(STARTS):
        if found in (Up.OLD, Up.NEW):
            break
        cycled |= found is Up.STUCK
        if found is Up.OFF:
            run.wait_off()
        else:
            run.cut_power()
        is_old = old.is_next(run.prepared)
        if is_old and cell.fault is not BOOTED:
            return Up.ON_DISK, cycled
        found = _watch(run.switch_on())
        if is_old and found is not Up.OLD:
            raise LabError(f"the disk would have started the old system, and there is: {found.name}")
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
