"""The Raspberry Pi's own firmware: reads config.txt from a FAT partition at every start.

It is told to load our initramfs, with a command line of our own, by lines at the end of config.txt; see config_txt.py.
The old command line stays untouched, so config.txt is the only file of the old system that is replaced.

Firmware that knows tryboot gets those lines in tryboot.txt, which it reads once, and config.txt is not touched: a power
cut at any time boots the old system. Other firmware has no such memory: what boots stays changed until stage 2, as its
first act, puts config.txt back; a power cut before that starts stage 2 once more.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from balena_migrate.actions import Action, WriteFile
from balena_migrate.bootloaders import BootAssets, ImageBoot
from balena_migrate.bootloaders.config_txt import (
    CONFIG,
    TRYBOOT,
    Settings,
    UnclearError,
    add_arguments,
    edit,
    evaluate,
    kernel_names,
    statements,
)
from balena_migrate.checks import Finding, Severity, blocker, warning
from balena_migrate.config import Config
from balena_migrate.facts import DiskFacts, Facts, Firmware, Mount
from balena_migrate.paths import INITRAMFS_NAME
from balena_migrate.pi_board import Board, find_board
from balena_migrate.system import System

FAT = ("vfat", "msdos")
CMDLINE = "cmdline.txt"
OUR_CMDLINE = "balena-migrate-cmdline.txt"

AUTOBOOT = "autoboot.txt"

FILES = (CONFIG, CMDLINE, AUTOBOOT, TRYBOOT, "*config*.txt", "*cfg*.txt", "*cmd*.txt")
"""config.txt and whatever its lines may name. Not all text files: userconf.txt holds a password."""

TRYBOOT_ARGUMENT = "0 tryboot"
"""What `reboot` hands to the firmware: partition 0 is the default one."""

PANIC_REBOOT_S = 30
"""A kernel or an initramfs that cannot go on tries again after this time; nobody is there to press a button."""


def boot_mount(facts: Facts) -> Mount | None:
    """The mounted FAT file system that holds config.txt, wherever it is; of several the one on the root's disk."""
    disks = facts.disks
    found = [mount for mount in disks.mounts if mount.fstype in FAT and _path(mount, CONFIG) in facts.boot.files]
    near = [mount for mount in found if disks.disks_below(mount.mount_point) == disks.disks_below("/")]
    return next(iter(near + found), None)


def _path(mount: Mount, name: str) -> str:
    return str(PurePosixPath(mount.mount_point) / name)


def config_files(facts: Facts, mount: Mount) -> dict[str, str]:
    """The boot partition's text files, by name in lower case, relative to it."""
    paths = {PurePosixPath(path): text for path, text in facts.boot.files.items()}
    inside = {path: text for path, text in paths.items() if path.is_relative_to(mount.mount_point)}
    return {str(path.relative_to(mount.mount_point)).lower(): text for path, text in inside.items()}


def _command_line_file(files: dict[str, str], settings: Settings) -> str | None:
    """The name of the file with the command line; None where it is not among the files or not certain."""
    try:
        name, prefix = settings.get("cmdline", CMDLINE), settings.get("os_prefix")
    except UnclearError:
        return None
    names = (name.lstrip("/"),) if name.startswith("/") else (prefix + name, name)
    return next((item for item in names if item.lower() in files), None)


class RaspberryPi:
    """The firmware of every Raspberry Pi, from SD card, USB or NVMe."""

    name = "Raspberry Pi firmware"
    programs: tuple[str, ...] = ()

    def files(self, disks: DiskFacts) -> tuple[str, ...]:
        return tuple(_path(mount, name) for mount in disks.mounts if mount.fstype in FAT for name in FILES)

    def recognise(self, facts: Facts) -> bool:
        return facts.boot.firmware is Firmware.RASPBERRY_PI

    def one_shot(self, facts: Facts) -> bool:
        board, mount = find_board(facts.hardware), boot_mount(facts)
        return board is not None and mount is not None and _can_try(facts, config_files(facts, mount), board)

    def reboot_argument(self, facts: Facts) -> str:
        return TRYBOOT_ARGUMENT if self.one_shot(facts) else ""

    def boot_folder(self, facts: Facts) -> str:
        mount = boot_mount(facts)
        return mount.mount_point if mount else "/boot"

    def check(self, config: Config, facts: Facts) -> Iterator[Finding]:
        board, mount = find_board(facts.hardware), boot_mount(facts)
        if board is None:
            cause = f"the Raspberry Pi with revision code {facts.hardware.revision or 'unknown'} is not known"
            yield blocker("pi-unknown", cause)
        elif mount is None:
            cause = "no FAT file system with a config.txt is mounted, so the boot partition is not known"
            yield blocker("pi-no-boot-partition", cause, "mount it (mount -a, or see /etc/fstab)")
        else:
            yield from _check_boot_partition(facts, mount)
            yield from _check_config(config, facts, board, mount)

    def boot_actions(self, config: Config, facts: Facts) -> tuple[Action, ...]:
        board, mount = find_board(facts.hardware), boot_mount(facts)
        assert board is not None and mount is not None
        files = config_files(facts, mount)
        changed = _changed_files(config, files, board)
        if _can_try(facts, files, board):
            changed[TRYBOOT] = changed.pop(CONFIG)
        titles = {
            CONFIG: "let the firmware load the initramfs of stage 2",
            TRYBOOT: "let the firmware load the initramfs of stage 2 at the next start, once",
            OUR_CMDLINE: "write the kernel's command line for stage 2",
        }
        # config.txt comes last: until it is there, nothing has changed for the firmware.
        names = sorted(changed, key=lambda name: name in (CONFIG, TRYBOOT))
        return tuple(
            WriteFile(
                title=titles.get(name, "take the old initramfs out of an included file"),
                path=_path(mount, name),
                content=changed[name].encode("utf-8", "surrogateescape"),
            )
            for name in names
        )

    def assets(self, system: System, image: ImageBoot) -> BootAssets:
        """Nothing: the image's own boot partition boots the board."""
        return BootAssets()


