# SPDX-License-Identifier: Apache-2.0
"""What the cuts of one recorded rehearsal came to: the format of cuts.json, of which docs/reliability.md is made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from balena_migrate.workstation.lab.cuts.history import IN_THE_WINDOW
from balena_migrate.workstation.lab.cuts.judge import Boots, Verdict
from balena_migrate.workstation.lab.cuts.plan import Cut, Phase
from balena_migrate.workstation.lab.recording import Request
from balena_migrate.workstation.lab.result import Check


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A cut and its verdict: a line of the verdicts' file."""

    phase: str
    cut: Cut
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class Wrong:
    """A cut before the line that leads to no whole old system and to no stage 2."""

    cut: Cut
    reason: str


@dataclass(frozen=True, kw_only=True)
class Tally:
    """A phase of the migration, and what came up from how many of its states."""

    phase: str
    writes: int
    """How many the device made in it."""
    flushes: int
    states: int
    old_system: int
    stage2: int
    new_system: int
    dead: int
    repaired: int
    """States in which a file system needed more than its journal."""


@dataclass(frozen=True, kw_only=True)
class CutsResult:
    """One scenario's."""

    scenario: str
    description: str
    date: str
    seed: int
    count: int
    """How many cuts before the line were asked for."""
    passed: bool
    tallies: tuple[Tally, ...]
    wrong: tuple[Wrong, ...]
    boots: tuple[Check, ...]
    window_s: float | None
    """How long the window was."""
    format: int = 1


def tally(requests: Sequence[Request], phase: Phase, judged: Iterable[Judged]) -> Tally:
    """What came up in this phase of a history of requests."""
    verdicts = [item.verdict for item in judged if item.phase == phase.name]
    found = Counter(verdict.boots for verdict in verdicts)
    flushes = sum(request.is_flush for request in requests[phase.first : phase.last])
    return Tally(
        phase=phase.name,
        writes=phase.last - phase.first - flushes,
        flushes=flushes,
        states=len(verdicts),
        old_system=found[Boots.OLD],
        stage2=found[Boots.STAGE2],
        new_system=found[Boots.NEW],
        dead=found[Boots.DEAD],
        repaired=sum(verdict.repaired for verdict in verdicts),
    )


def find_wrong(judged: Iterable[Judged]) -> tuple[Wrong, ...]:
    """Before the line no device is dead, and the old system's files are as they were; after the commit none is dead."""
    return tuple(Wrong(cut=item.cut, reason=reason) for item in judged if (reason := _what_is_wrong(item)))


def _what_is_wrong(item: Judged) -> str:
    if item.phase == IN_THE_WINDOW:
        return ""
    if item.verdict.boots is Boots.DEAD:
        return item.verdict.reason
    if item.verdict.stuck:
        return f"undo fails, as Linux cannot remove {', '.join(item.verdict.stuck)}"
    return f"changed: {', '.join(item.verdict.changed)}" if item.verdict.changed else ""
