# SPDX-License-Identifier: Apache-2.0
"""Changes as values: an action describes itself, captures what is there, and applies; its undo is plain data.

An `UndoRecord` is all that is needed to revert a change: from this process, from another one after a crash,
or from stage 2, where neither the action nor the programs that applied it exist.
"""

from __future__ import annotations

import stat
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol

from balena_migrate.core.efi_variables import (
    find_variable,
    remove_variable,
    variable_name,
    write_value,
    write_variable,
)
from balena_migrate.core.errors import FileError
from balena_migrate.core.system import System
from balena_migrate.core.units import MIB

CONTENT_LIMIT_BYTES = 4 * MIB
"""A replaced file is stored in its undo record; no file that we replace is larger."""

ASIDE_SUFFIX = ".before-balena-migrate"

CHANGED_HINT = "find out what writes it, such as update-grub or an upgrade, and run again once that has ended"


class Undo(StrEnum):
    """How a change is reverted."""

    REMOVE = "remove"
    """There was nothing: remove what is there now; a folder with its content."""
    REWRITE = "rewrite"
    """There was a file: write it again, with its mode, owner and time."""
    MOVE_BACK = "move-back"
    """There was a large file: it was moved aside; move it back."""
    SET_VARIABLE = "set-variable"
    """There was a firmware variable: give it its value again."""
    REMOVE_VARIABLE = "remove-variable"
    """There was no such firmware variable: remove it."""


@dataclass(frozen=True, kw_only=True)
class UndoRecord:
    """The original state of a changed path. Stored in the journal (mode 0600), since content may be secret.

    The path of a firmware variable is that of its file in efivarfs.
    """

    undo: Undo
    path: str
    content: bytes = field(default=b"", repr=False)
    mode: int = 0
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0

    @property
    def is_variable(self) -> bool:
        """Whether it is about a variable of the firmware, which is on no file system of the old system."""
        return self.undo in (Undo.SET_VARIABLE, Undo.REMOVE_VARIABLE)

    def describe(self) -> str:
        """Describe the undo for the user."""
        if self.undo is Undo.REMOVE_VARIABLE:
            return f"remove the firmware's variable {variable_name(self.path)}"
        if self.undo is Undo.SET_VARIABLE:
            return f"restore the firmware's variable {variable_name(self.path)}"
        if self.undo is Undo.REMOVE:
            return f"remove {self.path}"
        return f"restore {self.path}"


def take_back(system: System, record: UndoRecord) -> None:
    """Restore the path to the state in the record; idempotent.

    Raises FileError if the path cannot be written.
    """
    if record.is_variable:
        _take_back_variable(system, record)
        return
    system.remove_temporary(record.path)
    if record.undo is Undo.REMOVE:
        system.remove_tree(record.path)
    elif record.undo is Undo.REWRITE:
        _rewrite(system, record)
    elif system.exists(record.path + ASIDE_SUFFIX):
        system.move(record.path + ASIDE_SUFFIX, record.path)


def _take_back_variable(system: System, record: UndoRecord) -> None:
    """What is as it was is left alone: each write wears the firmware's flash memory."""
    if record.undo is Undo.REMOVE_VARIABLE:
        remove_variable(system, record.path)
    elif find_variable(system, record.path) != record.content:
        write_variable(system, record.path, record.content)


def _holds(system: System, record: UndoRecord) -> bool:
    """Whether the old content is already there; False if the file can no longer be read."""
    try:
        here = system.is_file(record.path)
        return here and system.read_bytes(record.path, limit_bytes=CONTENT_LIMIT_BYTES) == record.content
    except FileError:
        return False


def _rewrite(system: System, record: UndoRecord) -> None:
    if _holds(system, record):
        return
    system.write_file(record.path, record.content, mode=record.mode, uid=record.uid, gid=record.gid)
    system.set_mtime(record.path, record.mtime_ns)


def capture_file(system: System, path: str) -> UndoRecord:
    """The record that restores the present state of a path: a file's content, or nothing.

    Raises FileError for anything that cannot be recorded: a folder, a device, or too large a file.
    """
    if not system.exists(path):
        return UndoRecord(undo=Undo.REMOVE, path=path)
    status = system.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise FileError(path, "is not a regular file", hint="move it away")
    content = system.read_bytes(path, limit_bytes=CONTENT_LIMIT_BYTES)
    return UndoRecord(
        undo=Undo.REWRITE,
        path=path,
        content=content,
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        mtime_ns=status.st_mtime_ns,
    )


