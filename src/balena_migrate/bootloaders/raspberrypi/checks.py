# SPDX-License-Identifier: Apache-2.0
"""Will the firmware of this Raspberry Pi start stage 2, and can the change be reverted?"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from balena_migrate.bootloaders.raspberrypi.autoboot import AUTOBOOT, boot_partition
from balena_migrate.bootloaders.raspberrypi.board import Board, other_name
from balena_migrate.bootloaders.raspberrypi.boot_partition import (
    config_files,
    fat_mounts,
    find_place,
    is_first_fat,
    path_on,
)
from balena_migrate.bootloaders.raspberrypi.change import changed_files, find_command_line
from balena_migrate.bootloaders.raspberrypi.config_txt import (
    CONFIG,
    UPSTREAM_PREFIX,
    Settings,
    UnclearError,
    evaluate,
    file_name,
    kernel_names,
    statements,
)
from balena_migrate.core.paths import INITRAMFS_NAME
from balena_migrate.facts import Facts, Mount
from balena_migrate.findings import BLOCKS, PASSES, WARNS, Code, Finding, blocker, passed, warning
from balena_migrate.settings import Config

OTHER_RAMDISK = re.compile(r"initrd=.*|noinitrd|rdinit=.*")
"""Arguments that make the kernel use another initramfs than the firmware's, or another program in it (Linux,
admin-guide/kernel-parameters)."""

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


def check_boot(config: Config, facts: Facts) -> Iterator[Finding]:
    """Whether the firmware would start stage 2, and the old system again."""
    place = find_place(facts)
    if isinstance(place, Finding):
        yield place
        return
    board, mount = place.board, place.mount
    if other := other_name(facts.hardware):
        cause = f"the revision code is that of a {board.name}, but the device tree is that of a {other.name}"
        yield warning("pi-two-names", f"{cause}; the code counts")
    yield from _check_boot_partition(facts, mount)
    yield from _check_autoboot(facts, mount)
    yield from _check_readable(facts, mount)
    if path_on(mount, CONFIG) in facts.boot.files:
        yield from _check_config(config, facts, board, mount)


def _check_readable(facts: Facts, mount: Mount) -> Iterator[Finding]:
    """What cannot be read cannot be restored either."""
    for name, reason in config_files(facts.boot.unreadable, mount).items():
        cause = f"{path_on(mount, name)} on {mount.source} cannot be read: {reason}"
        yield blocker("pi-boot-unreadable", cause, f"repair the file system (umount, then fsck {mount.source})")


def _check_boot_partition(facts: Facts, mount: Mount) -> Iterator[Finding]:
    if "ro" in mount.options:
        cause = f"the boot partition {mount.source} is mounted read-only on {mount.mount_point}"
        remedy = f"if its file system is damaged, repair it (fsck {mount.source}); then mount -o remount,rw"
        yield blocker("pi-boot-read-only", cause, f"{remedy} {mount.mount_point}")
    device = facts.disks.find_device(mount.source)
    if device is None or not device.uuid:
        cause = f"the boot partition {mount.source} has no UUID by which stage 2 could find it"
        yield blocker("pi-boot-no-uuid", cause)


def _check_autoboot(facts: Facts, mount: Mount) -> Iterator[Finding]:
    """autoboot.txt, on the disk's first FAT partition, may send the firmware to another one (autoboot)."""
    disks = facts.disks
    for other in fat_mounts(disks):
        text = config_files(facts.boot.files, other).get(AUTOBOOT)
        here = disks.disks_below(other.mount_point) == disks.disks_below(mount.mount_point)
        if text is None or not here or not is_first_fat(disks, other):
            continue
        path = path_on(other, AUTOBOOT)
        ours = {_partition_number(mount), *(["0"] if is_first_fat(disks, mount) else [])}
        try:
            chosen = boot_partition(text)
        except UnclearError as error:
            yield blocker("pi-autoboot", f"which partition {path} chooses is not certain: {error}")
            continue
        if chosen and chosen not in ours:
            cause = f"{path} makes the firmware start from partition {chosen}, which is not {mount.source}"
            yield blocker("pi-autoboot", cause, "mount the boot partition that is in use")


def _partition_number(mount: Mount) -> str:
    match = re.search(r"[0-9]+$", mount.source)
    return match[0] if match else ""


def _check_config(config: Config, facts: Facts, board: Board, mount: Mount) -> Iterator[Finding]:
    path, files = path_on(mount, CONFIG), config_files(facts.boot.files, mount)
    settings = evaluate(files, board)
    if INITRAMFS_NAME in files[CONFIG]:
        yield blocker("pi-config-ours", f"{path} already loads the initramfs of stage 2", "run balena-migrate undo")
        return
    if settings.values.get("boot_ramdisk", "0") != "0" or "boot_ramdisk" in settings.unclear:
        yield blocker("pi-boot-ramdisk", f"{path} sets boot_ramdisk: the firmware takes its files from boot.img")
    try:
        changed_files(config, facts, mount, board)
    except UnclearError as error:
        yield blocker("pi-config-unclear", f"the firmware might not load our initramfs: {error}")
    yield from _check_kernel(path, settings, board)
    yield from _check_replaced(facts, mount, settings, board)
    yield from _check_command_line(facts, path, files, settings)
    for statement in statements(files, board):
        if statement.key == "include" and file_name(statement.value) not in files:
            yield warning("pi-include-missing", f"{path} includes {statement.value}, which is missing")


def _check_command_line(facts: Facts, path: str, files: dict[str, str], settings: Settings) -> Iterator[Finding]:
    text = find_command_line(facts, files, settings)
    words = (text if text is not None else facts.boot.kernel_command_line).split()
    if others := [word for word in words if OTHER_RAMDISK.fullmatch(word)]:
        cause = f"the kernel's command line says {others[0]}, so the kernel would not start our initramfs"
        yield blocker("pi-other-ramdisk", cause, "remove it, and reboot")
    if text is None:
        cause = f"it is not certain which file the running kernel's command line comes from ({path})"
        yield warning("pi-cmdline-unclear", f"{cause}; panic= and debug are omitted")


def _check_kernel(path: str, settings: Settings, board: Board) -> Iterator[Finding]:
    """U-Boot and UEFI load a kernel and an initramfs of their own choice, whatever config.txt says."""
    try:
        name = kernel_names(settings, board)[0]
    except UnclearError as error:
        yield warning("pi-kernel-unclear", f"which kernel {path} starts is not certain: {error}")
        return
    if re.search(r"u-?boot|uefi|\.efi$", name, re.IGNORECASE):
        cause = f"{path} starts {name}, another boot loader, which would not load our initramfs"
        yield blocker("pi-other-loader", cause, "make the firmware start the kernel itself")
    else:
        yield passed("pi-kernel", f"the firmware starts {name} itself")


def _check_replaced(facts: Facts, mount: Mount, settings: Settings, board: Board) -> Iterator[Finding]:
    """An upgrade replaces the kernel on the boot partition at once, but our initramfs contains the running kernel's
    modules: stage 2 could lack the very driver that it needs to restore config.txt."""
    with contextlib.suppress(UnclearError):
        prefixes = {"", UPSTREAM_PREFIX, settings.get("os_prefix")}
        names = {prefix + name for prefix in prefixes for name in kernel_names(settings, board)}
        starts = {path_on(mount, name.lstrip("/")).lower() for name in names}
        for path in facts.boot.changed:
            if path.lower() in starts:
                cause = f"{path} was replaced since this system was started: the next start would use another kernel"
                yield blocker("pi-kernel-replaced", cause, "reboot and try again")
