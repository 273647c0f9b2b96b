# SPDX-License-Identifier: Apache-2.0
"""The one tree of exceptions. They are caught in the two mains only (cli.main and stage2.main).

MigrateError                  anything that this tool has to say to its user
|- UsageError                 wrong use: exit status 2
|  `- ConfigError             a settings file or flag, with file and line
|- RefusedError               a finding forbids to go on: exit status 1
|- CommandError               a program failed, with its last lines
|- FileError                  a file could not be read, written or trusted
|- ImageError                 an image file is damaged or is not what it has to be
|- NetworkConfigError         network settings that cannot be read
|- BackupError                the backup cannot be made
|- FleetError                 a fleet's config.json cannot be had
|- DiskError                  a disk is not there, not the right one, busy, or too small
|- FlashError                 writing or verifying failed
|- JournalError               the journal is damaged or an undo is not possible
`- LabError                   a virtual device did not do what it should
"""

from __future__ import annotations

from pathlib import PurePath


class MigrateError(Exception):
    """Names the thing and the reason; `hint` says what to do next."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class UsageError(MigrateError):
    """The tool was called wrongly."""


class ConfigError(UsageError):
    """A setting is unknown or has a bad value; says in which file and line."""

    def __init__(self, message: str, *, source: str = "", line: int = 0, hint: str = "") -> None:
        place = f"{source}:{line}: " if line else f"{source}: " if source else ""
        super().__init__(place + message, hint=hint)
        self.source = source
        self.line = line


class RefusedError(MigrateError):
    """A blocking finding forbids to go on; nothing was changed."""


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
    """An image file is damaged or is not what it has to be."""


class NetworkConfigError(MigrateError):
    """Network settings that cannot be read."""


class BackupError(MigrateError):
    """The backup cannot be made."""


class FleetError(MigrateError):
    """The cloud does not give a fleet's config.json."""


class DiskError(MigrateError):
    """A disk is not there, not the right one, busy, or too small."""


class FlashError(MigrateError):
    """Writing or verifying the target failed."""


class JournalError(MigrateError):
    """The journal is damaged, or a change cannot be taken back."""


class LabError(MigrateError):
    """A virtual device did not do what it should."""
