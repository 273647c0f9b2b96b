# SPDX-License-Identifier: Apache-2.0
"""Numbers in all of these files."""

from __future__ import annotations

NUMBER_DIGITS = 10


def find_number(text: str) -> int | None:
    """A number in decimal digits; None for anything else, or if it is too large for any setting."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= NUMBER_DIGITS else None
