# SPDX-License-Identifier: Apache-2.0
"""Are the backups what their owner meant, is there room for them, and will the new system take them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from balena_migrate.carried.backup import BackupPlan, BackupResult
from balena_migrate.carried.backup.plan import SUPERVISOR_NAME
from balena_migrate.carried.backup.supervisor import Restore, find_supervisor, restore
from balena_migrate.carried.backup.tree import Skipped
from balena_migrate.findings import Finding, blocker, passed, warning
from balena_migrate.settings import Config

MIB = 1 << 20
NAMED = 5
MARGIN = 1.25
"""The samples may be that much off."""


@dataclass(frozen=True, kw_only=True)
class Room:
    """Space in bytes; None where it is not known."""

    home_free_bytes: int | None = None
    """Free on the file system that holds HOME_DIR."""
    data_free_bytes: int | None = None
    """For the archive on resin-data as the image brings it: stage 2 copies it there."""
    data_stage2_bytes: int | None = None
    """For the archive once stage 2 has grown resin-data as far as it may; None where it cannot."""
    data_grown_bytes: int | None = None
    """Free on resin-data when the new system has grown it over the rest of the disk: there it is unpacked."""
    disk_bytes: int = 0
    data_start_bytes: int = 0
    """Where resin-data begins on the disk."""

    @property
    def data_limit_bytes(self) -> int | None:
        """The most that the archive may have."""
        if self.data_free_bytes is None:
            return None
        return max(self.data_free_bytes, self.data_stage2_bytes or 0)

    @property
    def data_text(self) -> str:
        """What resin-data has for the archive, with the arithmetic."""
        text = f"resin-data has {_mib_in(self.data_free_bytes or 0)} MiB for it as the image brings it"
        if self.data_stage2_bytes is None:
            return f"{text}, and stage 2 cannot grow it"
        rest = _mib_in(self.disk_bytes - self.data_start_bytes - self.data_stage2_bytes)
        sums = (
            f"{_mib_in(self.disk_bytes)} (disk) - {_mib_in(self.data_start_bytes)} (before it) - {rest} (its own needs)"
        )
        return f"{text}, and {_mib_in(self.data_stage2_bytes)} MiB when stage 2 grows it: {sums}"


def check(
    plans: Sequence[BackupPlan], config: Config, room: Room, *, os_version: str = "", managed: bool = True
) -> Iterator[Finding]:
    """All there is to say before the backups are made.

    `os_version` is the image's ("2.15.1+rev2", "" for unknown); `managed` says whether the new system joins a fleet.
    """
    if not plans:
        yield passed("backup-none", "no backup is made: BACKUP_DIRECTORIES, BACKUP_VOLUMES and BACKUP_SCRIPT are empty")
        return
    for plan in plans:
        yield from _check_sources(plan, config)
        yield from _check_name(plan, config)
        if plan.volumes:
            yield from _check_supervisor(config, os_version, managed)
    if not any(plan.script for plan in plans):
        yield from _check_room(plans, room)


def check_result(result: BackupResult, plan: BackupPlan, room: Room, total_bytes: int) -> Iterator[Finding]:
    """All there is to say once a backup is made; `total_bytes` is the size of all that are."""
    yield from _told(
        "backup-skipped", result.skipped, result.skipped_count, "that are not in the backup as they should be"
    )
    size = f"the backup has {_mib(total_bytes)} MiB"
    if room.data_limit_bytes is not None and total_bytes > room.data_limit_bytes:
        yield blocker("backup-too-large", f"{size}; {room.data_text}", _SMALLER)
    unpacked = plan.unpacked_bytes or result.archive_bytes
    if plan.volumes:
        yield from _check_unpacking(total_bytes, unpacked, room)


_SMALLER = "leave folders out, or carry the data over another way"


def _check_sources(plan: BackupPlan, config: Config) -> Iterator[Finding]:
    for problem in plan.problems:
        yield blocker("backup-source", f"the backup cannot be made: {problem}", _SETTINGS)
    if not plan.script and not plan.problems and plan.file_count == 0:
        yield blocker("backup-empty", "there is no file in the backup", _SETTINGS)
    if plan.script and config.backup_directories != Config().backup_directories:
        cause = "BACKUP_DIRECTORIES is not backed up, because BACKUP_SCRIPT is set"
        yield warning("backup-directories-unused", cause, "name the folders there, or leave one of the two out")
    yield from _told("backup-skips", plan.skipped, plan.skipped_count, "that cannot be in the backup")
    if plan.attributes_count:
        cause = (
            f"{plan.attributes_count} files have access lists, capabilities or other extended attributes, which the"
            " restored files will not have"
        )
        yield warning("backup-attributes", cause, "`getfattr -R -d -m - FOLDER` shows them")


_SETTINGS = "correct BACKUP_DIRECTORIES, BACKUP_VOLUMES or BACKUP_SCRIPT"


def _check_name(plan: BackupPlan, config: Config) -> Iterator[Finding]:
    if plan.volumes:
        names = ", ".join(plan.volumes)
        cause = f"the backup will be {SUPERVISOR_NAME} on resin-data, of which the supervisor makes the volumes {names}"
        remedy = "the fleet's release has to have volumes of these names; else the supervisor retries without end"
        yield warning("backup-volumes", cause, remedy)
    elif config.backup_file == SUPERVISOR_NAME:
        cause = (
            f"the backup will be {plan.name_on_data} on resin-data: {SUPERVISOR_NAME} is the name under which the"
            " supervisor takes a backup for volumes, and it would try without end to restore this one"
        )
        yield passed("backup-renamed", cause)
    else:
        yield passed(
            "backup-plain", f"the backup will be {plan.name_on_data} on resin-data; nothing restores it by itself"
        )


def _check_supervisor(config: Config, os_version: str, managed: bool) -> Iterator[Finding]:
    if not managed:
        cause = "without a fleet the supervisor restores no backup; its file stays on resin-data"
        yield warning("backup-unmanaged", cause, "name the fleet's config.json in CONFIG_JSON")
    version = find_supervisor(os_version, config.image_name)
    if version is None:
        yield warning(
            "backup-supervisor-unknown", "which supervisor the image holds, and what it restores, is not known"
        )
        return
    name = ".".join(map(str, version)) if any(version) else "before 7.16.6"
    outcome = restore(version)
    newer = "use an image of balenaOS 2.44.0 or later"
    if outcome is Restore.IGNORED:
        cause = (
            f"the image's supervisor ({name}) restores no backup: that began with 8.7.0; the file stays on resin-data"
        )
        yield warning("backup-supervisor-old", cause, newer)
    elif outcome is Restore.BROKEN:
        cause = (
            f"the image's supervisor ({name}) fails to restore any backup (9.18.4 to 10.3.3 do), and starts no"
            " application before it has"
        )
        yield blocker("backup-supervisor-broken", cause, f"{newer}, or use BACKUP_DIRECTORIES")
    else:
        yield passed("backup-supervisor", f"the image's supervisor ({name} or later) restores volumes")


def _check_room(plans: Sequence[BackupPlan], room: Room) -> Iterator[Finding]:
    """They lie beside each other, here and on resin-data."""
    archive_bytes, expected_bytes = sum(p.archive_bytes for p in plans), sum(p.expected_bytes for p in plans)
    files = sum(plan.file_count for plan in plans)
    about = f"{files} files, {_mib(archive_bytes)} MiB, compressed about {_mib(expected_bytes)} MiB"
    home = f"HOME_DIR has {_mib_in(room.home_free_bytes or 0)} MiB free"
    places = (
        ("backup-no-room-home", home, room.home_free_bytes),
        ("backup-no-room-data", room.data_text, room.data_limit_bytes),
    )
    for code, text, free in places:
        if free is None or archive_bytes <= free:
            continue
        cause = f"the backup has {about}; {text}"
        if expected_bytes > free:
            yield blocker(code, cause, _SMALLER)
        elif MARGIN * expected_bytes > free:
            yield warning(code, cause, _SMALLER)
    unpacked_bytes = sum(plan.unpacked_bytes for plan in plans if plan.volumes)
    if unpacked_bytes:
        yield from _check_unpacking(expected_bytes, unpacked_bytes, room)
    yield passed("backup-size", f"the backup has {about}")
    if room.data_free_bytes is not None and room.data_free_bytes < expected_bytes <= (room.data_limit_bytes or 0):
        yield passed("backup-grows-data", f"the backup makes stage 2 grow resin-data: {room.data_text}")


def _check_unpacking(size_bytes: int, unpacked_bytes: int, room: Room) -> Iterator[Finding]:
    free = room.data_grown_bytes
    if free is not None and size_bytes + unpacked_bytes > free:
        cause = (
            f"the supervisor needs {_mib(size_bytes)} (packed) + {_mib(unpacked_bytes)} (unpacked)"
            f" = {_mib(size_bytes + unpacked_bytes)} MiB on resin-data, which will have {_mib(free)} MiB"
        )
        yield blocker("backup-no-room-unpacked", cause, _SMALLER)


def _told(code: str, skipped: tuple[Skipped, ...], count: int, what: str) -> Iterator[Finding]:
    if not count:
        return
    named = "; ".join(f"{item.path!r}: {item.reason}" for item in skipped[:NAMED])
    more = f"; and {count - NAMED} more" if count > NAMED else ""
    yield warning(code, f"files {what}: {count}: {named}{more}")


def _mib(count: int) -> int:
    """Of what is needed: rounded up."""
    return -(-count // MIB)


def _mib_in(count: int) -> int:
    """Of what there is: rounded down."""
    return count // MIB
