# SPDX-License-Identifier: Apache-2.0
"""The old systems of virtual devices: what is on the disk before its owner wants anything."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from balena_migrate.workstation.lab.disks import Span
from balena_migrate.workstation.lab.machines import Machine

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class GuestDisk:
    """A guest's disk in the cache, which is copied and never started, and the machine for it.

    `root` is its ext4 root file system, `boot` the FAT boot partition of a Raspberry Pi.
    """

    disk: Path
    machine: Machine
    root: Span
    boot: Span | None = None


@dataclass(frozen=True, kw_only=True)
class Guest(ABC):
    """A device with an old system, which has a root shell on the machine's last serial line."""

    name: str
    architecture: str
    """Of the kit that fits, as Debian names it."""
    boot_folder: str
    """Where stage 1 puts the initramfs, relative to the root."""
    old_names: tuple[str, ...]
    """Names of the old root that a new system's command line may not hold."""
    disk_mib: int
    memory_mib: int
    settings: Mapping[str, str] = field(default_factory=dict)
    """Settings that all scenarios on this guest have."""
    reboot: str
    power_off: str
    """The commands for both, in the orderly way."""

    @abstractmethod
    def build(self, disk_mib: int, cache: Path, say: Say) -> GuestDisk:
        """Its disk, from the cache, or made now. Raises LabError where it cannot have this size."""


def put_files(root: Path, files: Mapping[str, str | bytes]) -> None:
    """These files are below the folder."""
    for name, content in files.items():
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
