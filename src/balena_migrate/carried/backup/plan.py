# SPDX-License-Identifier: Apache-2.0
"""What the backups will contain and where they will be, before anything is written."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import PurePosixPath

from balena_migrate.carried.backup.sample import Sampler
from balena_migrate.carried.backup.tree import (
    BackupItem,
    Entry,
    SkipList,
    Skipped,
    has_attributes,
    read_left_out,
    walk_all,
)
from balena_migrate.carried.backup.volumes import parse_names, read_volumes
from balena_migrate.core.balena import DATA_FOLDER, SUPERVISOR_BACKUP
from balena_migrate.core.changes import ASIDE_SUFFIX
from balena_migrate.core.errors import ConfigError
from balena_migrate.core.paths import KNOWN_IMAGE, MIGRATE_LOG
from balena_migrate.core.system import System
from balena_migrate.core.units import GIB
from balena_migrate.settings import Config

PLAIN_NAME = "migration-backup.tgz"
"""What a plain archive is called on resin-data where its own name would be the supervisor's."""

VOLUMES_FILE = "volumes.tgz"
"""The archive of BACKUP_VOLUMES in HOME_DIR, next to the plain one."""

TAKEN_NAMES = frozenset(("apps.json", "docker", "lost+found", "remove_me_to_reset", DATA_FOLDER, "backup", MIGRATE_LOG))
"""The root folder of a fresh resin-data: its content, the folder that the supervisor unpacks to, and stage 2's log."""

SPARSE_BYTES = GIB
"""A file with holes of this size together is named: its size in the archive is far beyond what it occupies."""

SPARSE_NAMED = 5
"""The number of such files that are named: those with the largest holes."""

_BLOCK_BYTES = 4096
_RECORD_BYTES = 512
_SHORT_NAME = 99


@dataclass(frozen=True, kw_only=True)
class SparseFile:
    """A file of the device that is mostly holes."""

    path: str
    size_bytes: int
    """What it has in the archive, and where that is unpacked."""
    hole_bytes: int
    """The part of it that is on no disk."""


@dataclass(frozen=True, kw_only=True)
class BackupPlan:
    """A backup to be made; sizes are those of the moment when it was planned."""

    items: tuple[BackupItem, ...] = ()
    """In the order of the archive; none where a script makes it."""
    script: str = ""
    volumes: tuple[str, ...] = ()
    """The volumes that the supervisor is to make of it; none for a plain archive."""
    name: str
    """Of its file in HOME_DIR."""
    name_on_data: str
    problems: tuple[str, ...] = ()
    """Why it cannot be made: what is named in the settings and is not there."""
    left_out: dict[str, str]
    """Path -> reason: what is not part of a backup although it is in a folder that is."""
    file_count: int = 0
    archive_bytes: int = 0
    """The size of the archive before it is compressed; 0 where a script makes it."""
    expected_bytes: int = 0
    """About the size of the compressed archive, by samples of the files; at most archive_bytes. 0 for a script."""
    expected_s: float = 0
    """The time that compressing it takes at least on this device, by the same samples. 0 for a script."""
    sparse: tuple[SparseFile, ...] = ()
    """The files with the largest holes, if those are large: at most SPARSE_NAMED."""
    unpacked_bytes: int = 0
    """The space that the files take on a file system with blocks of 4 KiB."""
    skipped: tuple[Skipped, ...] = ()
    skipped_count: int = 0
    attributes_count: int = 0
    """The number of files with extended attributes or access control lists, which the archive cannot contain."""


def plan_backups(config: Config, system: System) -> tuple[BackupPlan, ...]:
    """The backups that the settings ask for, in the order in which they are made: the plain one, and that of volumes.
    BACKUP_SCRIPT makes the only one. Only reads; looks at every file once for each.

    Raises ConfigError for a bad BACKUP_VOLUMES, or where both would have the same name.
    """
    left_out = find_left_out(config)
    if config.backup_script:
        return (_by_script(config, system, left_out),)
    plans = []
    if items := plain_items(config.backup_directories):
        plans.append(_counted(system, items, config.backup_file, left_out, for_supervisor=False))
    if config.backup_volumes:
        if config.backup_file == VOLUMES_FILE:
            raise ConfigError(f"BACKUP_FILE must not be {VOLUMES_FILE!r}: that is the archive of BACKUP_VOLUMES")
        items = read_volumes(system, config.backup_volumes, config.in_home("."))
        plans.append(_counted(system, items, VOLUMES_FILE, left_out, for_supervisor=True))
    return tuple(plans)


