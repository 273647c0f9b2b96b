# SPDX-License-Identifier: Apache-2.0
"""How large resin-data must be for a backup to fit, and the partition table for that size and that of the disk.

Only as far as the backup needs, in whole block groups, and never to the end of the disk: balenaOS grows resin-data
itself at its first boot where more than 10 MiB are free behind it, and resizes the file system then. So it goes on as
on any other disk, and finds and repairs also a file system that we could not grow.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator

from balena_migrate.core.units import MIB, SECTOR_BYTES
from balena_migrate.images import Image
from balena_migrate.images.filesystems.ext import ExtFileSystem
from balena_migrate.images.partitions import HEAD_BYTES, TableKind
from balena_migrate.images.partitions.gpt import copy_bytes
from balena_migrate.images.partitions.resize import resize_last_partition
from balena_migrate.images.patches import Block, split

MARGIN_BYTES = 8 * MIB
"""For stage 2's log and what ext4 needs to describe the files."""

LEFT_FREE_BYTES = 16 * MIB
"""Stays free at the disk's end: balenaOS looks for more than 10 MiB, and the copy of a GPT is there."""


def room_bytes(image: Image) -> int | None:
    """What the files for resin-data can take as the image brings it; None if that is not known."""
    system = image.data_file_system
    return max(0, system.usable_bytes - MARGIN_BYTES) if system else None


def grown_room_bytes(image: Image, disk_bytes: int) -> int | None:
    """What they can take once stage 2 grew it as far as it can; None if it cannot grow it."""
    system, groups = image.data_file_system, _most_groups(image, disk_bytes)
    return max(0, system.usable_bytes_with(groups) - MARGIN_BYTES) if system and groups else None


def grown_size_bytes(image: Image, files_bytes: int, disk_bytes: int) -> int | None:
    """The size that resin-data has to get, partition and file system, so that the files fit.

    None if they fit as it is (no files always do), or where no growth makes them fit.
    """
    system, most = image.data_file_system, _most_groups(image, disk_bytes)
    if system is None or not most or not files_bytes or files_bytes + MARGIN_BYTES <= system.usable_bytes:
        return None
    choices = range(system.groups + 1, most + 1)
    found = bisect.bisect_left(choices, files_bytes + MARGIN_BYTES, key=system.usable_bytes_with)
    return system.size_bytes(choices[found]) if found < len(choices) else None


def fitted_table(image: Image, grow_bytes: int, disk_bytes: int) -> tuple[Block, ...]:
    """What must be written in place of the image's partition table on a disk of this size; resin-data has this size,
    or for 0 its own.

    A GPT has its copy at the end of the disk then, as it must before the first start, and none at the image's end. An
    MBR says nothing of the disk. Raises ImageError as grown_table does.
    """
    if not grow_bytes and image.table.kind is not TableKind.GPT:
        return ()
    return grown_table(image, grow_bytes or image.data.size_bytes, disk_bytes)


def grown_table(image: Image, size_bytes: int, disk_bytes: int) -> tuple[Block, ...]:
    """What must be written in place of the image's partition table so that resin-data has this size.

    Raises ImageError if that table would not be read as it is meant.
    """
    with image.start_file.open("rb") as start:
        head = start.read(min(HEAD_BYTES, image.size_bytes))
    blocks = resize_last_partition(head, image.extended_records, image.table, image.data, size_bytes, disk_bytes)
    if image.table.kind is TableKind.GPT:
        blocks = (*blocks, *_without_old_copy(image, head, blocks))
    parts = (part for block in blocks for part in split(block, image.size_bytes))
    return tuple(sorted(parts, key=lambda block: block.offset_bytes))


def _without_old_copy(image: Image, head: bytes, blocks: tuple[Block, ...]) -> Iterator[Block]:
    """Zeros for the header at the image's end, which somebody might find there once the table is another one."""
    start = copy_bytes(head)
    end = start + SECTOR_BYTES
    taken = any(block.offset_bytes < end and start < block.end_bytes for block in blocks)
    if image.data.end_bytes <= start and end <= image.size_bytes and not taken:
        yield Block(offset_bytes=start, content=bytes(SECTOR_BYTES))


def _most_groups(image: Image, disk_bytes: int) -> int:
    """The most block groups that resin-data can get; 0 where that is not more than it has."""
    system = image.data_file_system
    if system is None or not system.can_grow or image.table.sector_bytes != SECTOR_BYTES:
        return 0
    most = min(system.most_groups, _groups_in(system, disk_bytes - LEFT_FREE_BYTES - image.data.start_bytes))
    return most if most > system.groups else 0


def _groups_in(system: ExtFileSystem, size_bytes: int) -> int:
    return (size_bytes // system.block_bytes - system.first_block) // system.group_blocks
