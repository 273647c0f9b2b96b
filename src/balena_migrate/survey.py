# SPDX-License-Identifier: Apache-2.0
"""Looks at everything before anything is done: facts, image, what moves along; and then at the findings."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from balena_migrate.bootloaders import boot_loaders
from balena_migrate.carried.backup import BackupPlan, plan_backups
from balena_migrate.carried.config_json import NAME, ConfigJson, merged, parse_config_json, read_config_json
from balena_migrate.carried.keep import Kept, config_edits, read_kept
from balena_migrate.carried.reachability import Endpoints, read_endpoints
from balena_migrate.checks import backup as backup_checks
from balena_migrate.checks import config_json as configjson
from balena_migrate.checks import image, memory, platform, storage
from balena_migrate.checks import keep as identity
from balena_migrate.checks import reachability as endpoints
from balena_migrate.checks.backup import Room
from balena_migrate.checks.network import check_network
from balena_migrate.checks.subject import Subject
from balena_migrate.core.errors import FileError, ImageError
from balena_migrate.core.kit import Kit
from balena_migrate.core.system import System
from balena_migrate.devices import device_types_for
from balena_migrate.facts.gather import read_facts
from balena_migrate.findings import Finding, Severity
from balena_migrate.images import Image
from balena_migrate.images.boot_file import BootFile
from balena_migrate.images.filesystems.fat import Fat
from balena_migrate.images.room import grown_room_bytes, room_bytes
from balena_migrate.images.scan import partition_reader, read_image
from balena_migrate.network.model import NetworkSettings
from balena_migrate.network.read import read_network
from balena_migrate.network.select import Selection, boot_files, select_profiles
from balena_migrate.settings import Config
from balena_migrate.ui import progress

EXT4_FREE_PERCENT = 85
"""What a fresh resin-data has free: ext4 takes its tables and reserves 5 % for root (mke2fs.conf(5))."""

CHECKS = (platform.check, storage.check, image.check, memory.check)


@dataclass(frozen=True, kw_only=True)
class Moves:
    """What moves along to the new system. Some of it is secret."""

    network: NetworkSettings
    selection: Selection
    backups: tuple[BackupPlan, ...]
    config_json: ConfigJson | None
    """The user's, else the image's own."""
    config_problem: str
    """Why it cannot be read, "" where it can."""
    kept: Kept
    endpoints: Endpoints


@dataclass(frozen=True, kw_only=True)
class Survey:
    """All that a plan is made of."""

    subject: Subject
    kit: Kit | None
    moves: Moves
    findings: tuple[Finding, ...]
    work_dir: Path

    @property
    def refused(self) -> bool:
        return any(finding.severity is Severity.BLOCKER for finding in self.findings)

    def boot_files(self) -> tuple[BootFile, ...]:
        """The files that go into resin-boot: network settings and config.json. Secret."""
        moves, subject = self.moves, self.subject
        slug = subject.image.identity.slug if subject.image else ""
        edits = config_edits(moves.kept, subject.config, moves.config_json, slug)
        network = boot_files(subject.config, moves.selection, subject.facts.network)
        if moves.config_json is None and not edits:
            return network
        content = merged(moves.config_json, edits, read_image_config(subject.image))
        return (*network, BootFile(path=NAME, content=content))


def look(system: System, config: Config, kit: Kit | None, work_dir: Path) -> Survey:
    """The survey of this device. Changes nothing; `work_dir` is a temporary folder that outlives the survey."""
    facts = read_facts(system, boot_loaders())
    found = find_image(system, config, work_dir)
    moves = find_moves(system, config, facts.network.name_servers, found.image)
    subject = Subject(
        config=config,
        facts=facts,
        image=found.image,
        image_problem=found.problem,
        image_remedy=found.remedy,
        kit_base_bytes=folder_bytes(kit.base) if kit else 0,
        backup_bytes=sum(plan.expected_bytes for plan in moves.backups),
    )
    findings = (*(finding for check in CHECKS for finding in check(subject)), *check_moves(subject, moves))
    return Survey(subject=subject, kit=kit, moves=moves, findings=findings, work_dir=work_dir)


@dataclass(frozen=True, kw_only=True)
class FoundImage:
    """The image, or why there is none and what to do."""

    image: Image | None = None
    problem: str = ""
    remedy: str = ""


def find_image(system: System, config: Config, work_dir: Path) -> FoundImage:
    """The image, read to its last byte."""
    if not config.image_name:
        return FoundImage(problem="no image is named", remedy="set IMAGE_NAME to the name of a file in HOME_DIR")
    path = Path(system.real(config.in_home(config.image_name)))
    try:
        with progress("image") as report:
            return FoundImage(image=read_image(path, work_dir, report))
    except (FileError, ImageError) as error:
        return FoundImage(problem=error.message, remedy=error.hint)


def find_moves(system: System, config: Config, name_servers: tuple[str, ...], image: Image | None) -> Moves:
    """What moves along, as it is on this device now."""
    network = read_network(system)
    config_json, problem = find_config_json(system, config, image)
    user = os.environ.get("SUDO_USER", "")
    return Moves(
        network=network,
        selection=select_profiles(config, network, system),
        backups=plan_backups(config, system),
        config_json=config_json,
        config_problem=problem,
        kept=read_kept(system, config, user=user, country=network.country, name_servers=name_servers),
        endpoints=read_endpoints(config_json, config) if config_json else Endpoints(),
    )


def find_config_json(system: System, config: Config, image: Image | None) -> tuple[ConfigJson | None, str]:
    """The user's config.json, else the image's own, if there is one; or None with the reason."""
    try:
        if config.config_json:
            return read_config_json(system, config), ""
        content = read_image_config(image)
        return parse_config_json(content, f"the image's {NAME}") if content else None, ""
    except FileError as error:
        return None, str(error)


def check_moves(subject: Subject, moves: Moves) -> Iterator[Finding]:
    """The findings on all that moves along."""
    config, facts = subject.config, subject.facts
    identity_of_image = subject.image.identity if subject.image else None
    slug, version = (identity_of_image.slug, identity_of_image.os_version) if identity_of_image else ("", "")
    slugs = tuple(device.slug for device in device_types_for(facts))
    if moves.config_problem:
        remedy = "set CONFIG_JSON to the fleet's config.json"
        yield Finding(code="config-json", severity=Severity.BLOCKER, cause=moves.config_problem, remedy=remedy)
    else:
        yield from configjson.check(moves.config_json, config, image_type=slug, hardware_types=slugs)
    managed = bool(moves.config_json and moves.config_json.is_managed)
    yield from backup_checks.check(moves.backups, config, find_room(subject), os_version=version, managed=managed)
    image_files = identity_of_image.files if identity_of_image else None
    yield from check_network(config, facts.network, moves.network, moves.selection, image_files)
    yield from identity.check(moves.kept, config)
    yield from endpoints.check(moves.endpoints, config)


def find_room(subject: Subject) -> Room:
    """The room for the backups: where they are made, where stage 2 puts them, and where the new system unpacks them."""
    home = subject.facts.disks.find_mount(subject.config.in_home("."))
    home_free = home.free_bytes if home else None
    image, target = subject.image, subject.target
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


def read_image_config(image: Image | None) -> bytes:
    """The image's own config.json; empty where it has none."""
    if image is None or NAME not in image.identity.files:
        return b""
    with open(image.start_file, "rb") as file:
        return Fat(partition_reader(file, image.boot)).read_file(NAME)


def folder_bytes(folder: Path) -> int:
    """The size of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
