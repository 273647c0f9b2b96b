# SPDX-License-Identifier: Apache-2.0
"""Puts on a virtual device's disk what its owner would: the kit, the image, config.json, settings and data."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from balena_migrate.core.progress import Say
from balena_migrate.core.system import System
from balena_migrate.core.units import MIB
from balena_migrate.workstation.kit.build import build_kit
from balena_migrate.workstation.lab import owner
from balena_migrate.workstation.lab.disks import FileSystem, copy_disk, make_disk, make_ext4, mounted_system
from balena_migrate.workstation.lab.expected import Expected, read_expected
from balena_migrate.workstation.lab.foreign import build_foreign
from balena_migrate.workstation.lab.lookalike import Content, build_image, image_content
from balena_migrate.workstation.lab.machines import Machine
from balena_migrate.workstation.lab.variables import copy_store, fill_store
from balena_migrate.workstation.lab.waste import fill_unused
from balena_migrate.workstation.lab.wishes import Device, Expect, Options, Wishes

KIT_FOLDER = "opt/balena-migrate"

LOG_DRIVE_MIB = 64
LOG_DRIVE_UUID = "c5d0a7f2-81b4-4b06-9f5d-27e9a3c864d1"


@dataclass(frozen=True, kw_only=True)
class DataDisk:
    """The names on a disk without a system."""

    table_id: str
    label: str
    uuid: str


LOG_DRIVE = DataDisk(table_id="0x3d0c41a9", label="logs", uuid=LOG_DRIVE_UUID)
OTHER_DISK = DataDisk(table_id="0x1e7b90c4", label="archive", uuid="7d3e9c10-4fb2-4a86-9a1b-c60f2d85e37b")


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A device that is ready to be powered on, and the expected result."""

    device: Device
    wishes: Wishes
    expect: Expect
    machine: Machine
    drives: tuple[Path, ...]
    """The boot disk; behind it the other disk and the log drive if there is one."""
    file_systems: tuple[FileSystem, ...]
    """Those of the old system on the boot disk, the root first."""
    memory_mib: int
    config_json: bytes = field(repr=False)
    content: Content | None
    """What was put into the image; None for a user's own."""
    expected: Expected

    @property
    def disk(self) -> Path:
        return self.drives[0]

    @property
    def other_disk(self) -> Path | None:
        return self.drives[1] if self.device.other_disk else None

    @property
    def fat(self) -> FileSystem | None:
        """The old system's FAT: a Raspberry Pi's boot partition or a PC's EFI partition."""
        return next((system for system in self.file_systems if system.fat), None)

    @property
    def boot_folder(self) -> str:
        """Where stage 1 puts the initramfs, relative to the root folder."""
        return self.device.boot_folder or self.device.guest.boot_folder

    @property
    def boot_fat(self) -> FileSystem | None:
        """That FAT, if it is where stage 1 puts the initramfs."""
        return self.fat if self.fat and self.fat.folder == self.boot_folder else None

    def moved(self, folder: Path) -> Prepared:
        """The same device, whose drives, and its firmware's variables, are in the folder now."""
        return replace(self, drives=tuple(folder / drive.name for drive in self.drives))

    def copied(self, target: Path) -> Prepared:
        """The same device, with its drives, and its firmware's variables, copied to `target`."""
        for drive in self.drives:
            copy_disk(drive, target / drive.name)
        copy_store(self.disk, target / self.disk.name)
        return self.moved(target)


