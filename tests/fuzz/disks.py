# SPDX-License-Identifier: Apache-2.0
"""Readers of partition tables and file systems."""

from __future__ import annotations

import functools
import struct
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from balena_migrate.core.errors import FileError, ImageError
from balena_migrate.core.units import KIB, MIB
from balena_migrate.images.filesystems.ext import SUPERBLOCK_OFFSET, ExtFileSystem, parse_superblock, read_file_system
from balena_migrate.images.filesystems.ext_features import features_beyond
from balena_migrate.images.filesystems.ext_files import ExtFiles, Inode
from balena_migrate.images.filesystems.ext_free import read_free
from balena_migrate.images.filesystems.fat import Fat
from balena_migrate.images.partitions import HEAD_BYTES, Read
from balena_migrate.images.partitions.device import has_gpt_copy, read_table_id
from balena_migrate.images.partitions.mbr import FIRST_LOGICAL, LogicalPartitions
from balena_migrate.images.partitions.resize import resize_last_partition
from balena_migrate.images.partitions.table import parse_head, read_table, with_logical
from balena_migrate.images.passing import Passing
from balena_migrate.images.passing import Reader as PartReader
from balena_migrate.images.patches import Block
from balena_migrate.images.pieces import in_chunks, piece
from tests.fuzz.reader import Reader, of_bytes, of_file, these
from tests.support.flasher import make_ext4
from tests.support.images import ESP, LINUX, gpt_image, make_fat, table_sector
from tests.support.tables import reader, with_right_sums

NODES = 60
"""How many files and folders of a damaged file system are looked at."""


def mbr_disk() -> bytes:
    """64 sectors with two primary and two logical partitions."""
    disk = bytearray(64 * 512)
    disk[:512] = table_sector([(0x0E, 2, 8), (0x83, 10, 8), (0x0F, 20, 44)], disk_id=0x1234ABCD)
    disk[20 * 512 : 21 * 512] = table_sector([(0x83, 2, 8), (0x05, 20, 24)])
    disk[40 * 512 : 41 * 512] = table_sector([(0x83, 2, 8)])
    return bytes(disk)


def gpt_disk(sector_bytes: int = 512) -> bytes:
    parts = [("resin-boot", ESP, 48, 4), ("resin-rootA", LINUX, 52, 4)]
    return bytes(gpt_image(parts, sector_bytes=sector_bytes, total_bytes=60 * sector_bytes))


def lengthened(disk: bytes) -> None:
    """RESIZE's reading: the table, and the same with a longer last partition, as images.room asks for it."""
    head, records = disk[:HEAD_BYTES], []
    table = parse_head(head)
    chain = LogicalPartitions(table)
    while chain.wanted is not None:
        sector = disk[chain.wanted : chain.wanted + 512]
        records.append(Block(offset_bytes=chain.wanted, content=sector))
        chain.take(sector)
    table = with_logical(table, chain.found)
    last = max(table.partitions, key=lambda part: (part.start_bytes, part.number >= FIRST_LOGICAL))
    if table.sector_bytes == 512:
        resize_last_partition(head, tuple(records), table, last, last.size_bytes + MIB, len(disk) + 3 * MIB)


def in_place(content: bytes, size_bytes: int) -> Read:
    """A file system of this size that holds zeros behind the content."""

    def read(offset: int, length: int) -> bytes:
        return content[offset : offset + length].ljust(max(0, min(length, size_bytes - offset)), b"\0")

    return read


def whole_fat(content: bytes) -> None:
    """All that is asked of a FAT file system, to the last file."""
    fat = Fat(in_place(content, 36 * MIB))
    for path in fat.files:
        with suppress(ImageError):
            fat.read_file(path)
        fat.read_start(path, 4 * KIB)
    assert fat.free_clusters >= 0 and fat.free_root_slots >= 0
    fat.check()


def fat_disk(root: bytes, table: Sequence[int]) -> bytes:
    """The start of a FAT16 with clusters of 32 KiB, with these entries in its root, and the table from cluster 2 on."""
    sector = bytearray(512)
    struct.pack_into("<HBHBHH", sector, 11, 512, 64, 1, 1, 512, 0)
    struct.pack_into("<H8xI", sector, 22, 20, 5000 * 64)
    sector[510:] = b"\x55\xaa"
    content = struct.pack(f"<{len(table) + 2}H", 0xFFF8, 0xFFFF, *table)
    return bytes(sector) + content.ljust(20 * 512, b"\0") + root.ljust(512 * 32, b"\0")


def fat_entry(attributes: int, size_bytes: int, cluster: int = 2) -> bytes:
    return b"NAME    TXT" + bytes([attributes]) + bytes(14) + struct.pack("<HI", cluster, size_bytes)


