# SPDX-License-Identifier: Apache-2.0
"""The smallest change of the boot partition that starts stage 2."""

from __future__ import annotations

from balena_migrate.bootloaders import PANIC_REBOOT_S
from balena_migrate.bootloaders.raspberrypi.autoboot import AUTOBOOT
from balena_migrate.bootloaders.raspberrypi.board import Board
from balena_migrate.bootloaders.raspberrypi.boot_partition import config_files, is_first_fat
from balena_migrate.bootloaders.raspberrypi.config_txt import (
    CONFIG,
    Settings,
    UnclearError,
    add_arguments,
    command_line_file,
    edit,
    evaluate,
)
from balena_migrate.core.paths import INITRAMFS_NAME
from balena_migrate.facts import Facts, Mount
from balena_migrate.settings import Config

OUR_CMDLINE = "balena-migrate-cmdline.txt"


def changed_files(config: Config, facts: Facts, mount: Mount, board: Board) -> dict[str, str]:
    """The files of the boot partition that start stage 2. Raises UnclearError if that would not be certain."""
    files = config_files(facts.boot.files, mount)
    command_line = find_command_line(facts, files, evaluate(files, board))
    if command_line is None:
        return edit(files, board, initramfs=INITRAMFS_NAME)
    arguments = (f"panic={PANIC_REBOOT_S}", *(("debug",) if config.debug else ()))
    changed = edit(files, board, initramfs=INITRAMFS_NAME, cmdline=OUR_CMDLINE)
    return {**changed, OUR_CMDLINE: add_arguments(command_line, arguments)}


def can_try(facts: Facts, mount: Mount, board: Board) -> bool:
    """Whether the firmware's own one-shot start does it.

    It reads tryboot.txt from the disk's first FAT partition, where NOOBS has its own system; autoboot.txt gives
    tryboot another meaning; and for stage 2 only config.txt may have to differ.
    """
    files = config_files(facts.boot.files, mount)
    return (
        facts.boot.tryboot
        and is_first_fat(facts.disks, mount)
        and AUTOBOOT not in files
        and evaluate(files, board) == evaluate(files, board, tryboot=True)
        and set(edit(files, board, initramfs=INITRAMFS_NAME)) == {CONFIG}
    )


def find_command_line(facts: Facts, files: dict[str, str], settings: Settings) -> str | None:
    """The text of the file with the command line; None if it is not certain which that is.

    The running kernel was started with it: a file with another root file system would start stage 2
    without the old system, and so would every later start.
    """
    try:
        name = command_line_file(files, settings)
    except UnclearError:
        return None
    if not name or "\0" in files[name]:
        return None
    roots = {word for word in files[name].partition("\n")[0].split() if word.startswith("root=")}
    return files[name] if roots <= set(facts.boot.kernel_command_line.split()) else None
