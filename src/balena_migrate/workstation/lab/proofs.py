# SPDX-License-Identifier: Apache-2.0
"""The checks of the new system, each with what was expected and what was found.

Expectations come from what was put on the device, never from what the migration reported.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from balena_migrate.core.changes import ActionName
from balena_migrate.core.units import in_mib
from balena_migrate.settings import Config
from balena_migrate.workstation.lab import owner
from balena_migrate.workstation.lab.disklayout import Table
from balena_migrate.workstation.lab.disks import Span, mounted
from balena_migrate.workstation.lab.expected import parse_keyfile
from balena_migrate.workstation.lab.lookalike import Report, ReportedFile
from balena_migrate.workstation.lab.networked import profiles_check, proxy_check
from balena_migrate.workstation.lab.owner import WifiNetwork
from balena_migrate.workstation.lab.prepare import Prepared
from balena_migrate.workstation.lab.result import Check, not_compared, same
from balena_migrate.workstation.lab.snapshot import file_hash
from balena_migrate.workstation.lab.wishes import Device, Expect, Wishes

LABELS = ("resin-boot", "resin-rootA", "resin-rootB", "resin-state", "resin-data")
CONNECTIONS = "system-connections/"
CONFIG_JSON = "config.json"
MACHINE_ID = "machine-id"
PROXY = "system-proxy/redsocks.conf"
LOG = "migrate.log"
VOLUMES_BACKUP = "volumes.tgz"
SUPERVISORS_BACKUP, PLAIN_BACKUP = "backup.tgz", "migration-backup.tgz"
"""Their names in resin-data: the first is the one from which the supervisor restores volumes."""


@dataclass(frozen=True, kw_only=True)
class Armed:
    """The old system's disk after stage 1 rebooted the device."""

    backups: Mapping[str, str]
    """Name in HOME_DIR -> SHA-256."""
    initramfs_bytes: int
    changes: tuple[str, ...]
    """What stage 1 changed: the titles in its journal."""
    names: tuple[ActionName, ...] = ()
    """The same by name."""


def read_backups(root: Path, config: Config) -> dict[str, str]:
    """The backups that stage 1 made, as in Armed; the old system is mounted at `root`."""
    files = {name: root / config.in_home(name).lstrip("/") for name in backup_names(config)}
    return {name: file_hash(path) for name, path in files.items() if path.exists()}


def backup_names(config: Config) -> tuple[str, ...]:
    """The possible names of backups in HOME_DIR."""
    return (config.backup_file, VOLUMES_BACKUP)


@contextlib.contextmanager
def on_new_disk(disk: Path, report: Report, label: str) -> Iterator[Path | None]:
    """The new system's file system with this label, mounted read-only; None if it reported none."""
    part = report.find_partition(label)
    if part is None:
        yield None
        return
    span = Span(start_bytes=part.start_bytes, size_bytes=part.size_bytes)
    with mounted(disk, span, read_only=True) as root:
        yield root


@contextlib.contextmanager
def backups_on_disk(disk: Path, armed: Armed, report: Report) -> Iterator[dict[str, Path]]:
    """Name in HOME_DIR -> the backup in the new disk's resin-data, readable within the context."""
    places = {name: find_backup(digest, report) for name, digest in armed.backups.items()}
    with on_new_disk(disk, report, "resin-data") as root:
        yield {name: root / place for name, place in places.items() if root and place}


ReadBootFile = Callable[[str], bytes]
FilesByLabel = Mapping[str, Mapping[str, str]]
"""Label -> path -> SHA-256."""


