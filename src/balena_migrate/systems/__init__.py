# SPDX-License-Identifier: Apache-2.0
"""Operating systems that a device may run before the migration: one file a family, each with a `SYSTEM`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from balena_migrate.core.plugins import load_all
from balena_migrate.facts import Facts, OsFacts

RASPBIAN = "raspbian"
"""ID= of the 32-bit Raspberry Pi OS."""


@dataclass(frozen=True, kw_only=True)
class Release:
    """One release; `tested` says on what it was migrated, and is empty if it never was."""

    version_id: str
    codename: str = ""
    """Of a release to come: its os-release has the name in PRETTY_NAME ("forky/sid"), and no VERSION_ID."""
    tested: str = ""


@dataclass(frozen=True, kw_only=True)
class OperatingSystem:
    """A family of releases. `ids` are the ID= that its os-release carries."""

    name: str
    ids: tuple[str, ...]
    releases: tuple[Release, ...]

    def find_release(self, facts: OsFacts) -> Release | None:
        """The release that os-release names; a point release belongs to its release (VERSION_ID=9.13 to 9)."""
        for release in self.releases:
            if not facts.version_id and release.codename and f"{release.codename}/" in facts.pretty_name:
                return release
            if facts.version_id == release.version_id or facts.version_id.startswith(f"{release.version_id}."):
                return release
        return None


@cache
def systems() -> tuple[OperatingSystem, ...]:
    """All families, by file name."""
    return load_all(__name__, __path__, "SYSTEM")


def find_system(facts: Facts) -> OperatingSystem | None:
    """The family that this device runs.

    /etc/rpi-issue counts before os-release, in which a 64-bit Raspberry Pi OS calls itself Debian.
    """
    name = RASPBIAN if facts.os.rpi_issue else facts.os.id
    return next((system for system in systems() if name in system.ids), None)
