# SPDX-License-Identifier: Apache-2.0
"""The survey: everything that is read before anything is judged or changed.

`take_survey` reads; the checks (balena_migrate.checks) judge what it found; `accept` gives what stage 1 works with.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from balena_migrate.bootloaders import BootLoader, boot_loaders, boot_of, find_boot_loader
from balena_migrate.carried.backup import BackupPlan, plan_backups
from balena_migrate.carried.config_json import ConfigJson, merged, parse_config_json, read_config_json
from balena_migrate.carried.keep import PreservedSettings, config_edits, read_preserved
from balena_migrate.carried.reachability import Endpoints, read_endpoints
from balena_migrate.core.balena import CONFIG_JSON
from balena_migrate.core.errors import FileError, ImageError, RefusedError
from balena_migrate.core.kit import Kit
from balena_migrate.core.kit_sums import BASE, check_folder
from balena_migrate.core.paths import STATE_DIR
from balena_migrate.core.progress import Progress
from balena_migrate.core.system import System
from balena_migrate.devices import DeviceType, device_types_for, find_device_type
from balena_migrate.facts import BlockDevice, Facts, Mount
from balena_migrate.facts.gather import read_facts
from balena_migrate.findings import BLOCKS, PASSES, WARNS, Code, Finding, blocker, is_refused, warning
from balena_migrate.images import Image, ImageKind
from balena_migrate.images.boot_file import BootFile
from balena_migrate.images.boot_room import BootRoom, find_boot_room
from balena_migrate.images.filesystems.fat import Fat
from balena_migrate.images.flasher import gzip_name, read_system_image
from balena_migrate.images.known import find_known, is_unchanged, now_s, read_source, remember
from balena_migrate.images.scan import partition_reader, read_image
from balena_migrate.initramfs import Needs, Recipe, builder_named, find_needs
from balena_migrate.network.model import NetworkSettings
from balena_migrate.network.read import read_network
from balena_migrate.network.select import Selection, boot_files, select_profiles
from balena_migrate.settings import Config

LOG = logging.getLogger(__name__)

CODES = (
    Code(
        "image",
        BLOCKS + PASSES,
        "The image was read to its last byte and is for this device; or it is missing, damaged, changing or useless.",
        "Set IMAGE_NAME to a complete balenaOS image in HOME_DIR.",
    ),
    Code(
        "config-json",
        BLOCKS + PASSES,
        "config.json is complete; or it cannot be read or is not valid JSON.",
        "Set CONFIG_JSON to the fleet's config.json.",
    ),
    Code(
        "config-json-missing",
        WARNS,
        "Neither CONFIG_JSON nor the image provides a config.json: the new system will not join a fleet.",
        "Set CONFIG_JSON to the fleet's config.json.",
    ),
    Code(
        "image-boot-files",
        BLOCKS,
        "The image's boot partition cannot take what the new system needs there: something else is in its place, or"
        " the image has nothing to start.",
        "Use another image of this device type.",
    ),
)
_OTHER = "use another image of this device type"

EXTRACTED = "extracted-"
"""How the name of the image begins that stage 1 takes out of a flasher image, in HOME_DIR."""


@dataclass(frozen=True, kw_only=True)
class Payload:
    """What is carried over to the new system. Some of it is secret."""

    network: NetworkSettings = field(default_factory=NetworkSettings)
    selection: Selection = field(default_factory=Selection)
    backups: tuple[BackupPlan, ...] = ()
    config_json: ConfigJson | None = None
    """The user's, else the image's own."""
    image_config_json: bytes = field(default=b"", repr=False)
    """The content of the image's own config.json; empty if it has none."""
    preserved: PreservedSettings = field(default_factory=PreservedSettings)
    endpoints: Endpoints = field(default_factory=Endpoints)


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What was found; nothing of it is judged yet.

    `image` is None if it could not be read, as is `payload.config_json`; `problems` then says why.
    """

    config: Config
    facts: Facts
    image: Image | None
    payload: Payload = field(default_factory=Payload)
    problems: tuple[Finding, ...] = ()
    kit: Kit | None = None
    kit_base_bytes: int = 0
    """The size of the kit's base part, unpacked; 0 where the tool does not run from a kit."""
    kit_identity: str = ""
    """What tells the kit from every other; "" where it has no list."""
    kit_faults: tuple[str, ...] = ()
    """What of its base part is not as it was made."""
    boot_room: BootRoom | None = None
    """The room in resin-boot for what is put there; None where the image is not for this device."""
    initramfs: Recipe = field(default_factory=Recipe)
    """What stage 2 has to reach from the initramfs, and what that gets for it."""
    work_dir: Path
    """A temporary folder that outlives the survey."""

    @property
    def root(self) -> Mount | None:
        return self.facts.disks.find_mount("/")

    @property
    def home(self) -> Mount | None:
        """The file system of HOME_DIR."""
        return self.facts.disks.find_mount(self.config.in_home("."))

    @property
    def root_device(self) -> BlockDevice | None:
        return self.facts.disks.find_device(self.root.source) if self.root else None

    @property
    def target(self) -> BlockDevice | None:
        """The disk that will be overwritten: the one with the root file system; None if that is on several."""
        disks = self.facts.disks.disks_below("/")
        return disks[0] if len(disks) == 1 else None

    @property
    def log_device(self) -> BlockDevice | None:
        """The partition that LOG_DRIVE names; None if it names none, or one that does not exist."""
        return self.facts.disks.find_device(self.config.log_drive) if self.config.log_drive else None

    @property
    def boot_loader(self) -> BootLoader | None:
        return find_boot_loader(self.facts)

    @property
    def device_type(self) -> DeviceType | None:
        """The type that the image is for."""
        return find_device_type(self.image.identity.slug) if self.image else None

    @property
    def backup_bytes(self) -> int:
        """The expected size of all backups, compressed."""
        return sum(plan.expected_bytes for plan in self.payload.backups)

    def boot_files(self) -> tuple[BootFile, ...]:
        """The files to put into resin-boot: network settings and config.json. Secret."""
        payload = self.payload
        network = boot_files(self.config, payload.selection, self.facts.network)
        slug = self.image.identity.slug if self.image else ""
        edits = config_edits(payload.preserved, self.config, payload.config_json, slug)
        if payload.config_json is None and not edits:
            return network
        content = merged(payload.config_json, edits, payload.image_config_json)
        return (*network, BootFile(path=CONFIG_JSON, content=content))

    def asset_files(self) -> tuple[BootFile, ...]:
        """The boot loader's own files for resin-boot, where the image does not bring it.

        Raises ImageError if the image cannot be booted.
        """
        if self.image is None or self.boot_loader is None:
            return ()
        return self.boot_loader.asset_files(boot_of(self.image, self.facts.boot.firmware))


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """A survey in which no finding prevents the migration, so that nothing is missing."""

    survey: Survey
    image: Image
    target: BlockDevice
    boot_loader: BootLoader
    device_type: DeviceType
    kit: Kit

    @property
    def config(self) -> Config:
        return self.survey.config

    @property
    def facts(self) -> Facts:
        return self.survey.facts

    @property
    def payload(self) -> Payload:
        return self.survey.payload


