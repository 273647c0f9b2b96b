# SPDX-License-Identifier: Apache-2.0
"""Findings: what the checks report. A check changes nothing, and all findings are shown at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """A BLOCKER prevents the migration; a WARNING is only shown; OK says what was checked and found in order."""

    BLOCKER = "blocker"
    WARNING = "warning"
    OK = "ok"


BLOCKS, WARNS, PASSES = (Severity.BLOCKER,), (Severity.WARNING,), (Severity.OK,)
"""For the rows of `CODES`; a code that can have several severities has their sum."""


@dataclass(frozen=True)
class Code:
    """What a finding's code means: one row of the reference, docs/findings.md.

    Each module that makes findings declares all of its codes in `CODES`.
    """

    code: str
    severities: tuple[Severity, ...]
    meaning: str
    remedy: str = ""
    """What to do about it in general; the finding itself may know better."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One result of a check.

    `code` is stable and short ("memory-too-small"); `cause` says what was found and why it matters; `remedy` says
    what to do, and is empty if there is nothing to do.
    """

    code: str
    severity: Severity
    cause: str
    remedy: str = ""


def blocker(code: str, cause: str, remedy: str = "") -> Finding:
    """A finding that prevents the migration."""
    return Finding(code=code, severity=Severity.BLOCKER, cause=cause, remedy=remedy)


def warning(code: str, cause: str, remedy: str = "") -> Finding:
    """A finding that is only shown."""
    return Finding(code=code, severity=Severity.WARNING, cause=cause, remedy=remedy)


def passed(code: str, cause: str) -> Finding:
    """A finding that what was checked is in order."""
    return Finding(code=code, severity=Severity.OK, cause=cause)


def is_refused(findings: Iterable[Finding]) -> bool:
    """Whether any of the findings prevents the migration."""
    return any(finding.severity is Severity.BLOCKER for finding in findings)
