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


def format_size(size_bytes: int) -> str:
    """The size for tables, in the largest unit that gives at least 1, with up to three digits, such as "1.46 GiB"."""
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if size_bytes >= unit:
            value = size_bytes / unit
            return f"{value:.3g} {name}" if value < 999.5 else f"{value:.0f} {name}"
    return f"{size_bytes} bytes"
