# SPDX-License-Identifier: Apache-2.0
"""The command line as a process of its own, on a device in a folder: device_process.py FOLDER PLACES VERB ARGUMENT...

Nothing forbids the migration there. Its plan has changes of all kinds that stage 1 makes; each takes a moment. The
folder PLACES is beside the device: `rebooted` exists once the device was asked to reboot, and the time that `run` waits
before that is over once `over` exists.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from balena_migrate.cli import device, guarded
from balena_migrate.cli.options import Flags, config_from
from balena_migrate.cli.verbs import run, status, undo
from balena_migrate.core.changes import Action, ActionName, MakeDir, Produce, WriteFile
from balena_migrate.core.system import Result, System
from balena_migrate.plan import Plan

COMMANDS = {"run": run.run, "status": status.status, "undo": undo.undo}
PIECES = 10
PAUSE_S = 0.01
PROGRAM = 'echo $$ > "$0/pid"; while [ -e "$0/slow" ]; do sleep 0.05; done; rm "$0/pid"'


def slowly(system: System, path: str) -> None:
    """A file that is written piece by piece."""
    with system.replacing(path) as file:
        for number in range(PIECES):
            file.write(b"%d" % number * 4096)
            file.flush()
            time.sleep(PAUSE_S)


def by_a_program(system: System, path: str) -> None:
    """A program works as long as the owner's file `slow` exists; it says which process it is."""
    if system.exists("/home/slow"):
        system.run(["sh", "-c", PROGRAM, str(system.root / "home")])
    system.write_file(path, b"made by a program")


BEFORE: tuple[Action, ...] = (
    MakeDir(name=ActionName.WORK_DIR, title="a folder", path="/made"),
    Produce(name=ActionName.IMAGE, title="a new file", path="/made/image", make=slowly),
    Produce(name=ActionName.BACKUP, title="a file over another", path="/home/backup.tgz", make=slowly),
    Produce(name=ActionName.INITRAMFS, title="a file by a program", path="/boot/initramfs", make=by_a_program),
)
BOOT: tuple[Action, ...] = (
    WriteFile(name=ActionName.BOOT_ENTRY, title="a file that is new", path="/boot/custom.cfg", content=b"ours"),
    WriteFile(name=ActionName.BOOT_NEXT, title="a changed file", path="/boot/grubenv", content=b"next" * 256),
)

PLAN = Plan(
    actions=BEFORE,
    boot_actions=BOOT,
    target="/dev/sda",
    one_shot=True,
    reboot_argument="",
    if_not_loaded="",
    no_flash=False,
    window_s=1,
    window_text="",
    image="",
    initramfs="",
    memory="",
    before="",
    after=(),
    power_cut="nothing boots",
)


def wait_for(path: Path) -> None:
    while not path.exists():
        time.sleep(0.02)


@contextmanager
def surveyed(system: System, config_file: str | None, flags: Flags, *, fresh: bool) -> Iterator[Any]:
    yield SimpleNamespace(config=config_from(system, config_file, flags))


def main(folder: str, places: str, verb: str, *arguments: str) -> int:
    """Run the verb; returns its exit status."""

    def runner(argv: Sequence[str], data: bytes | None, timeout_s: float | None) -> Result:
        if argv[0] == "reboot":
            Path(places, "rebooted").touch()
            return Result(stdout=b"", stderr=b"", returncode=0)
        return here.run(argv, data=data, timeout_s=timeout_s)

    here, system = System(), System(folder, runner=runner)
    for module in (run, status, undo):
        vars(module)["device_system"] = lambda: system
    vars(run)["time"] = SimpleNamespace(monotonic=time.monotonic, sleep=lambda _: wait_for(Path(places, "over")))
    vars(device)["surveyed"] = surveyed
    vars(device)["prepare"] = lambda survey, as_json: (PLAN, ())
    sys.argv = [verb, *arguments]
    return guarded(COMMANDS[verb])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