def prepare(
    device: Device, wishes: Wishes, expect: Expect, options: Options, folder: Path, cache: Path, say: Say
) -> Prepared:
    """Create the drives in the folder. Whatever takes long is taken from the cache, or built and put there."""
    guest = device.guest
    built = guest.build(options.disk_mib or device.disk_mib or guest.disk_mib, cache, say)
    own = options.image or (build_foreign(device.image, cache, say) if device.own_image else None)
    image = own or build_image(device.image, cache, say)
    config = options.config_json.read_bytes() if options.config_json else owner.config_json(device.image.device_type)
    settings = {**owner.default_settings(image.name), **guest.settings, **wishes.settings, **options.settings}
    if own and not options.config_json:
        settings["CHANGE_DEVICE_TYPE"] = "TRUE"  # the invented config.json is for another image
    disk = folder / "disk.img"
    copy_disk(built.disk, disk)
    copy_store(built.disk, disk)
    if device.variables_left_bytes is not None:
        fill_store(disk, device.variables_left_bytes)
    say("copying the kit, the image and the owner's files to the device")
    with mounted_system(disk, built.file_systems) as root:
        put_kit(guest.architecture, root, cache, say)
        put_owner_files(root, owner.settings_text(settings), config, wishes)
        put_image(image, root, device.image_part)
        put_overlay(options.overlay, root)
        expected = read_expected(root, expect.script_folders)
    if device.waste:
        say("filling the disk with waste")
        fill_unused(disk, built.file_systems)
    return Prepared(
        device=device,
        wishes=wishes,
        expect=expect,
        machine=replace(built.machine, hardware=device.hardware, bus=device.bus, boot_disk_last=device.other_disk),
        drives=(disk, *_other_drives(device, disk)),
        file_systems=built.file_systems,
        memory_mib=options.memory_mib or device.memory_mib or guest.memory_mib,
        config_json=config,
        content=None if own else image_content(device.image, cache),
        expected=expected,
    )


def _other_drives(device: Device, disk: Path) -> Iterator[Path]:
    if device.other_disk:
        yield make_data_disk(disk.with_name("other.img"), disk.stat().st_size, OTHER_DISK)
    if device.log_drive:
        yield make_data_disk(disk.with_name("log.img"), LOG_DRIVE_MIB * MIB, LOG_DRIVE)


def make_data_disk(disk: Path, size_bytes: int, names: DataDisk) -> Path:
    """Create a disk with one partition and an empty ext4 file system on it."""
    make_ext4(disk, make_disk(disk, size_bytes, table_id=names.table_id), label=names.label, uuid=names.uuid)
    return disk


def put_kit(architecture: str, root: Path, cache: Path, say: Say) -> None:
    """Copy the kit to the device, owned by root, as if it had been unpacked there."""
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        kit = build_kit(architecture, Path(folder) / "kit", cache, say)
        target = root / KIT_FOLDER
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(kit.path, target, symlinks=True)


def put_owner_files(root: Path, settings: str, config_json: bytes, wishes: Wishes) -> None:
    """Write settings, secrets and data, each with the mode that it needs; existing files keep their modes."""
    private = {
        **{name: text.encode() for name, text in {**owner.PRIVATE_FILES, **wishes.files}.items()},
        owner.SETTINGS_FILE: settings.encode(),
        f"{owner.HOME_DIR}/{owner.CONFIG_JSON_NAME}": config_json,
    }
    programs = {name: text.encode() for name, text in wishes.programs.items()}
    for name, content in {**owner.data_files(), **private, **programs}.items():
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = 0o755 if name in programs else 0o600 if name in private else 0o644
        mode = target.stat().st_mode & 0o777 if target.exists() else fresh
        target.write_bytes(content)
        target.chmod(mode)
    for name in wishes.removed:
        (root / name).unlink()
    if wishes.data_mib:
        (root / "srv/depot/recordings").write_bytes(owner.random_bytes("recordings", wishes.data_mib * MIB))


def put_overlay(overlay: Path | None, root: Path) -> None:
    """Copy the folder's files to the device, with their modes, owned by root."""
    if overlay:
        System().run(["cp", "-R", "--preserve=mode,timestamps,links", f"{overlay}/.", root])


def put_image(image: Path, root: Path, part: float) -> None:
    """Copy the image, or the first `part` of it, into HOME_DIR under its own name."""
    size = int(image.stat().st_size * part)
    with image.open("rb") as source, (root / owner.HOME_DIR / image.name).open("wb") as target:
        while size > 0 and (block := source.read(min(size, MIB))):
            target.write(block)
            size -= len(block)
