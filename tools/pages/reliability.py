# SPDX-License-Identifier: Apache-2.0
"""docs/reliability.md: what the last long runs came to, of the JSON that they left in docs/reliability."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from balena_migrate.core.values import from_json
from balena_migrate.workstation.lab.cuts.history import IN_THE_WINDOW
from balena_migrate.workstation.lab.cuts.result import CutsResult
from pages import NOTICE, code, paragraph, table

RESULTS = Path(__file__).resolve().parent.parent.parent / "docs/reliability"


def reliability_page() -> str:
    """The tables of all results."""
    cuts = [from_json(CutsResult, json.loads(path.read_text())) for path in sorted(RESULTS.glob("cuts-*.json"))]
    page = f"# Reliability\n\n{NOTICE}"
    page += paragraph(
        """Before the line nothing may be lost, whatever fails; after it everything goes forward. This page says what
        was tried, on which day, and what came of it. Each table can be made again with the command above it."""
    )
    return page + _power_cuts(cuts).rstrip() + "\n"


def _power_cuts(results: Iterable[CutsResult]) -> str:
    text = "## Power cuts\n\n" + paragraph(
        """One rehearsal is run while every write and every flush of the device's disk is recorded. From that, the disk
        is made as a power cut leaves it: all that was written before the last completed flush, and of later writes
        any part, the last one torn between two sectors of 512 bytes (a card in a Raspberry Pi's slot gets no flush
        and stores in order: all up to a sector). A third of the cuts are at flushes, a third at short writes, which
        is where folders, journals, boot files and partition tables are, the rest is drawn. What comes up from each
        such disk is judged by GRUB itself, the stand-in for the Raspberry Pi's firmware, or the firmware's
        variables, and by e2fsck; a sample is booted, and has to do what was judged: the old system's `status` tells
        the truth, and `undo` leaves nothing behind."""
    )
    text += paragraph(
        """In the window, between the first write of the flash and its commit, strategy DEFAULT leaves a disk that
        starts nothing: that is what the window is. A file system counts as repaired where the power failed within a
        block by which its journal commits: e2fsck puts that right, as at the start of Debian and its relatives, and
        Linux since 2024 mounts it as it is; an older one without e2fsck at its start does not, whatever was
        written."""
    )
    for result in results:
        text += f"### {result.scenario}\n\n" + paragraph(
            f"{result.description[0].upper()}{result.description[1:]}. {result.date}, seed {result.seed}: "
            f"`./rehearse --cuts {result.count} --boots {len(result.boots)} --seed {result.seed} {result.scenario}`"
        )
        head = (
            "phase",
            "writes",
            "flushes",
            "states",
            "old system",
            "stage 2",
            "new system",
            "dead",
            "repaired",
        )
        rows = (
            (
                tally.phase
                + (f", {result.window_s:.0f} s" if tally.phase == IN_THE_WINDOW and result.window_s else ""),
                *map(str, (tally.writes, tally.flushes, tally.states, tally.old_system, tally.stage2)),
                *map(str, (tally.new_system, tally.dead, tally.repaired)),
            )
            for tally in result.tallies
        )
        text += table(head, rows)
        as_judged = sum(check.passed for check in result.boots)
        text += paragraph(f"Booted: {len(result.boots)}, of which {as_judged} as judged.")
        text += (
            table(
                ("after", "stored", "what was wrong"),
                ((str(wrong.cut.after), wrong.cut.kept, code(wrong.reason)) for wrong in result.wrong),
            )
            if result.wrong
            else ""
        )
    return text
