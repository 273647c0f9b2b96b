# SPDX-License-Identifier: Apache-2.0
"""Which supervisor an image holds, and whether it restores."""

from __future__ import annotations

import pytest

from balena_migrate.carried.backup.supervisor import SUPERVISORS, Restore, find_supervisor, restore


@pytest.mark.parametrize(
    ("os_version", "image_name", "version"),
    [
        ("2.15.1+rev2", "", (7, 16, 6)),
        ("2.28.9", "", (8, 6, 3)),
        ("2.29.0", "", (9, 0, 1)),
        ("2.43.0+rev2", "", (10, 2, 2)),
        ("6.10.24", "", (16, 4, 1)),
        ("2.0.3", "", (0, 0, 0)),
        ("2024.7.0", "", (18, 2, 2)),
        ("", "", None),
        ("nonsense", "", None),
        ("2.15.1", "balena-cloud-support1-raspberrypi3-2.31.5+rev1-v9.11.3.img.zip", (9, 11, 3)),
        ("", "resin-raspberrypi3-2.15.1+rev2-dev-v7.16.6.img.gz", (7, 16, 6)),
        ("", "balena-cloud-raspberrypi4-64-2.113.18.img.gz", None),
    ],
)
def test_version(os_version: str, image_name: str, version: tuple[int, int, int] | None) -> None:
    assert find_supervisor(os_version, image_name) == version


@pytest.mark.parametrize(
    ("version", "outcome"),
    [
        ((8, 6, 9), Restore.IGNORED),
        ((8, 7, 0), Restore.WORKS),
        ((9, 18, 3), Restore.WORKS),
        ((9, 18, 4), Restore.BROKEN),
        ((10, 3, 3), Restore.BROKEN),
        ((10, 3, 4), Restore.WORKS),
        ((18, 2, 2), Restore.WORKS),
    ],
)
def test_outcome(version: tuple[int, int, int], outcome: Restore) -> None:
    assert restore(version) is outcome


def test_the_table_is_in_order() -> None:
    assert list(SUPERVISORS) == sorted(SUPERVISORS)
    assert [supervisor for _, supervisor in SUPERVISORS] == sorted(supervisor for _, supervisor in SUPERVISORS)
