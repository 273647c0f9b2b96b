# SPDX-License-Identifier: Apache-2.0
"""What stage 1 hands over to stage 2: one JSON file in the initramfs, and nothing else.

It holds no secret, since the initramfs may be on a partition that anyone can read: files that hold secrets are named
with size and SHA-256 and stay on the old root file system until stage 2 has stashed them.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from enum import StrEnum

from balena_migrate.core.changes import UndoRecord
from balena_migrate.core.errors import FileError
from balena_migrate.core.paths import STAGE2_CONFIG
from balena_migrate.core.values import from_json, to_json

HANDOVER_FORMAT = 1


class TermExit(StrEnum):
    """How stage 2 ends where it ends before the flash: go on booting the old system, or reboot into it."""

    CONTINUE = "continue"
    REBOOT = "reboot"


@dataclass(frozen=True, kw_only=True)
class FileSystem:
    """A file system of the old system that stage 2 needs, by its UUID, and where the old system mounts it."""

    uuid: str
    fstype: str
    mount_point: str


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """A file on the old system that stage 2 needs, by its path there, and what it has to be."""

    path: str
    size_bytes: int
    sha256: str


def describe_content(path: str, content: bytes) -> StoredFile:
    """The file at the path, once it has this content."""
    return StoredFile(path=path, size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


@dataclass(frozen=True, kw_only=True)
class DiskIdentity:
    """The disk to be overwritten: what has to be true of it. Its name may have changed since."""

    name: str
    size_bytes: int
    table_id: str
    serial: str


@dataclass(frozen=True, kw_only=True)
class DataPartition:
    """Where resin-data is on the flashed disk, if its label is not found there."""

    start_bytes: int
    size_bytes: int
    grow_bytes: int = 0
    """The size to which its file system is grown before the files are copied; 0 where it stays as the image has it."""


@dataclass(frozen=True, kw_only=True)
class DataFile:
    """A file that stage 2 copies to the root of resin-data under this name."""

    file: StoredFile
    name: str


@dataclass(frozen=True, kw_only=True)
class Handover:
    """Everything that stage 2 knows."""

    target: DiskIdentity
    strategy: str
    """The name of the strategy, as the setting STRATEGY has it."""
    image: StoredFile
    image_format: str
    image_size_bytes: int
    """Decompressed."""
    patches: StoredFile
    """What differs from the image: the composed boot partition, and the partition table where resin-data grows."""
    data_partition: DataPartition
    data_files: tuple[DataFile, ...]
    file_systems: tuple[FileSystem, ...]
    """Those that hold the files and the boot configuration, parents first; the root file system is the first."""
    boot_undo: tuple[UndoRecord, ...]
    """Reverts the boot change, newest first; all plain file writes."""
    memory_reserve_bytes: int
    """What has to stay available once every file is in memory."""
    no_flash: bool
    term_exit: TermExit
    log_file_system: FileSystem | None
    """The log drive's: found by its UUID, since names of disks change from one boot to the next."""
    version: str
    boot_written: tuple[StoredFile, ...] = ()
    """The files of the boot change as stage 1 writes them, so that stage 2 sees whether someone changed them since."""
    machine_id: str = ""
    """The new system's machine-id(5); "" where it generates its own."""
    format: int = HANDOVER_FORMAT


def dump_handover(handover: Handover) -> bytes:
    """The text of the stage-2 file."""
    return json.dumps(to_json(handover), indent=1).encode() + b"\n"


def parse_handover(text: str) -> Handover:
    """The hand-over from the stage-2 file's text. Raises FileError where it is damaged or of another format."""
    try:
        data = json.loads(text)
        if isinstance(data, dict) and data.get("format") != HANDOVER_FORMAT:
            raise ValueError(f"format {data.get('format')} is unknown")
        return from_json(Handover, data)
    except ValueError as error:
        raise FileError(STAGE2_CONFIG, str(error)) from None
