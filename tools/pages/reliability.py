# SPDX-License-Identifier: Apache-2.0
"""docs/reliability.md: what the last long runs came to, of the JSON that they left in docs/reliability."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from balena_migrate.core.values import from_json
from balena_migrate.workstation.lab.cuts.history import IN_THE_WINDOW
from balena_migrate.workstation.lab.cuts.result import CutsResult
from balena_migrate.workstation.lab.fault import Fault
from balena_migrate.workstation.lab.faults.play import BOOTED, FAILS_S
from balena_migrate.workstation.lab.faults.result import FaultsResult, matrix, summary
from balena_migrate.workstation.lab.faulty_disk import FLUSHES
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
    faults = [from_json(FaultsResult, json.loads(path.read_text())) for path in sorted(RESULTS.glob("faults-*.json"))]
    return page + _power_cuts(cuts) + _faults(faults).rstrip() + "\n"


def _faults(results: Iterable[FaultsResult]) -> str:
    text = "## Faults\n\n" + paragraph(
        f"""One thing goes wrong as soon as a change of stage 1 or a step of stage 2 has begun: its process is killed or
        stops, the kernel panics, nearly all memory is taken, the disk fails for {FAILS_S:.0f} s (so many flushes:
        {FLUSHES}), it is full, or the file that the step works with is gone or has other content. Then the device is
        left alone, and what is there in the end is looked at: the old system has to be as it was, and its `status` to
        know; after the line the new system has to report."""
    )
    text += paragraph(
        f"""A device whose disk starts the old system, by the judge of the power cuts, is booted in the column
        {BOOTED}, and has to show there what was judged: `status`, `undo`, and the files behind it. In the other columns
        all that is read from the disk."""
    )
    text += paragraph(
        """Where `status` does not have the reason, it says that stage 2 did not start, or was cut off. Nothing ends a
        panic or a hang but a reset, and that loses the device in the window. Before its watchdog is fed, from the
        step `mount` on, a stage 2 that hangs waits for somebody to switch the device off and on."""
    )
    for result in results:
        text += f"### {result.scenario}\n\n" + paragraph(
            f"{result.description[0].upper()}{result.description[1:]}. {result.date}: "
            f"`./rehearse --faults {result.scenario}`"
        )
        rows = ((place, *(found for found, _ in row)) for place, row in matrix(result.played))
        text += table(("stage: step", *Fault), rows)
        text += paragraph(f"{summary(result.played)[0].upper()}{summary(result.played)[1:]}; planned {result.planned}.")
    return text


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
