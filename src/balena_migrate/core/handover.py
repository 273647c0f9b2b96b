# SPDX-License-Identifier: Apache-2.0
"""The hand-over from stage 1 to stage 2: a single JSON file in the initramfs.

It contains no secrets, since the initramfs may be on a partition that anyone can read: files with secrets are named
with size and SHA-256, and stay on the old root file system until stage 2 has stashed them.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from enum import StrEnum

from balena_migrate.core.block_map import BlockMap
from balena_migrate.core.changes import UndoRecord
from balena_migrate.core.errors import FileError
from balena_migrate.core.paths import STAGE2_CONFIG
from balena_migrate.core.values import from_json, parse_json, to_json

HANDOVER_FORMAT = 2


class TermExit(StrEnum):
    """How stage 2 ends before the flash: continue booting the old system, or reboot into it."""

    CONTINUE = "continue"
    REBOOT = "reboot"


@dataclass(frozen=True, kw_only=True)
class DiskIdentity:
    """What identifies a disk. Its name may have changed since stage 1."""

    name: str
    size_bytes: int
    table_id: str
    serial: str


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a file system is: its disk, and the first byte there."""

    disk: DiskIdentity
    start_bytes: int


@dataclass(frozen=True, kw_only=True)
class FileSystem:
    """A file system that stage 2 needs: its UUID, its mount point on the old system, and where it was in stage 1."""

    uuid: str
    fstype: str
    mount_point: str
    place: Place | None = None
    """None where it is not simply on a disk or on a partition."""


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """A file on the old system that stage 2 needs: its path there, and its expected content."""

    path: str
    size_bytes: int
    sha256: str


def describe_content(path: str, content: bytes) -> StoredFile:
    """The StoredFile for a path with this content."""
    return StoredFile(path=path, size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


@dataclass(frozen=True, kw_only=True)
class DataPartition:
    """The position of resin-data on the flashed disk, used if its label is not found."""

    start_bytes: int
    size_bytes: int
    grow_bytes: int = 0
    """The size to which its file system is grown before the files are copied; 0 to leave it unchanged."""


@dataclass(frozen=True, kw_only=True)
class DataFile:
    """A file that stage 2 copies to the root of resin-data under this name."""

    file: StoredFile
    name: str


@dataclass(frozen=True, kw_only=True)
class NewBootEntry:
    """What UEFI firmware gets to start the new system by, in place of what it started the old one by."""

    option: bytes
    """The value of its variable."""
    old_partuuids: tuple[str, ...]
    """The PARTUUIDs of the disk that is overwritten: entries that name one of them start nothing any more."""


@dataclass(frozen=True, kw_only=True)
class Handover:
    """All input of stage 2."""

    target: DiskIdentity
    """The disk to be overwritten."""
    strategy: str
    """The strategy's name, as in the setting STRATEGY."""
    image: StoredFile
    image_format: str
    image_size_bytes: int
    """Decompressed."""
    patches: StoredFile
    """The differences from the image: the composed boot partition and, if resin-data grows, the partition table."""
    block_map: BlockMap
    """What of the image need not be written."""
    data_partition: DataPartition
    data_files: tuple[DataFile, ...]
    file_systems: tuple[FileSystem, ...]
    """The file systems with the files and the boot configuration, parents first; the root file system is the first."""
    boot_undo: tuple[UndoRecord, ...]
    """Reverts the boot change, newest first: plain file writes, and variables of the firmware."""
    memory_reserve_bytes: int
    """The memory that must stay available once every file has been loaded."""
    no_flash: bool
    term_exit: TermExit
    log_file_system: FileSystem | None
    """The log drive's."""
    version: str
    kit: str
    """The identity of the kit that wrote it; stage 2 refuses that of another (stage2.frame: require_same_kit)."""
    boot_written: tuple[StoredFile, ...] = ()
    """The files of the boot change as written by stage 1, so that stage 2 detects later modifications."""
    usr: FileSystem | None = None
    """The old system's /usr, if that is a file system of its own: its init is on it."""
    machine_id: str = ""
    """The new system's machine-id(5); "" to let it generate its own."""
    boot_entry: NewBootEntry | None = None
    """None where the firmware has no such entries, or gives no way to change them."""
    format: int = HANDOVER_FORMAT


def dump_handover(handover: Handover) -> bytes:
    """The text of the hand-over file."""
    return json.dumps(to_json(handover), indent=1).encode() + b"\n"


def parse_handover(text: str) -> Handover:
    """Parse the text of the hand-over file. Raises FileError if it is damaged or has another format."""
    try:
        data = parse_json(text)
        if isinstance(data, dict) and data.get("format") != HANDOVER_FORMAT:
            raise ValueError(f"format {data.get('format')} is unknown")
        return from_json(Handover, data)
    except ValueError as error:
        raise FileError(STAGE2_CONFIG, str(error)) from None
