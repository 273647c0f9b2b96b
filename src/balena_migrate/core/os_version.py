# SPDX-License-Identifier: Apache-2.0
"""Versions of balenaOS and of what it consists of, as numbers that can be compared."""

from __future__ import annotations

import re

Version = tuple[int, int, int]


def parse_version(text: str) -> Version | None:
    """The numbers at the start of a version ("2.15.1+rev2"); None where there are none."""
    found = re.match(r"([0-9]{1,9})\.([0-9]{1,9})\.([0-9]{1,9})", text)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def is_date(version: Version) -> bool:
    """Whether it is that of an ESR release, such as 2023.10.0, which says nothing of what it was made from."""
    return version[0] >= 1000
