# SPDX-License-Identifier: Apache-2.0
"""Will the firmware of this Raspberry Pi start stage 2, and can the change be reverted?"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from balena_migrate.bootloaders.raspberrypi.autoboot import AUTOBOOT, boot_partition
from balena_migrate.bootloaders.raspberrypi.board import WITH_EEPROM, Board, other_name
from balena_migrate.bootloaders.raspberrypi.boot_partition import (
    Place,
    config_files,
    fat_mounts,
    filtered_number,
    find_place,
    first_fat,
    is_first_fat,
    partition_number,
    path_on,
)
from balena_migrate.bootloaders.raspberrypi.command_line import find_command_line, other_root
from balena_migrate.bootloaders.raspberrypi.config_txt import (
    CONFIG,
    DEFAULT_KERNELS,
    STATE,
    UPSTREAM_PREFIX,
    Settings,
    UnclearError,
    edit,
    evaluate,
    file_name,
    kernel_names,
    statements,
)
from balena_migrate.core.paths import INITRAMFS_NAME
from balena_migrate.facts import Facts, Mount
from balena_migrate.findings import BLOCKS, PASSES, WARNS, Code, Finding, blocker, passed, warning

EEPROM_FILES = ("recovery.bin", "pieeprom.upd", "pieeprom.sig", "vl805.bin", "vl805.sig")
"""What rpi-eeprom-update writes for the next start, and removes after it (raspberrypi/rpi-eeprom: rpi-eeprom-update). A
recovery.000 is what an update leaves that is done."""
GOOD, BAD = "good", "bad"
"""States of a kernel that was tried; any other one is tried at the next start (see config_txt.STATE)."""

NOOBS = "RECOVERY"
"""The label of the first partition of NOOBS and PINN, which starts the system that was chosen last; not mounted."""

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
        "Mount it with write access (mount -o remount,rw); where that fails, unmount it and repair it first (fsck -a).",
    ),
    Code("pi-boot-no-uuid", BLOCKS, "The boot partition has no UUID by which stage 2 could find it."),
    Code(
        "pi-boot-unreadable",
        BLOCKS,
        "A file of the boot partition cannot be read.",
        "Unmount it and repair it (fsck -a), and mount it again.",
    ),
    Code(
        "pi-autoboot",
        BLOCKS,
        "autoboot.txt sends the firmware to another partition, or may do so: it is looked for on the disk's first FAT"
        " partition.",
        "Mount the boot partition, and the disk's first FAT partition as well (mount -a, or see /etc/fstab).",
    ),
    Code(
        "pi-two-systems",
        BLOCKS,
        "autoboot.txt has the firmware choose between two systems on the disk (A and B), and it is not certain which of"
        " them the next start is of.",
    ),
    Code(
        "pi-eeprom-update",
        BLOCKS,
        "An update of the EEPROM is pending: the next start writes it and restarts, and a one-shot start gets lost.",
        "Reboot, and try again; or withdraw the update (rpi-eeprom-update -r).",
    ),
    Code(
        "pi-in-tryboot",
        BLOCKS,
        "This system was started once only (tryboot): the next start may be another system.",
        "Reboot, and try again.",
    ),
    Code(
        "pi-trial-pending",
        BLOCKS,
        "The system tries another kernel at its next start, and restarts for that by itself.",
        "Reboot, and try again once it has settled.",
    ),
    Code("pi-trial-failed", WARNS, "The system tried another kernel, which failed; its files take room."),
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
        "pi-cmdline-unclear",
        BLOCKS,
        "Where the kernel's command line comes from is not certain, so stage 2 could not be given one with a way back.",
        "Let config.txt name one file (cmdline=...), below [all], and reboot.",
    ),
    Code(
        "pi-root-changed",
        BLOCKS,
        "The command line of the next start names another root file system than the one that is mounted.",
        "Correct root= before anything restarts the device; reboot only if the other root file system is meant.",
    ),
    Code("pi-include-missing", WARNS, "config.txt includes a file that does not exist."),
)


def check_boot(facts: Facts) -> Iterator[Finding]:
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
    yield from _check_next_start(facts, place)
    yield from _check_readable(facts, mount)
    if path_on(mount, CONFIG) in facts.boot.files:
        yield from _check_config(facts, place)


def _check_readable(facts: Facts, mount: Mount) -> Iterator[Finding]:
    """What cannot be read cannot be restored either."""
    for name, reason in config_files(facts.boot.unreadable, mount).items():
        cause = f"{path_on(mount, name)} on {mount.source} cannot be read: {reason}"
        yield blocker("pi-boot-unreadable", cause, f"repair the file system: {_repair(mount)}")


def _repair(mount: Mount) -> str:
    """The commands to type; fsck must not write to what is mounted."""
    return f"umount {mount.mount_point} && fsck -a {mount.source}; mount {mount.source} {mount.mount_point}"


def _check_boot_partition(facts: Facts, mount: Mount) -> Iterator[Finding]:
    if "ro" in mount.options:
        cause = f"the boot partition {mount.source} is mounted read-only on {mount.mount_point}"
        remedy = f"mount -o remount,rw {mount.mount_point}; where that fails: {_repair(mount)}"
        yield blocker("pi-boot-read-only", cause, remedy)
    device = facts.disks.find_device(mount.source)
    if device is None or not device.uuid:
        cause = f"the boot partition {mount.source} has no UUID by which stage 2 could find it"
        yield blocker("pi-boot-no-uuid", cause)


def _check_autoboot(facts: Facts, mount: Mount) -> Iterator[Finding]:
    """autoboot.txt, on the disk's first FAT partition, may send the firmware to another one (autoboot)."""
    disks = facts.disks
    first = first_fat(disks, mount)
    if first and first.label != NOOBS and all(other.source != first.path for other in fat_mounts(disks)):
        cause = f"the firmware looks for {AUTOBOOT} on {first.path}, which is not mounted: it may start another system"
        yield blocker("pi-autoboot", cause, f"mount it, to have it read as well (mount -o ro {first.path} /mnt)")
    for other in fat_mounts(disks):
        text = config_files(facts.boot.files, other).get(AUTOBOOT)
        here = disks.disks_below(other.mount_point) == disks.disks_below(mount.mount_point)
        if text is None or not here or not is_first_fat(disks, other):
            continue
        yield from _check_choice(facts, mount, path_on(other, AUTOBOOT), text)


