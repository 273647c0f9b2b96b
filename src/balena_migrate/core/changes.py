# SPDX-License-Identifier: Apache-2.0
"""Changes as values: an action describes itself, captures what is there, and applies; its undo is plain data.

An `UndoRecord` is all that is needed to take a change back: from this process, from another one after a crash,
or from stage 2, where neither the action nor the programs that applied it exist.
"""

from __future__ import annotations

import stat
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol

from balena_migrate.core.errors import FileError
from balena_migrate.core.system import System

CONTENT_LIMIT_BYTES = 4 << 20
"""A file that is replaced is kept whole in its undo record; nothing that we replace is larger."""

ASIDE_SUFFIX = ".before-balena-migrate"

CHANGED_HINT = "find out what writes it, such as update-grub or an upgrade, and run again once that has ended"


class Undo(StrEnum):
    """How a change is taken back."""

    REMOVE = "remove"
    """There was nothing: remove what is there now, a folder with all that is in it."""
    REWRITE = "rewrite"
    """There was a file: write it again, with its mode, owner and time."""
    MOVE_BACK = "move-back"
    """There was a large file: it was moved aside; move it back."""


@dataclass(frozen=True, kw_only=True)
class UndoRecord:
    """What was at a path before it was changed. Kept in the journal (mode 0600), since content may be secret."""

    undo: Undo
    path: str
    content: bytes = field(default=b"", repr=False)
    mode: int = 0
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0

    def describe(self) -> str:
        """What the undo does, for a person."""
        if self.undo is Undo.REMOVE:
            return f"remove {self.path}"
        return f"restore {self.path}"


def take_back(system: System, record: UndoRecord) -> None:
    """What the record describes is at its path again. Doing it twice is the same as doing it once.

    Raises FileError where the path cannot be written.
    """
    system.remove_temporary(record.path)
    if record.undo is Undo.REMOVE:
        system.remove_tree(record.path)
    elif record.undo is Undo.REWRITE:
        _rewrite(system, record)
    elif system.exists(record.path + ASIDE_SUFFIX):
        system.move(record.path + ASIDE_SUFFIX, record.path)


def _holds(system: System, record: UndoRecord) -> bool:
    """Whether the old content is there already; not where it cannot be read any more."""
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
    """The record that brings the present state of a file's path back: its content, or that there is nothing.

    Raises FileError where something is there that cannot be kept: a folder, a device, or too large a file.
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
    """The changes of stage 1, in the order in which they are made. The names are stable; the journal keeps them."""

    WORK_DIR = "work-dir"
    """The folder for all that stage 2 needs."""
    VOLUMES_BACKUP = "volumes-backup"
    """The archive that balena's supervisor restores volumes from."""
    BACKUP = "backup"
    PATCHES = "patches"
    """What differs from the image: the composed boot partition, first of all."""
    HANDOVER = "handover"
    INITRAMFS = "initramfs"
    BOOT_ENTRY = "boot-entry"
    """The boot loader's menu has an entry that starts stage 2; it is not chosen yet."""
    BOOT_ARGUMENTS = "boot-arguments"
    """The kernel's command line for stage 2, in a file that nothing names yet."""
    BOOT_INCLUDED_FILE = "boot-included-file"
    """A file that the boot configuration includes does not stand in stage 2's way."""
    BOOT_NEXT = "boot-next"
    """The next boot starts stage 2: the one change that decides."""


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
        """What takes this change back; only reads."""

    def apply(self, system: System) -> None:
        """The change is made, and is on the disk."""


@dataclass(frozen=True, kw_only=True)
class MakeDir:
    """There is a folder at the path; undo removes it with all in it, if it was not there before."""

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
    """The file has this content; a file that was there keeps its mode and owner."""

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
    """A file that a function makes, such as an archive or an initramfs; a file that was there is moved aside.

    `make(system, path)` writes the file at the path and returns when it is whole and on the disk.
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


class CapturedOnce:
    """An action whose undo record is captured once: whoever asks for it gets the same one.

    So what stage 2 puts back from the hand-over and what `undo` puts back from the journal cannot differ.
    """

    def __init__(self, action: Action) -> None:
        self.action = action
        self.name, self.title, self.path = action.name, action.title, action.path
        self._record: UndoRecord | None = None

    def capture(self, system: System) -> UndoRecord:
        """Raises FileError where what is at the path has changed since the first call."""
        now = self.action.capture(system)
        if self._record is None:
            self._record = now
        # FAT keeps times to two seconds, so a time that differs proves nothing.
        if replace(now, mtime_ns=self._record.mtime_ns) != self._record:
            raise FileError(self.path, "was changed by something else during stage 1", hint=CHANGED_HINT)
        return self._record

    def apply(self, system: System) -> None:
        self.action.apply(system)
