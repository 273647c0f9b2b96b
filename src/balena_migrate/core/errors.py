# SPDX-License-Identifier: Apache-2.0
"""The one tree of exceptions, and the exit status of each.

An error is caught where something better can be done than to give up: retry, look elsewhere, report a finding, roll
back. All others end in one of the two mains (`cli.guarded` and `stage2.main`). A class without a status of its own
has its parent's. tests/cli/test_exit_status.py compares this tree and these numbers with the classes.

MigrateError                3  anything reported to the user; nothing is left changed
|- UsageError               2  incorrect usage
|  `- ConfigError           2  a setting is unknown or invalid, with file and line
|- RefusedError             1  a finding blocks the migration
|  |- AlreadyAppliedError   1  the changes of an earlier run are still in place
|  `- InProgressError       1  another run or undo changes the device
|- InterruptedRunError      3  a run was stopped, and rolled back
|- CommandError             3  a program failed, with the last lines of its output
|- FileError                3  a file could not be read, written or trusted
|  `- LoopError             3  symbolic links form a loop (core.system)
|- ImageError               3  an image file is damaged or not the expected one
|- NetworkConfigError       3  network settings cannot be read
|- BackupError              3  the backup cannot be made
|- FleetError               3  a fleet's config.json cannot be obtained
|- DiskError                3  a disk is missing, the wrong one, busy, or too small
|- FlashError               3  writing or verifying failed
|- JournalError             3  the journal is damaged
|  `- UndoError             4  a change could not be rolled back and is still in place
|- LabError                 3  a virtual device did not do what it should
|  `- UndefinedError        3  the behaviour of the Pi is undocumented (lab.machines.raspberrypi.config_txt)
|- CameBackError            3  stage 2 ended before the line (stage2.frame; caught there, no exit status)
`- NoFlashError             3  stage 2 must not flash (stage2.frame; likewise)

Four more never leave the module that raises them: `_DoubleKeyError` (carried.config_json), `_NotKeptError`
(carried.keep), `_SourceError` (carried.backup.archive) and `UnclearError` (bootloaders.raspberrypi.config_txt).
"""

from __future__ import annotations

from enum import IntEnum
from pathlib import PurePath
from typing import ClassVar


class ExitStatus(IntEnum):
    """The exit status of a command. These numbers are stable."""

    DONE = 0
    REFUSED = 1
    """Blocked by a finding, or by an earlier run, or by another one; nothing was changed."""
    USAGE = 2
    """Incorrect usage; nothing was changed."""
    FAILED = 3
    """Failed or interrupted; nothing is left changed."""
    NOT_ROLLED_BACK = 4
    """Failed, and a change could not be rolled back: the device needs attention."""


class MigrateError(Exception):
    """The message names the subject and the reason; `hint` says what to do next."""

    exit_status: ClassVar[ExitStatus] = ExitStatus.FAILED

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class UsageError(MigrateError):
    """The command was used incorrectly."""

    exit_status = ExitStatus.USAGE


class ConfigError(UsageError):
    """A setting is unknown or invalid; the message names file and line."""

    def __init__(self, message: str, *, source: str = "", line: int = 0, hint: str = "") -> None:
        place = f"{source}:{line}: " if line else f"{source}: " if source else ""
        super().__init__(place + message, hint=hint)
        self.source = source
        self.line = line


class RefusedError(MigrateError):
    """A finding blocks the migration; nothing was changed."""

    exit_status = ExitStatus.REFUSED


class AlreadyAppliedError(RefusedError):
    """The changes of an earlier run are still in place; nothing was changed."""


class InProgressError(RefusedError):
    """Another run or undo changes the device at this moment; nothing was changed by this one."""


class InterruptedRunError(MigrateError):
    """A run was stopped by a signal, or by undo before its reboot; all of its changes were rolled back."""


class CommandError(MigrateError):
    """A program could not be started, failed, or ran out of time."""

    def __init__(self, argv: list[str], returncode: int | None, last_lines: str, *, hint: str = "") -> None:
        reason = "ran out of time" if returncode is None else f"ended with status {returncode}"
        text = f"{argv[0]} {reason}"
        if last_lines:
            text += f": {last_lines}"
        super().__init__(text, hint=hint)
        self.argv = argv
        self.returncode = returncode
        self.last_lines = last_lines


class FileError(MigrateError):
    """A file could not be read, written or trusted."""

    def __init__(self, path: PurePath | str, reason: str, *, hint: str = "") -> None:
        super().__init__(f"{path}: {reason}", hint=hint)
        self.path = str(path)
        self.reason = reason


class ImageError(MigrateError):
    """An image file is damaged or not the expected one."""


class NetworkConfigError(MigrateError):
    """Network settings that cannot be read."""


class BackupError(MigrateError):
    """The backup cannot be made."""


class FleetError(MigrateError):
    """A fleet's config.json cannot be obtained from the cloud."""


class DiskError(MigrateError):
    """A disk is missing, the wrong one, busy, or too small."""


class FlashError(MigrateError):
    """Writing or verifying the target failed."""


class JournalError(MigrateError):
    """The journal is damaged or has an unknown format."""


class UndoError(JournalError):
    """At least one change could not be rolled back and is still in place."""

    exit_status = ExitStatus.NOT_ROLLED_BACK


class LabError(MigrateError):
    """A virtual device misbehaved."""
