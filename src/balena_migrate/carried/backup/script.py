# SPDX-License-Identifier: Apache-2.0
"""A backup that BACKUP_SCRIPT makes, and the look into it that we owe the device before it is overwritten."""

from __future__ import annotations

import contextlib
import gzip
import os
import stat
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from balena_migrate.carried.backup.plan import BackupPlan
from balena_migrate.core.errors import BackupError
from balena_migrate.core.system import System, temporary_beside
from balena_migrate.core.units import MIB

TIME_LIMIT_S = 4 * 3600.0
_CHUNK_BYTES = MIB


@dataclass(frozen=True, kw_only=True)
class MadeArchive:
    """An archive that was read to its end."""

    size_bytes: int
    archive_bytes: int
    member_count: int
    sha256: str


def run_script(system: System, plan: BackupPlan, path: str) -> MadeArchive:
    """The script has made a complete gzip tar archive, which is at `path` with mode 0600, flushed.

    The script gets as its argument a path in a folder of its own that nobody else can read. Raises CommandError with
    its last lines where it fails or runs out of time, BackupError if what it made is no archive or, for
    BACKUP_VOLUMES, not one that the supervisor restores. In both cases what was at `path` stays.
    """
    with _work_folder(system, path) as folder:
        made = str(PurePosixPath(folder) / PurePosixPath(path).name)
        system.run([plan.script, made], timeout_s=TIME_LIMIT_S)
        archive = _inspect(system, made, plan)
        with system.updating(made) as file:
            os.fchmod(file.fileno(), 0o600)
        system.move(made, path)
    return archive


@contextlib.contextmanager
def _work_folder(system: System, path: str) -> Iterator[str]:
    folder = str(temporary_beside(PurePosixPath(path)))
    system.remove_tree(folder)
    system.make_dir(folder, mode=0o700)
    try:
        yield folder
    finally:
        system.remove_tree(folder)


def _inspect(system: System, path: str, plan: BackupPlan) -> MadeArchive:
    if not system.exists(path) or not stat.S_ISREG(system.stat(path, follow=False).st_mode):
        hint = "it has to write to the path that it gets as its argument"
        raise BackupError(f"{plan.script} did not make the backup", hint=hint)
    try:
        with system.open(path) as packed, gzip.open(packed) as data:
            count = sum(_check_member(member, plan) for member in _members(data))
            while data.read(_CHUNK_BYTES):
                pass
            archive_bytes = data.tell()
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise BackupError(f"what {plan.script} made is not a readable .tar.gz file: {error}") from None
    if count == 0:
        raise BackupError(f"what {plan.script} made is an empty archive")
    digest = system.digest(path)
    return MadeArchive(
        size_bytes=digest.size_bytes, archive_bytes=archive_bytes, member_count=count, sha256=digest.sha256
    )


def _members(data: gzip.GzipFile) -> Iterator[tarfile.TarInfo]:
    """The members of a tar stream, each forgotten before the next: an archive may have millions."""
    with tarfile.open(fileobj=data, mode="r|") as tar:
        while (member := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]
            yield member


def _check_member(member: tarfile.TarInfo, plan: BackupPlan) -> int:
    """1, to count with. For volumes, raises BackupError for a member that the supervisor would choke on."""
    if not plan.volumes:
        return 1
    parts = PurePosixPath(member.name).parts
    hint = "each entry must be ./volume/..., as in `tar -C folder -czf file .`"
    if not (member.name == "." or member.name.startswith("./")) or ".." in parts:
        raise BackupError(f"what {plan.script} made holds {member.name!r}", hint=hint)
    if parts and parts[0] not in plan.volumes:
        raise BackupError(f"{plan.script} packed {parts[0]!r}, which BACKUP_VOLUMES does not name", hint=hint)
    if len(parts) == 1 and not member.isdir():
        raise BackupError(f"{plan.script} packed {parts[0]!r}, which is not a folder", hint=hint)
    if member.islnk() and not _is_inside(member.linkname, plan):
        reason = f"packed {member.name!r} as a hard link to {member.linkname!r}, which is in no volume"
        raise BackupError(f"{plan.script} {reason}", hint=hint)
    if member.issparse():
        raise BackupError(f"{plan.script} packed {member.name!r} as a sparse file", hint="leave out tar's --sparse")
    return 1


def _is_inside(name: str, plan: BackupPlan) -> bool:
    """Whether it is the name of something in a volume."""
    parts = PurePosixPath(name).parts
    return name.startswith("./") and ".." not in parts and parts[:1] != () and parts[0] in plan.volumes
