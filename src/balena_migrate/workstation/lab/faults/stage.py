# SPDX-License-Identifier: Apache-2.0
"""A stage that runs by the script which asks at each place what goes wrong there, and a device that stands still."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from balena_migrate.core.errors import LabError
from balena_migrate.workstation.lab import owner
from balena_migrate.workstation.lab.acts import LAST_CHARACTERS
from balena_migrate.workstation.lab.disks import mounted_system
from balena_migrate.workstation.lab.fault import PYTHON, device_script, with_faults
from balena_migrate.workstation.lab.fault_device import REACHED
from balena_migrate.workstation.lab.prepare import KIT_FOLDER
from balena_migrate.workstation.lab.run import Record, Run
from balena_migrate.workstation.lab.virtual import Boot, Moment

LIMIT_S = 1200.0
"""How long a stage may take from one place to the next."""
SCRIPT = "var/tmp/lab-device.py"
"""What lets it happen in stage 1."""
STAGE1_TERMINAL = "/dev/tty"
"""The root shell's, which starts it."""
STAGE2_TERMINAL = "/dev/console"
ENDED = "lab: stage 1 ended with status"


def begin(run: Run, stage: int) -> None:
    """The stage runs, by the script that asks at each place."""
    if stage == 2:
        run.change_initramfs(lambda initramfs, _: with_faults(initramfs, STAGE2_TERMINAL))
        run.switch_on()
        return
    with mounted_system(run.prepared.disk, run.prepared.file_systems) as root:
        (root / SCRIPT).write_text(device_script())
    run.record.left = run.may_be_left()
    base = f"/{KIT_FOLDER}/base"
    command = (
        f"base={base}; $base/ld.so --inhibit-cache --argv0 $base/bin/python3 --library-path"
        f" $base/lib:/{KIT_FOLDER}/more/lib {PYTHON} /{SCRIPT} {STAGE1_TERMINAL} /run /{owner.HOME_DIR}"
        f" /{KIT_FOLDER}/more/start.py balena-migrate run"
    )
    run.old_system()
    run.on.shell_line.send(f"{{ {command} </dev/null; echo {ENDED} $?; }} 2>&1 | cat >/dev/console\n")


def next_place(run: Run) -> str:
    """The place that the stage has come to; it waits there. Raises LabError if it comes to none any more."""
    found = run.on.console.wait_for(rf"{REACHED} (\S+)\n|{ENDED}", LIMIT_S)
    if not found[1]:
        raise LabError("the stage ended", hint=run.on.console.text[-LAST_CHARACTERS:])
    return found[1]


def answer(boot: Boot, stage: int, fault: str) -> None:
    """The stage, which waits at a place, gets this answer from the terminal that it asks."""
    (boot.shell_line if stage == 1 else boot.console).send(f"{fault}\n")


@contextlib.contextmanager
def stopped(run: Run, folder: Path) -> Iterator[tuple[Record, Moment]]:
    """The running device stands still within the context; its drives are copies, which are in the folder meanwhile."""
    with tempfile.TemporaryDirectory(prefix="moment-", dir=folder) as name:
        run.on.emulator.save(Path(name, "state"))
        record = replace(run.record, prepared=run.prepared.copied(Path(name)))
        yield record, Moment(argv=run.on.argv, drives=run.prepared.drives, state=Path(name, "state"))
    run.on.emulator.go_on()