def one_chain(clusters: int) -> list[int]:
    """They follow each other, and are more by one."""
    return [*range(3, clusters + 3), 0xFFFF]


def passed(reading: PartReader[object], content: bytes) -> object:
    """What a reader of a part of an image makes of it, as it passes."""
    passing = Passing(reading, 0)
    for chunk in in_chunks([piece(0, content)], 64 * KIB):
        passing.take(chunk)
    return passing.result


def superblock(content: bytes) -> None:
    found = passed(read_file_system(), content)
    plain = parse_superblock(content[SUPERBLOCK_OFFSET : 2 * SUPERBLOCK_OFFSET])
    for system in (found, plain):
        if isinstance(system, ExtFileSystem):
            features_beyond(system, (3, 2))
            system.size_bytes(max(system.groups, system.most_groups))
            system.usable_bytes_with(system.groups + 1)


def free_blocks(content: bytes) -> None:
    """What is free is in the partition, in order, and all of it is apart from the rest."""
    found = passed(read_free(len(content)), content) or ()
    assert isinstance(found, tuple)
    assert all(0 <= part.start_bytes < part.end_bytes <= len(content) for part in found)


def whole_ext(content: bytes) -> None:
    """All folders and files, to a depth of a few."""
    files = ExtFiles(reader(content))
    todo: list[Inode] = [files.root()]
    for _ in range(NODES):
        if not todo:
            return
        inode = todo.pop()
        with suppress(ImageError):
            files.runs(inode)
            if inode.is_folder:
                todo += (files.inode(number) for name, number in files.names(inode).items() if name not in (".", ".."))


@functools.cache
def fat_samples(folder: Path) -> Sequence[bytes]:
    files = {"config.txt": b"a=1\n", "a-long-name-of-a-file.txt": bytes(3000), "folder/inner/deep.txt": bytes(600)}
    return [make_fat(folder / str(bits), files, bits=bits).rstrip(b"\0") for bits in (16, 32)]


@functools.cache
def ext_samples(folder: Path) -> Sequence[bytes]:
    files = {"opt/image": bytes(range(1, 251)) * 400, "a/b/c": b"c", **{f"etc/{n}": b"%d" % n for n in range(60)}}
    kinds = [("wide", ["-O", "^has_journal", "-b", "1024"]), ("narrow", ["-O", "^has_journal,^64bit,^metadata_csum"])]
    return [make_ext4(folder / name, files, size_mib=2, options=options) for name, options in kinds]


@functools.cache
def journal_samples(folder: Path) -> Sequence[bytes]:
    return [make_ext4(folder / "journal", {"a": b"a"}, size_mib=8)]


TABLES = these(mbr_disk(), gpt_disk(), gpt_disk(4096))
READERS = (
    Reader(
        name="images.partitions.table.read_table",
        read=of_bytes(lambda content: read_table(reader(content))),
        samples=TABLES,
        raises=(ImageError,),
        covers=(
            *("images.partitions.table.parse_head", "images.partitions.gpt.parse_gpt"),
            *("images.partitions.mbr.parse_mbr", "images.partitions.mbr.read_entries"),
        ),
        mended=with_right_sums,
    ),
    Reader(
        name="images.partitions.resize.resize_last_partition",
        read=of_bytes(lengthened),
        samples=these(mbr_disk(), gpt_disk()),
        raises=(ImageError,),
        mended=with_right_sums,
    ),
    Reader(
        name="images.partitions.device.read_table_id",
        read=of_file("disk", lambda system: (read_table_id(system, "/disk"), has_gpt_copy(system, "/disk", 30_000))),
        samples=TABLES,
        raises=(FileError,),
    ),
    Reader(
        name="images.filesystems.fat.Fat",
        read=of_bytes(whole_fat),
        samples=fat_samples,
        raises=(ImageError,),
        covers=("images.filesystems.fat.parse_geometry",),
        programs=True,
        cost=4,
    ),
    Reader(
        name="images.filesystems.ext.read_file_system",
        read=of_bytes(superblock),
        samples=journal_samples,
        covers=("images.filesystems.ext.parse_superblock", "images.filesystems.ext.parse_journal"),
        programs=True,
        cost=4,
    ),
    Reader(
        name="images.filesystems.ext_free.read_free",
        read=of_bytes(free_blocks),
        samples=ext_samples,
        programs=True,
        cost=4,
    ),
    Reader(
        name="images.filesystems.ext_files.ExtFiles",
        read=of_bytes(whole_ext),
        samples=ext_samples,
        raises=(ImageError,),
        programs=True,
        cost=4,
    ),
)
