# SPDX-License-Identifier: Apache-2.0
"""Ubuntu."""

from __future__ import annotations

from balena_migrate.systems import OperatingSystem, Release

SYSTEM = OperatingSystem(
    name="Ubuntu",
    ids=("ubuntu",),
    releases=tuple(
        Release(version_id=version)
        for version in ("14.04", "16.04", "18.04", "20.04", "22.04", "24.04", "25.10", "26.04")
    ),
)
