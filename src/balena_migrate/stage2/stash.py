# SPDX-License-Identifier: Apache-2.0
"""Where the files that stage 2 needs are once the old system is gone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

from balena_migrate.core.digest import Digester
from balena_migrate.core.errors import FileError, MigrateError
from balena_migrate.core.handover import StoredFile
from balena_migrate.core.memory import read_memory
from balena_migrate.core.paths import STAGE2_FILES
from balena_migrate.core.system import System, errors_at
from balena_migrate.core.units import MIB, in_mib
from balena_migrate.stage2 import kernel
from balena_migrate.stage2.console import Console

MEMORY = Path(STAGE2_FILES)
TMPFS_SLACK_BYTES = 4 * MIB
"""tmpfs counts whole pages, and folders."""


class Stash(Protocol):
    """Keeps files of the old system, proven to be what stage 1 saw, after that system is gone."""

    def open(self, file: StoredFile) -> BinaryIO:
        """The file's bytes, from the first on. Raises OSError."""


class RamStash:
    """Files in a folder in memory, under their paths on the old system."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, file: StoredFile) -> Path:
        return self._folder / file.path.lstrip("/")

    def open(self, file: StoredFile) -> BinaryIO:
        return self.path(file).open("rb")

    def add(self, old: System, file: StoredFile) -> None:
        """The old system's file is in the stash and is what stage 1 saw. Raises FileError if it is not."""
        target = self.path(file)
        with errors_at(file.path):
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as copy:
                digester = Digester(file=copy)
                old.copy_to(file.path, digester)
        found = digester.digest()
        if found.size_bytes != file.size_bytes:
            raise FileError(file.path, f"has {found.size_bytes} bytes, and had {file.size_bytes} in stage 1")
        if found.sha256 != file.sha256:
            raise FileError(file.path, "is not the file that stage 1 saw: its SHA-256 differs")


def check_memory(machine: System, files: Sequence[StoredFile], reserve_bytes: int) -> None:
    """Raises MigrateError, with the arithmetic, where the files and the reserve do not fit into memory together."""
    need = sum(file.size_bytes for file in files)
    available = read_memory(machine).available_bytes
    if need + reserve_bytes > available:
        raise MigrateError(
            f"memory is too small: {in_mib(need)} of files + {in_mib(reserve_bytes)} to work with"
            f" > {in_mib(available)} available"
        )


@contextlib.contextmanager
def in_memory(
    machine: System, old: System, files: Sequence[StoredFile], reserve_bytes: int, console: Console
) -> Iterator[RamStash]:
    """The files are in memory, with the right size and SHA-256, and `reserve_bytes` of memory are left.

    Raises MigrateError or FileError where that is not so. In the end the memory is free again.
    """
    kernel.drop_caches()
    memory = read_memory(machine)
    console.say(f"memory-bytes {memory.total_bytes}, of which {memory.available_bytes} are available")
    check_memory(machine, files, reserve_bytes)
    total = sum(file.size_bytes for file in files)
    options = f"size={total + TMPFS_SLACK_BYTES},mode=0700"
    with kernel.mounted("tmpfs", MEMORY, "tmpfs", options=options):
        stash, done = RamStash(MEMORY), 0
        for file in files:
            stash.add(old, file)
            done += file.size_bytes
            console.progress("copy", done, total)
        kernel.drop_caches()
        check_memory(machine, (), reserve_bytes)
        yield stash
