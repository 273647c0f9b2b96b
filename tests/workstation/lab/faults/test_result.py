# SPDX-License-Identifier: Apache-2.0
"""What has to come of a fault, before the line and after it."""

from __future__ import annotations

import pytest

from balena_migrate.workstation.lab.fault import Cell, Fault
from balena_migrate.workstation.lab.faults.result import Outcome, Played, matrix, summary


def played(place: str, fault: Fault, outcome: Outcome, *, stage: int = 2, power_cycled: bool = False) -> Played:
    cell = Cell(stage=stage, place=place, fault=fault)
    return Played(cell=cell, outcome=outcome, power_cycled=power_cycled, said="", seconds=1.0)


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize(("stage", "place"), [(1, "initramfs"), (1, "boot-entry"), (2, "secure")])
def test_before_the_line_the_old_system_is_back_or_the_new_one_is_there(stage: int, place: str, fault: Fault) -> None:
    passed = [outcome for outcome in Outcome if played(place, fault, outcome, stage=stage).passed]
    assert passed == [Outcome.OLD_WITH_REASON, Outcome.OLD, Outcome.NEW]


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("place", ["reread", "boot-entry", "transfer", "reboot"])
def test_behind_the_flash_the_new_system_is_there(place: str, fault: Fault) -> None:
    assert [outcome for outcome in Outcome if played(place, fault, outcome).passed] == [Outcome.NEW]


@pytest.mark.parametrize("fault", Fault)
def test_in_the_window_only_what_ends_stage_2_may_end_the_device(fault: Fault) -> None:
    assert played("flash", fault, Outcome.NEW).passed
    assert played("flash", fault, Outcome.NOTHING).passed == (fault in (Fault.HANG, Fault.PANIC))
    assert not played("flash", fault, Outcome.NOTHING).survived


def test_the_matrix_has_a_row_for_each_place_and_a_column_for_each_fault() -> None:
    rows = dict(
        matrix(
            (
                played("transfer", Fault.KILLED, Outcome.OLD),
                played("secure", Fault.HANG, Outcome.OLD, power_cycled=True),
                played("boot-entry", Fault.KILLED, Outcome.OLD_WITH_REASON, stage=1),
            )
        )
    )
    assert list(rows) == ["1: boot-entry", "2: secure", "2: transfer"]
    assert rows["2: secure"][:2] == [("", True), ("old, after a power cycle", True)]
    assert rows["2: transfer"][0] == ("old", False)
    assert {len(row) for row in rows.values()} == {len(Fault)}


def test_what_was_lost_is_counted_and_where() -> None:
    items = [
        played("secure", Fault.HANG, Outcome.OLD),
        played("flash", Fault.PANIC, Outcome.NOTHING),
        played("transfer", Fault.PANIC, Outcome.NOTHING),
    ]
    assert summary(items) == "tried 3, survived 1, lost 2, of which 1 in the window"
