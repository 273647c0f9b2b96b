# SPDX-License-Identifier: Apache-2.0
"""Lets one thing go wrong on a virtual device, and finds out what is there afterwards."""

from __future__ import annotations

import contextlib
import json
import re
import tempfile
import time
from collections.abc import Iterator, Mapping
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
from balena_migrate.workstation.lab.disks import copy_disk, mounted_system
from balena_migrate.workstation.lab.fault import DISK_ERRORS, PYTHON, SWAPPED, Cell, device_script, with_fault
from balena_migrate.workstation.lab.fault_device import FILLER, MARK
from balena_migrate.workstation.lab.faults.result import Outcome, Played
from balena_migrate.workstation.lab.prepare import KIT_FOLDER
from balena_migrate.workstation.lab.run import PROGRAM, Record, Run
from balena_migrate.workstation.lab.timeline import Timeline
from balena_migrate.workstation.lab.variables import copy_store
from balena_migrate.workstation.lab.virtual import Boot, VirtualDevice

FAILS_S = 15.0
"""How long the disk fails."""
SILENT_S = 240.0
"""A device that shows nothing for so long does nothing any more: stage 2 waits 180 s for the old root's disk, and a
watchdog or the kernel's reboot after a panic comes within 60 s."""
LIMIT_S = 1200.0
STARTS = 3
"""A device that has not come up after as many starts does not come up."""
POLL_S = 0.5
SCRIPT = "var/tmp/lab-device.py"
"""What lets it happen in stage 1."""
ENDED = "lab: stage 1 ended with status"


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


def play(cell: Cell, record: Record, folder: Path, logs: Path) -> Played:
    """Let it happen on a copy of that device, which stage 1 has armed if it is stage 2's; `logs` gets the consoles'."""
    logs.mkdir(parents=True)
    began_s = time.monotonic()
    with copy_of(record, folder) as copied:
        prepared, line = copied.prepared, Timeline(lambda text: None)
        device = VirtualDevice(machine=prepared.machine, drives=prepared.drives, folder=logs, timeline=line)
        with Run(record=copied, virtual=device) as run:
            try:
                outcome, cycled, said = _play(run, cell)
            except (MigrateError, ValueError) as error:
                outcome, cycled, said = Outcome.UNCLEAR, False, str(error)
    seconds = round(time.monotonic() - began_s, 1)
    return Played(cell=cell, outcome=outcome, power_cycled=cycled, said=said, seconds=seconds)


def _play(run: Run, cell: Cell) -> tuple[Outcome, bool, str]:
    """What is there afterwards, whether the device had to be switched off and on for it, and what it said. Raises
    MigrateError or ValueError where that cannot be found out."""
    if cell.step is None:
        _begin_stage1(run, cell)
    else:
        run.change_initramfs(lambda initramfs, _: with_fault(initramfs, cell))
        run.switch_on()
    line = run.on.console.wait_for(f"{MARK}|{ENDED}", LIMIT_S)
    if line[0] != MARK:
        raise LabError("nothing went wrong", hint=run.on.console.text[-LAST_CHARACTERS:])
    _let_it_fail(run.on, cell)
    found, cycled = _until_up(run, cell)
    outcome, said = _look(run, found, cell)
    return outcome, cycled, said


def _begin_stage1(run: Run, cell: Cell) -> None:
    """Stage 1 runs by the script that lets it happen, and prints to the console."""
    with mounted_system(run.prepared.disk, run.prepared.file_systems) as root:
        (root / SCRIPT).write_text(device_script())
    run.record.left = run.may_be_left()
    base = f"/{KIT_FOLDER}/base"
    command = (
        f"base={base}; $base/ld.so --inhibit-cache --argv0 $base/bin/python3 --library-path"
        f" $base/lib:/{KIT_FOLDER}/more/lib {PYTHON} /{SCRIPT} {cell.place} '{cell.fault}' /run /{owner.HOME_DIR}"
        f" /{KIT_FOLDER}/more/start.py balena-migrate run"
    )
    run.old_system().run(
        f"( {{ {command} </dev/null; echo {ENDED} $?; }} 2>&1 | cat >/dev/console & )", timeout_s=COMMAND_TIMEOUT_S
    )


def _let_it_fail(boot: Boot, cell: Cell) -> None:
    """The disk fails for a while, once the step has begun; all other faults happen in the device by themselves."""
    if cell.fault not in DISK_ERRORS:
        return
    boot.emulator.fail_disk(DISK_ERRORS[cell.fault])
    time.sleep(FAILS_S)
    boot.emulator.heal_disk()


def _until_up(run: Run, cell: Cell) -> tuple[Up, bool]:
    """What came up in the end, and whether the device had to be switched off and on for it."""
    cycled, found = False, _watch(run.on, in_stage1=cell.step is None)
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


def _watch(boot: Boot, *, in_stage1: bool = False) -> Up:
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
        elif time.monotonic() - changed_s > SILENT_S:
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
