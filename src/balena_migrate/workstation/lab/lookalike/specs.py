# SPDX-License-Identifier: Apache-2.0
"""The images for which there are look-alikes: names, sizes and what each boot partition contains.

Sizes and names are those of real balenaOS images (meta-balena: image_types_balena.bbclass, balena-os.inc).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from balena_migrate.core.errors import LabError
from balena_migrate.core.units import MIB
from balena_migrate.workstation.lab.disklayout import Table


class Board(StrEnum):
    """The kind of machine that boots the image."""

    PC = "pc"
    PC_32 = "pc-32"
    PI_ARMV6 = "pi-armv6"
    PI_ARMV7 = "pi-armv7"
    PI_ARM64 = "pi-arm64"

    @property
    def balena_arch(self) -> str:
        """The architecture in device-type.json."""
        return {"pc": "amd64", "pc-32": "i386", "pi-armv6": "rpi", "pi-armv7": "armv7hf", "pi-arm64": "aarch64"}[self]

    @property
    def is_pc(self) -> bool:
        return self in (Board.PC, Board.PC_32)


class BootCode(StrEnum):
    """The boot loader that an image ships."""

    GRUB = "grub"
    """boot.img and core.img at the start of the disk, grub.cfg in resin-boot, the kernel in resin-rootA; and, for UEFI,
    the same as a program in EFI/BOOT with its own grub.cfg."""
    GRUB_BIOS = "grub-bios"
    """Only that for a BIOS."""
    GRUB_EFI = "grub-efi"
    """Only that for UEFI."""
    NONE = "none"
    """Nothing: the kernel is in resin-boot, and the migration must add GRUB and its configuration."""
    FIRMWARE = "firmware"
    """A Raspberry Pi's firmware reads config.txt and cmdline.txt in resin-boot."""


