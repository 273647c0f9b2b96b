# SPDX-License-Identifier: Apache-2.0
"""The old systems of virtual devices: the disk before the owner's files are added."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from balena_migrate.core.progress import Say
from balena_migrate.workstation.lab.disks import FileSystem
from balena_migrate.workstation.lab.machines import Machine

FASTER_KERNEL = "mitigations=off init_on_alloc=0 apparmor=0"
"""Words of a kernel's command line against what only costs time in QEMU: defences against attacks that nobody makes
here, and memory that is cleared twice."""


@dataclass(frozen=True, kw_only=True)
class GuestDisk:
    """A guest's disk in the cache, which is copied and never booted, and its machine.

    `file_systems` are those that the old system mounts from it: the root first, each before those below its folder.
    """

    disk: Path
    machine: Machine
    file_systems: tuple[FileSystem, ...]


@dataclass(frozen=True, kw_only=True)
class Guest(ABC):
    """A device with an old system, which runs a root shell on the machine's last serial port."""

    name: str
    architecture: str
    """The kit's architecture; Debian's name."""
    boot_folder: str
    """Where stage 1 puts the initramfs, relative to the root folder."""
    old_names: tuple[str, ...]
    """Names of the old root file system, which must not be in the new system's kernel command line."""
    disk_mib: int
    memory_mib: int
    settings: Mapping[str, str] = field(default_factory=dict)
    """Settings of all scenarios on this guest."""
    reboot: str
    power_off: str
    """Commands for a clean reboot and shutdown."""

    @abstractmethod
    def build(self, disk_mib: int, cache: Path, say: Say) -> GuestDisk:
        """Return its disk, built unless it is in the cache. Raises LabError if it cannot have this size."""


def put_files(root: Path, files: Mapping[str, str | bytes]) -> None:
    """Write these files below the folder."""
    for name, content in files.items():
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)


def initramfs_files(modules: Iterable[str]) -> dict[str, str]:
    """Files for which mkinitramfs takes these modules only, with fast compression: QEMU is slow.

    With MODULES=dep it would start 600 more programs on the virtual device, to find the same modules.
    """
    return {
        "etc/initramfs-tools/conf.d/lab": "MODULES=list\nCOMPRESS=zstd\nCOMPRESSLEVEL=1\n",
        "usr/share/initramfs-tools/modules.d/lab": "".join(f"{name}\n" for name in modules),
    }
