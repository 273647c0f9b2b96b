# SPDX-License-Identifier: Apache-2.0
"""The migration itself. The order is the product: read `migrate` from the top to the bottom.

Before the line nothing of the old system is changed but its log, and every error leads back to it. After the line
every error leads forward: the image is in memory, so each step is tried again, and the machine reboots in the end.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from balena_migrate.core.errors import DiskError, MigrateError
from balena_migrate.core.handover import Handover
from balena_migrate.core.outcome import Ending, Outcome
from balena_migrate.core.steps import Step
from balena_migrate.core.system import System
from balena_migrate.images.formats import format_named
from balena_migrate.images.goal import Goal
from balena_migrate.images.patches import Patches, read_patches
from balena_migrate.stage2 import disks, grow, oldsystem, secure, transfer
from balena_migrate.stage2.commit import FirstMibLast
from balena_migrate.stage2.console import Console
from balena_migrate.stage2.flash import FlashStep, write_image
from balena_migrate.stage2.target import Disk, open_disk, reread_partitions

TRIES = 5
PAUSE_S = 5.0


class CameBackError(MigrateError):
    """Stage 2 ended before the line; the outcome is on the old root file system."""


class NoFlashError(MigrateError):
    """All went well, and the flash is forbidden."""


@dataclass(frozen=True, kw_only=True)
class Stage2:
    """What every step needs: the hand-over, the machine, the old system as it is mounted, and the voice."""

    handover: Handover
    machine: System
    old: System
    console: Console


def migrate(stage2: Stage2) -> None:
    """The disk is the new system's. Raises CameBackError where the old system is as it was, with the reason on it."""
    handover, machine, old, console = stage2.handover, stage2.machine, stage2.old, stage2.console
    files, step = handover.stored_files, console.step
    with contextlib.ExitStack() as held:
        with before_the_line(stage2):
            with step(Step.MOUNT):
                held.enter_context(oldsystem.mounted_beside(machine, old, handover, console))
            with step(Step.RESTORE_BOOT):
                oldsystem.restore_boot(old, handover, console)
            with step(Step.LOG):
                held.enter_context(oldsystem.logging_to_drive(machine, handover, console))
            with step(Step.SECURE):
                held.enter_context(secure.secured(old, files, handover.memory_reserve_bytes, console))
            with step(Step.FIND_TARGET):
                target = disks.find_target(machine, handover.target)
                patches = read_patches(secure.memory_name(1))
            if handover.no_flash:
                raise NoFlashError("NO_FLASH is set")
            with step(Step.UNMOUNT):
                oldsystem.unmount(old, handover)
            with step(Step.CLAIM):
                claim = held.enter_context(contextlib.ExitStack())
                disk = claim.enter_context(open_disk(Path(target)))

        # ============================================ the line ============================================

        with after_the_line(console):
            with step(Step.FLASH):
                again(console, lambda: flash_image(stage2, disk, patches))
            claim.close()
            with step(Step.REREAD):
                again(console, lambda: reread_partitions(Path(target)))
            settle(stage2, target)


def settle(stage2: Stage2, target: str) -> None:
    """All that moves along is on the new system's partitions. What fails for good holds up nothing of the rest: also
    where resin-data stayed too small for the backup, the log that says why is put there."""
    handover, console, step = stage2.handover, stage2.console, stage2.console.step
    if handover.data_partition.grow_bytes:
        with after_the_line(console), step(Step.GROW):
            again(console, lambda: grow_data(stage2, target))
    with after_the_line(console), step(Step.TRANSFER):
        again(console, lambda: transfer_data(stage2, target))
    if handover.machine_id:
        with after_the_line(console), step(Step.MACHINE_ID):
            again(console, lambda: keep_machine_id(stage2, target))


def flash_image(stage2: Stage2, disk: Disk, patches: Patches) -> None:
    """The image with its patches is on the disk, read back and found right."""
    handover, console = stage2.handover, stage2.console

    def report(part: FlashStep, done_bytes: int, total_bytes: int) -> None:
        console.progress(part, done_bytes, total_bytes)

    with open(secure.memory_name(0), "rb") as image:
        goal = Goal(image, format_named(handover.image_format), handover.image_size_bytes, patches)
        result = write_image(goal, disk, FirstMibLast(), report)
    console.say(f"written in {result.write_s:.1f} s, read back in {result.verify_s:.1f} s")


def grow_data(stage2: Stage2, target: str) -> None:
    """resin-data's file system is as large as stage 1 planned, and the backup fits."""
    place = stage2.handover.data_partition
    grow.grow(disks.find_data_partition(stage2.machine, target, place), place.grow_bytes)


def transfer_data(stage2: Stage2, target: str) -> None:
    """The backup and the log are on resin-data. The boot partition needs nothing: it was composed before."""
    handover = stage2.handover
    device = disks.find_data_partition(stage2.machine, target, handover.data_partition)
    sources = [secure.memory_name(2 + index) for index in range(len(handover.data_files))]
    log = "".join(line + "\n" for line in stage2.console.lines)
    transfer.transfer(device, tuple(zip(handover.data_files, sources, strict=True)), log)


def keep_machine_id(stage2: Stage2, target: str) -> None:
    """The new system has the old one's machine id."""
    device = disks.find_labelled(stage2.machine, target, "resin-state")
    if device is None:
        raise DiskError(f"{target} shows no resin-state")
    transfer.keep_machine_id(device, stage2.handover.machine_id)


@contextlib.contextmanager
def before_the_line(stage2: Stage2) -> Iterator[None]:
    """Any error here, foreseen or not, leads back: its outcome is kept, and the old system is mounted as it was."""
    try:
        yield
    except NoFlashError as error:
        come_back(stage2, Outcome(ending=Ending.NO_FLASH, reason=str(error)))
    except Exception as error:
        come_back(stage2, Outcome(ending=Ending.FAILED, step=stage2.console.current, reason=describe(error)))


def come_back(stage2: Stage2, outcome: Outcome) -> None:
    """Raises CameBackError, once the outcome is on the old system, or that was tried."""
    stage2.console.say(f"going back to the old system: {outcome.reason}")
    try:
        oldsystem.keep_outcome(stage2.machine, stage2.old, stage2.handover, outcome, stage2.console)
    except (MigrateError, OSError) as error:
        stage2.console.say(f"the reason could not be kept on the old system: {error}")
    raise CameBackError(outcome.reason) from None


@contextlib.contextmanager
def after_the_line(console: Console) -> Iterator[None]:
    """No error here stops the way to the reboot: there is nothing else to go to. It is said, and the rest is done."""
    try:
        yield
    except Exception as error:
        console.say(f"step {console.current} failed for good: {describe(error)}")


def again(console: Console, work: Callable[[], object]) -> None:
    """The work is done, at the first or at a later try. Raises the last try's error."""
    for left in reversed(range(TRIES)):
        try:
            work()
        except (MigrateError, OSError) as error:
            if not left:
                raise
            console.say(f"{describe(error)}; trying again")
            time.sleep(PAUSE_S)
        else:
            return
    raise DiskError("not tried")


def describe(error: Exception) -> str:
    """One line for an error; of an unforeseen one also its kind."""
    return str(error) if isinstance(error, MigrateError) else f"{type(error).__name__}: {error}"