@dataclass(frozen=True, kw_only=True)
class ImageSpec:
    """One image. Its file is named like a download."""

    name: str
    device_type: str
    device_name: str
    machine: str
    aliases: tuple[str, ...] = ()
    board: Board
    boot_code: BootCode
    os_version: str
    supervisor_version: str
    developer: bool = False
    fat_bits: int = 16
    boot_bytes: int = 40 * MIB
    root_bytes: int = 320 * MIB
    state_bytes: int = 20 * MIB
    data_bytes: int = 192 * MIB
    kernel_name: str = ""
    device_trees: tuple[str, ...] = ()
    table: Table = Table.DOS
    boot_entry: str = ""
    """The label of the entry that its flasher adds to a UEFI firmware's (meta-balena, resin-init-flasher)."""
    network_manager: bool = False
    """Whether NetworkManager is in resin-rootA, and reports how it understands the profiles in resin-boot."""
    flasher: bool = False
    """Whether the image is inside of a flasher image, with its GRUB configuration beside it."""

    @property
    def root_files_bytes(self) -> int:
        """The size of all files in resin-rootA: room is left for its journal and its inodes."""
        return min(250 * MIB, self.root_bytes * 3 // 4)

    @property
    def data_files_bytes(self) -> int:
        """The size of all files in resin-data: room is left for a backup."""
        return min(40 * MIB, self.data_bytes // 5)

    xz: bool = False
    """Whether it is packed with xz, which nobody offers for download and many make, in place of gzip."""

    @property
    def renamed(self) -> bool:
        """Whether resinOS had been renamed to balenaOS by then (late 2018)."""
        return self.version >= (2, 29)

    @property
    def file_name(self) -> str:
        prefix = "balena-cloud-lab" if self.renamed else "resin"
        variant = "-dev" if self.developer else ""
        name = f"{prefix}-{self.device_type}-{self.os_version}{variant}-v{self.supervisor_version}"
        return f"{name}.img.{'xz' if self.xz else 'gz'}"

    @property
    def version(self) -> tuple[int, ...]:
        """The version of the system as numbers, for comparisons."""
        return tuple(int(part) for part in self.os_version.partition("+")[0].split("."))


def find_spec(name: str) -> ImageSpec:
    """The image of that name. Raises LabError, which lists all names."""
    if name not in SPECS:
        raise LabError(f"unknown look-alike image {name!r}", hint="one of " + ", ".join(SPECS))
    return SPECS[name]


_NUC = ImageSpec(
    name="intel-nuc",
    device_type="intel-nuc",
    device_name="Intel NUC",
    machine="genericx86-64",
    aliases=("nuc",),
    board=Board.PC,
    boot_code=BootCode.GRUB,
    os_version="2.82.11+rev1",
    supervisor_version="12.9.3",
    kernel_name="bzImage",
    boot_entry="resinOS",
)
_NUC_NETWORK = replace(_NUC, name="intel-nuc-network", network_manager=True)
_NUC_FLASHER = replace(_NUC, name="intel-nuc-flasher", flasher=True)
_NUC_XZ = replace(_NUC, name="intel-nuc-xz", xz=True)
_NUC_2_15 = replace(
    _NUC,
    name="intel-nuc-2.15",
    boot_code=BootCode.NONE,
    os_version="2.15.1+rev2",
    supervisor_version="7.16.6",
    developer=True,
    root_bytes=312 * MIB,
    data_bytes=1024 * MIB,
    kernel_name="vmlinuz",
)
_GENERIC_AMD64 = replace(
    _NUC,
    name="generic-amd64",
    device_type="generic-amd64",
    device_name="Generic x86_64 (GPT)",
    machine="generic-amd64",
    aliases=(),
    boot_code=BootCode.GRUB_EFI,
    os_version="6.5.24",
    supervisor_version="17.0.3",
    root_bytes=1000 * MIB,
    table=Table.GPT,
    boot_entry="balenaOS",
)
_CORE2_32 = replace(
    _NUC,
    name="intel-core2-32",
    device_type="intel-core2-32",
    device_name="Intel 32-bit PC",
    machine="intel-core2-32",
    aliases=(),
    board=Board.PC_32,
    boot_code=BootCode.GRUB_BIOS,
)
_PI = ImageSpec(
    name="raspberry-pi",
    device_type="raspberry-pi",
    device_name="Raspberry Pi (v1 / Zero / Zero W)",
    machine="raspberrypi",
    aliases=("raspberrypi",),
    board=Board.PI_ARMV6,
    boot_code=BootCode.FIRMWARE,
    os_version="2.113.18",
    supervisor_version="14.9.4",
    fat_bits=32,
    kernel_name="kernel.img",
    device_trees=("bcm2708-rpi-b", "bcm2708-rpi-b-plus", "bcm2708-rpi-zero", "bcm2708-rpi-zero-w"),
)
_PI2 = replace(
    _PI,
    name="raspberry-pi2",
    device_type="raspberry-pi2",
    device_name="Raspberry Pi 2",
    machine="raspberrypi2",
    aliases=("raspberrypi2",),
    board=Board.PI_ARMV7,
    kernel_name="kernel7.img",
    device_trees=("bcm2709-rpi-2-b",),
)
_PI3 = replace(
    _PI2,
    name="raspberrypi3",
    device_type="raspberrypi3",
    device_name="Raspberry Pi 3",
    machine="raspberrypi3",
    aliases=(),
    device_trees=("bcm2710-rpi-3-b", "bcm2710-rpi-3-b-plus"),
)
_PI3_2_15 = replace(
    _PI3,
    name="raspberrypi3-2.15",
    os_version="2.15.1+rev2",
    supervisor_version="7.16.6",
    developer=True,
    fat_bits=16,
    root_bytes=312 * MIB,
    data_bytes=1024 * MIB,
)
_PI3_64 = replace(
    _PI3,
    name="raspberrypi3-64",
    device_type="raspberrypi3-64",
    device_name="Raspberry Pi 3 (using 64bit OS)",
    machine="raspberrypi3-64",
    board=Board.PI_ARM64,
    kernel_name="kernel8.img",
)
_PI4_64 = replace(
    _PI3_64,
    name="raspberrypi4-64",
    device_type="raspberrypi4-64",
    device_name="Raspberry Pi 4 (using 64bit OS)",
    machine="raspberrypi4-64",
    device_trees=("bcm2711-rpi-4-b", "bcm2711-rpi-400", "bcm2711-rpi-cm4"),
)
_PI5 = replace(
    _PI4_64,
    name="raspberrypi5",
    device_type="raspberrypi5",
    device_name="Raspberry Pi 5",
    machine="raspberrypi5",
    os_version="6.0.0",
    supervisor_version="16.4.1",
    boot_bytes=80 * MIB,
    root_bytes=640 * MIB,
    device_trees=(),
)

SPECS: dict[str, ImageSpec] = {
    spec.name: spec
    for spec in (
        *(_NUC, _NUC_NETWORK, _NUC_FLASHER, _NUC_XZ, _NUC_2_15, _GENERIC_AMD64, _CORE2_32),
        *(_PI, _PI2, _PI3, _PI3_2_15, _PI3_64, _PI4_64, _PI5),
    )
}
