# SPDX-License-Identifier: Apache-2.0
"""Raspberry Pi OS of 32 bit, once called Raspbian, which its os-release still says."""

from __future__ import annotations

from balena_migrate.systems import OperatingSystem, Release

SYSTEM = OperatingSystem(
    name="Raspberry Pi OS",
    ids=("raspbian",),
    releases=tuple(Release(version_id=version) for version in ("9", "10", "11", "12", "13")),
)