def new_system_checks(
    prepared: Prepared, armed: Armed, report: Report, read_boot: ReadBootFile, backups: Mapping[str, Path]
) -> Iterator[Check]:
    """All checks of a migrated device. `backups` are the files as found on it."""
    expect, expected = prepared.expect, prepared.expected
    yield same("partition labels", LABELS, tuple(part.label for part in by_number(report)))
    yield same("file systems with errors", "none", _list(p.label for p in report.partitions if p.check_status))
    yield _grown(report)
    if report.partition_table == Table.GPT:
        yield same(
            "backup of the GPT at the disk's end when the new system started", expected=True, found=report.backup_at_end
        )
    yield _command_line(report, prepared.device)
    yield _config_json(prepared, report.config_json)
    if prepared.content is not None:
        yield from _files(prepared.content.files, expect, armed, report)
    yield _networks(prepared, report, read_boot)
    if expected.unforeseen:
        yield not_compared("Wi-Fi networks of a kind that the rehearsal cannot predict", expected.unforeseen)
    if expect.profiles:
        yield profiles_check(expect.profiles, report)
    if expect.proxy:
        yield proxy_check(expect.proxy, _read_reported(PROXY, report, read_boot))
    yield _private(armed, report)
    if expected.config.backup_volumes:
        yield from _backup(VOLUMES_BACKUP, SUPERVISORS_BACKUP, armed, report)
        yield _backup_content("BACKUP_VOLUMES", volume_files(prepared.wishes, expect), backups.get(VOLUMES_BACKUP))
    name = expected.config.backup_file
    if expected.config.backup_script or expected.config.backup_directories:
        yield from _backup(name, PLAIN_BACKUP if name == SUPERVISORS_BACKUP else name, armed, report)
    if expected.backup is not None:
        setting = "BACKUP_SCRIPT" if expected.config.backup_script else "BACKUP_DIRECTORIES"
        yield _backup_content(setting, expected.backup, backups.get(name))


def machine_id_check(expected: str, state: Path | None) -> Check:
    """Check the old system's machine id in resin-state, which is mounted at `state`."""
    file = state / MACHINE_ID if state else None
    found = file.read_text().strip() if file and file.is_file() else "none"
    return same("machine id in resin-state", expected, found)


def by_number(report: Report) -> list[Any]:
    return sorted(report.partitions, key=lambda part: part.number)


def _grown(report: Report) -> Check:
    data = report.find_partition("resin-data")
    return Check(
        name="the data partition was grown",
        passed=data is not None and report.data_bytes_before < data.size_bytes,
        expected=f"more than {in_mib(report.data_bytes_before)}",
        found=in_mib(data.size_bytes) if data else "no data partition",
    )


def _command_line(report: Report, device: Device) -> Check:
    """A Raspberry Pi's has no root=: the look-alike finds its own root file system."""
    old = [name for name in device.guest.old_names if name in report.command_line]
    return Check(
        name="kernel command line of the new system",
        passed=not old and ("root=" in report.command_line or not device.image.board.is_pc),
        expected="the new system's root=, and no name of the old root file system",
        found=report.command_line,
    )


def _config_json(prepared: Prepared, found: bytes) -> Check:
    """Every key that the owner set or KEEP carries over has its value; the image may add keys of its own."""
    expected: dict[str, Any] = {**json.loads(prepared.config_json), **prepared.expect.kept}
    if prepared.expected.config.change_device_type:
        expected.pop("deviceType", None)
    values: dict[str, Any] = json.loads(found) if found.strip() else {}
    wrong = [key for key, value in expected.items() if values.get(key) != value]
    return Check(
        name="config.json in resin-boot",
        passed=not wrong,
        expected=f"all {len(expected)} expected keys, with their values",
        found=f"wrong or missing: {_list(wrong)}" if wrong else f"all {len(expected)} keys",
    )


def _files(image: FilesByLabel, expect: Expect, armed: Armed, report: Report) -> Iterator[Check]:
    """Every file of the image has its SHA-256, and only files of the migration are new or different."""
    made = {file.path for file in report.boot_files if file.path.startswith(CONNECTIONS)} - set(image["resin-boot"])
    yield _files_check("resin-boot", image, report.boot_files, {CONFIG_JSON, *expect.composed_files, *made})
    yield _files_check("resin-rootA", image, report.root_files, set())
    yield _files_check("resin-state", image, report.state_files, {MACHINE_ID} if expect.machine_id else set())
    backups = {path for digest in armed.backups.values() if (path := find_backup(digest, report))}
    yield _files_check("resin-data", image, report.data_files, {LOG, *backups})


def _files_check(label: str, image: FilesByLabel, reported: Iterable[ReportedFile], ours: set[str]) -> Check:
    """Check the files of a file system; those of `ours` must be there, with any content."""
    expected = {path: digest for path, digest in image[label].items() if path not in ours}
    found = {file.path: file.sha256 for file in reported}
    wrong = [f"-{path}" for path in sorted({*expected, *ours}) if path not in found]
    wrong += [f"~{path}" for path, digest in expected.items() if found.get(path, digest) != digest]
    wrong += [f"+{path}" for path in sorted(found) if path not in expected and path not in ours]
    unchanged = f"{len(expected)} files, unchanged"
    return Check(
        name=f"other files in {label} are unchanged",
        passed=not wrong,
        expected=unchanged,
        found=f"{len(wrong)} files: {_list(wrong)}" if wrong else unchanged,
    )


