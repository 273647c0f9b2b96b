# SPDX-License-Identifier: Apache-2.0
"""The Raspberry Pi's own firmware: reads config.txt from a FAT partition at every start.

It is told to load our initramfs, with a command line of our own, by lines at the end of config.txt; see config_txt.py.
The old command line stays untouched, so config.txt is the only file of the old system that is replaced.

Firmware that knows tryboot gets those lines in tryboot.txt, which it reads once, and config.txt is not touched: a power
cut at any time boots the old system. Other firmware has no such memory: what boots stays changed until stage 2, as its
first act, puts config.txt back; a power cut before that starts stage 2 once more.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from balena_migrate.bootloaders import BootAssets, ImageBoot
from balena_migrate.bootloaders.raspberrypi.board import Board, find_board, other_name
from balena_migrate.bootloaders.raspberrypi.config_txt import (
    CMDLINE,
    CONFIG,
    TRYBOOT,
    UPSTREAM_PREFIX,
    Settings,
    UnclearError,
    add_arguments,
    command_line_file,
    edit,
    evaluate,
    file_name,
    kernel_names,
    named_files,
    statements,
)
from balena_migrate.core.changes import Action, WriteFile
from balena_migrate.core.errors import RefusedError
from balena_migrate.core.paths import INITRAMFS_NAME
from balena_migrate.core.system import System
from balena_migrate.facts import FAT, DiskFacts, Facts, Firmware, Mount
from balena_migrate.findings import BLOCKS, PASSES, WARNS, Code, Finding, blocker, passed, warning
from balena_migrate.settings import Config

OUR_CMDLINE = "balena-migrate-cmdline.txt"

AUTOBOOT = "autoboot.txt"

FILES = (CONFIG, CMDLINE, AUTOBOOT, TRYBOOT)
"""Read on every FAT file system, and then what they name. Not all text files: userconf.txt holds a password."""

OTHER_RAMDISK = re.compile(r"initrd=.*|noinitrd|rdinit=.*")
"""Arguments by which the kernel takes another initramfs than the firmware's, or another program in it (Linux,
admin-guide/kernel-parameters)."""

TRYBOOT_ARGUMENT = "0 tryboot"
"""What `reboot` hands to the firmware: partition 0 is the default one."""

PANIC_REBOOT_S = 30
"""A kernel or an initramfs that cannot go on tries again after this time; nobody is there to press a button."""

_MOUNT = "Mount the boot partition (mount -a, or see /etc/fstab)."
CODES = (
    Code("pi-unknown", BLOCKS, "The revision code of this Raspberry Pi is unknown."),
    Code("pi-two-names", WARNS, "The revision code and the device tree name different boards; the code counts."),
    Code("pi-no-boot-partition", BLOCKS, "No FAT file system with a config.txt is mounted.", _MOUNT),
    Code(
        "pi-boot-ambiguous",
        BLOCKS,
        "Several mounted FAT file systems have a config.txt, and which one the firmware reads is unknown.",
        "Unmount those that the firmware does not read.",
    ),
    Code(
        "pi-boot-read-only",
        BLOCKS,
        "The boot partition is mounted read-only.",
        "Repair its file system if it is damaged (fsck), and mount it with write access (mount -o remount,rw).",
    ),
    Code("pi-boot-no-uuid", BLOCKS, "The boot partition has no UUID by which stage 2 could find it."),
    Code(
        "pi-boot-unreadable", BLOCKS, "A file of the boot partition cannot be read.", "Repair the file system (fsck)."
    ),
    Code("pi-autoboot", BLOCKS, "autoboot.txt sends the firmware to another partition, or may do so.", _MOUNT),
    Code("pi-config-ours", BLOCKS, "config.txt already loads the initramfs of stage 2.", "Run balena-migrate undo."),
    Code("pi-config-unclear", BLOCKS, "Whether the firmware would load our initramfs is not documented."),
    Code("pi-boot-ramdisk", BLOCKS, "config.txt sets boot_ramdisk: the firmware takes its files from boot.img."),
    Code("pi-kernel", PASSES, "The firmware starts the kernel itself."),
    Code("pi-kernel-unclear", WARNS, "Which kernel config.txt starts is not documented."),
    Code(
        "pi-kernel-replaced",
        BLOCKS,
        "A kernel was installed since the system was started, so the next start would use another one.",
        "Reboot, and try again.",
    ),
    Code(
        "pi-other-loader",
        BLOCKS,
        "config.txt starts another boot loader (U-Boot, UEFI), which would not load our initramfs.",
        "Let the firmware start the kernel itself.",
    ),
    Code(
        "pi-other-ramdisk",
        BLOCKS,
        "The kernel's command line makes the kernel start another initramfs.",
        "Remove that argument, and reboot.",
    ),
    Code("pi-cmdline-unclear", WARNS, "Where the kernel's command line comes from is not certain."),
    Code("pi-include-missing", WARNS, "config.txt includes a file that does not exist."),
)


def boot_mounts(facts: Facts) -> tuple[Mount, ...]:
    """The mounted FAT file systems with a config.txt that may be the boot partition; only one where that is certain.

    Those on the root's disk come before others, and of them those at or below /boot.
    """
    disks = facts.disks
    found = [m for m in _fat_mounts(disks) if _path(m, CONFIG) in {**facts.boot.files, **facts.boot.unreadable}]
    near = [mount for mount in found if disks.disks_below(mount.mount_point) == disks.disks_below("/")]
    usual = [mount for mount in near if PurePosixPath(mount.mount_point).is_relative_to("/boot")]
    best = usual or near or found
    return tuple({mount.source: mount for mount in best}.values())


def boot_mount(facts: Facts) -> Mount | None:
    """The mounted FAT file system that holds config.txt, wherever it is; None where that is not certain."""
    found = boot_mounts(facts)
    return found[0] if len(found) == 1 else None


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where stage 2 is started from: the board, and the boot partition that its firmware reads."""

    board: Board
    mount: Mount


