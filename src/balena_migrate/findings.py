# SPDX-License-Identifier: Apache-2.0
"""Findings: what a check has to say. A check changes nothing, and all are shown at once."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """A BLOCKER forbids to go on; a WARNING is shown; OK says what was looked at and found well."""

    BLOCKER = "blocker"
    WARNING = "warning"
    OK = "ok"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was found.

    `code` is stable and short ("memory-too-small"); `cause` says what was found and why it matters; `remedy` says
    what to do, and is empty where there is nothing to do.
    """

    code: str
    severity: Severity
    cause: str
    remedy: str = ""


def blocker(code: str, cause: str, remedy: str = "") -> Finding:
    """A finding that forbids to go on."""
    return Finding(code=code, severity=Severity.BLOCKER, cause=cause, remedy=remedy)


def warning(code: str, cause: str, remedy: str = "") -> Finding:
    """A finding that is shown."""
    return Finding(code=code, severity=Severity.WARNING, cause=cause, remedy=remedy)


def passed(code: str, cause: str) -> Finding:
    """A finding that all is well with what was looked at."""
    return Finding(code=code, severity=Severity.OK, cause=cause)
