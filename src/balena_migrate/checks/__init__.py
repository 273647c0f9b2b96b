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