def find_place(facts: Facts) -> Place | Finding:
    """Board and boot partition, or the reason why one of them is not certain."""
    board, mount = find_board(facts.hardware), boot_mount(facts)
    if board is None:
        cause = f"the Raspberry Pi with revision code {facts.hardware.revision or 'unknown'} is not known"
        return blocker("pi-unknown", cause)
    return Place(board=board, mount=mount) if mount else _no_boot_mount(facts)


def _fat_mounts(disks: DiskFacts) -> list[Mount]:
    """Whole FAT file systems: stage 2 mounts them again, and knows nothing of folders bound to other places."""
    return [mount for mount in disks.mounts if mount.fstype in FAT and mount.root == "/"]


def _is_first_fat(disks: DiskFacts, mount: Mount) -> bool:
    """Whether this is the disk's first FAT partition, which the firmware takes for partition 0 (autoboot)."""
    device = disks.find_device(mount.source)
    if device is None:
        return False
    fats = [other for other in disks.devices if other.parents == device.parents and other.fstype in FAT]
    return device in fats and all(device.start_bytes < other.start_bytes for other in fats if other != device)


def _path(mount: Mount, name: str) -> str:
    return str(PurePosixPath(mount.mount_point) / name)


def config_files(files: Mapping[str, str], mount: Mount) -> dict[str, str]:
    """The boot partition's text files, by name in lower case, relative to it."""
    paths = {PurePosixPath(path): text for path, text in files.items()}
    inside = {path: text for path, text in paths.items() if path.is_relative_to(mount.mount_point)}
    return {str(path.relative_to(mount.mount_point)).lower(): text for path, text in inside.items()}


def _command_line(facts: Facts, files: dict[str, str], settings: Settings) -> str | None:
    """The text of the file with the command line; None where it is not certain which that is.

    The running kernel was started with it: a file that speaks of another root file system would start stage 2
    without the old system, and no later start would do better.
    """
    try:
        name = command_line_file(files, settings)
    except UnclearError:
        return None
    if not name or "\0" in files[name]:
        return None
    roots = {word for word in files[name].partition("\n")[0].split() if word.startswith("root=")}
    return files[name] if roots <= set(facts.boot.kernel_command_line.split()) else None


