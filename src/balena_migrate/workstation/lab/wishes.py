# SPDX-License-Identifier: Apache-2.0
"""What a scenario consists of: a device, its owner's wishes, and the expected result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from balena_migrate.workstation.lab.buses import Bus
from balena_migrate.workstation.lab.guests import Guest
from balena_migrate.workstation.lab.lookalike import ImageSpec
from balena_migrate.workstation.lab.networked import ExpectedProfile
from balena_migrate.workstation.lab.owner import WifiNetwork


@dataclass(frozen=True, kw_only=True)
class Device:
    """A device and the image on it. Memory and disk size are the guest's if they are None."""

    guest: Guest
    image: ImageSpec
    image_part: float = 1.0
    """The fraction of the image file that is present."""
    own_image: bool = False
    """Whether another system takes the place of the one that reports, as in a user's own image (--image)."""
    memory_mib: int | None = None
    disk_mib: int | None = None
    log_drive: bool = False
    """Whether there is a second disk, with one empty ext4 partition."""
    other_disk: bool = False
    """Whether there is another disk of the same size and model, with data. It comes before the boot disk."""
    waste: bool = False
    """Whether all that the old system's file systems do not use is full of waste, and so is more of the disk."""
    bus: Bus = Bus.SATA
    """Where a PC's disks hang."""
    variables_left_bytes: int | None = None
    """If set, how much is left in a UEFI firmware's variable store."""
    boot_folder: str = ""
    """Where stage 1 puts the initramfs, if this device makes it another folder than the guest's."""
    hardware: tuple[str, ...] = ()
    """QEMU's arguments for what else the device has, such as a second network card."""


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What the owner put on the device. `settings` override owner.default_settings."""

    settings: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    """Further files, readable by root only; a file that the guest has keeps its mode."""
    programs: Mapping[str, str] = field(default_factory=dict)
    """Scripts, with mode 0755."""
    removed: tuple[str, ...] = ()
    """Files of the guest that are removed."""
    data_mib: int = 0
    """Additional, incompressible data to back up."""


@dataclass(frozen=True, kw_only=True)
class Expect:
    """What the new system must have in addition to what is read from the device's own files."""

    composed_files: tuple[str, ...] = ()
    """Files in the image's boot partition that the migration must create or replace, besides its own."""
    netplan_networks: frozenset[WifiNetwork] = frozenset()
    """The device's networks that are configured in netplan."""
    profiles: tuple[ExpectedProfile, ...] = ()
    """What the image's NetworkManager must load, if the image contains one."""
    proxy: Mapping[str, str] = field(default_factory=dict)
    """The values that redsocks.conf in resin-boot must have."""
    volumes: Mapping[str, str] = field(default_factory=dict)
    """Folder on the device -> its place in the backup; empty for a plain backup, which keeps the paths."""
    script_folders: tuple[str, ...] = ()
    """Folders on the device that BACKUP_SCRIPT backs up."""
    kept: Mapping[str, object] = field(default_factory=dict)
    """What KEEP must add to config.json."""
    machine_id: str = ""
    """The machine id that KEEP must put into resin-state; "" if KEEP does not ask for it."""
    boot_entry: bool = True
    """Whether a UEFI firmware has room for the new system's entry."""
    grows_data: bool = False
    """Whether the backup does not fit into the image's resin-data."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """The user's changes to a scenario."""

    settings: Mapping[str, str] = field(default_factory=dict)
    overlay: Path | None = None
    config_json: Path | None = None
    image: Path | None = None
    memory_mib: int | None = None
    disk_mib: int | None = None
    keep: bool = False
    record: bool = False
    """Whether all that the device asks of its boot disk is recorded."""
