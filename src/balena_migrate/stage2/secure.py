# SPDX-License-Identifier: Apache-2.0
"""Takes all that stage 2 needs into memory, and proves that it is there and whole, before anything is lost."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from balena_migrate.core.errors import FileError, MigrateError
from balena_migrate.core.handover import StoredFile
from balena_migrate.core.memory import read_memory
from balena_migrate.core.system import System
from balena_migrate.stage2 import kernel
from balena_migrate.stage2.console import Console

MEMORY = Path("/balena-migrate/files")
CHUNK_BYTES = 1 << 20
TMPFS_SLACK_BYTES = 4 << 20
"""tmpfs counts whole pages, and folders."""


def check_memory(system: System, files: Sequence[StoredFile], reserve_bytes: int) -> None:
    """Raises MigrateError, with the arithmetic, where the files do not fit beside what has to stay free."""
    need = sum(file.size_bytes for file in files)
    available = read_memory(system).available_bytes
    if need + reserve_bytes > available:
        raise MigrateError(
            f"memory is too small: {need >> 20} MiB of files + {reserve_bytes >> 20} MiB to work with"
            f" > {available >> 20} MiB available"
        )


def memory_name(index: int) -> Path:
    """Where the file with this place in `Handover.stored_files` is in memory."""
    return MEMORY / str(index)


@contextlib.contextmanager
def secured(old: System, files: Sequence[StoredFile], reserve_bytes: int, console: Console) -> Iterator[None]:
    """The files are in memory, with the right size and SHA-256, and `reserve_bytes` of memory are left.

    Raises MigrateError or FileError where that is not so. In the end the memory is free again.
    """
    machine = System("/")
    check_memory(machine, files, reserve_bytes)
    total = sum(file.size_bytes for file in files)
    options = f"size={total + TMPFS_SLACK_BYTES},mode=0700"
    with kernel.mounted("tmpfs", MEMORY, "tmpfs", options=options):
        done = 0
        for index, file in enumerate(files):
            copy_checked(old, file, memory_name(index))
            done += file.size_bytes
            console.progress("copy", done, total)
        check_memory(machine, (), reserve_bytes)
        yield


def copy_checked(old: System, file: StoredFile, target: Path) -> None:
    """The file's copy is at the target and is what stage 1 saw. Raises FileError where it is not."""
    digest, count = hashlib.sha256(), 0
    try:
        with open(old.real(file.path), "rb") as source, open(target, "xb") as copy:
            while block := source.read(CHUNK_BYTES):
                copy.write(block)
                digest.update(block)
                count += len(block)
    except OSError as error:
        raise FileError(file.path, os.strerror(error.errno or 0)) from None
    if count != file.size_bytes:
        raise FileError(file.path, f"has {count} bytes, and had {file.size_bytes} in stage 1")
    if digest.hexdigest() != file.sha256:
        raise FileError(file.path, "is not the file that stage 1 saw: its SHA-256 is another one")
