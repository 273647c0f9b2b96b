# SPDX-License-Identifier: Apache-2.0
"""The engine plays acts until the device gets stuck, and lets scenarios that begin alike share a stage 1."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from balena_migrate.core.errors import LabError
from balena_migrate.core.units import MIB
from balena_migrate.settings import Config
from balena_migrate.workstation.lab import engine
from balena_migrate.workstation.lab.acts import Stage1
from balena_migrate.workstation.lab.disks import FileSystem, Span
from balena_migrate.workstation.lab.engine import Places, rehearse
from balena_migrate.workstation.lab.expected import Expected
from balena_migrate.workstation.lab.machines.pc import PcMachine
from balena_migrate.workstation.lab.prepare import Prepared
from balena_migrate.workstation.lab.result import Check, Rehearsal, same
from balena_migrate.workstation.lab.run import OldState, Run
from balena_migrate.workstation.lab.scenarios import Scenario
from balena_migrate.workstation.lab.scenarios.table import find_scenario
from balena_migrate.workstation.lab.wishes import Device, Expect, Options, Wishes


@dataclass(frozen=True, kw_only=True)
class Says:
    """An act that finds a word on the disk."""

    word: str

    def play(self, run: Run) -> Iterator[Check]:
        yield same("the disk", self.word, run.prepared.disk.read_text())


@dataclass(frozen=True, kw_only=True)
class GetsStuck:
    def play(self, run: Run) -> Iterator[Check]:
        yield same("before it got stuck", True, True)
        raise LabError("the device is stuck")


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    """A device whose disk holds a word, and no file system; its stage 1 writes another one."""

    def prepare(device: Device, wishes: Wishes, expect: Expect, options: Options, folder: Path, *_: object) -> Prepared:
        (folder / "disk.img").write_text("fresh")
        return Prepared(
            device=device,
            wishes=wishes,
            expect=expect,
            machine=PcMachine(kernel=tmp_path / "vmlinuz"),
            drives=(folder / "disk.img",),
            file_systems=(FileSystem(span=Span(start_bytes=MIB, size_bytes=MIB)),),
            memory_mib=1024,
            config_json=b"{}",
            content=None,
            expected=Expected(config=Config(no_flash=False), networks=frozenset(), backup=None),
        )

    def stage1(self: Stage1, run: Run) -> Iterator[Check]:
        yield from Says(word="fresh").play(run)
        run.prepared.disk.write_text("armed")
        with (tmp_path / "runs").open("a") as file:
            file.write("stage 1\n")

    monkeypatch.setattr(engine, "prepare", prepare)
    monkeypatch.setattr(engine, "read_old_system", lambda prepared: OldState(files={}, next_boot=None))
    monkeypatch.setattr(engine, "find_disk_state", lambda disk: None)
    monkeypatch.setattr(engine, "read_secrets", lambda prepared: ())
    monkeypatch.setattr(engine, "leak_checks", lambda *_: ())
    monkeypatch.setattr(Stage1, "play", stage1)
    monkeypatch.setattr(PcMachine, "facts", lambda self, memory_mib: ())
    monkeypatch.setattr(PcMachine, "accelerator", "none")
    (tmp_path / "work").mkdir()
    return Places(folder=tmp_path / "result", work=tmp_path / "work", cache=tmp_path)


def play(scenario: Scenario, places: Places) -> Rehearsal:
    return rehearse(scenario, Options(), places, lambda line: None)


def alone() -> Scenario:
    """A scenario that shares its stage 1 with no other."""
    return find_scenario("pc-bios-2.15")


def test_acts_are_played_in_their_order_on_one_disk(places: Places) -> None:
    result = play(replace(alone(), acts=(Says(word="fresh"), Stage1(), Says(word="armed"))), places)
    assert result.passed and [check.expected for check in result.checks] == ["fresh", "fresh", "armed"]
    assert not list(places.folder.glob("disk*")), "nothing is left where nobody wants to keep it"


def test_nothing_is_played_after_an_act_in_which_the_device_got_stuck(places: Places) -> None:
    result = play(replace(alone(), acts=(GetsStuck(), Says(word="fresh"))), places)
    assert not result.passed
    assert [(check.passed, check.found) for check in result.checks] == [(True, "True"), (False, "the device is stuck")]


def test_a_failed_check_fails_the_rehearsal(places: Places) -> None:
    assert not play(replace(alone(), acts=(Says(word="other"),)), places).passed


@pytest.mark.processes
def test_scenarios_that_begin_alike_have_one_stage_1_and_a_disk_each(places: Places, tmp_path: Path) -> None:
    shared = find_scenario("pc-bios")
    for name in ("one", "two"):
        folder = replace(places, folder=tmp_path / name)
        result = play(replace(shared, name=name, acts=(Stage1(), Says(word="armed"))), folder)
        assert result.passed and [check.expected for check in result.checks] == ["fresh", "armed"]
    assert (tmp_path / "runs").read_text() == "stage 1\n"


@pytest.mark.processes
def test_a_shared_stage_1_that_gets_stuck_fails_each_of_them_and_is_not_gone_on_from(
    places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Stage1, "play", lambda self, run: GetsStuck().play(run))
    for name in ("one", "two"):
        result = play(replace(find_scenario("pc-bios"), name=name, acts=(Stage1(), Says(word="armed"))), places)
        assert [check.found for check in result.checks] == ["True", "the device is stuck"]
