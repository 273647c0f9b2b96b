# SPDX-License-Identifier: Apache-2.0
"""Units of storage. Sizes are integers in bytes everywhere; these units are for constants and messages."""

from __future__ import annotations

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30

SECTOR_BYTES = 512
"""The unit of partition tables, except on 4Kn disks, and of "size" and "start" in sysfs on every disk."""


def in_mib(size_bytes: int) -> str:
    """The size for messages, such as "12 MiB"; rounded down, so that no more is promised than available."""
    return f"{size_bytes // MIB} MiB"