class RaspberryPi:
    """The firmware of every Raspberry Pi, from SD card, USB or NVMe."""

    name = "Raspberry Pi firmware"
    programs: tuple[str, ...] = ()
    codes = CODES

    def files(self, disks: DiskFacts) -> tuple[str, ...]:
        return tuple(_path(mount, name) for mount in _fat_mounts(disks) for name in FILES)

    def named_files(self, disks: DiskFacts, files: Mapping[str, str]) -> tuple[str, ...]:
        found = []
        for mount in _fat_mounts(disks):
            inside = config_files(files, mount)
            names = named_files(inside) if CONFIG in inside else ()
            found += [_path(mount, name) for name in sorted(names) if ".." not in PurePosixPath(name).parts]
        return tuple(found)

    def recognise(self, facts: Facts) -> bool:
        return facts.boot.firmware is Firmware.RASPBERRY_PI

    def one_shot(self, facts: Facts) -> bool:
        place = find_place(facts)
        return isinstance(place, Place) and _can_try(facts, place.mount, place.board)

    def reboot_argument(self, facts: Facts) -> str:
        return TRYBOOT_ARGUMENT if self.one_shot(facts) else ""

    def boot_folder(self, facts: Facts) -> str:
        mount = boot_mount(facts)
        return mount.mount_point if mount else "/boot"

    def check(self, config: Config, facts: Facts) -> Iterator[Finding]:
        place = find_place(facts)
        if isinstance(place, Finding):
            yield place
            return
        board, mount = place.board, place.mount
        if other := other_name(facts.hardware):
            cause = f"the revision code is that of a {board.name}, and the device tree that of a {other.name}"
            yield warning("pi-two-names", f"{cause}; the code counts")
        yield from _check_boot_partition(facts, mount)
        yield from _check_autoboot(facts, board, mount)
        yield from _check_readable(facts, mount)
        if _path(mount, CONFIG) in facts.boot.files:
            yield from _check_config(config, facts, board, mount)

    def boot_actions(self, config: Config, facts: Facts) -> tuple[Action, ...]:
        place = find_place(facts)
        if isinstance(place, Finding):
            raise RefusedError(place.cause, hint=place.remedy)
        board, mount = place.board, place.mount
        changed = _changed_files(config, facts, mount, board)
        if _can_try(facts, mount, board):
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


def _changed_files(config: Config, facts: Facts, mount: Mount, board: Board) -> dict[str, str]:
    """The files of the boot partition that start stage 2. Raises UnclearError where that would not be certain."""
    files = config_files(facts.boot.files, mount)
    command_line = _command_line(facts, files, evaluate(files, board))
    if command_line is None:
        return edit(files, board, initramfs=INITRAMFS_NAME)
    arguments = (f"panic={PANIC_REBOOT_S}", *(("debug",) if config.debug else ()))
    changed = edit(files, board, initramfs=INITRAMFS_NAME, cmdline=OUR_CMDLINE)
    return {**changed, OUR_CMDLINE: add_arguments(command_line, arguments)}


def _can_try(facts: Facts, mount: Mount, board: Board) -> bool:
    """Whether the firmware's own one-shot start does it.

    It looks for tryboot.txt on the disk's first FAT partition, where NOOBS has its own system; autoboot.txt gives
    tryboot another meaning; and nothing but config.txt may have to differ for stage 2.
    """
    files = config_files(facts.boot.files, mount)
    return (
        facts.boot.tryboot
        and _is_first_fat(facts.disks, mount)
        and AUTOBOOT not in files
        and evaluate(files, board) == evaluate(files, board, tryboot=True)
        and set(edit(files, board, initramfs=INITRAMFS_NAME)) == {CONFIG}
    )


def _no_boot_mount(facts: Facts) -> Finding:
    mounts = boot_mounts(facts)
    if mounts:
        names = " and ".join(f"{mount.source} ({mount.mount_point})" for mount in mounts)
        cause = f"{names} both hold a config.txt, and which one the firmware reads is not known"
        return blocker("pi-boot-ambiguous", cause, "unmount the one that the firmware does not read")
    disks = facts.disks
    mounted = {mount.source for mount in disks.mounts}
    idle = [
        device.path
        for device in disks.devices
        if device.fstype in FAT
        and device.path not in mounted
        and set(disks.chain(device)) & set(disks.disks_below("/"))
    ]
    cause = "no FAT file system with a config.txt is mounted, so the boot partition is not known"
    found = f"; not mounted are {', '.join(idle)}" if idle else ""
    return blocker("pi-no-boot-partition", cause + found, "mount it (mount -a, or see /etc/fstab)")


def _check_readable(facts: Facts, mount: Mount) -> Iterator[Finding]:
    """What cannot be read cannot be put back either."""
    for name, reason in config_files(facts.boot.unreadable, mount).items():
        cause = f"{_path(mount, name)} on {mount.source} cannot be read: {reason}"
        yield blocker("pi-boot-unreadable", cause, f"repair the file system (umount, then fsck {mount.source})")


