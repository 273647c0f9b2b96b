# SPDX-License-Identifier: Apache-2.0
"""Puts on a virtual device's disk what its owner would: the kit, the image, config.json, settings, and data."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from balena_migrate.core.system import System
from balena_migrate.workstation.kit.build import build_kit
from balena_migrate.workstation.lab import owner
from balena_migrate.workstation.lab.disks import Span, copy_disk, mounted
from balena_migrate.workstation.lab.expected import Expected, read_expected
from balena_migrate.workstation.lab.guests import build_guest
from balena_migrate.workstation.lab.lookalike import build_image, expected_boot_files, find_spec
from balena_migrate.workstation.lab.scenarios import Scenario

KIT_FOLDER = "opt/balena-migrate"

NOTHING: Mapping[str, str] = MappingProxyType({})

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the user changed of a scenario."""

    settings: Mapping[str, str] = field(default_factory=dict)
    overlay: Path | None = None
    config_json: Path | None = None
    image: Path | None = None
    memory_mib: int | None = None
    disk_mib: int | None = None
    keep: bool = False


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A disk that is ready to be switched on, and what has to come of it."""

    disk: Path
    root: Span
    kernel: Path
    config_json: bytes = field(repr=False)
    boot_files: Mapping[str, str] | None
    """Path -> SHA-256 of the boot partition's files as they are in the image; None for a user's own image."""
    expected: Expected


def prepare(scenario: Scenario, options: Options, folder: Path, cache: Path, say: Say) -> Prepared:
    """The disk is in the folder. What takes long comes from the cache, or is put there."""
    guest = build_guest(scenario.guest, cache, disk_mib=options.disk_mib or scenario.disk_mib, progress=say)
    image = options.image or build_image(scenario.image, cache, say)
    boot_files = None if options.image else expected_boot_files(scenario.image, cache)
    device_type = find_spec(scenario.image).device_type
    config = options.config_json.read_bytes() if options.config_json else owner.config_json(device_type)
    settings = {**owner.default_settings(image.name), **scenario.settings, **options.settings}
    if options.image and not options.config_json:
        settings["CHANGE_DEVICE_TYPE"] = "TRUE"  # the invented config.json is for another image
    disk = folder / "disk.img"
    copy_disk(guest.disk, disk)
    say("putting the kit, the image and the owner's files on the device")
    with mounted(disk, guest.root) as root:
        put_kit(scenario.guest.architecture, root, cache, say)
        put_owner_files(root, owner.settings_text(settings), config, scenario.files)
        put_image(image, root, scenario.image_part)
        put_data(scenario.data_mib, root)
        put_overlay(options.overlay, root)
        expected = read_expected(root)
    return Prepared(
        disk=disk,
        root=guest.root,
        kernel=guest.kernel,
        config_json=config,
        boot_files=boot_files,
        expected=expected,
    )


def put_kit(architecture: str, root: Path, cache: Path, say: Say) -> None:
    """The kit is on the device, owned by root as it would be when unpacked there."""
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        kit = build_kit(architecture, Path(folder) / "kit", cache, say)
        target = root / KIT_FOLDER
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(kit.path, target, symlinks=True)


def put_owner_files(root: Path, settings: str, config_json: bytes, more: Mapping[str, str] = NOTHING) -> None:
    """Settings, secrets and data are on the device, each as private as it has to be; what was there keeps its mode."""
    private = {
        **{name: text.encode() for name, text in {**owner.PRIVATE_FILES, **more}.items()},
        owner.SETTINGS_FILE: settings.encode(),
        f"{owner.HOME_DIR}/{owner.CONFIG_JSON_NAME}": config_json,
    }
    for name, content in {**owner.data_files(), **private}.items():
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        mode = target.stat().st_mode & 0o777 if target.exists() else 0o600 if name in private else 0o644
        target.write_bytes(content)
        target.chmod(mode)


def put_data(size_mib: int, root: Path) -> None:
    """So much more data is in a folder that is backed up."""
    if size_mib:
        (root / "srv/depot/recordings").write_bytes(owner.random_bytes("recordings", size_mib << 20))


def put_overlay(overlay: Path | None, root: Path) -> None:
    """The files of the folder are on the device, with their modes, as root's."""
    if overlay:
        System().run(["cp", "-R", "--preserve=mode,timestamps,links", f"{overlay}/.", root])


def put_image(image: Path, root: Path, part: float) -> None:
    """The first part of the image file is in HOME_DIR, under its name."""
    size = int(image.stat().st_size * part)
    with image.open("rb") as source, (root / owner.HOME_DIR / image.name).open("wb") as target:
        while size > 0 and (block := source.read(min(size, 1 << 20))):
            target.write(block)
            size -= len(block)
