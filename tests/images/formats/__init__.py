# SPDX-License-Identifier: Apache-2.0
"""One file for each format, named as in images.formats: how a test makes a file of it, whole, cut short and damaged.

tests/images/test_formats.py fails where one is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Sample:
    """`pack(image)` is a file of the format that holds the image; the other two spoil such a file."""

    pack: Callable[[bytes], bytes]
    cut: Callable[[bytes], bytes] = lambda packed: packed[: len(packed) * 2 // 3]
    damage: Callable[[bytes], bytes] = lambda packed: flip(packed, len(packed) // 2)


def flip(packed: bytes, place: int) -> bytes:
    """The file with one byte changed."""
    return packed[:place] + bytes([packed[place] ^ 0x55]) + packed[place + 1 :]
