# SPDX-License-Identifier: Apache-2.0
"""How the initramfs of stage 2 is made: one builder a folder, which holds a `BUILDER`. The folder is the registry.

Every initramfs is for the kernel that runs now, and has the kit's base part and the hand-over in it, so that stage 2
needs nothing from the old system.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Protocol

from balena_migrate.core.efi_variables import EFIVARFS
from balena_migrate.core.plugins import load_all
from balena_migrate.core.system import System
from balena_migrate.facts import FAT, DiskFacts, Facts, Mount
from balena_migrate.findings import Code, Finding
from balena_migrate.settings import InitramfsName

NEW_SYSTEM = ("ext4",)
"""What resin-data and resin-state are."""


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What stage 2 has to reach from the initramfs on this device."""

    kernel_release: str = ""
    kernel_command_line: str = ""
    devices: tuple[str, ...] = ()
    """The kernel's names of the block devices: sda1."""
    file_systems: tuple[str, ...] = NEW_SYSTEM
    """The kernel's names of the file systems."""
    usb_storage: bool = False
    """Whether there is a log drive, which is usually a USB stick."""
    own_initramfs_bytes: int = 0
    """The size of the running kernel's own initramfs; 0 where it has none."""
    small_boot_partition: bool = False
    """Whether the initramfs goes to a FAT partition, as a Raspberry Pi's firmware wants it; some have 43 MiB."""


@dataclass(frozen=True, kw_only=True)
class Module:
    """A kernel module that is a file, and the parameters that this system loads it with."""

    name: str
    path: str
    parameters: str = ""


@dataclass(frozen=True, kw_only=True)
class InitramfsSize:
    """What an initramfs takes: as a file, and in memory once the kernel has unpacked it."""

    packed_bytes: int
    unpacked_bytes: int


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a builder found that it would put into the initramfs, besides the kit's base part and the hand-over."""

    needs: Needs = field(default_factory=Needs)
    """What that is for."""
    modules: tuple[Module, ...] = ()
    """In an order in which they can be loaded; none where the builder's program looks for them itself."""
    text: str = ""
    """For `check` and `plan`: what is in it, and why."""
    size: InitramfsSize = InitramfsSize(packed_bytes=0, unpacked_bytes=0)
    """What this adds to the initramfs, at most."""
    size_text: str = ""
    """How that was estimated."""
    findings: tuple[Finding, ...] = ()
    """What is wrong or worth saying."""


@dataclass(frozen=True, kw_only=True)
class WayBack:
    """The file that decides what the boot loader starts, as it was, for one that does not forget by itself.

    Where stage 2 does not come to restore it, the initramfs does, or goes on into the old system.
    """

    uuid: str
    """Of the FAT file system on which it is."""
    name: str
    """Its path there."""
    content: bytes


class InitramfsBuilder(Protocol):
    """One way to make an initramfs."""

    @property
    def name(self) -> InitramfsName: ...

    @property
    def programs(self) -> tuple[str, ...]:
        """The programs of the device that it needs."""

    @property
    def codes(self) -> tuple[Code, ...]:
        """The codes of its findings."""

    def find(self, system: System, needs: Needs) -> Recipe:
        """What it would put in. Reads only; whatever is wrong is a finding."""

    def build(
        self, system: System, recipe: Recipe, kit_base: Path, handover: bytes, path: str, way_back: WayBack | None
    ) -> InitramfsSize:
        """The initramfs of this builder's recipe is at the path, complete and on the disk; returns its size.

        Without a `way_back`, any reboot leads to the old system. Raises CommandError or FileError; then there is
        nothing at the path.
        """


@cache
def builders() -> tuple[InitramfsBuilder, ...]:
    """All builders, by folder name."""
    return load_all(__name__, __path__, "BUILDER")


def builder_named(name: InitramfsName) -> InitramfsBuilder:
    """The builder that the setting INITRAMFS names."""
    return next(builder for builder in builders() if builder.name is name)


def find_needs(facts: Facts, boot_folder: str, paths: Sequence[str], log_drive: str, log_fs_type: str) -> Needs:
    """What stage 2 has to reach on this device: `/`, /usr, the boot folder, these paths, and any log drive."""
    mounts = _mounts(facts.disks, ("/", "/usr", boot_folder, *paths))
    names = [device.name for mount in mounts if (device := facts.disks.find_device(mount.source))]
    kinds = [mount.fstype for mount in mounts]
    if log_drive:
        names += [device.name] if (device := facts.disks.find_device(log_drive)) else []
        kinds.append(log_fs_type)
    boot = facts.disks.find_mount(boot_folder)
    kinds += [EFIVARFS] if facts.boot.efi and facts.boot.efi.readable else []
    return Needs(
        kernel_release=facts.boot.kernel_release,
        kernel_command_line=facts.boot.kernel_command_line,
        devices=tuple(dict.fromkeys(names)),
        file_systems=tuple(dict.fromkeys((*kinds, *NEW_SYSTEM))),
        usb_storage=bool(log_drive),
        own_initramfs_bytes=facts.boot.initramfs_bytes,
        small_boot_partition=boot is not None and boot.fstype in FAT,
    )


def _mounts(disks: DiskFacts, paths: Sequence[str]) -> list[Mount]:
    found = (disks.find_mount(path) for path in paths)
    return [mount for mount in found if mount is not None and mount.source.startswith("/dev/")]
