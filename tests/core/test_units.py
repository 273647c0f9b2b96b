# SPDX-License-Identifier: Apache-2.0
"""Sizes as people read them."""

from __future__ import annotations

import pytest

from balena_migrate.core.units import GIB, KIB, MIB, format_size


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (KIB, "1 KiB"),
        (1536, "1.5 KiB"),
        (40 * MIB, "40 MiB"),
        (1023 * MIB, "1023 MiB"),
        (GIB - 1, "1024 MiB"),
        (1500 * MIB, "1.46 GiB"),
        (3000 * GIB, "3000 GiB"),
    ],
)
def test_sizes_have_three_digits_of_the_largest_unit(size_bytes: int, text: str) -> None:
    assert format_size(size_bytes) == text
