# SPDX-License-Identifier: Apache-2.0
"""Partition tables of images and disks: read by us, read by sfdisk, and written."""

from __future__ import annotations

import json
import struct
import subprocess
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from balena_migrate.images import Image
from balena_migrate.images.filesystems.ext import ExtFileSystem
from balena_migrate.images.partitions import PartitionTable, Read
from balena_migrate.images.partitions.table import read_table
from balena_migrate.images.patches import Block
from tests.support.surveys import some_image

DATA_FILE_SYSTEM = ExtFileSystem(
    block_bytes=4096,
    blocks=49152,
    free_blocks=43000,
    first_block=0,
    group_blocks=32768,
    inode_table_blocks=1024,
    descriptors_per_block=64,
    reserved_descriptor_blocks=23,
    can_grow=True,
    incompatible=0x2C2,
    read_only_compatible=0x46B,
)
"""About as balenaOS's own."""


def reader(image: bytes | bytearray) -> Read:
    return lambda offset, length: bytes(image[offset : offset + length])


def with_right_sums(raw: bytes | bytearray) -> bytes:
    """The start of a disk with a GPT, damaged and summed anew, so that the sums hide nothing."""
    disk = bytearray(raw)
    if disk[512:520] != b"EFI PART" or len(disk) < 1024:
        return bytes(disk)
    (size,) = struct.unpack_from("<I", disk, 512 + 12)
    lba, count, entry_bytes = struct.unpack_from("<QII", disk, 512 + 72)
    start = min(lba * 512, len(disk))
    struct.pack_into("<I", disk, 512 + 88, zlib.crc32(disk[start : start + count * entry_bytes]))
    struct.pack_into("<I", disk, 512 + 16, 0)
    struct.pack_into("<I", disk, 512 + 16, zlib.crc32(disk[512 : 512 + min(size, 512)]))
    return bytes(disk)


def rows(table: PartitionTable) -> list[tuple[int, int, int, str]]:
    return [(p.number, p.start_bytes // 512, p.size_bytes // 512, p.type) for p in table.partitions]


def image_of(path: Path, system: ExtFileSystem | None = DATA_FILE_SYSTEM) -> Image:
    """What read_image() finds, but for the boot partition: there is none in these."""
    records = []

    def read(offset: int, length: int) -> bytes:
        with path.open("rb") as file:
            file.seek(offset)
            content = file.read(length)
        if offset:
            records.append(Block(offset_bytes=offset, content=content))
        return content

    return replace(
        some_image(),
        size_bytes=path.stat().st_size,
        table=read_table(read),
        start_file=path,
        extended_records=tuple(records),
        data_file_system=system,
    )


def put_blocks(path: Path, blocks: Sequence[Block], disk_bytes: int) -> None:
    """As the flash does it: the image's file becomes the disk."""
    with path.open("r+b") as file:
        file.truncate(disk_bytes)
        for block in blocks:
            file.seek(block.offset_bytes)
            file.write(block.content)


def read_by_sfdisk(disk: Path) -> dict[str, Any]:
    done = subprocess.run(["sfdisk", "--json", disk], check=True, capture_output=True, text=True)
    assert done.stderr == "", "a table that sfdisk would repair"
    table: dict[str, Any] = json.loads(done.stdout)["partitiontable"]
    return table


def assert_sound(disk: Path) -> None:
    done = subprocess.run(["sfdisk", "--verify", disk], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert "No errors detected" in done.stdout
