# SPDX-License-Identifier: Apache-2.0
"""Grows resin-data's file system over its partition, which stage 1 made longer, so that a large backup fits.

It is mounted meanwhile, and the kernel does it: EXT4_IOC_RESIZE_FS, what resize2fs(8) uses as well (Linux,
fs/ext4/ext4.h, since 3.3: the argument is the new number of blocks, 64 bits wide; no change where it is the old one).
"""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path

from balena_migrate.core.errors import DiskError
from balena_migrate.core.paths import STAGE2_DATA
from balena_migrate.stage2 import kernel

POINT = Path(STAGE2_DATA)

_EXT4_IOC_RESIZE_FS = 0x40086610
"""_IOW('f', 16, __u64): the same number on all processors of our kits."""


def grow(device: str, size_bytes: int) -> None:
    """The ext4 file system on the device has this size, a multiple of its blocks, and is unmounted.

    Raises DiskError; then its size is the old one or in between, and it is sound.
    """
    with kernel.mounted(device, POINT, "ext4") as folder:
        blocks = size_bytes // os.statvfs(folder).f_frsize
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.ioctl(fd, _EXT4_IOC_RESIZE_FS, struct.pack("=Q", blocks))
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            raise DiskError(f"{device} cannot be grown to {blocks} blocks: {reason}") from None
        finally:
            os.close(fd)
