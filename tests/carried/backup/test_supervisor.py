# SPDX-License-Identifier: Apache-2.0
"""Which supervisor an image holds, and whether it restores."""

from __future__ import annotations

import pytest

from balena_migrate.carried.backup.supervisor import LATER, OUTCOMES, SUPERVISORS, Restore, find_supervisor, restore


@pytest.mark.parametrize(
    ("os_version", "image_name", "oldest", "newest"),
    [
        ("2.15.1+rev2", "", (7, 16, 6), (7, 16, 6)),
        ("2.28.9", "", (8, 6, 3), (9, 0, 1)),
        ("2.43.0+rev2", "", (10, 2, 2), (10, 3, 7)),
        ("2.0.3", "", (0, 0, 0), (7, 16, 6)),
        ("9.1.0", "", (18, 2, 2), LATER),
        ("2024.7.0", "", (0, 0, 0), LATER),
        ("", "", (0, 0, 0), LATER),
        ("nonsense", "", (0, 0, 0), LATER),
        ("2.15.1", "balena-cloud-support1-raspberrypi3-2.31.5+rev1-v9.11.3.img.zip", (9, 11, 3), (9, 11, 3)),
        ("", "resin-raspberrypi3-2.15.1+rev2-dev-v7.16.6.img.gz", (7, 16, 6), (7, 16, 6)),
        ("", "balena-cloud-raspberrypi4-64-2.113.18.img.gz", (0, 0, 0), LATER),
    ],
)
def test_versions(os_version: str, image_name: str, oldest: tuple[int, int, int], newest: tuple[int, int, int]) -> None:
    assert find_supervisor(os_version, image_name) == (oldest, newest)


@pytest.mark.parametrize(
    ("version", "outcome"),
    [
        ((8, 6, 9), Restore.IGNORED),
        ((8, 7, 0), Restore.WORKS),
        ((9, 18, 3), Restore.WORKS),
        ((9, 18, 4), Restore.BROKEN),
        ((10, 3, 3), Restore.BROKEN),
        ((10, 3, 4), Restore.WORKS),
        ((12, 11, 38), Restore.WORKS),
        ((13, 0, 0), Restore.LOST),
        ((17, 6, 14), Restore.LOST),
        ((17, 6, 15), Restore.WORKS),
        ((18, 2, 2), Restore.WORKS),
    ],
)
def test_outcome(version: tuple[int, int, int], outcome: Restore) -> None:
    assert restore(version, version) is outcome


@pytest.mark.parametrize(
    ("os_version", "outcome"),
    [
        ("2.15.1+rev2", Restore.IGNORED),
        ("2.28.9", Restore.UNKNOWN),
        ("2.31.5", Restore.WORKS),
        ("2.38.3", Restore.UNKNOWN),
        ("2.39.5", Restore.BROKEN),
        ("2.43.0", Restore.UNKNOWN),
        ("2.44.0", Restore.WORKS),
        ("2.95.3", Restore.WORKS),
        ("2.96.0", Restore.UNKNOWN),
        ("2.98.14", Restore.LOST),
        ("2.113.18", Restore.LOST),
        ("5.3.27", Restore.LOST),
        ("6.12.3", Restore.LOST),
        ("6.12.4", Restore.WORKS),
        ("7.1.0+rev1", Restore.WORKS),
        ("9.0.0", Restore.WORKS),
        ("2026.4.0", Restore.UNKNOWN),
        ("", Restore.UNKNOWN),
    ],
)
def test_what_is_between_versions_of_different_outcome_is_unknown(os_version: str, outcome: Restore) -> None:
    assert restore(*find_supervisor(os_version)) is outcome


def test_the_tables_are_in_order() -> None:
    assert list(SUPERVISORS) == sorted(SUPERVISORS)
    assert [supervisor for _, supervisor in SUPERVISORS] == sorted(supervisor for _, supervisor in SUPERVISORS)
    assert [first for first, _ in OUTCOMES] == sorted(first for first, _ in OUTCOMES)
