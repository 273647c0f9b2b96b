# SPDX-License-Identifier: Apache-2.0
"""The old system's file systems in stage 2: mount, restore the boot configuration, keep the reason, unmount."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from balena_migrate.core.changes import CONTENT_LIMIT_BYTES, UndoRecord, take_back
from balena_migrate.core.errors import CommandError, DiskError, FileError
from balena_migrate.core.handover import FileSystem, Handover, StoredFile, describe_content
from balena_migrate.core.mountinfo import MountInfo, mounts_below, read_mountinfo
from balena_migrate.core.paths import MIGRATE_LOG, STAGE2_LOG_DRIVE, STATE_DIR
from balena_migrate.core.stage2_result import Stage2Result, write_stage2_result
from balena_migrate.core.system import System
from balena_migrate.images.partitions.known_disk import find_file_system
from balena_migrate.stage2 import kernel, mounts
from balena_migrate.stage2.boot_entries import variables
from balena_migrate.stage2.console import Console
from balena_migrate.stage2.mounts import Taken

LOG_DRIVE = Path(STAGE2_LOG_DRIVE)


def holder(old: System, handover: Handover, path: str) -> Path:
    """Where the file system that holds the old system's path is mounted now.

    Raises DiskError if it is not: files would be written to its mount point, in another file system.
    """
    above = [fs for fs in handover.file_systems if PurePosixPath(path).is_relative_to(fs.mount_point)]
    file_system = max(above, key=lambda fs: len(fs.mount_point))
    point = mount_point(old, file_system)
    if not os.path.ismount(point):
        raise DiskError(f"{file_system.mount_point} is not mounted")
    return point


def mount_point(old: System, file_system: FileSystem) -> Path:
    """Where an old file system is mounted now."""
    return old.root / file_system.mount_point.lstrip("/")


def mount_missing(machine: System, old: System, handover: Handover, console: Console) -> None:
    """Each old file system that is not mounted is mounted, read-only, where the old system has it.

    A file system that cannot be mounted is logged, not fatal: whatever needs a file on it will fail.
    """
    for file_system in handover.file_systems:
        point = mount_point(old, file_system)
        if os.path.ismount(point):
            continue
        try:
            device = find_file_system(machine, file_system)
            kernel.mount(device, point, file_system.fstype, flags=kernel.MS_RDONLY)
        except (CommandError, DiskError) as error:
            console.say(f"{file_system.mount_point} of the old system: {error}")


@contextlib.contextmanager
def mounted_beside(machine: System, old: System, handover: Handover, console: Console) -> Iterator[None]:
    """The old file systems are mounted; in the end none is that was not before: what the initramfs has mounted, such
    as a separate /usr, stays for the old system."""
    before = {mount.mount_point for mount in mounts_of(machine, old)}
    try:
        mount_missing(machine, old, handover, console)
        yield
    finally:
        for mount in reversed(mounts_of(machine, old)):
            if mount.mount_point not in before:
                kernel.unmount(Path(mount.mount_point))


def mounts_of(machine: System, old: System) -> tuple[MountInfo, ...]:
    """All that is mounted at the old root and below it, by whomever, each after the one that it is mounted on."""
    return mounts_below(read_mountinfo(machine), old.root.resolve())


def restore_boot(machine: System, old: System, handover: Handover, console: Console) -> None:
    """Restore the boot configuration from before stage 1, as far as possible; a failure is logged, not fatal.

    The records are undone newest first, the one that decides what boots before the others. A file that was changed
    since stage 1 is restored as well: our lines are in it, and would start stage 2 again.
    """
    left = {file.path: file for file in handover.boot_written}
    for record in handover.boot_undo:
        try:
            with _writable(machine, old, handover, record) as system:
                if record.path in left and not _is_there(old, left[record.path]):
                    console.say(f"{record.path} is not as stage 1 left it")
                take_back(system, record)
            console.say(f"{record.describe()}: done")
        except (FileError, DiskError, OSError) as error:
            console.say(f"{record.describe()}: failed: {error}")


@contextlib.contextmanager
def _writable(machine: System, old: System, handover: Handover, record: UndoRecord) -> Iterator[System]:
    """What the record is about can be changed in the block, in the system that is given."""
    if record.is_variable:
        with variables():
            yield machine
    else:
        with kernel.writable(holder(old, handover, record.path)):
            yield old


def _is_there(old: System, file: StoredFile) -> bool:
    try:
        return describe_content(file.path, old.read_bytes(file.path, limit_bytes=CONTENT_LIMIT_BYTES)) == file
    except FileError:
        return False


@contextlib.contextmanager
def logging_to_drive(machine: System, handover: Handover, console: Console) -> Iterator[None]:
    """Every line goes to the log drive too, if there is one; a failure is logged, not fatal."""
    with contextlib.ExitStack() as held:
        if handover.log_file_system:
            try:
                device = find_file_system(machine, handover.log_file_system)
                held.enter_context(kernel.mounted(device, LOG_DRIVE, handover.log_file_system.fstype))
                file = held.enter_context(open(LOG_DRIVE / MIGRATE_LOG, "w", encoding="utf-8", opener=_private))
                console.also(file)
                held.callback(console.also, None)
            except (CommandError, DiskError, OSError) as error:
                console.say(f"no log drive: {error}")
        yield


def _private(path: str, flags: int) -> int:
    """Opens a file that is root's alone; a link on a stick that anyone may have written could lead to a disk."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)


def unmount(machine: System, old: System, taken: list[Taken]) -> None:
    """Nothing is mounted at the old root or below it; `taken` has what was, in the order in which it was taken away.

    Raises DiskError, FileError or OSError; then `taken` has what is not mounted any more.
    """
    for mount in reversed(mounts_of(machine, old)):
        taken.append(mounts.take_away(machine, mount))


def mount_again(machine: System, taken: list[Taken], console: Console) -> None:
    """What was taken away is mounted as it was; `taken` keeps only what cannot be, which is logged."""
    failed = []
    while taken:
        item = taken.pop()
        try:
            mounts.put_back(machine, item)
        except (DiskError, FileError, OSError) as error:
            failed.append(item)
            console.say(f"{item.mount.mount_point} cannot be mounted again as it was: {error}")
    taken.extend(reversed(failed))


def keep_result(
    machine: System, old: System, handover: Handover, taken: list[Taken], result: Stage2Result, console: Console
) -> None:
    """The result and the log are on the old system, which is mounted as the initramfs had it.

    Raises DiskError, FileError or OSError. `taken` keeps what could not be mounted as it was.
    """
    mount_again(machine, taken, console)
    mount_missing(machine, old, handover, console)
    with kernel.writable(holder(old, handover, STATE_DIR)):
        write_stage2_result(old, result, "".join(line + "\n" for line in console.lines))
