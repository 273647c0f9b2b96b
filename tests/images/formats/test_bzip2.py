# SPDX-License-Identifier: Apache-2.0
"""bzip2: how much memory it needs."""

from __future__ import annotations

import bz2
import io

import pytest

from balena_migrate.images.formats import format_named, read_chunks

BZIP2 = format_named("bzip2")


@pytest.mark.parametrize(("level", "kilobytes"), [(1, 500), (2, 900), (5, 2100), (9, 3700)])
def test_the_memory_is_that_of_the_table_in_its_manual(level: int, kilobytes: int) -> None:
    """bzip2(1), MEMORY MANAGEMENT: the column Decompress usage."""
    assert BZIP2.memory_bytes(bz2.compress(b"image", level)) == kilobytes * 1000


@pytest.mark.parametrize("start", [b"", b"BZh", b"BZh0", b"BZhx"])
def test_where_the_level_is_not_to_be_seen_it_may_be_the_highest(start: bytes) -> None:
    assert BZIP2.memory_bytes(start) == 3_700_000


def test_streams_one_after_another_and_zeros() -> None:
    raw = bz2.compress(b"im", 1) + bz2.compress(b"", 5) + bz2.compress(b"age", 9) + bytes(700)
    assert b"".join(piece.data for piece in read_chunks(io.BytesIO(raw), BZIP2, 1000)) == b"image"
