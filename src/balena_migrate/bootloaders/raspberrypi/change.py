# SPDX-License-Identifier: Apache-2.0
"""The smallest change of the boot partition that starts stage 2."""

from __future__ import annotations

import datetime

from balena_migrate.bootloaders.arguments import Arguments, choose_arguments, stage2_arguments
from balena_migrate.bootloaders.raspberrypi.autoboot import AUTOBOOT
from balena_migrate.bootloaders.raspberrypi.board import Chip
from balena_migrate.bootloaders.raspberrypi.boot_partition import Place, config_files, filtered_number, is_first_fat
from balena_migrate.bootloaders.raspberrypi.command_line import find_command_line, first_line
from balena_migrate.bootloaders.raspberrypi.config_txt import (
    CONFIG,
    edit,
    evaluate,
    includes_config,
)
from balena_migrate.core.paths import INITRAMFS_NAME
from balena_migrate.facts import Facts
from balena_migrate.settings import Config

OUR_CMDLINE = "balena-migrate-cmdline.txt"

RESTART_S = 1776124800
"""2026-04-14: the boot loader that restarts the board after a fatal error (rpi-eeprom, release notes)."""


def changed_files(config: Config, facts: Facts, place: Place) -> dict[str, str]:
    """The files of the boot partition that start stage 2. Raises UnclearError if that would not be certain."""
    arguments = stage2_arguments(config, chosen_arguments(facts, place))
    files = config_files(facts.boot.files, place.mount)
    changed = edit(files, place.board, initramfs=INITRAMFS_NAME, cmdline=OUR_CMDLINE)
    return {**changed, OUR_CMDLINE: " ".join(arguments) + "\n"}


def chosen_arguments(facts: Facts, place: Place) -> Arguments:
    """What stage 2's kernel gets of the old system's arguments. Raises UnclearError if these are not certain.

    They come from the file: the running kernel's have more, which the firmware adds at each start.
    """
    files = config_files(facts.boot.files, place.mount)
    settings = evaluate(files, place.board, partition=filtered_number(facts, place))
    return choose_arguments(first_line(files[find_command_line(facts, place.mount, files, settings)]))


def why_no_try(facts: Facts, place: Place) -> str:
    """Why the firmware's own one-shot start does not do it, in words; "" where it does.

    It reads tryboot.txt from the disk's first FAT partition, where NOOBS has its own system; autoboot.txt gives
    tryboot another meaning; and for stage 2 only config.txt may have to differ.
    """
    files, number = config_files(facts.boot.files, place.mount), filtered_number(facts, place)
    if not facts.boot.tryboot:
        return "firmware, kernel or init do not support it"
    if not is_first_fat(facts.disks, place.mount):
        return f"it would start from the disk's first FAT partition, which is not {place.mount.source}"
    if AUTOBOOT in files:
        return f"{AUTOBOOT} gives it another meaning"
    if evaluate(files, place.board, partition=number) != evaluate(files, place.board, tryboot=True, partition=number):
        return f"a section of {CONFIG} is meant for another system's one-shot start"
    if includes_config(files):
        return f"a file that {CONFIG} includes includes {CONFIG} again"
    return ""


def if_not_loaded(facts: Facts, place: Place) -> str:
    """What happens where the firmware cannot load our initramfs, or stage 2 does not start from it, in words.

    Sources: raspberrypi/documentation, config_txt/autoboot, for tryboot; raspberrypi/rpi-eeprom, release notes of
    firmware-2712, for the Raspberry Pi 5. On older boards the firmware files on the boot partition load the initramfs,
    and of those nothing is said.
    """
    what = "If the firmware cannot load the initramfs of stage 2"
    reason = why_no_try(facts, place)
    if not reason:
        return (
            f"{what}, or stage 2 does not start from it, the start after that, at the latest after a power cut, is the "
            "old system's: tryboot counts once."
        )
    outcome = _outcome(facts.boot.bootloader_built_s) if place.board.chip is Chip.BCM2712 else UNSAID
    return f"{what}, {outcome} until {CONFIG} is restored by hand; tryboot is not used: {reason}. {_IF_NOT_STARTED}"


_IF_NOT_STARTED = (
    f"If stage 2 does not start from it, init restores {CONFIG}, and the next start is the old system's. If it is so "
    "damaged that init does not start either, a kernel with its root's drivers built in, as Raspberry Pi OS has it, "
    f"starts the old system by itself; any other comes no further, at each start, until {CONFIG} is restored by hand."
)
"""Without an init in the initramfs, the kernel mounts root= (Linux, init/main.c, kernel_init_freeable), or panics. Then
panic= restarts it, if the driver of the board's watchdog is built in as well."""

UNSAID = "it is not documented what this board does; at worst it stops, at each start,"


def _outcome(built_s: int) -> str:
    if not built_s:
        return "this board may stop, at each start (the date of its boot loader is unknown),"
    date = datetime.datetime.fromtimestamp(built_s, datetime.UTC).date()
    if built_s < RESTART_S:
        return f"this board stops, at each start (its boot loader of {date} is older than the first that restarts),"
    return f"this board (boot loader of {date}) tries the disk's other partitions, and restarts, over and over,"
