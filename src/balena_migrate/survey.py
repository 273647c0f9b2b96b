"""Looks at everything before anything is done: facts, image, network, backup, config.json; and then at the findings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from balena_migrate.backup import BackupPlan, plan_backup
from balena_migrate.bootfile import BootFile
from balena_migrate.checks import Finding, Severity, configjson, image, memory, platform, storage
from balena_migrate.checks import backup as backup_checks
from balena_migrate.checks.backup import Room
from balena_migrate.checks.subject import Subject
from balena_migrate.config import Config
from balena_migrate.configjson import NAME, merged, read_config_json
from balena_migrate.devices import device_types_for
from balena_migrate.errors import FileError, ImageError
from balena_migrate.facts.gather import read_facts
from balena_migrate.images import Image
from balena_migrate.images.fat import Fat
from balena_migrate.images.read import partition_reader, read_image
from balena_migrate.kit.runtime import Kit
from balena_migrate.network.boot import boot_files, select_profiles
from balena_migrate.network.settings import read_network
from balena_migrate.system import System
from balena_migrate.ui import progress

EXT4_FREE_PERCENT = 85
"""What a fresh resin-data has free: ext4 takes its tables and reserves 5 % for root (mke2fs.conf(5))."""

CHECKS = (platform.check, storage.check, image.check, memory.check)


@dataclass(frozen=True, kw_only=True)
class Survey:
    """All that a plan is made of. `boot_files` hold secrets."""

    subject: Subject
    kit: Kit | None
    backup: BackupPlan | None
    boot_files: tuple[BootFile, ...]
    findings: tuple[Finding, ...]
    work_dir: Path

    @property
    def refused(self) -> bool:
        return any(finding.severity is Severity.BLOCKER for finding in self.findings)


def look(system: System, config: Config, kit: Kit | None, work_dir: Path) -> Survey:
    """The survey of this device. Changes nothing; `work_dir` is a temporary folder that outlives the survey."""
    facts = read_facts(system)
    found, problem, remedy = find_image(system, config, work_dir)
    backup = plan_backup(config, system)
    network = read_network(system)
    selection = select_profiles(config, network, system)
    subject = Subject(
        config=config,
        facts=facts,
        image=found,
        image_problem=problem,
        image_remedy=remedy,
        kit_base_bytes=folder_bytes(kit.base) if kit else 0,
        backup_bytes=backup.expected_bytes if backup else 0,
    )
    config_json, image_config = read_config_json(system, config), read_image_config(found)
    findings = [finding for check in CHECKS for finding in check(subject)]
    slugs = tuple(device.slug for device in device_types_for(facts))
    slug = found.identity.slug if found else ""
    findings += configjson.check(config_json, config, image_type=slug, hardware_types=slugs)
    version = found.identity.os_version if found else ""
    managed = bool(config_json and config_json.is_managed)
    findings += backup_checks.check(backup, config, find_room(subject), os_version=version, managed=managed)
    return Survey(
        subject=subject,
        kit=kit,
        backup=backup,
        boot_files=(
            *boot_files(config, selection, facts.network),
            *((BootFile(path=NAME, content=merged(config_json, {}, image_config)),) if found else ()),
        ),
        findings=tuple(findings),
        work_dir=work_dir,
    )


def find_image(system: System, config: Config, work_dir: Path) -> tuple[Image | None, str, str]:
    """The image, read to its last byte; or None with the reason and the remedy."""
    if not config.image_name:
        return None, "no image is named", "set IMAGE_NAME to the name of a file in HOME_DIR"
    path = Path(system.real(config.in_home(config.image_name)))
    try:
        with progress("image") as report:
            return read_image(path, work_dir, report), "", ""
    except (FileError, ImageError) as error:
        return None, error.message, error.hint


def find_room(subject: Subject) -> Room:
    """The room for the backup, where it is made, where stage 2 puts it, and where the new system unpacks it."""
    home = subject.facts.disks.find_mount(subject.config.in_home("."))
    data = subject.image.data if subject.image else None
    return Room(
        home_free_bytes=home.free_bytes if home else None,
        data_free_bytes=data.size_bytes * EXT4_FREE_PERCENT // 100 if data else None,
        data_grown_bytes=(subject.target.size_bytes - data.start_bytes) * EXT4_FREE_PERCENT // 100
        if subject.target and data
        else None,
    )


def read_image_config(image: Image | None) -> bytes:
    """The image's own config.json; empty where it has none."""
    if image is None or NAME not in image.identity.files:
        return b""
    with open(image.start_file, "rb") as file:
        return Fat(partition_reader(file, image.boot)).read_file(NAME)


def folder_bytes(folder: Path) -> int:
    """The size of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
