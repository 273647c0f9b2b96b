# SPDX-License-Identifier: Apache-2.0
"""What comes after the flash: everything that is carried over is put on the new system's partitions."""

from __future__ import annotations

from balena_migrate.core.balena import STATE_LABEL
from balena_migrate.core.errors import DiskError
from balena_migrate.core.handover import NewBootEntry
from balena_migrate.core.steps import Step
from balena_migrate.stage2 import boot_entries, disks, grow, transfer
from balena_migrate.stage2.frame import Stage2, after_the_line
from balena_migrate.stage2.patience import again
from balena_migrate.stage2.stash import Stash


def finish(stage2: Stage2, stash: Stash, target: str) -> None:
    """Everything that is carried over is on the new system's partitions.

    A step that fails permanently holds up none of the others: even where resin-data stayed too small for the backup,
    the log that says why is put there.
    """
    handover, console, step = stage2.handover, stage2.console, stage2.console.step
    if entry := handover.boot_entry:
        with after_the_line(console), step(Step.BOOT_ENTRY):
            again(console, lambda: enter(stage2, entry))
    if handover.data_partition.grow_bytes:
        with after_the_line(console), step(Step.GROW):
            again(console, lambda: grow_data(stage2, target))
    with after_the_line(console), step(Step.TRANSFER):
        again(console, lambda: transfer_data(stage2, stash, target))
    if handover.machine_id:
        with after_the_line(console), step(Step.MACHINE_ID):
            again(console, lambda: keep_machine_id(stage2, target))


def enter(stage2: Stage2, entry: NewBootEntry) -> None:
    """The firmware starts the new system first."""
    new = boot_entries.write_boot_entry(stage2.machine, entry)
    removed = ", ".join(f"Boot{number:04X}" for number in new.removed) or "none"
    stage2.console.say(f"boot entry Boot{new.number:04X} is first; removed: {removed}")


def grow_data(stage2: Stage2, target: str) -> None:
    """resin-data's file system is as large as stage 1 planned, and the backup fits."""
    place = stage2.handover.data_partition
    grow.grow(disks.find_data_partition(stage2.machine, target, place), place.grow_bytes)


def transfer_data(stage2: Stage2, stash: Stash, target: str) -> None:
    """The backup and the log are on resin-data. The boot partition needs nothing: it was composed before."""
    handover = stage2.handover
    device = disks.find_data_partition(stage2.machine, target, handover.data_partition)
    log = "".join(line + "\n" for line in stage2.console.lines)
    transfer.transfer(device, handover.data_files, stash, log)


def keep_machine_id(stage2: Stage2, target: str) -> None:
    """The new system has the old one's machine id."""
    device = disks.find_labelled(stage2.machine, target, STATE_LABEL)
    if device is None:
        raise DiskError(f"{target} has no {STATE_LABEL}")
    transfer.keep_machine_id(device, stage2.handover.machine_id)
