# SPDX-License-Identifier: Apache-2.0
"""Stage 2's main: `python -m balena_migrate.stage2.main [ROOTMNT]`, called from the initramfs.

initramfs-tools' init calls it with the old root mounted at ROOTMNT. The init of a composed initramfs leaves that to
us, and so gives no argument. It comes back, so that the old system boots on, or it reboots.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from balena_migrate.core.errors import MigrateError
from balena_migrate.core.handover import Handover, TermExit, parse_handover
from balena_migrate.core.kit import find_kit
from balena_migrate.core.paths import STAGE2_CONFIG
from balena_migrate.core.steps import Step
from balena_migrate.core.system import System
from balena_migrate.core.units import MIB
from balena_migrate.stage2 import boot, kernel, line, oldsystem
from balena_migrate.stage2.console import Console, kernel_log, lines_handed_on, outputs
from balena_migrate.stage2.frame import CameBackError, Stage2, come_back_for_another
from balena_migrate.stage2.memory_peak import MemoryPeak
from balena_migrate.stage2.patience import describe
from balena_migrate.stage2.strategies import Stage2Strategy, strategy_named
from balena_migrate.stage2.watchdog import feeding_watchdogs

IGNORED = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)


def main() -> None:
    """Runs the migration. Whatever is wrong before it begins leads to the old system."""
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    with outputs(sys.stdout) as out, kernel_log() as log, lines_handed_on() as (earlier, file):
        console = Console(*out, kernel_log=log, earlier=earlier, handed_on=file)
        if len(sys.argv) > 1:
            start(console, Path(sys.argv[1]))
        else:
            sys.exit(boot_and_start(console))


def start(console: Console, rootmnt: Path) -> None:
    """The migration that the hand-over asks for; nothing where it cannot be read."""
    task = find_task(console)
    if task:
        run(console, *task, rootmnt)


def boot_and_start(console: Console) -> int:
    """The same from a composed initramfs; GO_ON once the old system is mounted as its own start has it.

    With any other status, or where it raises what goes wrong, init reboots.
    """
    task = find_task(console)
    if task is None:
        return boot.FAILED
    machine, handover, strategy = task
    try:
        if line.find() is None and not boot.ROOT.is_mount():
            boot.mount_root(machine, handover, console, boot.ROOT)
    except (MigrateError, OSError) as error:
        console.say(f"going back to the old system: {describe(error)}")
        boot.restore_without_root(machine, handover, console, boot.ROOT)
        with oldsystem.logging_to_drive(machine, handover, console):
            console.say("the old system cannot be told why")
        return boot.FAILED
    run(console, machine, handover, strategy, boot.ROOT)
    boot.mount_for_init(machine, handover, boot.ROOT)
    return boot.GO_ON


def find_task(console: Console) -> tuple[System, Handover, Stage2Strategy] | None:
    """The machine, with the kit's programs, and what is to be done on it; None, and the reason on the console, where
    the hand-over does not say that: then nothing says where a result could be kept either."""
    kit = find_kit()
    machine = System("/", programs=kit.programs() if kit else {})
    try:
        handover = parse_handover(machine.read_text(STAGE2_CONFIG, limit_bytes=64 * MIB))
        return machine, handover, strategy_named(handover.strategy)
    except MigrateError as error:
        console.say(f"going back to the old system: {error}")
        return None


def run(console: Console, machine: System, handover: Handover, strategy: Stage2Strategy, rootmnt: Path) -> None:
    """The migration, with watchdogs fed; then the reboot or the way back.

    Where another process has died, its way is gone on behind the line, and taken back before it.
    """
    console.say(f"stage 2 of balena-migrate {handover.version}")
    stays = False
    stage2 = Stage2(handover=handover, machine=machine, old=System(rootmnt), console=console)
    with feeding_watchdogs(machine), kernel.little_kept_free(machine):
        memory = MemoryPeak(machine)
        try:
            with memory.sampled():
                if crossed := line.find():
                    strategy.go_on(stage2, crossed)
                elif console.follows:
                    come_back_for_another(stage2)
                else:
                    strategy.migrate(stage2)
        except CameBackError:
            whole = rootmnt.is_mount() and not stage2.taken and not console.follows
            stays = handover.term_exit is TermExit.CONTINUE and whole
        except Exception as error:  # whatever it is: a reboot finds the old system or the new one
            console.say(f"unexpected error: {describe(error)}")
        console.say(f"peak-memory-bytes {memory.peak_bytes}")
    if not stays:
        with console.step(Step.REBOOT):
            kernel.reboot()


if __name__ == "__main__":
    main()
