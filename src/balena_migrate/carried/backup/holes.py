# SPDX-License-Identifier: Apache-2.0
"""The parts of a file that are on the disk: /var/log/lastlog may say 423 GiB and occupy 16 KiB.

Holes read as zeros. The archive contains them as zeros, since the supervisor's busybox unpacks no sparse members. Good
enough for estimates only: some kernels before 5.0 take data of ext2 and ext3 for holes (Linux 2ee3ee06a8fd).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

STAT_BLOCK_BYTES = 512
"""The unit of st_blocks, on every file system (stat(3type))."""

RANGES_LIMIT = 100_000
"""After this many ranges the rest of a file counts as one: looking for holes must not take longer than reading."""


def may_have_holes(info: os.stat_result) -> bool:
    """Whether the file occupies less than its size. A file system that compresses is a reason as well."""
    return info.st_blocks * STAT_BLOCK_BYTES < info.st_size


def find_data(fd: int, size_bytes: int) -> Iterator[tuple[int, int]]:
    """Where data is in the file, as start and end in bytes, in order; all of it where the file system tells no holes.

    The position in the file changes.
    """
    end = 0
    for _ in range(RANGES_LIMIT):
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
            end = min(os.lseek(fd, start, os.SEEK_HOLE), size_bytes)
        except OSError as error:
            # No data follows (lseek(2)). Other errors come from file systems that know no holes, such as some of FUSE.
            if error.errno == errno.ENXIO:
                return
            break
        if start >= size_bytes:
            return
        yield start, end
    if end < size_bytes:
        yield end, size_bytes
