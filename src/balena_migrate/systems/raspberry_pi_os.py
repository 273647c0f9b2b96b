# SPDX-License-Identifier: Apache-2.0
"""The 32-bit Raspberry Pi OS, formerly Raspbian, as its os-release still calls it."""

from __future__ import annotations

from balena_migrate.systems import OperatingSystem, Release

SYSTEM = OperatingSystem(
    name="Raspberry Pi OS",
    ids=("raspbian",),
    releases=tuple(Release(version_id=version) for version in ("9", "10", "11", "12", "13")),
)