def find_left_out(config: Config) -> dict[str, str]:
    """Path -> reason: what is in no backup, although it may be in a folder that is."""
    reasons = {KNOWN_IMAGE: "what is known of the image"}
    for name in (config.backup_file, *((VOLUMES_FILE,) if config.backup_volumes else ())):
        own = config.in_home(name)
        reasons |= {own: "the backup itself", own + ASIDE_SUFFIX: "an earlier backup"}
    if config.image_name:
        reasons[config.in_home(config.image_name)] = "the image"
    return reasons


def _by_script(config: Config, system: System, left_out: dict[str, str]) -> BackupPlan:
    volumes, script = parse_names(config.backup_volumes), config.in_home(config.backup_script)
    return BackupPlan(
        script=script,
        volumes=volumes,
        name=config.backup_file,
        name_on_data=name_on_data(config.backup_file, for_supervisor=bool(volumes)),
        problems=_script_problems(system, script),
        left_out=left_out,
    )


def name_on_data(backup_file: str, *, for_supervisor: bool) -> str:
    """The archive's name at the root of resin-data.

    Only an archive of volumes may have the supervisor's name: it retries forever to restore any other.
    Raises ConfigError if BACKUP_FILE is a name that resin-data has in use.
    """
    if for_supervisor:
        return SUPERVISOR_BACKUP
    if backup_file in TAKEN_NAMES:
        raise ConfigError(f"BACKUP_FILE must not be {backup_file!r}: resin-data has something of this name")
    return PLAIN_NAME if backup_file == SUPERVISOR_BACKUP else backup_file


def plain_items(folders: tuple[str, ...]) -> tuple[BackupItem, ...]:
    """One item for each folder that is not in another one, named as by tar: without the leading slash."""
    paths = [PurePosixPath("/" + os.path.normpath(folder).lstrip("/")) for folder in folders]
    tops = [p for p in dict.fromkeys(paths) if not any(p != o and p.is_relative_to(o) for o in paths)]
    return tuple(BackupItem(source=str(path), name=str(path).lstrip("/") or ".") for path in tops)


def _counted(
    system: System, items: tuple[BackupItem, ...], file: str, reasons: dict[str, str], *, for_supervisor: bool
) -> BackupPlan:
    missing = [item.source for item in items if not system.exists(item.source)]
    present = [item for item in items if item.source not in missing]
    total, skipped = _Total(), SkipList()
    for found in walk_all(system, present, read_left_out(system, reasons)):
        if isinstance(found, Entry):
            total.add(found)
        else:
            skipped.add(found)
    ratio, seconds = total.sampler.estimate()
    return BackupPlan(
        items=items,
        volumes=tuple(dict.fromkeys(item.name.split("/")[1] for item in items)) if for_supervisor else (),
        name=file,
        name_on_data=name_on_data(file, for_supervisor=for_supervisor),
        problems=tuple(f"there is no {path!r}" for path in missing),
        left_out=reasons,
        file_count=total.files,
        archive_bytes=total.archive_bytes,
        expected_bytes=min(total.archive_bytes, int(total.archive_bytes * ratio)),
        expected_s=seconds,
        sparse=total.sparse,
        unpacked_bytes=total.unpacked_bytes,
        skipped=skipped.named,
        skipped_count=skipped.count,
        attributes_count=total.attributes,
    )


class _Total:
    """Adds up what entries take in the archive and unpacked."""

    def __init__(self) -> None:
        self.files = self.archive_bytes = self.unpacked_bytes = self.attributes = 0
        self.sampler = Sampler()
        self.sparse: tuple[SparseFile, ...] = ()

    def add(self, entry: Entry) -> None:
        self.files += 1
        # GNU tar puts a long name into two records of its own.
        headers = 3 if len(entry.name) > _SHORT_NAME else 1
        self.archive_bytes += headers * _RECORD_BYTES + round_up(entry.content_bytes, _RECORD_BYTES)
        self.unpacked_bytes += round_up(entry.content_bytes, _BLOCK_BYTES) + entry.is_dir * _BLOCK_BYTES
        self.attributes += has_attributes(entry.real)
        hole_bytes = self.sampler.add(entry)
        if hole_bytes >= SPARSE_BYTES:
            found = SparseFile(path=entry.path, size_bytes=entry.content_bytes, hole_bytes=hole_bytes)
            largest_first = sorted((*self.sparse, found), key=lambda file: file.hole_bytes, reverse=True)
            self.sparse = tuple(largest_first[:SPARSE_NAMED])


def _script_problems(system: System, script: str) -> tuple[str, ...]:
    if not system.is_file(script):
        return (f"there is no {script!r}",)
    return () if system.is_executable(script) else (f"{script!r} is not executable",)


def round_up(count: int, unit: int) -> int:
    return -(-count // unit) * unit