def _networks(prepared: Prepared, report: Report, read_boot: ReadBootFile) -> Check:
    """The keyfiles on the new system describe the owner's networks, and are numbered from the first free number.
    Passphrases are compared but not shown. Networks that could not be predicted may be present, too."""
    expected = prepared.expected.networks | prepared.expect.netplan_networks
    files = [file for file in report.boot_files if file.path.startswith(f"{CONNECTIONS}resin-wifi")]
    found = {network for file in files if (network := _network(file, read_boot))}
    first = 2 if prepared.expected.config.has_wifi_cfg else 1
    names = {f"{CONNECTIONS}resin-wifi-{number:02}" for number in range(first, first + len(files))}
    more = len(files) - len(expected)
    return Check(
        name="Wi-Fi networks, with their passphrases",
        passed=expected <= found
        and 0 <= more <= len(prepared.expected.unforeseen)
        and names == {file.path for file in files},
        expected=_list([*sorted(network.ssid for network in expected), f"numbered from resin-wifi-{first:02}"]),
        found=_list(
            [
                *sorted(f"{n.ssid}{'' if n in expected else ' (differs)'}" for n in found),
                *sorted(file.path.removeprefix(CONNECTIONS) for file in files),
            ]
        ),
    )


def _network(file: ReportedFile, read_boot: ReadBootFile) -> WifiNetwork | None:
    """The network that a keyfile describes; None if its content is not what the new system reported."""
    content = read_boot(file.path)
    if hashlib.sha256(content).hexdigest() != file.sha256:
        return None
    try:
        return parse_keyfile(content.decode())
    except ValueError:
        return None


def _read_reported(path: str, report: Report, read_boot: ReadBootFile) -> bytes:
    """The content that the new system reported; b"" if the file is missing or has changed since."""
    file = report.find_boot_file(path)
    content = read_boot(path) if file else b""
    return content if file and hashlib.sha256(content).hexdigest() == file.sha256 else b""


def _private(armed: Armed, report: Report) -> Check:
    """What was copied to resin-data is readable by root only: backups contain secrets."""
    paths = {LOG, *(find_backup(digest, report) or LOG for digest in armed.backups.values())}
    found = {f"{f.path} {f.mode:o} {f.uid}:{f.gid}" for f in report.data_files if f.path in paths}
    wanted = {f"{path} 600 0:0" for path in paths}
    return same("modes and owners of the files in resin-data", _list(sorted(wanted)), _list(sorted(found)))


def _backup(name: str, name_on_data: str, armed: Armed, report: Report) -> Iterator[Check]:
    digest = armed.backups.get(name, "not made")
    expected = f"{name_on_data}, sha256 {digest[:16]}"
    place = find_backup(digest, report)
    found = f"{place}, sha256 {digest[:16]}" if place else "no such file"
    yield same(f"backup {name} is in resin-data, as stage 1 created it", expected, found)


def find_backup(digest: str, report: Report) -> str | None:
    """The path in resin-data of the backup with this SHA-256."""
    return next((file.path for file in report.data_files if file.sha256 == digest), None)


def volume_files(wishes: Wishes, expect: Expect) -> dict[str, str]:
    """Name in the archive -> SHA-256 of every file that the volumes must contain."""
    files = owner.data_files() | {name: text.encode() for name, text in wishes.files.items()}
    return {
        place + name.removeprefix(folder): hashlib.sha256(content).hexdigest()
        for folder, place in expect.volumes.items()
        for name, content in files.items()
        if name.startswith(f"{folder}/")
    }


def _backup_content(setting: str, expected: Mapping[str, str], backup: Path | None) -> Check:
    found = _read_archive(backup) if backup else {}
    lost = [name for name, digest in expected.items() if found.get(name) != digest]
    return Check(
        name=f"the backup contains the files of {setting}",
        passed=not lost,
        expected=f"{len(expected)} files",
        found=f"missing or different: {_list(lost[:20])}" if lost else f"{len(expected)} files",
    )


def _read_archive(path: Path) -> dict[str, str]:
    """Name -> SHA-256 of every file."""
    with tarfile.open(path) as archive:
        return {member.name: _member_hash(archive, member) for member in archive if member.isfile()}


def _member_hash(archive: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    file = archive.extractfile(member)
    return hashlib.sha256(file.read() if file else b"").hexdigest()


def _list(items: Iterable[str]) -> str:
    return ", ".join(items) or "none"