def _check_boot_partition(facts: Facts, mount: Mount) -> Iterator[Finding]:
    if "ro" in mount.options:
        cause = f"the boot partition {mount.source} is mounted read-only on {mount.mount_point}"
        remedy = f"if its file system is damaged, repair it (fsck {mount.source}); then mount -o remount,rw"
        yield blocker("pi-boot-read-only", cause, f"{remedy} {mount.mount_point}")
    device = facts.disks.find_device(mount.source)
    if device is None or not device.uuid:
        cause = f"the boot partition {mount.source} has no UUID by which stage 2 would find it"
        yield blocker("pi-boot-no-uuid", cause)


def _check_autoboot(facts: Facts, board: Board, mount: Mount) -> Iterator[Finding]:
    """autoboot.txt, on the disk's first FAT partition, may send the firmware to another one (autoboot)."""
    disks = facts.disks
    for other in _fat_mounts(disks):
        text = config_files(facts.boot.files, other).get(AUTOBOOT)
        here = disks.disks_below(other.mount_point) == disks.disks_below(mount.mount_point)
        if text is None or not here or not _is_first_fat(disks, other):
            continue
        path, settings = _path(other, AUTOBOOT), evaluate({AUTOBOOT: text}, board, start=AUTOBOOT)
        ours = {_partition_number(mount), *(["0"] if _is_first_fat(disks, mount) else [])}
        try:
            chosen = settings.get("boot_partition")
        except UnclearError as error:
            yield blocker("pi-autoboot", f"which partition {path} chooses is not certain: {error}")
            continue
        if chosen and chosen not in ours:
            cause = f"{path} lets the firmware start from partition {chosen}, and {mount.source} is not that one"
            yield blocker("pi-autoboot", cause, "mount the boot partition that is in use")


def _partition_number(mount: Mount) -> str:
    match = re.search(r"[0-9]+$", mount.source)
    return match[0] if match else ""


def _check_config(config: Config, facts: Facts, board: Board, mount: Mount) -> Iterator[Finding]:
    path, files = _path(mount, CONFIG), config_files(facts.boot.files, mount)
    settings = evaluate(files, board)
    if INITRAMFS_NAME in files[CONFIG]:
        yield blocker("pi-config-ours", f"{path} loads our initramfs already", "run balena-migrate undo")
        return
    if settings.values.get("boot_ramdisk", "0") != "0" or "boot_ramdisk" in settings.unclear:
        yield blocker("pi-boot-ramdisk", f"{path} sets boot_ramdisk: the firmware takes its files out of boot.img")
    try:
        _changed_files(config, facts, mount, board)
    except UnclearError as error:
        yield blocker("pi-config-unclear", f"the firmware might not load our initramfs: {error}")
    yield from _check_kernel(path, settings, board)
    yield from _check_replaced(facts, mount, settings, board)
    yield from _check_command_line(facts, path, files, settings)
    for statement in statements(files, board):
        if statement.key == "include" and file_name(statement.value) not in files:
            yield warning("pi-include-missing", f"{path} includes {statement.value}, which is missing")


def _check_command_line(facts: Facts, path: str, files: dict[str, str], settings: Settings) -> Iterator[Finding]:
    text = _command_line(facts, files, settings)
    words = (text if text is not None else facts.boot.kernel_command_line).split()
    if others := [word for word in words if OTHER_RAMDISK.fullmatch(word)]:
        cause = f"the kernel's command line says {others[0]}, so the kernel would not start our initramfs"
        yield blocker("pi-other-ramdisk", cause, "take that out of it, and reboot")
    if text is None:
        cause = f"which file {path} takes the running kernel's command line from is not certain"
        yield warning("pi-cmdline-unclear", f"{cause}; panic= and debug are left out")


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
        yield passed("pi-kernel", f"the firmware starts {name} itself")


def _check_replaced(facts: Facts, mount: Mount, settings: Settings, board: Board) -> Iterator[Finding]:
    """An upgrade puts another kernel on the boot partition at once. Our initramfs holds the running kernel's modules:
    with the new one, stage 2 could lack the very driver that it takes to put config.txt back."""
    with contextlib.suppress(UnclearError):
        prefixes = {"", UPSTREAM_PREFIX, settings.get("os_prefix")}
        names = {prefix + name for prefix in prefixes for name in kernel_names(settings, board)}
        starts = {_path(mount, name.lstrip("/")).lower() for name in names}
        for path in facts.boot.changed:
            if path.lower() in starts:
                cause = f"{path} was replaced since this system was started: the next start takes another kernel"
                yield blocker("pi-kernel-replaced", cause, "reboot, and try again")


BOOT_LOADER = RaspberryPi()
