# SPDX-License-Identifier: Apache-2.0
"""The partition table of a disk of this device."""

from __future__ import annotations

import os

from balena_migrate.core.errors import ImageError
from balena_migrate.core.system import System, errors_at
from balena_migrate.images.partitions import HEAD_BYTES
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