def _check_choice(facts: Facts, mount: Mount, path: str, text: str) -> Iterator[Finding]:
    """Whether an autoboot.txt chooses the boot partition that is mounted."""
    ours = {str(partition_number(facts, mount)), *(["0"] if is_first_fat(facts.disks, mount) else [])}
    try:
        chosen, tried = boot_partition(text), boot_partition(text, tryboot=True)
    except UnclearError as error:
        yield blocker("pi-autoboot", f"which partition {path} chooses is not certain: {error}")
        return
    if not chosen or chosen in ours:
        return
    maybe = "may not be" if partition_number(facts, mount) is None else "is not"
    cause = f"{path} makes the firmware start from partition {chosen}, which {maybe} {mount.source}"
    if tried == chosen:
        yield blocker("pi-autoboot", cause, "mount the boot partition that is in use")
    else:
        cause += f", and for tryboot from {tried}: there are two systems on this disk, as images of rpi-image-gen have"
        yield blocker("pi-two-systems", cause)


def _check_next_start(facts: Facts, place: Place) -> Iterator[Finding]:
    """The next start must be ours: not one that somebody has planned already, and is lost by that or loses ours."""
    mount = place.mount
    if facts.boot.in_tryboot:
        cause = "this system was started by tryboot, once only: the next start may be another system"
        yield blocker("pi-in-tryboot", cause, "reboot, and try again")
    names = {path.lower(): path for path in facts.boot.fat_files}
    pending = [names[path] for name in EEPROM_FILES if (path := path_on(mount, name).lower()) in names]
    if pending and place.board.chip in WITH_EEPROM:
        cause = f"an update of the EEPROM is pending ({', '.join(pending)}): the next start writes it and restarts"
        yield blocker("pi-eeprom-update", cause, "reboot, and try again; or withdraw it (rpi-eeprom-update -r)")
    for name, text in config_files(facts.boot.files, mount).items():
        if PurePosixPath(name).name != STATE or text.strip() == GOOD:
            continue
        path, state = path_on(mount, name), text.strip() or "nothing"
        if state == BAD:
            yield warning("pi-trial-failed", f"{path} says {BAD}: a kernel was tried and failed; its files take room")
        else:
            cause = f"{path} says {state}: the system tries another kernel at its next start, and restarts for that"
            yield blocker("pi-trial-pending", cause, "reboot, and try again once it says good or bad")


