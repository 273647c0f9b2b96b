# SPDX-License-Identifier: Apache-2.0
"""Debian. Raspberry Pi OS of 64 bit calls itself Debian too."""

from __future__ import annotations

from balena_migrate.systems import OperatingSystem, Release

SYSTEM = OperatingSystem(
    name="Debian",
    ids=("debian",),
    releases=(
        Release(version_id="11"),
        Release(version_id="12", tested="as a virtual PC (amd64, GRUB 2, BIOS)"),
        Release(version_id="13"),
    ),
)
