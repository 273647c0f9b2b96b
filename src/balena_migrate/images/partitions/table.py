# SPDX-License-Identifier: Apache-2.0
"""Reads partition tables: the MBR with its chain of extended boot records, and GPT.

The parsers are pure functions of bytes, so one code reads an image that streams by, an image file, and a disk after
the flash. Nothing here believes a table: what leads out of it, runs in circles or is absurd is an ImageError.
"""

from __future__ import annotations

from dataclasses import replace

from balena_migrate.core.errors import ImageError
from balena_migrate.core.units import SECTOR_BYTES
from balena_migrate.images.partitions import HEAD_BYTES, Partition, PartitionTable, Read
from balena_migrate.images.partitions.gpt import parse_gpt
from balena_migrate.images.partitions.mbr import (
    GPT_PROTECTIVE_TYPE,
    LogicalPartitions,
    has_signature,
    parse_mbr,
    read_entries,
)


def read_table(read: Read) -> PartitionTable:
    """The whole partition table of an image file or disk.

    Raises ImageError if there is none, or it is damaged.
    """
    table = parse_head(read(0, HEAD_BYTES))
    chain = LogicalPartitions(table)
    while chain.wanted is not None:
        chain.take(read(chain.wanted, SECTOR_BYTES))
    return with_logical(table, chain.found)


def with_logical(table: PartitionTable, logical: tuple[Partition, ...]) -> PartitionTable:
    """The table with its logical partitions after the primary ones."""
    return replace(table, partitions=table.partitions + logical)


def parse_head(head: bytes) -> PartitionTable:
    """The table without logical partitions, of an image's first MiB (or all of it, where it is smaller).

    Raises ImageError if there is none, or it is damaged.
    """
    if not has_signature(head):
        raise ImageError(
            "there is no partition table at its start",
            hint="is this a complete disk image rather than an archive?",
        )
    if any(entry.type == GPT_PROTECTIVE_TYPE for entry in read_entries(head)):
        return parse_gpt(head)
    return parse_mbr(head)