def accept(survey: Survey, findings: Iterable[Finding]) -> Accepted:
    """The survey, for stage 1. Raises RefusedError if one of the findings prevents the migration."""
    image, target, loader, device_type = survey.image, survey.target, survey.boot_loader, survey.device_type
    if is_refused(findings) or not (image and target and loader and device_type and survey.kit):
        raise RefusedError(
            "this device cannot be migrated as it is", hint="see the findings above; nothing was changed"
        )
    return Accepted(
        survey=survey, image=image, target=target, boot_loader=loader, device_type=device_type, kit=survey.kit
    )


def take_survey(
    system: System, config: Config, kit: Kit | None, work_dir: Path, progress: Progress, *, fresh: bool
) -> Survey:
    """The survey of this device; with `fresh` the image is read also where it is known from an earlier call.

    Changes nothing but the temporary folder `work_dir` and what is known of the image.
    """
    facts = read_facts(system, boot_loaders())
    config = follow_links(system, config)
    image = find_known_image(system, config, work_dir, progress, fresh=fresh)
    return survey_with(system, config, facts, image, kit=kit, work_dir=work_dir)


def follow_links(system: System, config: Config) -> Config:
    """The settings with the paths to which links in them lead: stage 2 finds a file by the file system that holds it.

    LOG_DRIVE may be a link of udev's, /dev/disk/by-uuid/... for one. Raises FileError.
    """
    return replace(
        config,
        home_dir=system.without_links(config.home_dir),
        image_name=system.without_links(config.in_home(config.image_name)) if config.image_name else "",
        log_drive=system.without_links(config.log_drive) if config.log_drive else "",
    )


def survey_with(
    system: System, config: Config, facts: Facts, image: Image | Finding, *, kit: Kit | None, work_dir: Path
) -> Survey:
    """The survey of a device whose facts and image are known."""
    usable = image if isinstance(image, Image) else None
    network = read_network(system, facts.network, usable.identity.os_version if usable else None)
    image_config_json = read_image_config(usable)
    config_json = find_config_json(system, config, image_config_json)
    known = config_json if isinstance(config_json, ConfigJson) else None
    payload = Payload(
        network=network,
        selection=select_profiles(config, network, system),
        backups=plan_backups(config, system),
        config_json=known,
        image_config_json=image_config_json,
        preserved=read_preserved(
            system,
            config,
            user=os.environ.get("SUDO_USER", ""),
            country=network.country,
            name_servers=facts.network.name_servers,
        ),
        endpoints=read_endpoints(known, config) if known else Endpoints(),
    )
    kit_identity, kit_faults = read_kit(kit) if kit else ("", ())
    survey = Survey(
        config=config,
        facts=facts,
        image=usable,
        payload=payload,
        problems=tuple(found for found in (image, config_json) if isinstance(found, Finding)),
        kit=kit,
        kit_base_bytes=folder_bytes(kit.base) if kit else 0,
        kit_identity=kit_identity,
        kit_faults=kit_faults,
        initramfs=builder_named(config.initramfs).find(system, survey_needs(config, facts)),
        work_dir=work_dir,
    )
    room = read_boot_room(survey)
    if isinstance(room, Finding):
        return replace(survey, problems=(*survey.problems, room))
    return replace(survey, boot_room=room)


