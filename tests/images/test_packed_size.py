# SPDX-License-Identifier: Apache-2.0
"""How large the prepared form of an image is expected to be: never less than it becomes, and not much more."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest

from balena_migrate.core.units import MIB
from balena_migrate.images.pieces import piece
from balena_migrate.images.zstd_packing import PackedSize, pack

RANDOM, TEXT, ZEROS = os.urandom(MIB), b"".join(b"line %d\n" % number for number in range(120_000))[:MIB], bytes(MIB)


@pytest.mark.parametrize(
    "contents",
    [[TEXT] * 10 + [RANDOM] * 30, [RANDOM] * 10 + [TEXT] * 30, ([TEXT, ZEROS, RANDOM] * 20), [RANDOM], [TEXT]],
)
def test_the_expected_size_is_a_little_more_than_the_real_one(contents: Sequence[bytes]) -> None:
    """Wherever in the image what cannot be packed is."""
    expected = PackedSize()
    pieces = [piece(number * MIB, content) for number, content in enumerate(contents)]
    for found in pieces:
        expected.take(found)
    real = sum(len(packed) for packed in pack(iter(pieces)))
    assert real <= expected.bytes + MIB // 10
    assert expected.bytes <= 1.25 * real + MIB
