# SPDX-License-Identifier: Apache-2.0
"""Debian, and not the 64-bit Raspberry Pi OS, which is made of it."""

from __future__ import annotations

from balena_migrate.systems import OperatingSystem, Release

SYSTEM = OperatingSystem(
    name="Debian",
    ids=("debian",),
    releases=(
        Release(version_id="9"),
        Release(version_id="10"),
        Release(version_id="11", tested="on a virtual PC (amd64)"),
        Release(version_id="12", tested="on virtual PCs (amd64, i386) and virtual Raspberry Pis (armel, armhf, arm64)"),
        Release(version_id="13", tested="on a virtual PC (amd64), with initramfs-tools and with dracut"),
        Release(version_id="14", codename="forky"),
    ),
)
