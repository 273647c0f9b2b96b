# SPDX-License-Identifier: Apache-2.0
"""What several checks report about something that was never migrated with this tool."""

from __future__ import annotations

from balena_migrate.findings import Finding, blocker, warning
from balena_migrate.settings import Config


def untested(config: Config, code: str, cause: str) -> Finding:
    """A blocker, which UNTESTED turns into a warning."""
    if config.untested:
        return warning(code, cause)
    return blocker(code, cause, "try it on a device within reach first, with --untested")
