# SPDX-License-Identifier: Apache-2.0
"""The steps of stage 2: their names, and which of them come after the line.

The names are stable: the console, the result file, `status` and the rehearsals all use these constants.
"""

from __future__ import annotations

from enum import StrEnum


class Step(StrEnum):
    """The steps of stage 2, in the order in which they run.

    MODULES and ROOT only in an initramfs that we composed; BOOT_ENTRY only with UEFI; GROW and MACHINE_ID only if
    needed.
    """

    MODULES = "modules"
    ROOT = "root"
    MOUNT = "mount"
    RESTORE_BOOT = "restore-boot"
    LOG = "log"
    SECURE = "secure"
    FIND_TARGET = "find-target"
    UNMOUNT = "unmount"
    CLAIM = "claim"
    FLASH = "flash"
    REREAD = "reread"
    BOOT_ENTRY = "boot-entry"
    GROW = "grow"
    TRANSFER = "transfer"
    MACHINE_ID = "machine-id"
    REBOOT = "reboot"


THE_LINE = Step.FLASH
"""The first step that overwrites the old system."""


def is_after_the_line(step: Step) -> bool:
    """Whether the old system is lost, at least in part, once this step has started.

    REBOOT counts as such, although stage 2 also uses it to return to the old system before the line.
    """
    order = tuple(Step)
    return order.index(step) >= order.index(THE_LINE)


def started(step: Step) -> str:
    """What the console shows when the step starts."""
    return f"step {step} started"


def done(step: Step) -> str:
    """What the console shows, before the duration, when the step has succeeded."""
    return f"step {step} done"
