# SPDX-License-Identifier: Apache-2.0
"""A FAT file system on a disk that a power cut left."""

from __future__ import annotations

import contextlib
import hashlib
import mmap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from balena_migrate.core.errors import LabError
from balena_migrate.workstation.lab.disks import FileSystem, require_file
from balena_migrate.workstation.lab.fat_state import FatState
from balena_migrate.workstation.lab.snapshot import find_changes


@contextlib.contextmanager
def read_fat(disk: Path, start_bytes: int) -> Iterator[FatState]:
    """The file system that begins there, as a firmware reads it."""
    with (
        require_file(disk).open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as memory,
    ):
        yield FatState(memory, start_bytes)


def fat_changes(disk: Path, system: FileSystem, described: Mapping[str, str], may: Iterable[str]) -> tuple[str, ...]:
    """Which files of an old system's FAT differ from their description; a file that cannot be read is one of them.

    What else is on it may be in the midst of being written. Names are the same in any case.
    """
    before = {name.lower(): text for name, text in described.items() if name.startswith(f"{system.folder}/")}
    now: dict[str, str] = {}
    with read_fat(disk, system.span.start_bytes) as fat:
        for path in fat.names():
            name = f"{system.folder}/{path}".lower()
            now[name] = _describe(fat, path) if name in before else "new"
    return find_changes(before, now, tuple(pattern.lower() for pattern in may))


def broken_folders(disk: Path, system: FileSystem) -> tuple[str, ...]:
    """The old system's folders on this FAT that cannot be read."""
    with read_fat(disk, system.span.start_bytes) as fat:
        return tuple(f"{system.folder}/{path}" for path in fat.broken_folders())


def _describe(fat: FatState, path: str) -> str:
    try:
        return hashlib.sha256(fat.read(path)).hexdigest()
    except LabError as error:
        return str(error)
