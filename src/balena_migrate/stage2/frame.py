# SPDX-License-Identifier: Apache-2.0
"""What every strategy has in common: before the line every error leads back, after it every error leads forward."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from balena_migrate.core.errors import FileError, MigrateError
from balena_migrate.core.handover import Handover
from balena_migrate.core.kit import find_kit
from balena_migrate.core.paths import STAGE2_CONFIG
from balena_migrate.core.stage2_result import Stage2Ending, Stage2Result
from balena_migrate.core.system import System
from balena_migrate.stage2 import oldsystem
from balena_migrate.stage2.console import Console
from balena_migrate.stage2.mounts import Taken
from balena_migrate.stage2.patience import describe, for_a_while


class CameBackError(MigrateError):
    """Stage 2 ended before the line; the result is on the old root file system."""


class NoFlashError(MigrateError):
    """All steps up to the flash succeeded, and the flash is forbidden."""


@dataclass(frozen=True, kw_only=True)
class Stage2:
    """What every step needs: the hand-over, the machine, the old system as it is mounted, and the console."""

    handover: Handover
    machine: System
    old: System
    console: Console
    taken: list[Taken] = field(default_factory=list)
    """What was mounted of the old system and is not now, in the order in which it was taken away."""


def require_same_kit(handover: Handover) -> None:
    """The hand-over was written by stage 1 of the kit that is in this initramfs. Raises FileError.

    The two come into the initramfs together, so as a rule they fit. They do not where the kit was replaced while
    stage 1 ran, or where an initramfs was put together from the parts of two runs. Then stage 2 would read what
    another version meant, so it goes back. This is no defence against who can write to /boot.
    """
    kit = find_kit()
    if kit is None or kit.identity() != handover.kit:
        hint = "balena-migrate undo, and run again with one kit that nobody replaces meanwhile"
        raise FileError(STAGE2_CONFIG, "was written by another kit than the one in the initramfs", hint=hint)


@contextlib.contextmanager
def before_the_line(stage2: Stage2) -> Iterator[None]:
    """Any error in the block leads back: the result is kept, and the old system is mounted as before."""
    try:
        yield
    except NoFlashError as error:
        come_back(stage2, Stage2Result(ending=Stage2Ending.NO_FLASH, reason=str(error)))
    except Exception as error:
        come_back(stage2, Stage2Result(ending=Stage2Ending.FAILED, step=stage2.console.current, reason=describe(error)))


def come_back(stage2: Stage2, result: Stage2Result) -> None:
    """Raises CameBackError, once the result is on the old system, or that was tried."""
    console = stage2.console
    console.say(f"going back to the old system: {result.reason}")

    def keep() -> None:
        oldsystem.keep_result(stage2.machine, stage2.old, stage2.handover, stage2.taken, result, console)

    try:
        for_a_while(console, keep)
    except (MigrateError, OSError) as error:
        console.say(f"the reason could not be kept on the old system: {error}")
    raise CameBackError(result.reason) from None


def come_back_for_another(stage2: Stage2) -> None:
    """Raises CameBackError, as come_back does, for a process that died before the line: what it wrote is taken back."""
    machine, old, handover, console = stage2.machine, stage2.old, stage2.handover, stage2.console
    reason = "stage 2's process was killed, as the kernel does where memory runs out"
    died = Stage2Result(ending=Stage2Ending.FAILED, step=console.died_in, reason=reason)
    with before_the_line(stage2), oldsystem.mounted_beside(machine, old, handover, console):
        oldsystem.restore_boot(machine, old, handover, console)
    come_back(stage2, died)


@contextlib.contextmanager
def after_the_line(console: Console) -> Iterator[None]:
    """No error here stops the way to the reboot: there is nothing else to go to. It is said, and the rest is done."""
    try:
        yield
    except Exception as error:
        console.say(f"step {console.current} failed permanently: {describe(error)}")
