# SPDX-License-Identifier: Apache-2.0
"""Which supervisor an image holds, and what it does with a backup.tgz at the root of resin-data."""

from __future__ import annotations

import re
from enum import StrEnum

from balena_migrate.core.os_version import Version, is_date, parse_version

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
    ((2, 95, 3), (12, 11, 38)),
    ((2, 98, 14), (13, 1, 4)),
    ((2, 113, 18), (14, 9, 4)),
    ((3, 0, 0), (14, 11, 8)),
    ((5, 0, 0), (15, 0, 2)),
    ((6, 0, 0), (16, 4, 1)),
    ((6, 12, 3), (17, 6, 3)),
    ((6, 12, 4), (17, 6, 27)),
    ((7, 0, 0), (17, 7, 1)),
    ((7, 0, 4), (17, 8, 2)),
    ((8, 0, 2), (18, 2, 2)),
)
"""This meta-balena has exactly this supervisor (meta-balena, CHANGELOG and its recipe at these tags)."""

LATER: Version = (1_000_000, 0, 0)
"""After every supervisor that there is."""


class Restore(StrEnum):
    """What a supervisor does with a backup.tgz.

    BROKEN: it fails, retries forever, and starts no application. LOST: it fails, starts the applications with empty
    volumes, and every 30 s sets the first target state once more, whatever came since. UNKNOWN: one or the other.
    """

    IGNORED = "ignored"
    WORKS = "works"
    BROKEN = "broken"
    LOST = "lost"
    UNKNOWN = "unknown"


OUTCOMES: tuple[tuple[Version, Restore], ...] = (
    ((0, 0, 0), Restore.IGNORED),
    ((8, 7, 0), Restore.WORKS),
    ((9, 18, 4), Restore.BROKEN),
    ((10, 3, 4), Restore.WORKS),
    ((13, 0, 0), Restore.LOST),
    ((17, 6, 15), Restore.WORKS),
)
"""From this supervisor on (balena-supervisor: CHANGELOG 8.7.0, 9.18.4 and 10.3.4; src/lib/migration.ts since 7425d111,
whose condition is the wrong way round, up to 922493b9)."""


def find_supervisor(os_version: str, image_name: str = "") -> tuple[Version, Version]:
    """The oldest and the newest supervisor that the image can have: by its name ("...-v7.16.6.img.gz"), else by its
    balenaOS. A version of the form 2023.10.0 (ESR) names a date and says nothing.
    """
    named = re.search(r"-v([0-9]{1,9})\.([0-9]{1,9})\.([0-9]{1,9})(?![0-9.]*[0-9])", image_name)
    if named:
        version = int(named[1]), int(named[2]), int(named[3])
        return version, version
    system = parse_version(os_version)
    if system is None or is_date(system):
        return (0, 0, 0), LATER
    oldest = [supervisor for first, supervisor in SUPERVISORS if first <= system]
    newest = [supervisor for first, supervisor in SUPERVISORS if first >= system]
    return (oldest or [(0, 0, 0)])[-1], (newest or [LATER])[0]


def restore(oldest: Version, newest: Version) -> Restore:
    """What a supervisor between these two does."""
    start = [outcome for first, outcome in OUTCOMES if first <= oldest][-1]
    found = {start, *(outcome for first, outcome in OUTCOMES if oldest < first <= newest)}
    return found.pop() if len(found) == 1 else Restore.UNKNOWN
