# SPDX-License-Identifier: Apache-2.0
"""Builds small flasher images for tests: a system image in the folder /opt of an ext4 file system."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from balena_migrate.core.units import MIB
from tests.support.images import BOOT_SECTORS, BOOT_START, ESP, LINUX, SECTOR, gpt_image, make_fat, put, table_sector

NEW_NAME = "opt/balena-image-genericx86-64.balenaos-img"
OLD_NAME = "opt/resin-image-genericx86-64.resinos-img"
ROOT_START = BOOT_START + BOOT_SECTORS

FLASH_BOOT = {
    "balena-image-flasher": b"DO NOT REMOVE THIS FILE\n",
    "config.json": b'{"apiKey": "APIKEY", "deviceType": "intel-nuc", "installer": {"target_devices": "sda"}}',
    "device-type.json": b'{"slug": "intel-nuc", "yocto": {"machine": "genericx86-64"}}',
    "grub.cfg_internal": b"set default=0\n",
    "grub.cfg_internal_luks": b"set default=1\n",
    "system-connections/office": b"[connection]\nid=office\ntype=wifi\n",
    "vmlinuz": b"the flasher's own kernel",
}


def make_ext4(path: Path, files: Mapping[str, bytes], size_mib: int = 32, options: Sequence[str] = ()) -> bytes:
    """An ext4 file system with these files; starts programs."""
    folder = path.with_suffix(".folder")
    folder.mkdir()
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    argv = ["mke2fs", "-q", "-F", "-t", "ext4", "-i", "8192", "-L", "flash-rootA", *options]
    subprocess.run([*argv, "-d", str(folder), str(path), f"{size_mib}M"], check=True, capture_output=True)
    return path.read_bytes()


def flasher_image(
    folder: Path, root: bytes, files: Mapping[str, bytes] = FLASH_BOOT, *, gpt: bool = False
) -> bytearray:
    """A flasher image with this file system as its flash-rootA, and these files in flash-boot; starts programs."""
    sectors = len(root) // SECTOR
    if gpt:
        table = [("flash-boot", ESP, BOOT_START, BOOT_SECTORS), ("flash-rootA", LINUX, ROOT_START, sectors)]
        image = gpt_image(table, total_bytes=ROOT_START * SECTOR + len(root) + MIB)
    else:
        image = bytearray(ROOT_START * SECTOR + len(root) + MIB)
        entries = [(0x0E, BOOT_START, BOOT_SECTORS), (0x83, ROOT_START, sectors)]
        image[:SECTOR] = table_sector(entries, disk_id=0x1234ABCD)
    put(image, BOOT_START, make_fat(folder / "flash-boot.img", dict(files), label="flash-boot"))
    put(image, ROOT_START, root)
    return image
