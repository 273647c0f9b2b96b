# SPDX-License-Identifier: Apache-2.0
"""Makes the backup that was planned."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import BinaryIO

from balena_migrate.carried.backup.archive import ATTEMPTS, Archive
from balena_migrate.carried.backup.plan import BackupPlan
from balena_migrate.carried.backup.script import run_script
from balena_migrate.carried.backup.sink import GzipSink
from balena_migrate.carried.backup.tree import Entry, LeftOut, SkipList, Skipped, identity, read_left_out, walk_all
from balena_migrate.core.errors import BackupError, FileError
from balena_migrate.core.progress import Report
from balena_migrate.core.system import System
from balena_migrate.core.units import GIB, MIB

LOG = logging.getLogger(__name__)

GROWTH_BYTES = GIB
"""So much may be read beyond what was planned before we take it that it never ends."""

SETTINGS_HINT = "see BACKUP_DIRECTORIES, BACKUP_VOLUMES and BACKUP_SCRIPT"
SPACE_HINT = "the backup needs space in HOME_DIR"


@dataclass(frozen=True, kw_only=True)
class BackupResult:
    """A complete archive, on the disk, readable by root only."""

    path: str
    size_bytes: int
    sha256: str
    file_count: int
    archive_bytes: int
    """The size before it was compressed."""
    name_on_data: str
    skipped: tuple[Skipped, ...] = ()
    skipped_count: int = 0


def make_backup(system: System, plan: BackupPlan, destination_path: str, report: Report) -> BackupResult:
    """There is a complete backup at the path, with mode 0600, flushed to the disk; one that was there is replaced.

    Until it is complete, what was at the path stays. Files that cannot be taken along are named in the result.
    Raises BackupError, after which nothing of the new archive is left.
    """
    if plan.problems:
        raise BackupError("; ".join(plan.problems), hint=SETTINGS_HINT)
    if plan.script:
        return _by_script(system, plan, destination_path)
    try:
        with system.replacing(destination_path) as file:
            return _by_hand(system, plan, destination_path, file, report)
    except FileError as error:
        hint = SPACE_HINT if error.path == destination_path else error.hint
        raise BackupError(error.message, hint=hint) from None


def _by_script(system: System, plan: BackupPlan, path: str) -> BackupResult:
    made = run_script(system, plan, path)
    return BackupResult(
        path=path,
        size_bytes=made.size_bytes,
        sha256=made.sha256,
        file_count=made.member_count,
        archive_bytes=made.archive_bytes,
        name_on_data=plan.name_on_data,
    )


def _by_hand(system: System, plan: BackupPlan, path: str, file: BinaryIO, report: Report) -> BackupResult:
    known = read_left_out(system, {**plan.left_out, path: "the backup itself"})
    files = {**known.files, identity(os.fstat(file.fileno())): "the backup itself"}
    left_out = LeftOut(files=files, folders=known.folders)
    roots = [item.name for item in plan.items if plan.volumes]
    progress = _Progress(plan.archive_bytes, report)
    with GzipSink(file) as sink:
        archive = Archive(sink, roots, progress)
        skipped = _fill(archive, walk_all(system, plan.items, left_out))
        if archive.member_count == 0:
            raise BackupError("there is nothing in the backup", hint=SETTINGS_HINT)
        archive.finish()
        sha256 = sink.finish()
    progress.tell()
    return BackupResult(
        path=path,
        sha256=sha256,
        size_bytes=sink.size_bytes,
        file_count=archive.member_count,
        archive_bytes=sink.raw_bytes,
        skipped=skipped.named,
        skipped_count=skipped.count,
        name_on_data=plan.name_on_data,
    )


def _fill(archive: Archive, found: Iterable[Entry | Skipped]) -> SkipList:
    """All entries are in the archive, but for those that are returned."""
    skipped = SkipList()
    for item in found:
        trouble = archive.add(item) if isinstance(item, Entry) else item
        if trouble is not None:
            LOG.debug("backup: %r: %s", trouble.path, trouble.reason)
            skipped.add(trouble)
    return skipped


class _Progress:
    """Tells how far we are; ends a backup that grows without end, such as one of a log that we write ourselves."""

    def __init__(self, expected_bytes: int, report: Report) -> None:
        self._done_bytes = self._told_bytes = 0
        self._expected_bytes = expected_bytes
        self._report = report

    def __call__(self, count: int) -> None:
        self._done_bytes += count
        if self._done_bytes > ATTEMPTS * self._expected_bytes + GROWTH_BYTES:
            raise BackupError("the files grow faster than they can be read", hint="stop what writes them")
        # Showing each small file would take longer than reading it.
        if self._done_bytes - self._told_bytes >= MIB:
            self.tell()

    def tell(self) -> None:
        self._told_bytes = self._done_bytes
        self._report(min(self._done_bytes, self._expected_bytes), self._expected_bytes)
