# SPDX-License-Identifier: Apache-2.0
"""DEFAULT: take everything into memory, then flash the disk.

Read `migrate` from the top to the bottom: its order is the product.

Before the line nothing of the old system is changed but its log, and every error leads back to it. After the line
every error leads forward: the image is in memory, so the flash is tried until the disk boots, each step behind it a few
times, and the machine reboots in the end. A process that dies there is followed by one that goes on (`go_on`).
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from balena_migrate.core.handover import Handover
from balena_migrate.core.steps import Step
from balena_migrate.images.formats import format_named
from balena_migrate.images.partitions.known_disk import find_target
from balena_migrate.images.patched_image import PatchedImage
from balena_migrate.images.patches import parse_patches
from balena_migrate.stage2 import line, oldsystem
from balena_migrate.stage2.commit import FirstMibLast
from balena_migrate.stage2.console import PROGRESS_PAUSE_S, Console
from balena_migrate.stage2.finish import finish
from balena_migrate.stage2.flash import check_size, write_image
from balena_migrate.stage2.frame import NoFlashError, Stage2, after_the_line, before_the_line, require_same_kit
from balena_migrate.stage2.line import Crossed
from balena_migrate.stage2.meter import FlashMeter
from balena_migrate.stage2.patience import again, without_end
from balena_migrate.stage2.periodic import every
from balena_migrate.stage2.stash import MEMORY, RamStash, Stash, in_memory
from balena_migrate.stage2.strategies import Stage2Strategy
from balena_migrate.stage2.target import Disk, open_disk, reread_partitions


def migrate(stage2: Stage2) -> None:
    """Replace the old system. Raises CameBackError if it is still intact, with the reason stored on it."""
    handover, machine, old, console = stage2.handover, stage2.machine, stage2.old, stage2.console
    files = (handover.image, handover.patches, *(item.file for item in handover.data_files))
    step = console.step
    with contextlib.ExitStack() as held:
        with before_the_line(stage2):
            with step(Step.MOUNT):
                held.enter_context(oldsystem.mounted_beside(machine, old, handover, console))
            with step(Step.RESTORE_BOOT):
                oldsystem.restore_boot(machine, old, handover, console)
            with step(Step.LOG):
                held.enter_context(oldsystem.logging_to_drive(machine, handover, console))
            with step(Step.SECURE):
                require_same_kit(handover)
                stash = held.enter_context(in_memory(machine, old, files, handover.memory_reserve_bytes, console))
                goal = open_goal(stash, handover, held)
            with step(Step.FIND_TARGET):
                target = find_target(machine, handover.target)
            if handover.no_flash:
                raise NoFlashError("NO_FLASH is set")
            with step(Step.UNMOUNT):
                oldsystem.unmount(machine, old, stage2.taken)
            with step(Step.CLAIM):
                claim = held.enter_context(contextlib.ExitStack())
                disk = claim.enter_context(open_disk(Path(target)))
                check_size(goal, disk)
                line.note(Crossed(target=target))

        # ============================================ the line ============================================

        with after_the_line(console):
            flash(goal, disk, console)
            claim.close()
            after_the_flash(stage2, stash, target)


def go_on(stage2: Stage2, crossed: Crossed) -> None:
    """What migrate() does behind the line is done, by a process that follows one which died there."""
    stash, console = RamStash(MEMORY), stage2.console
    with after_the_line(console):
        if not crossed.flashed:
            without_end(console.announce, "flash", lambda: flash_anew(stage2, stash, crossed.target), on=Exception)
        after_the_flash(stage2, stash, crossed.target)


def flash_anew(stage2: Stage2, stash: Stash, target: str) -> None:
    """As flash(), with what is in memory and on the disk of that name. Raises what cannot be opened."""
    with contextlib.ExitStack() as held:
        goal = open_goal(stash, stage2.handover, held)
        flash(goal, held.enter_context(open_disk(Path(target))), stage2.console)


def open_goal(stash: Stash, handover: Handover, held: contextlib.ExitStack) -> PatchedImage:
    """The image with its patches, open until `held` ends. Raises FileError, ImageError, DiskError or OSError."""
    with stash.open(handover.patches) as file:
        patches = parse_patches(file.read(), handover.patches.path)
    image = held.enter_context(stash.open(handover.image))
    return PatchedImage(
        image, format_named(handover.image_format), handover.image_size_bytes, patches, handover.block_map
    )


def flash(goal: PatchedImage, disk: Disk, console: Console) -> None:
    """The image with its patches is on the disk, read back and found right, however many tries it takes."""
    with console.step(Step.FLASH):
        without_end(console.announce, "flash", lambda: flash_once(goal, disk, console), on=Exception)


def flash_once(goal: PatchedImage, disk: Disk, console: Console) -> None:
    """The same, from the start, in one try. Raises FlashError."""
    meter = FlashMeter(console)
    with every(PROGRESS_PAUSE_S, meter.tick):
        result = write_image(goal, disk, FirstMibLast(), meter.take, console.announce)
    meter.tick()
    console.say(result.describe())


def after_the_flash(stage2: Stage2, stash: RamStash, target: str) -> None:
    """The disk starts the new system; everything that is carried over is put on it."""
    with after_the_line(stage2.console):
        line.note(Crossed(target=target, flashed=True))
    with stage2.console.step(Step.REREAD):
        again(stage2.console, lambda: reread_partitions(Path(target)))
    finish(stage2, stash, target)


STRATEGY = Stage2Strategy(name="DEFAULT", migrate=migrate, go_on=go_on)
