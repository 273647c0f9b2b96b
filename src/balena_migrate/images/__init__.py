# SPDX-License-Identifier: Apache-2.0
"""What is true of an image file: how it is packed, its partitions, and which balenaOS it holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from balena_migrate.core.block_map import BlockMap
from balena_migrate.core.units import SECTOR_BYTES
from balena_migrate.images.filesystems.ext import ExtFileSystem
from balena_migrate.images.filesystems.ext_files import Run
from balena_migrate.images.partitions import Partition, PartitionTable
from balena_migrate.images.patches import Block, Patches


class ImageKind(StrEnum):
    """RAW is balenaOS itself; FLASHER is a system that installs it from a stick; UNKNOWN is anything else."""

    RAW = "raw"
    FLASHER = "flasher"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Which balenaOS an image holds, by its boot partition; empty text where a file or field is missing."""

    kind: ImageKind
    label: str
    """The boot partition's file system label: resin-boot, flash-boot ..."""
    slug: str
    """The device type, from device-type.json."""
    aliases: tuple[str, ...]
    arch: str
    """balena's name of the architecture: rpi, armv7hf, aarch64, i386, amd64."""
    machine: str
    """Yocto's name of the machine."""
    os_version: str
    """VERSION of os-release ("2.15.1+rev2"); flasher images have no os-release in their boot partition."""
    files: tuple[str, ...]
    """All files of the boot partition."""
    has_bios_boot_code: bool
    """GRUB's boot.img in sector 0, and a place for core.img: behind it in an MBR image, in a GPT a partition."""
    efi_machine: int | None = None
    """The machine for which EFI/BOOT/bootx64.efi is built, as images.efi_program names it; None where it is missing."""
    boot_sector_bytes: int = SECTOR_BYTES
    """Of the logical sectors of the boot partition's file system."""


@dataclass(frozen=True, kw_only=True)
class Inside:
    """Where an image is that is yet to be taken out of a flasher image: see images.flasher."""

    flasher: Path
    flasher_bytes: int
    """The size of the flasher image on a disk."""
    size_bytes: int
    runs: tuple[Run, ...]
    """Where in the flasher image its bytes are; what is between two runs is zeros."""
    sha256: str
    """Of the image as it is there, unpacked."""
    patches: Patches
    """What the flasher would put into its boot partition."""


@dataclass(frozen=True, kw_only=True)
class Image:
    """An image file that was read to its last byte and found to be sound.

    `size_bytes` is its size on the disk. `start_file` is a sparse file that holds the image's first MiB and its boot
    partition, each at its place in the image; nothing else of the image is in it.
    """

    path: Path
    format: str
    """The name of its format: see images.formats."""
    file_bytes: int
    sha256: str
    """Of the file as it is."""
    size_bytes: int
    table: PartitionTable
    boot: Partition
    start_file: Path
    identity: Identity
    extended_records: tuple[Block, ...] = ()
    """The sectors that describe the logical partitions of an MBR, in the order of their chain."""
    data_file_system: ExtFileSystem | None = None
    """resin-data's as the image brings it; None if it is no ext4 file system."""
    block_map: BlockMap = field(default_factory=BlockMap)
    """What of it is free by its own file systems."""
    bmap: str = ""
    """The name of the bmap beside the file, with which it was compared; empty if there is none."""
    unpacking_bytes: int = 0
    """The memory that unpacking the file takes."""
    prepared_bytes: int = 0
    """About the size of its prepared form: see images.prepare."""
    inside: Inside | None = None
    """If not None, the file is not there yet: `path` is where it will be, and `file_bytes` about its size."""
    original: Image | None = None
    """The same, where stage 1 prepares the file from this one."""

    @property
    def is_there(self) -> bool:
        """Whether the file is there before stage 1."""
        return self.inside is None and self.original is None

    @property
    def write_bytes(self) -> int:
        """What of it is written to the disk."""
        return self.size_bytes - self.block_map.free_bytes

    def free_bytes(self, partition: Partition) -> int:
        """What of a partition is free."""
        inside = (free for free in self.block_map.free if partition.start_bytes <= free.start_bytes)
        return sum(free.size_bytes for free in inside if free.end_bytes <= partition.end_bytes)

    @property
    def data(self) -> Partition:
        """resin-data: the last partition of every balenaOS image, and the one that the new system grows."""
        return max(self.table.partitions, key=lambda partition: partition.start_bytes)
