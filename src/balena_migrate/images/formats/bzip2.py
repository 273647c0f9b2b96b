# SPDX-License-Identifier: Apache-2.0
"""bzip2. Each stream ends with a CRC of all its blocks, and has no place for a size that could lie."""

from __future__ import annotations

from bz2 import BZ2Decompressor
from collections.abc import Iterator

from balena_migrate.images.formats import Format, Source
from balena_migrate.images.formats._streams import read_streams
from balena_migrate.images.pieces import Piece

MAGIC = b"BZh"
KB = 1000
LEVEL_MAX = 9


def read(source: Source, limit_bytes: int) -> Iterator[Piece]:
    """One stream after another, as pbzip2 makes them; zeros may follow the last one. bzip2(1) ignores what follows."""
    return read_streams(source, limit_bytes, MAGIC, BZ2Decompressor)


def memory_bytes(start: bytes) -> int:
    """100 kB and four times the block size, which the header's fourth byte tells (bzip2(1), MEMORY MANAGEMENT)."""
    digit = start[len(MAGIC) : len(MAGIC) + 1]
    level = int(digit) if digit.isdigit() and digit != b"0" else LEVEL_MAX
    return (100 + 4 * 100 * level) * KB


FORMAT = Format(
    name="bzip2",
    what="a bzip2 file",
    magics=(MAGIC,),
    unpack="bzip2 -dc",
    pieces=read,
    memory_bytes=memory_bytes,
    is_slow=True,
)
