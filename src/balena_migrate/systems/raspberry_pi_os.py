# SPDX-License-Identifier: Apache-2.0
"""Raspberry Pi OS, formerly Raspbian, as the 32-bit one still calls itself in os-release."""

from __future__ import annotations

from balena_migrate.systems import RASPBIAN, OperatingSystem, Release

SYSTEM = OperatingSystem(
    name="Raspberry Pi OS",
    ids=(RASPBIAN,),
    releases=tuple(Release(version_id=version) for version in ("9", "10", "11", "12", "13")),
)
