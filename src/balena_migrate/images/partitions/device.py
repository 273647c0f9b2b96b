# SPDX-License-Identifier: Apache-2.0
"""The partition table of a disk of this device."""

from __future__ import annotations

import os

from balena_migrate.core.errors import FileError, ImageError
from balena_migrate.core.system import System, errors_at
from balena_migrate.images.partitions import HEAD_BYTES
from balena_migrate.images.partitions.gpt import is_header, last_sector
from balena_migrate.images.partitions.table import parse_head


def read_table_id(system: System, path: str) -> str:
    """The id of the disk's partition table as both stages know it; "" if it has none, or one that cannot be read.

    Neither lsblk nor blkid will do: lsblk repeats what udev noted, and udev before 208 (Ubuntu 14.04) notes no id;
    blkid lists no disks that have partitions. Of a GPT, the header at the disk's start counts, as for the kernel, which
    looks at the copy only with the argument `gpt` (Linux, block/partitions/efi.c, find_valid_gpt). Raises FileError if
    the disk itself cannot be read.
    """
    with system.open_device(path) as disk, errors_at(path):
        try:
            return parse_head(os.pread(disk.fileno(), HEAD_BYTES, 0)).id
        except ImageError:
            return ""


def has_gpt_copy(system: System, path: str, disk_bytes: int) -> bool:
    """Whether the copy of a GPT's header is at the end of the disk, in force or left there by an earlier table.

    A last sector that cannot be read holds none: some adapters claim one sector more than there is.
    """
    sector = last_sector(disk_bytes)
    try:
        with system.open_device(path) as disk, errors_at(path):
            return is_header(os.pread(disk.fileno(), disk_bytes - sector, sector))
    except FileError:
        return False
