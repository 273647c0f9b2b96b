# SPDX-License-Identifier: Apache-2.0
"""A recording's moments: stage 1's first change, the line, the flash's commit, and the end of stage 2."""

from __future__ import annotations

import pytest

from balena_migrate.core.errors import LabError
from balena_migrate.core.units import SECTOR_BYTES
from balena_migrate.workstation.lab.cuts.history import Moments, find_moments
from balena_migrate.workstation.lab.cuts.plan import Phase
from balena_migrate.workstation.lab.recording import Request

FLUSH = Request()
JOURNAL = Request(start_bytes=90 * SECTOR_BYTES, content=b'{"event": "begin", "number": 0}'.ljust(4096, b"\0"))


def write(place: int) -> Request:
    return Request(start_bytes=place * SECTOR_BYTES, content=bytes(SECTOR_BYTES))


#           0         1        2         3      | 4         5         6         7         8      | 9
REQUESTS = (write(7), JOURNAL, write(8), FLUSH, write(8), write(0), write(99), write(0), FLUSH, write(0))


def test_the_flash_is_what_writes_the_first_sector_until_the_next_boot() -> None:
    assert find_moments(REQUESTS, (0, 4, 9)) == Moments(first=1, line=5, commit=8, end=9)


def test_each_moment_begins_a_phase() -> None:
    assert find_moments(REQUESTS, (0, 4, 9)).phases == (
        Phase(name="before the line", first=1, last=5),
        Phase(name="in the window", first=5, last=8),
        Phase(name="after the commit", first=8, last=9),
    )


def test_without_a_flash_all_is_before_the_line() -> None:
    assert find_moments(REQUESTS[:5], (0, 4)).phases == (Phase(name="before the line", first=1, last=5),)


def test_a_recording_in_which_stage_1_changed_nothing_has_none() -> None:
    with pytest.raises(LabError, match="changed nothing"):
        find_moments((write(7), FLUSH), (0,))
