# SPDX-License-Identifier: Apache-2.0
"""The borders at which every disk can read and write."""

from __future__ import annotations

ALIGNMENT_BYTES = 4096
"""The largest sector. What begins and ends at multiples of it, in memory and on the disk, is aligned."""


def align_down(size_bytes: int) -> int:
    """The last multiple of ALIGNMENT_BYTES that is not behind it."""
    return size_bytes - size_bytes % ALIGNMENT_BYTES


def align_up(size_bytes: int) -> int:
    """The first multiple of ALIGNMENT_BYTES that is not before it."""
    return align_down(size_bytes + ALIGNMENT_BYTES - 1)
