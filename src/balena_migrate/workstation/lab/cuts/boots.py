# SPDX-License-Identifier: Apache-2.0
"""Boots a device from a disk that a power cut left, and checks that what comes up is what was judged."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

from balena_migrate.core.errors import LabError, MigrateError
from balena_migrate.core.progress import Say
from balena_migrate.core.steps import THE_LINE, started
from balena_migrate.workstation.lab.acts import (
    REPORT_BEGINS,
    STAGE2_COMES_BACK,
    Status,
    Undo,
)
from balena_migrate.workstation.lab.cuts.history import History, put_variables
from balena_migrate.workstation.lab.cuts.judge import Boots
from balena_migrate.workstation.lab.cuts.oldstart import OldStart, find_old_start
from balena_migrate.workstation.lab.cuts.overlay import overlaid
from balena_migrate.workstation.lab.cuts.plan import durable, stored
from balena_migrate.workstation.lab.cuts.replay import Replay, store
from balena_migrate.workstation.lab.cuts.result import Judged
from balena_migrate.workstation.lab.disks import copy_disk
from balena_migrate.workstation.lab.result import Check, matches, ran_to_its_end, same
from balena_migrate.workstation.lab.run import Record, Run, begin_on_copies

START_TIMEOUT_S = 900.0
SILENCE = "silence"
OLD_START = "that of the old system"
SIGN_OF_LIFE = r"Linux version|balena|login:"
"""What each kernel and each system here prints, and no firmware."""
SILENCE_S = 30.0
"""How long a device that starts nothing is watched."""


def choose(judged: Iterable[Judged], count: int, seed: int) -> list[Judged]:
    """This many of the verdicts, in the order of their moments: something of all that comes up, in turn, and of the old
    system each `status` in turn, the most frequent one first."""
    kinds: dict[Boots, dict[object, list[Judged]]] = {}
    for item in judged:
        kinds.setdefault(item.verdict.boots, {}).setdefault(item.verdict.status, []).append(item)
    draw = random.Random(seed)
    by_size = [sorted(found.values(), key=len, reverse=True) for _, found in sorted(kinds.items())]
    left = [draw.sample(items, len(items)) for rank in zip_longest(*by_size, fillvalue=[]) for items in rank]
    chosen: list[Judged] = []
    while len(chosen) < count and any(left):
        chosen += [items.pop() for items in left if items][: count - len(chosen)]
    return sorted(chosen, key=lambda item: item.cut)


def boot_cuts(history: History, chosen: Sequence[Judged], folder: Path, logs: Path, say: Say) -> Iterator[Check]:
    """A check for each: what comes up is what was judged, and the old system is as it says. `logs` gets the consoles'
    logs, in a folder for each boot."""
    old = find_old_start(replace(history.record.prepared, drives=(history.before,)))
    others = [drive.name for drive in history.record.prepared.drives[1:]]
    replay = Replay(history.before, folder / "booted.img", history.requests)
    for number, item in enumerate(chosen, start=1):
        start = durable(history.requests, item.cut.after, in_order=history.in_order)
        replay.advance(start)
        say(f"boot {number} of {len(chosen)}: {item.phase}, after {item.cut.after} {item.cut.kept}")
        place = logs / f"{number:02}"
        place.mkdir(parents=True)
        with overlaid(replay.disk) as disk:
            store(disk, stored(history.requests, item.cut, start, history.whole))
            for name in others:
                copy_disk(history.folder / name, disk.with_name(name))
            put_variables(history, item.cut, disk)
            yield _boot(history.record, item, disk, place, old, say)


def _boot(recorded: Record, item: Judged, disk: Path, folder: Path, old: OldStart, say: Say) -> Check:
    title = f"{item.phase}, after {item.cut.after} {item.cut.kept}: {item.verdict.boots}"
    with begin_on_copies(recorded, disk, folder) as run:
        try:
            checks = list(_comes_up(run, item, old))
        except (MigrateError, OSError, ValueError) as error:
            checks = [ran_to_its_end(str(error))]
    failed = [f"{check.name}: expected {check.expected}, found {check.found}" for check in checks if not check.passed]
    found = "; ".join(failed) or "as judged"
    say(f"  {item.verdict.boots}: {found}")
    return same(title, "as judged", found)


def _comes_up(run: Run, item: Judged, old: OldStart) -> Iterator[Check]:
    """What is found out about a device that is switched on. The old system is not started again after `undo`: on its
    disk is all that it was."""
    match item.verdict.boots:
        case Boots.OLD:
            assert item.verdict.status is not None, "the judge saw the journal"
            yield from Status(state=item.verdict.status).play(run)
            yield from Undo().play(run)
            yield from run.old_system_checks()
            yield same("the next start", OLD_START, OLD_START if old.is_next(run.prepared) else "another one")
        case Boots.STAGE2:
            goes_on, either = re.escape(started(THE_LINE)), f"{re.escape(started(THE_LINE))}|{STAGE2_COMES_BACK}"
            found = run.switch_on().console.wait_for(either, START_TIMEOUT_S)
            yield matches("stage 2", either if item.verdict.repaired else goes_on, found[0])
        case Boots.NEW:
            yield same("new system", REPORT_BEGINS, run.switch_on().console.wait_for(REPORT_BEGINS, START_TIMEOUT_S)[0])
        case Boots.DEAD:
            yield same("nothing starts", SILENCE, _sign_of_life(run))


def _sign_of_life(run: Run) -> str:
    """What a device shows that is switched on: SILENCE where nothing starts."""
    try:
        run.prepared.machine.next_boot(run.prepared.disk)
    except LabError:  # from the stand-in of a firmware
        return SILENCE
    sign = run.switch_on().console.find(SIGN_OF_LIFE, SILENCE_S)
    return sign[0] if sign else SILENCE
