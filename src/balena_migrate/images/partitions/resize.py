# SPDX-License-Identifier: Apache-2.0
"""A partition table in which the last partition is longer than the image has it, as blocks over the image's own.

It is read back by the very parsers that read the image's, before anything is done with it.
"""

from __future__ import annotations

from dataclasses import replace

from balena_migrate.core.errors import ImageError
from balena_migrate.images.partitions import Partition, PartitionTable, TableKind
from balena_migrate.images.partitions.gpt import longer_gpt
from balena_migrate.images.partitions.mbr import longer_mbr
from balena_migrate.images.partitions.table import read_table
from balena_migrate.images.patches import Block, Patches


def resize_last_partition(
    head: bytes, records: tuple[Block, ...], table: PartitionTable, last: Partition, size_bytes: int, disk_bytes: int
) -> tuple[Block, ...]:
    """The blocks that make `last` this long, in the order of their offsets; of a GPT also its copy at the disk's end.

    `head` is the first MiB, `records` are the extended boot records, and sectors have 512 bytes.
    Raises ImageError if the new table would not be read as intended.
    """
    longer = replace(last, size_bytes=size_bytes)
    if table.kind is TableKind.GPT:
        blocks = tuple(longer_gpt(head, longer, disk_bytes))
    else:
        blocks = tuple(longer_mbr(head, records, table, longer))
    _check(head, records, blocks, _expected(table, longer), disk_bytes)
    return blocks


def _expected(table: PartitionTable, longer: Partition) -> PartitionTable:
    """The table with the longer partition, and with the extended one that has to hold it."""

    def changed(part: Partition) -> Partition:
        if part.number == longer.number:
            return longer
        if longer.number > 4 and part.is_extended:
            return replace(part, size_bytes=longer.end_bytes - part.start_bytes)
        return part

    return replace(table, partitions=tuple(changed(part) for part in table.partitions))


def _check(
    head: bytes, records: tuple[Block, ...], blocks: tuple[Block, ...], expected: PartitionTable, disk_bytes: int
) -> None:
    patches = Patches(size_bytes=disk_bytes, blocks=blocks)
    sectors = {0: head, **{record.offset_bytes: record.content for record in records}}

    def read(offset: int, length: int) -> bytes:
        return patches.apply(offset, sectors.get(offset, b"")[:length])

    if any(part.end_bytes > disk_bytes for part in expected.partitions) or read_table(read) != expected:
        raise ImageError("its partition table cannot be changed so that its last partition is longer")
