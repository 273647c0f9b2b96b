# SPDX-License-Identifier: Apache-2.0
"""What the checks look at: the settings, the facts, the image, and what was found of the rest. Gathered before."""

from __future__ import annotations

from dataclasses import dataclass

from balena_migrate.bootloaders import BootLoader, find_boot_loader
from balena_migrate.devices import DeviceType, find_device_type
from balena_migrate.facts import BlockDevice, Facts, Mount
from balena_migrate.images import Image
from balena_migrate.settings import Config


@dataclass(frozen=True, kw_only=True)
class Subject:
    """`image` is None where it could not be read; then `image_problem` says why."""

    config: Config
    facts: Facts
    image: Image | None
    image_problem: str = ""
    image_remedy: str = ""
    kit_base_bytes: int
    """The size of the kit's base part, unpacked; 0 where the tool does not run from a kit."""
    backup_bytes: int = 0
    """What the backup takes at most, compressed."""

    @property
    def root(self) -> Mount | None:
        return self.facts.disks.find_mount("/")

    @property
    def root_device(self) -> BlockDevice | None:
        return self.facts.disks.find_device(self.root.source) if self.root else None

    @property
    def target(self) -> BlockDevice | None:
        """The disk that gets overwritten: the one that holds the root file system; None where it is not just one."""
        disks = self.facts.disks.disks_below("/")
        return disks[0] if len(disks) == 1 else None

    @property
    def log_device(self) -> BlockDevice | None:
        """The partition that LOG_DRIVE names; None where it names none, or none that is there."""
        return self.facts.disks.find_device(self.config.log_drive) if self.config.log_drive else None

    @property
    def boot_loader(self) -> BootLoader | None:
        return find_boot_loader(self.facts)

    @property
    def device_type(self) -> DeviceType | None:
        """The type that the image is for."""
        return find_device_type(self.image.identity.slug) if self.image else None
