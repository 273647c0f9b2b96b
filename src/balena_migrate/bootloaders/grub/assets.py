# SPDX-License-Identifier: Apache-2.0
"""Boot code for images that have none, made by the device's own grub-mkimage."""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path

from balena_migrate.bootloaders import BootAssets, ImageBoot
from balena_migrate.core.balena import BOOT_LABEL, ROOT_LABEL
from balena_migrate.core.errors import ImageError
from balena_migrate.core.system import System
from balena_migrate.facts import Firmware
from balena_migrate.images.boot_file import BootFile
from balena_migrate.images.patches import Block

MODULES = "/usr/lib/grub/i386-pc"

BOOT_CODE_BYTES = 440
"""The part of LBA 0 that boot.img may fill; the disk's id and the partition table follow."""

CORE_MODULES = ("biosdisk", "part_msdos", "part_gpt", "fat", "ext2", "normal", "linux", "search", "configfile")
"""All that core.img needs to read grub.cfg from resin-boot and to start a kernel; resin-boot needs no modules then."""


def make_assets(system: System, image: ImageBoot) -> BootAssets:
    """What an image needs that ships no GRUB for BIOS. Raises ImageError if it has no kernel in resin-boot either."""
    files = asset_files(image)
    if not files:
        return BootAssets()
    boot_code, core = _boot_code(system), _core_image(system)
    if 512 + len(core) > image.boot_start_bytes:
        raise ImageError("GRUB's core image does not fit before the first partition")
    return BootAssets(
        files=files,
        blocks=(Block(offset_bytes=0, content=boot_code), Block(offset_bytes=512, content=core)),
    )


def asset_files(image: ImageBoot) -> tuple[BootFile, ...]:
    """grub.cfg for an image that ships no GRUB for BIOS. Raises ImageError if it has no kernel in resin-boot either.

    UEFI firmware starts the image's own loader, and needs nothing of this.
    Images before meta-balena 2.21 (balena-intel v2.21.0+rev1) have no /grub/grub.cfg and maybe no boot code.
    """
    if image.firmware is Firmware.UEFI or (image.has_boot_code and "grub/grub.cfg" in image.boot_files):
        return ()
    if "vmlinuz" not in image.boot_files:
        raise ImageError("the image has neither a GRUB for BIOS nor a kernel in resin-boot that one could start")
    return (BootFile(path="grub/grub.cfg", content=_image_grub_cfg(image).encode()),)


def _boot_code(system: System) -> bytes:
    """boot.img without the partition table's part; as it is made it loads core.img from LBA 1."""
    return system.read_bytes(f"{MODULES}/boot.img")[:BOOT_CODE_BYTES]


def _core_image(system: System) -> bytes:
    """A core.img that finds its configuration on the first partition of the disk that it was started from.

    grub-mkimage's block list says that the rest of the image follows the first sector, which is at LBA 1: the list's
    last entry is 12 bytes before the end of that sector (start LBA as u64, length as u16, segment as u16).
    """
    with tempfile.TemporaryDirectory(prefix="balena-migrate-") as folder:
        path = f"{folder}/core.img"  # grub-mkimage wants to flush its output, which a pipe cannot do
        options = ["--directory", MODULES, "--format", "i386-pc", "--prefix", "(,msdos1)/grub", "--output", path]
        system.run(["grub-mkimage", *options, *CORE_MODULES])
        image = Path(path).read_bytes()
    start, _, segment = struct.unpack_from("<QHH", image, 500)
    if (start, segment) != (2, 0x820):
        raise ImageError(
            "grub-mkimage made a core image with an unknown block list", hint="use the GRUB of Debian 11 to 13"
        )
    return image


def _image_grub_cfg(image: ImageBoot) -> str:
    """How the system of such an image is started: the kernel is in resin-boot, the root is found by its label."""
    initrd = "initrd /initrd.img\n" if "initrd.img" in image.boot_files else ""
    return (
        "serial --unit=0 --speed=115200\n"
        "terminal_output --append serial\n"
        f"search --no-floppy --label --set=root {BOOT_LABEL}\n"
        f"linux /vmlinuz root=LABEL={ROOT_LABEL} rootwait quiet console=tty1 console=ttyS0,115200\n"
        f"{initrd}boot\n"
    )