def _check_config(facts: Facts, place: Place) -> Iterator[Finding]:
    board, mount, number = place.board, place.mount, filtered_number(facts, place)
    path, files = path_on(mount, CONFIG), config_files(facts.boot.files, mount)
    settings = evaluate(files, board, partition=number)
    if INITRAMFS_NAME in files[CONFIG]:
        yield blocker("pi-config-ours", f"{path} already loads the initramfs of stage 2", "run balena-migrate undo")
        return
    if settings.values.get("boot_ramdisk", "0") != "0" or "boot_ramdisk" in settings.unclear:
        yield blocker("pi-boot-ramdisk", f"{path} sets boot_ramdisk: the firmware takes its files from boot.img")
    try:
        edit(files, board, initramfs=INITRAMFS_NAME)
    except UnclearError as error:
        yield blocker("pi-config-unclear", f"the firmware might not load our initramfs: {error}")
    yield from _check_kernel(path, settings, board)
    yield from _check_replaced(facts, mount, files, settings, board)
    yield from _check_command_line(facts, mount, files, settings)
    for statement in statements(files, board, partition=number):
        if statement.key == "include" and file_name(statement.value) not in files:
            yield warning("pi-include-missing", f"{path} includes {statement.value}, which is missing")


def _check_command_line(facts: Facts, mount: Mount, files: Mapping[str, str], settings: Settings) -> Iterator[Finding]:
    try:
        name = find_command_line(facts, mount, files, settings)
    except UnclearError as error:
        cause = f"it is not certain which file on {mount.source} has the kernel's command line: {error}"
        yield blocker("pi-cmdline-unclear", cause, f"let {CONFIG} name one (cmdline=...), below [all], and reboot")
        return
    path = path_on(mount, name)
    if root := other_root(facts, files[name]):
        cause = f"{path} says {root}, which is not the root file system that is mounted: the next start takes another"
        remedy = "correct it before anything restarts the device (blkid shows the ids); reboot only if it is meant"
        yield blocker("pi-root-changed", cause, remedy)


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


def _check_replaced(
    facts: Facts, mount: Mount, files: Mapping[str, str], settings: Settings, board: Board
) -> Iterator[Finding]:
    """An upgrade replaces the kernel on the boot partition at once, but our initramfs contains the running kernel's
    modules: stage 2 could lack the very driver that it needs to restore config.txt."""
    starts = {path_on(mount, name.lstrip("/")).lower() for name in _kernels(files, settings, board)}
    for path in facts.boot.changed:
        if path.lower() in starts:
            cause = f"{path} was replaced since this system was started: the next start would use another kernel"
            yield blocker("pi-kernel-replaced", cause, "reboot and try again")


def _kernels(files: Mapping[str, str], settings: Settings, board: Board) -> set[str]:
    """The names under which the next start may find its kernel: where that is unclear, of every line's and chip's."""
    lines = list(statements(files, board))
    try:
        names = set(kernel_names(settings, board))
    except UnclearError:
        names = {line.value for line in lines if line.key == "kernel"} | set(DEFAULT_KERNELS)
    try:
        prefixes = {settings.get("os_prefix")}
    except UnclearError:
        prefixes = {line.value for line in lines if line.key == "os_prefix"}
    return {prefix + name for prefix in {"", UPSTREAM_PREFIX, *prefixes} for name in names}