def survey_needs(config: Config, facts: Facts) -> Needs:
    """What stage 2 has to reach from the initramfs on this device."""
    loader = find_boot_loader(facts)
    paths = (STATE_DIR, config.home_dir, config.in_home(config.image_name))
    folder = loader.boot_folder(facts) if loader else "/boot"
    return find_needs(facts, folder, paths, config.log_drive, config.log_fs_type)


def find_known_image(
    system: System, config: Config, work_dir: Path, progress: Progress, *, fresh: bool
) -> Image | Finding:
    """As find_image(). A file that has not changed since an earlier call is not read again, unless `fresh`; one that
    changes meanwhile is a reason why there is no image."""
    if not config.image_name:
        return find_image(system, config, work_dir, progress)
    path = config.in_home(config.image_name)
    try:
        source, start_s = read_source(system.real(path), _extracted(config, path)), now_s()
    except (FileError, OSError):
        return find_image(system, config, work_dir, progress)
    if not fresh and (known := find_known(system, source, work_dir)):
        LOG.info("the image has not changed since it was read")
        return known
    image = find_image(system, config, work_dir, progress)
    if isinstance(image, Image):
        if not is_unchanged(source):
            cause = f"{path} was changed while it was read"
            return blocker("image", cause, "wait until nothing writes to it, then run this again")
        remember(system, source, image, start_s)
    return image


def _extracted(config: Config, path: str) -> Path:
    """Where the image is put that stage 1 takes out of the flasher image at `path`."""
    return Path(config.in_home(f"{EXTRACTED}{gzip_name(Path(path).name)}"))


def find_image(system: System, config: Config, work_dir: Path, progress: Progress) -> Image | Finding:
    """The image, read to its last byte, or the reason why there is none; of a flasher image, the one inside."""
    if not config.image_name:
        return blocker("image", "no image is named", "set IMAGE_NAME to the name of a file in HOME_DIR")
    try:
        with progress("image") as report:
            image = read_image(system.real(config.in_home(config.image_name)), work_dir, report)
        if image.identity.kind is not ImageKind.FLASHER:
            return image
        with progress("system image") as report:
            return read_system_image(image, _extracted(config, str(image.path)), work_dir, system, report)
    except (FileError, ImageError) as error:
        return blocker("image", error.message, error.hint)


def find_config_json(system: System, config: Config, image_config_json: bytes) -> ConfigJson | Finding:
    """The user's config.json, else the image's own; or the reason why there is none."""
    try:
        if found := read_config_json(system, config):
            return found
        if image_config_json:
            return parse_config_json(image_config_json, f"the image's {CONFIG_JSON}")
    except FileError as error:
        return blocker("config-json", str(error), "set CONFIG_JSON to the fleet's config.json")
    cause = "there is no config.json: the new system will not join a fleet, and nobody can reach it remotely"
    return warning("config-json-missing", cause, "set CONFIG_JSON to the fleet's config.json")


def read_image_config(image: Image | None) -> bytes:
    """The image's own config.json; empty if it has none."""
    if image is None or CONFIG_JSON not in image.identity.files:
        return b""
    with image.start_file.open("rb") as file:
        return Fat(partition_reader(file, image.boot)).read_file(CONFIG_JSON)


def read_boot_room(survey: Survey) -> BootRoom | Finding | None:
    """The room in resin-boot for what is put there, or why that cannot be put there; None where the image is not for
    this device, which is said elsewhere."""
    image = survey.image
    if image is None or survey.boot_loader is None or survey.device_type not in device_types_for(survey.facts):
        return None
    try:
        files = (*survey.boot_files(), *survey.asset_files())
        with image.start_file.open("rb") as file:
            return find_boot_room(Fat(partition_reader(file, image.boot)), files)
    except ImageError as error:
        return blocker(
            "image-boot-files", f"the new system's boot partition cannot be composed: {error.message}", _OTHER
        )


def folder_bytes(folder: Path) -> int:
    """The size of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def read_kit(kit: Kit) -> tuple[str, tuple[str, ...]]:
    """The kit's identity, "" if it has no list, and what of its base part is not as it was made.

    That part becomes stage 2, which nobody can mend. The rest is not compared: all 30 MiB would take a Raspberry Pi
    Zero more than a second (OpenSSL's sha256-armv4.pl: 35 cycles a byte), and what fails in stage 1 is rolled back.
    """
    try:
        return kit.identity(), check_folder(kit.path, BASE).faults
    except FileError as error:
        return "", (str(error),)
