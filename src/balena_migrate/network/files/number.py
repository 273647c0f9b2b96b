# SPDX-License-Identifier: Apache-2.0
"""Numbers as all of these files write them."""

from __future__ import annotations

NUMBER_DIGITS = 10


def find_number(text: str) -> int | None:
    """A number in decimal digits; None for anything else, and for one that no setting can have."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= NUMBER_DIGITS else None
