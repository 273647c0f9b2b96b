# SPDX-License-Identifier: Apache-2.0
"""Builds small disk images for tests: partition tables byte by byte, FAT with mkfs.fat and mtools."""

from __future__ import annotations

import functools
import json
import struct
import subprocess
import tempfile
import uuid
import zlib
from collections.abc import Sequence
from pathlib import Path

SECTOR = 512
BOOT_START = 2048
BOOT_SECTORS = 16384
"""8 MiB: with clusters of 512 bytes enough of them for FAT16."""

ESP = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
LINUX = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"

Entry = tuple[int, int, int]
"""Type, first sector, number of sectors."""

BOOT_FILES = {
    "balena-image": b"DO NOT REMOVE THIS FILE\n",
    "config.json": b'{"deviceType": "raspberrypi3"}',
    "device-type.json": json.dumps(
        {
            "slug": "raspberrypi3",
            "aliases": ["raspberry-pi3"],
            "arch": "armv7hf",
            "yocto": {"machine": "raspberrypi3"},
        }
    ).encode(),
    "os-release": b'ID="balena-os"\nVERSION="2.15.1+rev2"\nVERSION_ID="2.15.1"\n',
    "overlays/some-long-name.dtbo": b"overlay" * 500,
    "system-connections/resin-sample.ignore": b"[connection]\n",
}


def table_sector(entries: Sequence[Entry], *, disk_id: int = 0, code: bytes = b"") -> bytes:
    """An MBR or an EBR; the first entry of an MBR with a disk id is bootable."""
    sector = bytearray(code.ljust(440, b"\0") + struct.pack("<I", disk_id) + bytes(2))
    for index, (kind, start, count) in enumerate(entries):
        flag = 0x80 if disk_id and index == 0 else 0
        sector += struct.pack("<B3xB3xII", flag, kind, start, count)
    return bytes(sector.ljust(510, b"\0")) + b"\x55\xaa"


def mbr_image(boot_sectors: int = BOOT_SECTORS) -> bytearray:
    """As balenaOS has it: boot, two roots, and an extended partition with state and data."""
    root = BOOT_START + boot_sectors
    extended = root + 8192
    image = bytearray((extended + 14336) * SECTOR)
    entries = [
        (0x0E, BOOT_START, boot_sectors),
        (0x83, root, 4096),
        (0x83, root + 4096, 4096),
        (0x0F, extended, 14336),
    ]
    image[:SECTOR] = table_sector(entries, disk_id=0x1234ABCD)
    put(image, extended, table_sector([(0x83, 2048, 2048), (0x05, 6144, 8192)]))
    put(image, extended + 6144, table_sector([(0x83, 128, 4096)]))
    return image


def put(image: bytearray, sector: int, content: bytes) -> None:
    image[sector * SECTOR : sector * SECTOR + len(content)] = content


def gpt_image(
    partitions: Sequence[tuple[str, str, int, int]] = (
        ("resin-boot", ESP, BOOT_START, BOOT_SECTORS),
        ("resin-rootA", LINUX, 18432, 4096),
    ),
    *,
    sector_bytes: int = SECTOR,
    total_bytes: int = 20 << 20,
) -> bytearray:
    """A protective MBR and a primary GPT; partitions as name, type, first sector, number of sectors."""
    entries = bytearray(128 * 128)
    for index, (name, kind, start, count) in enumerate(partitions):
        entry = uuid.UUID(kind).bytes_le + uuid.UUID(int=index + 1).bytes_le
        entry += struct.pack("<QQQ", start, start + count - 1, 0) + name.encode("utf-16-le")
        entries[index * 128 : index * 128 + len(entry)] = entry
    header = struct.pack("<8sIIIIQQQQ", b"EFI PART", 0x10000, 92, 0, 0, 1, 9, 34, 99)
    header += uuid.UUID(int=0xABCDEF).bytes_le + struct.pack("<QIII", 2, 128, 128, zlib.crc32(entries))
    header = header[:16] + struct.pack("<I", zlib.crc32(header)) + header[20:]
    image = bytearray(total_bytes)
    image[:SECTOR] = table_sector([(0xEE, 1, 0xFFFFFFFF)])
    image[sector_bytes : sector_bytes + len(header)] = header
    image[2 * sector_bytes : 2 * sector_bytes + len(entries)] = entries
    return image


def boot_sectors(bits: int) -> int:
    """mtools takes a file system for FAT32 only where it has 65525 clusters, as Microsoft's specification says."""
    return 69632 if bits == 32 else BOOT_SECTORS


def make_fat(
    path: Path,
    files: dict[str, bytes] = BOOT_FILES,
    *,
    bits: int = 16,
    label: str = "resin-boot",
    cluster_sectors: int = 1,
) -> bytes:
    """A FAT file system with these files; starts programs where this process has not made the same one before."""
    made = _make_fat(tuple(files.items()), bits, label, cluster_sectors)
    path.write_bytes(made)
    return made


@functools.lru_cache(maxsize=8)
def _make_fat(files: tuple[tuple[str, bytes], ...], bits: int, label: str, cluster_sectors: int) -> bytes:
    with tempfile.NamedTemporaryFile() as file:
        file.truncate(boot_sectors(bits) * SECTOR)
        _run("mkfs.fat", "-F", str(bits), "-s", str(cluster_sectors), "-n", label, file.name)
        for folder in sorted({str(parent) for name, _ in files for parent in Path(name).parents} - {"."}):
            _run("mmd", "-i", file.name, f"::{folder}")
        for name, content in files:
            _run("mcopy", "-i", file.name, "-", f"::{name}", data=content)
        return Path(file.name).read_bytes()


def make_image(
    folder: Path,
    files: dict[str, bytes] = BOOT_FILES,
    *,
    bits: int = 16,
    gpt: bool = False,
    label: str = "resin-boot",
) -> bytearray:
    """A small look-alike of a balenaOS image, of 20 MiB (46 MiB with FAT32); starts programs."""
    size = boot_sectors(bits)
    root = BOOT_START + size
    table = [("resin-boot", ESP, BOOT_START, size), ("resin-rootA", LINUX, root, 4096)]
    image = gpt_image(table, total_bytes=(root + 8192) * SECTOR) if gpt else mbr_image(size)
    put(image, BOOT_START, make_fat(folder / "fat.img", files, bits=bits, label=label))
    put(image, root, b"root file system" * 4096)
    return image


def _run(*argv: str, data: bytes = b"") -> None:
    subprocess.run(argv, input=data, check=True, capture_output=True)
