# SPDX-License-Identifier: Apache-2.0
"""Another disk of the same size and model is compared to the byte."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from balena_migrate.core.errors import LabError
from balena_migrate.core.units import MIB
from balena_migrate.settings import Config
from balena_migrate.workstation.lab import owner
from balena_migrate.workstation.lab.acts import OtherDisk
from balena_migrate.workstation.lab.disks import read_partitions
from balena_migrate.workstation.lab.expected import Expected
from balena_migrate.workstation.lab.machines.pc import PcMachine
from balena_migrate.workstation.lab.prepare import OTHER_DISK, Prepared, make_data_disk
from balena_migrate.workstation.lab.result import Check
from balena_migrate.workstation.lab.run import OldState, Record, Run
from balena_migrate.workstation.lab.scenarios.table import find_scenario
from balena_migrate.workstation.lab.snapshot import file_hash
from balena_migrate.workstation.lab.timeline import Timeline
from balena_migrate.workstation.lab.virtual import VirtualDevice

pytestmark = pytest.mark.processes
SIZE = 16 * MIB


@pytest.fixture
def other(tmp_path: Path) -> Path:
    return make_data_disk(tmp_path / "other.img", SIZE, OTHER_DISK)


@pytest.fixture
def run(tmp_path: Path, other: Path) -> Run:
    """A device that is off after its migration."""
    scenario = find_scenario("pc-two-disks")
    prepared = Prepared(
        device=scenario.device,
        wishes=scenario.wishes,
        expect=scenario.expect,
        machine=PcMachine(kernel=tmp_path / "vmlinuz"),
        drives=(tmp_path / "disk.img", other),
        file_systems=(),
        memory_mib=1024,
        config_json=owner.config_json("intel-nuc"),
        content=None,
        expected=Expected(config=Config(), networks=frozenset(), backup=None),
    )
    before = OldState(files={}, next_boot=None, other_disk=file_hash(other))
    device = VirtualDevice(
        machine=prepared.machine, drives=prepared.drives, folder=tmp_path, timeline=Timeline(lambda line: None)
    )
    return Run(record=Record(prepared=prepared, before=before, disk_before=None), virtual=device)


def compared(run: Run) -> bool:
    (check,) = OtherDisk().play(run)
    assert isinstance(check, Check)
    return check.passed


def test_it_is_as_large_as_asked_for_and_has_a_file_system(other: Path) -> None:
    assert other.stat().st_size == SIZE
    assert len(read_partitions(other)) == 1


def test_one_byte_that_changed_is_found(run: Run, other: Path) -> None:
    assert compared(run)
    with other.open("r+b") as file:
        file.seek(SIZE - 1)
        file.write(b"\1")
    assert not compared(run)


def test_a_device_without_one_is_a_mistake_in_the_scenario(run: Run) -> None:
    run.record.prepared = replace(run.prepared, device=replace(run.prepared.device, other_disk=False))
    with pytest.raises(LabError, match="no other disk"):
        list(OtherDisk().play(run))
