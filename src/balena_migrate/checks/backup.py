# SPDX-License-Identifier: Apache-2.0
"""Are the backups what their owner meant, is there room for them, and will the new system accept them?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from balena_migrate.carried.backup import BackupPlan, BackupResult
from balena_migrate.carried.backup.supervisor import Restore, find_supervisor, restore
from balena_migrate.carried.backup.tree import Skipped
from balena_migrate.core.balena import SUPERVISOR_BACKUP
from balena_migrate.core.units import MIB, format_size
from balena_migrate.findings import BLOCKS, PASSES, WARNS, Code, Finding, blocker, passed, warning
from balena_migrate.images.room import grown_room_bytes, room_bytes
from balena_migrate.settings import Config
from balena_migrate.survey import Survey

NAMED = 5
MARGIN = 1.25
"""The samples may be off by this factor."""

EXT4_FREE_PERCENT = 85
"""The free part of a fresh resin-data: ext4 needs its tables and reserves 5 % for root (mke2fs.conf(5))."""

SLOW_S = 3600
"""A backup that takes longer is warned of: who waits at a prompt may take it for dead, and pull the plug."""

_SMALLER = "leave folders out, or transfer the data some other way"
_NEWER = "use an image of balenaOS 6.12.4 or later"
_SETTINGS = "correct BACKUP_DIRECTORIES, BACKUP_VOLUMES or BACKUP_SCRIPT"

_ROOM = "Leave folders out of the backup, or transfer the data some other way."
_KEYS = "Correct BACKUP_DIRECTORIES, BACKUP_VOLUMES or BACKUP_SCRIPT."
_RELEASE = "Use an image of balenaOS 6.12.4 or later."
CODES = (
    Code("backup-none", PASSES, "No backup is configured."),
    Code("backup-source", BLOCKS, "A source of the backup does not exist or cannot be used.", _KEYS),
    Code("backup-empty", BLOCKS, "The backup would not contain a single file.", _KEYS),
    Code(
        "backup-directories-unused",
        WARNS,
        "BACKUP_DIRECTORIES is ignored, because BACKUP_SCRIPT is set.",
        "Let the script back up these folders, or clear one of the two settings.",
    ),
    Code("backup-skips", WARNS, "Some files cannot be backed up (sockets, for example)."),
    Code("backup-attributes", WARNS, "Some files have access lists, capabilities or attributes that get lost."),
    Code("backup-skipped", WARNS, "Some files changed or could not be read while the backup was being made."),
    Code("backup-too-large", BLOCKS, "The finished backup does not fit on resin-data.", _ROOM),
    Code(
        "backup-volumes",
        WARNS,
        "The supervisor will create volumes from the backup.",
        "The fleet's release must declare volumes of these names; otherwise the supervisor retries forever.",
    ),
    Code("backup-renamed", PASSES, "The backup gets another name on resin-data, so that nothing tries to restore it."),
    Code("backup-plain", PASSES, "The name of the backup on resin-data."),
    Code(
        "backup-unmanaged",
        WARNS,
        "Without a fleet, the supervisor restores no backup.",
        "Set CONFIG_JSON to the fleet's config.json.",
    ),
    Code("backup-supervisor", PASSES, "The image's supervisor restores volumes."),
    Code(
        "backup-supervisor-unknown",
        BLOCKS,
        "The version of the image's supervisor is unknown, and some supervisors lose a backup or never start with one.",
        f"{_RELEASE} Or keep the image's full name, which ends in the supervisor's version.",
    ),
    Code("backup-supervisor-old", WARNS, "The image's supervisor is too old to restore a backup.", _RELEASE),
    Code("backup-supervisor-broken", BLOCKS, "The image's supervisor fails to restore any backup.", _RELEASE),
    Code("backup-no-room-home", BLOCKS + WARNS, "HOME_DIR does not, or may not, have room for the backup.", _ROOM),
    Code("backup-no-room-data", BLOCKS + WARNS, "resin-data does not, or may not, have room for the backup.", _ROOM),
    Code("backup-no-room-unpacked", BLOCKS, "resin-data has no room for the unpacked backup.", _ROOM),
    Code("backup-size", PASSES, "The expected size of the backup."),
    Code(
        "backup-sparse",
        WARNS,
        "Files in the backup are mostly holes, which the archive contains as zeros: it takes longer to make, and"
        " unpacked it takes their full size.",
        "Leave these files out of BACKUP_DIRECTORIES or BACKUP_VOLUMES, or empty those that nobody needs.",
    ),
    Code(
        "backup-slow",
        WARNS,
        "Making the backup takes more than an hour, by samples that were compressed on this device.",
        "Run it where a lost connection does not end it (systemd-run, tmux), or leave folders out of the backup.",
    ),
    Code("backup-grows-data", PASSES, "Stage 2 will grow resin-data's file system, so that the backup fits."),
)


@dataclass(frozen=True, kw_only=True)
class Room:
    """Space in bytes; None if it is not known."""

    home_free_bytes: int | None = None
    """Free on the file system that holds HOME_DIR."""
    data_free_bytes: int | None = None
    """For the archive on resin-data as the image brings it: stage 2 copies it there."""
    data_stage2_bytes: int | None = None
    """For the archive once stage 2 has grown resin-data as far as it may; None if it cannot."""
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


def find_room(survey: Survey) -> Room:
    """The room for the backups: where they are made, where stage 2 puts them, and where the new system unpacks them."""
    image, target = survey.image, survey.target
    home = survey.home
    taken = 0 if image is None or image.is_there else image.file_bytes
    home_free = max(0, home.free_bytes - taken) if home else None
    if image is None:
        return Room(home_free_bytes=home_free)
    if target is None:
        return Room(home_free_bytes=home_free, data_free_bytes=room_bytes(image))
    rest = target.size_bytes - image.data.start_bytes
    return Room(
        home_free_bytes=home_free,
        data_free_bytes=room_bytes(image),
        data_stage2_bytes=grown_room_bytes(image, target.size_bytes),
        data_grown_bytes=rest * EXT4_FREE_PERCENT // 100,
        disk_bytes=target.size_bytes,
        data_start_bytes=image.data.start_bytes,
    )


def check(survey: Survey) -> Iterator[Finding]:
    payload = survey.payload
    os_version = survey.image.identity.os_version if survey.image else ""
    managed = bool(payload.config_json and payload.config_json.is_managed)
    room = find_room(survey)
    yield from check_plans(payload.backups, survey.config, room, os_version=os_version, managed=managed)


def check_plans(
    plans: Sequence[BackupPlan], config: Config, room: Room, *, os_version: str = "", managed: bool = True
) -> Iterator[Finding]:
    """The findings before the backups are made.

    `os_version` is the image's ("2.15.1+rev2", "" for unknown); `managed` says whether the new system joins a fleet.
    """
    if not plans:
        yield passed(
            "backup-none", "no backup configured (BACKUP_DIRECTORIES, BACKUP_VOLUMES and BACKUP_SCRIPT are empty)"
        )
        return
    for plan in plans:
        yield from _check_sources(plan, config)
        yield from _check_name(plan, config)
        if plan.volumes:
            yield from _check_supervisor(config, os_version, managed=managed)
    if not any(plan.script for plan in plans):
        yield from _check_time(plans)
        yield from _check_room(plans, room)


def check_result(result: BackupResult, plan: BackupPlan, room: Room, total_bytes: int) -> Iterator[Finding]:
    """The findings once a backup is made; `total_bytes` is the size of all that are."""
    if result.skipped_count:
        named = _named(result.skipped, result.skipped_count)
        yield warning("backup-skipped", f"files that are missing or changed in the backup: {named}")
    size = f"the backup has {_mib(total_bytes)} MiB"
    if room.data_limit_bytes is not None and total_bytes > room.data_limit_bytes:
        yield blocker("backup-too-large", f"{size}; {room.data_text}", _SMALLER)
    unpacked = plan.unpacked_bytes or result.archive_bytes
    if plan.volumes:
        yield from _check_unpacking(total_bytes, unpacked, room)


def _check_sources(plan: BackupPlan, config: Config) -> Iterator[Finding]:
    for problem in plan.problems:
        yield blocker("backup-source", f"the backup cannot be made: {problem}", _SETTINGS)
    if not plan.script and not plan.problems and plan.file_count == 0:
        yield blocker("backup-empty", "the backup would not contain a single file", _SETTINGS)
    if plan.script and config.backup_directories != Config().backup_directories:
        cause = "BACKUP_DIRECTORIES is not backed up, because BACKUP_SCRIPT is set"
        yield warning(
            "backup-directories-unused", cause, "let the script back up the folders, or clear one of the two settings"
        )
    if plan.skipped_count:
        yield warning("backup-skips", f"files that cannot be backed up: {_named(plan.skipped, plan.skipped_count)}")
    if plan.attributes_count:
        cause = (
            f"{plan.attributes_count} files have access lists, capabilities or other extended attributes, which the"
            " restored files will not have"
        )
        yield warning("backup-attributes", cause, "`getfattr -R -d -m - FOLDER` shows them")


def _check_name(plan: BackupPlan, config: Config) -> Iterator[Finding]:
    if plan.volumes:
        names = ", ".join(plan.volumes)
        cause = (
            f"the backup will be {SUPERVISOR_BACKUP} on resin-data, from which the supervisor creates the volumes"
            f" {names}"
        )
        remedy = "the fleet's release must declare volumes of these names; otherwise the supervisor retries forever"
        yield warning("backup-volumes", cause, remedy)
    elif config.backup_file == SUPERVISOR_BACKUP:
        cause = (
            f"the backup will be {plan.name_on_data} on resin-data: {SUPERVISOR_BACKUP} is the name under which the"
            " supervisor looks for a backup of volumes, and it would try forever to restore this one"
        )
        yield passed("backup-renamed", cause)
    else:
        yield passed(
            "backup-plain", f"the backup will be {plan.name_on_data} on resin-data; nothing restores it automatically"
        )


def _check_supervisor(config: Config, os_version: str, *, managed: bool) -> Iterator[Finding]:
    if not managed:
        cause = "without a fleet the supervisor does not restore the backup; the file stays on resin-data"
        yield warning("backup-unmanaged", cause, "set CONFIG_JSON to the fleet's config.json")
    oldest, newest = find_supervisor(os_version, PurePosixPath(config.image_name).name)
    outcome = restore(oldest, newest)
    name = ".".join(map(str, oldest)) + (" or later" if oldest != newest else "")
    if outcome is Restore.UNKNOWN:
        cause = (
            "it is unknown which supervisor the image contains: 9.18.4 to 10.3.3 never start an application where there"
            " is a backup of volumes, and 13.0.0 to 17.6.14 do not restore it"
        )
        named = "keep the image's full name, which ends in the supervisor's version (-v12.11.38.img.gz)"
        yield blocker("backup-supervisor-unknown", cause, f"{_NEWER}; or {named}; or use BACKUP_DIRECTORIES")
    elif outcome is Restore.IGNORED:
        cause = "the image's supervisor is older than 8.7.0 and restores no backup; it stays on resin-data"
        yield warning("backup-supervisor-old", cause, _NEWER)
    elif outcome is Restore.BROKEN:
        cause = (
            f"the image's supervisor ({name}) fails to restore any backup (9.18.4 to 10.3.3 do), and starts no"
            " application before it succeeds"
        )
        yield blocker("backup-supervisor-broken", cause, f"{_NEWER}, or BACKUP_DIRECTORIES")
    elif outcome is Restore.LOST:
        cause = (
            f"the image's supervisor ({name}) fails to restore any backup (13.0.0 to 17.6.14 do): the applications"
            " start with empty volumes, and the first release that it saw is set again every 30 s"
        )
        yield blocker("backup-supervisor-broken", cause, f"{_NEWER}, or BACKUP_DIRECTORIES")
    else:
        yield passed("backup-supervisor", f"the image's supervisor ({name}) restores volumes")


def _check_room(plans: Sequence[BackupPlan], room: Room) -> Iterator[Finding]:
    """All of them are kept at the same time, here and on resin-data."""
    archive_bytes, expected_bytes = sum(p.archive_bytes for p in plans), sum(p.expected_bytes for p in plans)
    files = sum(plan.file_count for plan in plans)
    about = f"{files} files, {_mib(archive_bytes)} MiB, compressed about {_mib(expected_bytes)} MiB"
    home = f"the backup has {about}; HOME_DIR has {_mib_in(room.home_free_bytes or 0)} MiB free"
    data = f"the backup has {about}; {room.data_text}"
    if make := _finding_for(archive_bytes, expected_bytes, room.home_free_bytes):
        yield make("backup-no-room-home", home, _SMALLER)
    if make := _finding_for(archive_bytes, expected_bytes, room.data_limit_bytes):
        yield make("backup-no-room-data", data, _SMALLER)
    unpacked_bytes = sum(plan.unpacked_bytes for plan in plans if plan.volumes)
    if unpacked_bytes:
        yield from _check_unpacking(expected_bytes, unpacked_bytes, room)
    yield passed("backup-size", f"the backup has {about}")
    if room.data_free_bytes is not None and room.data_free_bytes < expected_bytes <= (room.data_limit_bytes or 0):
        yield passed("backup-grows-data", f"the backup makes stage 2 grow resin-data: {room.data_text}")


def _check_time(plans: Sequence[BackupPlan]) -> Iterator[Finding]:
    seconds = sum(plan.expected_s for plan in plans)
    takes = f"making the backup takes at least {_duration(seconds)} on this device"
    if sparse := [file for plan in plans for file in plan.sparse]:
        named = "; ".join(
            f"{file.path!r} has {format_size(file.size_bytes)}, of which {format_size(file.hole_bytes)} are holes"
            for file in sparse
        )
        cause = (
            f"the archive contains the holes of files as zeros, and unpacked they take up their full size: {named};"
            f" {takes}"
        )
        remedy = (
            "name folders without them in BACKUP_DIRECTORIES or BACKUP_VOLUMES; `truncate -s 0 FILE` empties one that"
            " nobody needs, such as /var/log/lastlog"
        )
        yield warning("backup-sparse", cause, remedy)
    if seconds > SLOW_S:
        remedy = (
            "start `run` so that a lost connection does not end it (with systemd-run or tmux), or leave folders out of"
            " the backup"
        )
        yield warning("backup-slow", takes, remedy)


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds > SLOW_S else f"{max(1, round(seconds / 60))} minutes"


def _finding_for(archive_bytes: int, expected_bytes: int, free: int | None) -> Callable[..., Finding] | None:
    """A blocker where the backup is not expected to fit, a warning where that is close; None if it will fit."""
    if free is None or archive_bytes <= free or MARGIN * expected_bytes <= free:
        return None
    return blocker if expected_bytes > free else warning


def _check_unpacking(size_bytes: int, unpacked_bytes: int, room: Room) -> Iterator[Finding]:
    free = room.data_grown_bytes
    if free is not None and size_bytes + unpacked_bytes > free:
        cause = (
            f"the supervisor needs {_mib(size_bytes)} (packed) + {_mib(unpacked_bytes)} (unpacked)"
            f" = {_mib(size_bytes + unpacked_bytes)} MiB on resin-data, which will have {_mib(free)} MiB"
        )
        yield blocker("backup-no-room-unpacked", cause, _SMALLER)


def _named(skipped: tuple[Skipped, ...], count: int) -> str:
    named = "; ".join(f"{item.path!r}: {item.reason}" for item in skipped[:NAMED])
    more = f"; and {count - NAMED} more" if count > NAMED else ""
    return f"{count}: {named}{more}"


def _mib(count: int) -> int:
    """What is needed, rounded up."""
    return -(-count // MIB)


def _mib_in(count: int) -> int:
    """What is available, rounded down."""
    return count // MIB
