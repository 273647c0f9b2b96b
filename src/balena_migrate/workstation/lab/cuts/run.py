# SPDX-License-Identifier: Apache-2.0
"""Cuts the power of a recorded device again and again, and judges what comes up."""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from balena_migrate.core.errors import LabError
from balena_migrate.core.paths import INITRAMFS_NAME
from balena_migrate.core.progress import Say
from balena_migrate.core.system import temporary_beside
from balena_migrate.workstation.lab.cuts.boots import boot_cuts, choose
from balena_migrate.workstation.lab.cuts.chains import Chain, find_chain
from balena_migrate.workstation.lab.cuts.history import BEFORE_THE_LINE, FOLDER, History, put_variables, read_history
from balena_migrate.workstation.lab.cuts.judge import Judge
from balena_migrate.workstation.lab.cuts.oldfiles import read_old_files
from balena_migrate.workstation.lab.cuts.overlay import overlaid
from balena_migrate.workstation.lab.cuts.plan import Cut, durable, plan_cuts, stored
from balena_migrate.workstation.lab.cuts.replay import Replay, store
from balena_migrate.workstation.lab.cuts.result import CutsResult, Judged, find_wrong, tally
from balena_migrate.workstation.lab.cuts.starts import Starts
from balena_migrate.workstation.lab.resumable import add_done, read_done
from balena_migrate.workstation.lab.scenarios import Scenario

SAID = 25
"""After how many disks something is said."""
TEMPORARY = f"{temporary_beside(Path('*', '*'))}*"
"""The names of files that are being written, and of folders for them."""

VERDICTS, RESULT, BOOTS = "verdicts.jsonl", "cuts.json", "boots"


@dataclass(frozen=True, kw_only=True)
class Wish:
    """How many cuts are judged, how many of these are booted, and the seed of what is drawn."""

    count: int
    """Of those before the line; a tenth as many in the window, and as many after the commit."""
    boots: int
    seed: int


def cut_power(scenario: Scenario, wish: Wish, folder: Path, say: Say) -> CutsResult:
    """The result of cuts in a scenario whose recording is in the folder, which gets the verdicts and the boots' logs.

    What was judged in an earlier call with the same wish is not judged again. Raises LabError if there is no recording.
    """
    history = read_history(folder / FOLDER)
    with tempfile.TemporaryDirectory(prefix="cuts-", dir=folder) as name:
        judged = judge_cuts(history, wish, Path(name), folder / VERDICTS, say)
    shutil.rmtree(folder / BOOTS, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="cuts-", dir=folder) as name:
        chosen = choose(judged, wish.boots, wish.seed)
        boots = tuple(boot_cuts(history, chosen, Path(name), folder / BOOTS, say))
    wrong = find_wrong(judged)
    return CutsResult(
        scenario=scenario.name,
        description=scenario.description,
        date=time.strftime("%Y-%m-%d"),
        seed=wish.seed,
        count=wish.count,
        passed=bool(judged) and not wrong and all(check.passed for check in boots),
        tallies=tuple(tally(history.requests, phase, judged) for phase in history.moments.phases),
        wrong=wrong,
        boots=boots,
        window_s=history.window_s,
    )


def judge_cuts(history: History, wish: Wish, folder: Path, results: Path, say: Say) -> tuple[Judged, ...]:
    """The verdicts on cuts of each phase. `folder` is for disks. The file `results` gets a line for each; those that
    are in it already are taken from there. Raises LabError if it is of other cuts."""
    planned = [
        (phase, cut)
        for phase in history.moments.phases
        for cut in plan_cuts(
            history.requests,
            phase,
            wish.count if phase.name == BEFORE_THE_LINE else -(-wish.count // 10),
            in_order=history.in_order,
            seed=wish.seed,
        )
    ]
    known = read_done(results, Judged)
    if [(item.phase, item.cut) for item in known] != [(phase.name, cut) for phase, cut in planned[: len(known)]]:
        raise LabError(f"{results} is of other cuts", hint="remove it, or give the same number and seed")
    judge = make_judge(history, folder)
    replay, touched = Replay(history.before, folder / "replay.img", history.requests), set[str]()
    for number, (phase, cut) in enumerate(planned[len(known) :], start=len(known) + 1):
        start = durable(history.requests, cut.after, in_order=history.in_order)
        touched |= judge.files.touched(replay.advance(start))
        pending = tuple(stored(history.requests, cut, start, history.whole))
        with overlaid(replay.disk) as disk:
            store(disk, pending)
            put_variables(history, cut, disk)
            verdict = judge.judge(disk, touched | judge.files.touched(pending))
        known.append(Judged(phase=phase.name, cut=cut, verdict=verdict))
        add_done(results, known[-1])
        if number % SAID == 0 or number == len(planned):
            say(f"{number} of {len(planned)} disks judged")
    return tuple(known)


def make_judge(history: History, folder: Path) -> Judge:
    """The judge of a history's disks, with what it compares them with, which is put into the folder."""
    record = history.record
    chain = find_chain(history.before, record.prepared)
    before = _starts(chain, history, history.before, 0)
    replay = Replay(history.before, folder / "final.img", history.requests)
    armed_after = history.boots[1] if len(history.boots) > 1 else history.moments.end
    replay.advance(armed_after)
    armed = _starts(chain, history, replay.disk, armed_after)
    if not armed.initramfs[0].path.endswith(INITRAMFS_NAME) or armed == before:
        raise LabError(f"after stage 1 the device starts {armed}")
    replay.advance(history.moments.end)
    return Judge(
        chain=chain,
        before=before,
        armed=armed,
        final=replay.disk if history.moments.line < history.moments.end else None,
        systems=record.prepared.file_systems,
        files=read_old_files(history.before, record.prepared.file_systems, record.before.files),
        described=record.before.files,
        may=(*record.left, *chain.boot_files, TEMPORARY),
    )


def _starts(chain: Chain, history: History, disk: Path, after: int) -> Starts:
    with overlaid(disk) as shown:
        put_variables(history, Cut(after=after), shown)
        return chain.starts(shown)
