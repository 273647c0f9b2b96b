# SPDX-License-Identifier: Apache-2.0
"""The lock that `run` and `undo` hold: one of them changes the device at a time.

It is a flock(2), which the kernel releases when its process ends, however that ends: a crash leaves no lock. Programs
that we start do not inherit it. The file is in /run, which is in memory and root's on every system that we know (FHS
3.0, 3.15), also where the root file system is read-only. It is never removed, since the next one might then lock
another file of the same name.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from balena_migrate.core.errors import FileError, InProgressError
from balena_migrate.core.paths import LOCK
from balena_migrate.core.retry import retry
from balena_migrate.core.system import System
from balena_migrate.core.values import from_json, to_json

PROBE_LIMIT_S = 0.3
"""`status` holds the lock for microseconds, to see whether it is free; this is more than that."""


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Who changes the device at this moment."""

    verb: str
    """"run" or "undo"."""
    pid: int
    """Its process, by the number that kill takes."""
    since: str
    """In UTC, as 2026-01-31T12:00:00Z, by the device's clock."""

    @property
    def text(self) -> str:
        """Who it is, in words."""
        return f"balena-migrate {self.verb}, process {self.pid} since {self.since}"


UNKNOWN = Holder(verb="run or undo", pid=0, since="a moment ago")
"""Somebody who could not write down who it is."""


@contextlib.contextmanager
def locked(system: System, verb: str) -> Iterator[None]:
    """Nobody else changes the device until the end of the block.

    Raises InProgressError, with who it is, if somebody does. Raises FileError if the lock cannot be taken: /run is
    missing or read-only, or its file system has no locks.
    """
    with system.open_lock(LOCK) as file:
        try:
            retry(lambda: _flock(file, fcntl.LOCK_EX), on=BlockingIOError, pause_s=0.05, limit_s=PROBE_LIMIT_S)
        except BlockingIOError:
            raise _in_progress(_read_holder(file)) from None
        _write_holder(file, verb)
        yield


def find_holder(system: System) -> Holder | None:
    """Who holds the lock; None if nobody does. Raises FileError where that cannot be found out."""
    if not system.exists(LOCK):
        return None
    with system.open(LOCK) as file:
        try:
            _flock(file, fcntl.LOCK_SH)
        except BlockingIOError:
            return _read_holder(file)
    return None


def _flock(file: BinaryIO, kind: int) -> None:
    """The file is locked until it is closed.

    Raises BlockingIOError if somebody else has locked it, and FileError if it cannot be locked at all.
    """
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError as error:
        raise FileError(LOCK, os.strerror(error.errno or 0)) from None


def _write_holder(file: BinaryIO, verb: str) -> None:
    """A full /run does not matter: the lock holds, and only its holder's name is missing."""
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    with contextlib.suppress(OSError):
        file.truncate()
        file.write(json.dumps(to_json(Holder(verb=verb, pid=os.getpid(), since=since))).encode())


def _read_holder(file: BinaryIO) -> Holder:
    """Who wrote the file."""
    try:
        return from_json(Holder, json.loads(file.read()))
    except (OSError, ValueError):
        return UNKNOWN


def _in_progress(holder: Holder) -> InProgressError:
    stop = f", or end it with kill {holder.pid}, and it rolls back what it has changed" if holder.verb == "run" else ""
    return InProgressError(f"{holder.text}, changes this device", hint=f"wait for its end{stop}")
