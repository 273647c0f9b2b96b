# SPDX-License-Identifier: Apache-2.0
"""What the faults of one chain came to: the format of faults.json, of which docs/reliability.md is made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from balena_migrate.core.steps import THE_LINE, Step, is_after_the_line
from balena_migrate.workstation.lab.fault import Cell, Fault

NEEDS_A_RESET = (Fault.HANG, Fault.PANIC)
"""What only a reset ends, which in the window loses the device: its memory has all that there is."""


class Outcome(StrEnum):
    """What was there in the end."""

    OLD_WITH_REASON = "old, with the reason"
    """The old system, whose `status` says what went wrong."""
    OLD = "old"
    """The old system; its `status` says that stage 2 did not start, or was cut off."""
    OLD_CHANGED = "old, changed"
    """The old system, with other files than before, or a `status` that is wrong."""
    NEW = "new"
    """The new system, which reports."""
    NOTHING = "nothing"
    UNCLEAR = "unclear"
    """It did not go wrong, as the step is not taken, or the old system's `status` or `undo` failed."""


@dataclass(frozen=True, kw_only=True)
class Played:
    """A cell of the matrix, and what came of it."""

    cell: Cell
    outcome: Outcome
    power_cycled: bool
    """Whether the device stayed as it was until somebody switched it off and on."""
    said: str
    """What the device said of it: the reason in `status`, or what the console showed last."""
    seconds: float

    @property
    def text(self) -> str:
        """What was there, in a few words."""
        return f"{self.outcome}, after a power cycle" if self.power_cycled else str(self.outcome)

    @property
    def in_the_window(self) -> bool:
        return self.cell.step is THE_LINE

    @property
    def survived(self) -> bool:
        """Whether the old system is as it was, or the new one there."""
        return self.outcome in (Outcome.OLD_WITH_REASON, Outcome.OLD, Outcome.NEW)

    @property
    def passed(self) -> bool:
        """Whether that is what it should be: the old system before the line, and after it the new one; but for what
        needs a reset in the window."""
        step = self.cell.step
        if step is not None and is_after_the_line(step):
            return self.outcome is Outcome.NEW or (self.in_the_window and self.cell.fault in NEEDS_A_RESET)
        return self.survived


@dataclass(frozen=True, kw_only=True)
class FaultsResult:
    """One chain's."""

    scenario: str
    description: str
    date: str
    passed: bool
    planned: int
    played: tuple[Played, ...]
    format: int = 1


def matrix(played: tuple[Played, ...]) -> Iterator[tuple[str, list[tuple[str, bool]]]]:
    """Each place behind its stage, with what came of each fault there, "" where it is not played, and whether
    that is as it should be."""
    found = {item.cell: item for item in played}
    changes = dict.fromkeys(item.cell.place for item in played if item.cell.stage == 1)
    steps = [step for step in Step if any(item.cell.step is step for item in played)]
    for stage, place in [*((1, change) for change in changes), *((2, step) for step in steps)]:
        row = [found.get(Cell(stage=stage, place=place, fault=fault)) for fault in Fault]
        yield f"{stage}: {place}", [(item.text, item.passed) if item else ("", True) for item in row]


def summary(played: Sequence[Played]) -> str:
    """How many were tried, survived and lost, and how many of these in the window."""
    lost = [item for item in played if not item.survived]
    window = sum(item.in_the_window for item in lost)
    return f"tried {len(played)}, survived {len(played) - len(lost)}, lost {len(lost)}, of which {window} in the window"
