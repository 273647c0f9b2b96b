# SPDX-License-Identifier: Apache-2.0
"""The operating system, from os-release(5) and /etc/rpi-issue (RPi-Distro/pi-gen: update_issue)."""

from __future__ import annotations

import shlex

from balena_migrate.core.system import System
from balena_migrate.facts import OsFacts


def parse_os_release(text: str, rpi_issue: str = "") -> OsFacts:
    """The fields that we use; a line that is not an assignment is ignored, as the specification asks."""
    values: dict[str, str] = {}
    for line in text.splitlines():
        key, equals, value = line.strip().partition("=")
        if equals and not key.startswith("#"):
            values[key] = _unquote(value)
    return OsFacts(
        id=values.get("ID", ""),
        version_id=values.get("VERSION_ID", ""),
        pretty_name=values.get("PRETTY_NAME", ""),
        rpi_issue=rpi_issue.partition("\n")[0].strip(),
    )


def _unquote(value: str) -> str:
    try:
        return " ".join(shlex.split(value))
    except ValueError:
        return value.strip("\"'")


def read_os(system: System) -> OsFacts:
    """The facts of /etc/os-release, else of /usr/lib/os-release; empty ones where there is neither."""
    texts = map(system.find_text, ("/etc/os-release", "/usr/lib/os-release"))
    text = next((text for text in texts if text is not None), "")
    return parse_os_release(text, system.find_text("/etc/rpi-issue") or "")
