# SPDX-License-Identifier: Apache-2.0
"""Units of storage. Sizes are ints of bytes everywhere; these are for constants, and for people."""

from __future__ import annotations

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30

SECTOR_BYTES = 512
"""The unit of partition tables on all but 4Kn disks, and of "size" and "start" in sysfs on every disk."""


def in_mib(size_bytes: int) -> str:
    """The size for people, such as "12 MiB"; rounded down, so that no more is promised than there is."""
    return f"{size_bytes // MIB} MiB"
