# SPDX-License-Identifier: Apache-2.0
"""Which supervisor an image holds, and what it does with a backup.tgz at the root of resin-data."""

from __future__ import annotations

import re
from enum import StrEnum

Version = tuple[int, int, int]

SUPERVISORS: tuple[tuple[Version, Version], ...] = (
    ((2, 15, 1), (7, 16, 6)),
    ((2, 25, 0), (8, 0, 0)),
    ((2, 28, 0), (8, 6, 3)),
    ((2, 29, 0), (9, 0, 1)),
    ((2, 38, 0), (9, 15, 7)),
    ((2, 39, 0), (10, 0, 3)),
    ((2, 40, 0), (10, 2, 2)),
    ((2, 44, 0), (10, 3, 7)),
    ((2, 47, 0), (10, 6, 27)),
    ((2, 58, 6), (11, 14, 0)),
    ((2, 83, 10), (12, 9, 3)),
    ((2, 113, 18), (14, 9, 4)),
    ((3, 0, 0), (14, 11, 8)),
    ((5, 0, 0), (15, 0, 2)),
    ((6, 0, 0), (16, 4, 1)),
    ((7, 0, 0), (17, 7, 1)),
    ((8, 0, 2), (18, 2, 2)),
)
"""From this meta-balena on at least this supervisor (meta-balena, CHANGELOG)."""

_FIRST: Version = (8, 7, 0)
_BROKEN: Version = (9, 18, 4)
_MENDED: Version = (10, 3, 4)


class Restore(StrEnum):
    """How the supervisor handles a backup.tgz. BROKEN: it fails, retries forever, and starts no application."""

    IGNORED = "ignored"
    BROKEN = "broken"
    WORKS = "works"


def find_supervisor(os_version: str, image_name: str = "") -> Version | None:
    """The supervisor's version: by the image's name ("...-v7.16.6.img.gz"), else by the system's; None if unknown."""
    named = re.search(r"-v([0-9]+)\.([0-9]+)\.([0-9]+)(?![0-9.]*[0-9])", image_name)
    if named:
        return int(named[1]), int(named[2]), int(named[3])
    own = re.match(r"([0-9]+)\.([0-9]+)\.([0-9]+)", os_version)
    # ESR versions ("2023.10.0") name a date; all are later than every version in question here.
    if own is None:
        return None
    version = int(own[1]), int(own[2]), int(own[3])
    known = [supervisor for first, supervisor in SUPERVISORS if first <= version]
    return known[-1] if known else (0, 0, 0)


def restore(supervisor: Version) -> Restore:
    """What this supervisor does (balena-supervisor, CHANGELOG 8.7.0, 9.18.4 and 10.3.4)."""
    if supervisor < _FIRST:
        return Restore.IGNORED
    return Restore.BROKEN if _BROKEN <= supervisor < _MENDED else Restore.WORKS