def _changed_files(config: Config, files: dict[str, str], board: Board) -> dict[str, str]:
    """The files of the boot partition that start stage 2. Raises UnclearError where that would not be certain."""
    source = _command_line_file(files, evaluate(files, board))
    if source is None:
        return edit(files, board, initramfs=INITRAMFS_NAME)
    arguments = (f"panic={PANIC_REBOOT_S}", *(("debug",) if config.debug else ()))
    command_line = add_arguments(files[source.lower()], arguments)
    changed = edit(files, board, initramfs=INITRAMFS_NAME, cmdline=OUR_CMDLINE)
    return {**changed, OUR_CMDLINE: command_line}


def _can_try(facts: Facts, files: dict[str, str], board: Board) -> bool:
    """Whether the firmware's own one-shot start does it: nothing but config.txt has to change for stage 2."""
    return (
        facts.boot.tryboot and AUTOBOOT not in files and set(edit(files, board, initramfs=INITRAMFS_NAME)) == {CONFIG}
    )


def _check_boot_partition(facts: Facts, mount: Mount) -> Iterator[Finding]:
    if "ro" in mount.options:
        cause = f"the boot partition {mount.source} is mounted read-only on {mount.mount_point}"
        remedy = f"if its file system is damaged, repair it (fsck {mount.source}); then mount -o remount,rw"
        yield blocker("pi-boot-read-only", cause, f"{remedy} {mount.mount_point}")
    device = facts.disks.find_device(mount.source)
    if device is None or not device.uuid:
        cause = f"the boot partition {mount.source} has no UUID by which stage 2 would find it"
        yield blocker("pi-boot-no-uuid", cause)


def _check_config(config: Config, facts: Facts, board: Board, mount: Mount) -> Iterator[Finding]:
    path, files = _path(mount, CONFIG), config_files(facts, mount)
    settings = evaluate(files, board)
    if INITRAMFS_NAME in files[CONFIG]:
        yield blocker("pi-config-ours", f"{path} loads our initramfs already", "run balena-migrate undo")
        return
    if settings.values.get("boot_ramdisk", "0") != "0" or "boot_ramdisk" in settings.unclear:
        yield blocker("pi-boot-ramdisk", f"{path} sets boot_ramdisk: the firmware takes its files out of boot.img")
    try:
        _changed_files(config, files, board)
    except UnclearError as error:
        yield blocker("pi-config-unclear", f"the firmware might not load our initramfs: {error}")
    yield from _check_kernel(path, settings, board)
    if _command_line_file(files, settings) is None:
        cause = f"{path} does not say for certain which file holds the command line; panic= and debug are left out"
        yield warning("pi-cmdline-unclear", cause)
    for statement in statements(files, board):
        if statement.key == "include" and statement.value.lower() not in files:
            cause = f"{path} includes {statement.value}, which is missing or was not read"
            yield warning("pi-include-missing", cause)


def _check_kernel(path: str, settings: Settings, board: Board) -> Iterator[Finding]:
    """U-Boot and UEFI load a kernel and an initramfs of their own choice, whatever config.txt says."""
    try:
        name = kernel_names(settings, board)[0]
    except UnclearError as error:
        yield warning("pi-kernel-unclear", f"which kernel {path} starts is not certain: {error}")
        return
    if re.search(r"u-?boot|uefi|\.efi$", name, re.IGNORECASE):
        cause = f"{path} starts {name}, a boot loader of its own, which would not load our initramfs"
        yield blocker("pi-other-loader", cause, "let the firmware start the kernel itself")
    else:
        yield Finding(code="pi-kernel", severity=Severity.OK, cause=f"the firmware starts {name} itself")


BOOT_LOADER = RaspberryPi()
