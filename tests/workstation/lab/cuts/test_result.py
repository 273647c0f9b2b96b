# SPDX-License-Identifier: Apache-2.0
"""What the cuts of a rehearsal come to: counts, what is wrong, and which disks are booted."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from balena_migrate.status import DeviceState
from balena_migrate.workstation.lab.cuts.boots import choose
from balena_migrate.workstation.lab.cuts.history import AFTER_THE_COMMIT, BEFORE_THE_LINE, IN_THE_WINDOW
from balena_migrate.workstation.lab.cuts.judge import Boots, Verdict
from balena_migrate.workstation.lab.cuts.plan import Cut, Phase
from balena_migrate.workstation.lab.cuts.result import Judged, find_wrong, tally
from balena_migrate.workstation.lab.recording import Request

REQUESTS = (Request(content=b"x" * 512), Request(), Request(content=b"x" * 512), Request(content=b"x" * 512))


def judged(phase: str, boots: Boots, after: int = 0, **more: object) -> Judged:
    return Judged(phase=phase, cut=Cut(after=after), verdict=Verdict(boots=boots, **more))  # type: ignore[arg-type]


OLD = judged(BEFORE_THE_LINE, Boots.OLD)
REPAIRED = judged(BEFORE_THE_LINE, Boots.OLD, repaired=True)
STAGE2 = judged(BEFORE_THE_LINE, Boots.STAGE2)
WINDOW = judged(IN_THE_WINDOW, Boots.DEAD, reason="no boot code")
NEW = judged(AFTER_THE_COMMIT, Boots.NEW)


def test_a_phase_is_counted_by_what_comes_up() -> None:
    found = tally(REQUESTS, Phase(name=BEFORE_THE_LINE, first=0, last=3), [OLD, OLD, REPAIRED, STAGE2, WINDOW])
    assert (found.writes, found.flushes, found.states) == (2, 1, 4)
    assert (found.old_system, found.stage2, found.new_system, found.dead, found.repaired) == (3, 1, 0, 0, 1)


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (judged(BEFORE_THE_LINE, Boots.DEAD, reason="no kernel"), "no kernel"),
        (judged(AFTER_THE_COMMIT, Boots.DEAD, reason="no root"), "no root"),
        (judged(BEFORE_THE_LINE, Boots.OLD, changed=("~etc/fstab",)), "changed: ~etc/fstab"),
        (judged(BEFORE_THE_LINE, Boots.STAGE2, changed=("-srv/data",)), "changed: -srv/data"),
        (
            judged(BEFORE_THE_LINE, Boots.OLD, stuck=("boot/efi/EFI/ours",)),
            "undo fails, as Linux cannot remove boot/efi/EFI/ours",
        ),
    ],
)
def test_a_dead_device_and_a_changed_file_are_wrong(item: Judged, reason: str) -> None:
    assert [(wrong.cut, wrong.reason) for wrong in find_wrong([OLD, item, NEW])] == [(item.cut, reason)]


def test_nothing_boots_in_the_window_and_that_is_known() -> None:
    assert find_wrong([OLD, REPAIRED, STAGE2, WINDOW, NEW]) == ()


def kinds(items: Sequence[Judged]) -> list[tuple[Boots, DeviceState | None]]:
    return sorted((item.verdict.boots, item.verdict.status) for item in items)


def test_something_of_all_that_comes_up_is_booted_and_of_each_status() -> None:
    many = [judged(BEFORE_THE_LINE, Boots.OLD, after, status=DeviceState.PARTLY) for after in range(50)]
    few = [
        judged(BEFORE_THE_LINE, Boots.OLD, 60, status=DeviceState.NOT_STARTED),
        judged(BEFORE_THE_LINE, Boots.STAGE2, 70),
    ]
    chosen = choose([*many, *few], 4, seed=1)
    assert kinds(chosen) == [
        (Boots.OLD, DeviceState.PARTLY),
        (Boots.OLD, DeviceState.PARTLY),
        (Boots.OLD, DeviceState.NOT_STARTED),
        (Boots.STAGE2, None),
    ]
    assert chosen == choose([*many, *few], 4, seed=1)
    assert [item.cut.after for item in chosen] == sorted(item.cut.after for item in chosen)
    assert len(choose(many, 99, seed=1)) == 50
