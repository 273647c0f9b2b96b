# SPDX-License-Identifier: Apache-2.0
"""What a rehearsal is about: a device, what its owner wants, and what has to come of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from balena_migrate.workstation.lab.guests import Guest
from balena_migrate.workstation.lab.lookalike import ImageSpec
from balena_migrate.workstation.lab.networked import ExpectedProfile
from balena_migrate.workstation.lab.owner import WifiNetwork


@dataclass(frozen=True, kw_only=True)
class Device:
    """A device and the image on it. Memory and disk are the guest's where they are None."""

    guest: Guest
    image: ImageSpec
    image_part: float = 1.0
    """The part of the image file that is there."""
    memory_mib: int | None = None
    disk_mib: int | None = None
    log_drive: bool = False
    """Whether there is a second disk, with one empty ext4 partition."""


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What the owner put on the device. `settings` go over owner.default_settings."""

    settings: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    """What else is on the device; root's alone, but for what is there anyhow."""
    programs: Mapping[str, str] = field(default_factory=dict)
    """Scripts, with mode 0755."""
    removed: tuple[str, ...] = ()
    """Files of the guest that are not there."""
    data_mib: int = 0
    """More data to back up, which do not compress."""


@dataclass(frozen=True, kw_only=True)
class Expect:
    """What the new system has to have, besides what is read from the device's own files."""

    composed_files: tuple[str, ...] = ()
    """Files of the image's boot partition that the migration has to make or replace, besides its own."""
    netplan_networks: frozenset[WifiNetwork] = frozenset()
    """Those of the device's networks that are in netplan's form."""
    profiles: tuple[ExpectedProfile, ...] = ()
    """What the image's NetworkManager has to load, where it brings one along."""
    proxy: Mapping[str, str] = field(default_factory=dict)
    """What redsocks.conf in resin-boot has to say."""
    volumes: Mapping[str, str] = field(default_factory=dict)
    """Folder of the device -> its place in the backup; none for a plain backup, which keeps paths as they are."""
    script_folders: tuple[str, ...] = ()
    """Folders of the device that BACKUP_SCRIPT backs up."""
    kept: Mapping[str, object] = field(default_factory=dict)
    """What KEEP has to bring into config.json."""
    machine_id: str = ""
    """The one that KEEP has to bring into resin-state; "" where it is not asked for."""
    grows_data: bool = False
    """Whether the backup does not fit into resin-data as the image brings it."""


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
