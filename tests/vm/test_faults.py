# SPDX-License-Identifier: Apache-2.0
"""Two cells of the fault matrix, before the line and in the window: what `./rehearse --faults` plays, and finds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from balena_migrate.core.steps import Step
from balena_migrate.workstation.cache import cache_folder
from balena_migrate.workstation.lab.engine import Places
from balena_migrate.workstation.lab.fault import Cell, Fault
from balena_migrate.workstation.lab.faults.result import Outcome
from balena_migrate.workstation.lab.faults.run import run_faults
from balena_migrate.workstation.lab.scenarios.table import find_scenario
from balena_migrate.workstation.lab.wishes import Options

pytestmark = [pytest.mark.vm, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]
CHAIN = "pc-network"


PLAYED = (
    (Cell(stage=2, place=Step.SECURE, fault=Fault.KILLED), Outcome.OLD_WITH_REASON, "secure: stage 2's process was"),
    (Cell(stage=2, place=Step.FLASH, fault=Fault.KILLED), Outcome.NEW, ""),
)
"""What is there, and what is said of it."""


def test_what_is_there_after_a_fault(tmp_path: Path, work: Path) -> None:
    work.mkdir(exist_ok=True)
    places = Places(folder=tmp_path, work=work, cache=cache_folder())
    cells = [cell for cell, _, _ in PLAYED]
    result = run_faults(find_scenario(CHAIN), Options(), places, cells, lambda text: None)
    assert [played.cell for played in result.played] == cells
    for played, (_, outcome, said) in zip(result.played, PLAYED, strict=True):
        assert (played.outcome, played.power_cycled) == (outcome, False), played
        assert said in played.said
    assert result.passed