class ActionName(StrEnum):
    """Stage 1's changes, in the order in which they are made. The names are stable; the journal contains them."""

    WORK_DIR = "work-dir"
    """The folder for stage 2's files."""
    IMAGE = "image"
    """The system image, taken out of a flasher image."""
    VOLUMES_BACKUP = "volumes-backup"
    """The archive from which balena's supervisor restores volumes."""
    BACKUP = "backup"
    PATCHES = "patches"
    """The differences from the image, above all the composed boot partition."""
    HANDOVER = "handover"
    INITRAMFS = "initramfs"
    """A folder for the files that the firmware loads."""
    BOOT_KERNEL = "boot-kernel"
    """A copy of the running kernel, where the firmware finds it."""
    BOOT_ENTRY = "boot-entry"
    """An entry in the boot loader's menu that starts stage 2; not selected yet."""
    BOOT_ARGUMENTS = "boot-arguments"
    """The kernel command line for stage 2, in a file that nothing refers to yet."""
    BOOT_INCLUDED_FILE = "boot-included-file"
    """A copy of an included file of the boot configuration, without what would interfere with stage 2."""
    BOOT_NEXT = "boot-next"
    """The deciding change: the next boot starts stage 2."""


def begun(name: ActionName) -> str:
    """What the console shows when this change begins, before its title."""
    return f"[{name}]"


class Action(Protocol):
    """A change. `title` is what it does, as an imperative; `path` is the one path that it changes."""

    @property
    def name(self) -> ActionName: ...
    @property
    def title(self) -> str: ...
    @property
    def path(self) -> str: ...

    def capture(self, system: System) -> UndoRecord:
        """The record that reverts this change; only reads."""

    def apply(self, system: System) -> None:
        """Make the change and flush it to the disk."""


@dataclass(frozen=True, kw_only=True)
class MakeDir:
    """Creates a folder, which must not exist; undo removes it with its content."""

    name: ActionName
    title: str
    path: str
    mode: int = 0o755

    def capture(self, system: System) -> UndoRecord:
        if system.is_dir(self.path):
            raise FileError(self.path, "already exists", hint="move it away")
        return UndoRecord(undo=Undo.REMOVE, path=self.path)

    def apply(self, system: System) -> None:
        system.make_dir(self.path, mode=self.mode)


@dataclass(frozen=True, kw_only=True)
class WriteFile:
    """Writes a file; an existing one keeps its mode and owner."""

    name: ActionName
    title: str
    path: str
    content: bytes = field(repr=False)
    mode: int = 0o644

    def capture(self, system: System) -> UndoRecord:
        return capture_file(system, self.path)

    def apply(self, system: System) -> None:
        if system.exists(self.path):
            old = system.stat(self.path)
            mode = stat.S_IMODE(old.st_mode)
            system.write_file(self.path, self.content, mode=mode, uid=old.st_uid, gid=old.st_gid)
        else:
            system.write_file(self.path, self.content, mode=self.mode)


@dataclass(frozen=True, kw_only=True)
class Produce:
    """Produces a file by a function, such as an archive or an initramfs; an existing file is moved aside.

    `make(system, path)` writes the file and returns when it is complete and flushed to the disk.
    """

    name: ActionName
    title: str
    path: str
    make: Callable[[System, str], None]

    def capture(self, system: System) -> UndoRecord:
        present = system.exists(self.path) or system.exists(self.path + ASIDE_SUFFIX)
        return UndoRecord(undo=Undo.MOVE_BACK if present else Undo.REMOVE, path=self.path)

    def apply(self, system: System) -> None:
        aside = self.path + ASIDE_SUFFIX
        if system.exists(self.path) and not system.exists(aside):
            system.move(self.path, aside)
        self.make(system, self.path)


@dataclass(frozen=True, kw_only=True)
class WriteVariable:
    """Gives a variable of the firmware this value; `path` is its file in efivarfs."""

    name: ActionName
    title: str
    path: str
    value: bytes = field(repr=False)

    def capture(self, system: System) -> UndoRecord:
        content = find_variable(system, self.path)
        if content is None:
            return UndoRecord(undo=Undo.REMOVE_VARIABLE, path=self.path)
        return UndoRecord(undo=Undo.SET_VARIABLE, path=self.path, content=content)

    def apply(self, system: System) -> None:
        write_value(system, self.path, self.value)


class CapturedOnce:
    """An action whose undo record is captured once, and then reused.

    So what stage 2 restores from the hand-over and what `undo` restores from the journal cannot differ.
    """

    def __init__(self, action: Action) -> None:
        self.action = action
        self.name, self.title, self.path = action.name, action.title, action.path
        self._record: UndoRecord | None = None

    def capture(self, system: System) -> UndoRecord:
        """The record. Raises FileError if the path has changed since the first call."""
        now = self.action.capture(system)
        if self._record is None:
            self._record = now
        # FAT has a time resolution of two seconds, so a different time proves nothing.
        if replace(now, mtime_ns=self._record.mtime_ns) != self._record:
            raise FileError(self.path, "was changed by something else during stage 1", hint=CHANGED_HINT)
        return self._record

    def apply(self, system: System) -> None:
        self.action.apply(system)
