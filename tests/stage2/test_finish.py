# SPDX-License-Identifier: Apache-2.0
"""What stage 2 does on the new system's partitions, and that one failure there holds up nothing of the rest."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from balena_migrate.core.errors import DiskError
from balena_migrate.core.handover import NewBootEntry
from balena_migrate.core.system import System
from balena_migrate.stage2 import boot_entries, disks, grow, patience, transfer
from balena_migrate.stage2.console import Console
from balena_migrate.stage2.finish import finish
from balena_migrate.stage2.frame import Stage2
from balena_migrate.stage2.patience import TRIES
from balena_migrate.stage2.stash import RamStash
from tests.support.handover import HANDOVER

GROWN = replace(HANDOVER, data_partition=replace(HANDOVER.data_partition, grow_bytes=384 << 20), machine_id="5ca1e")


class NewSystem:
    """The calls that reach the new system's partitions; those in `broken` fail, so many times."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **broken: int) -> None:
        self.calls: list[str] = []
        self.log = ""
        self.broken = broken
        monkeypatch.setattr(patience, "PAUSE_S", 0)
        monkeypatch.setattr(disks, "find_data_partition", lambda machine, disk, place: f"{disk}6")
        monkeypatch.setattr(disks, "find_labelled", lambda machine, disk, label: f"{disk}5")
        monkeypatch.setattr(boot_entries, "write_boot_entry", self.boot_entry)
        monkeypatch.setattr(grow, "grow", lambda device, size: self.called("grow", device, size))
        monkeypatch.setattr(transfer, "transfer", self.transfer)
        monkeypatch.setattr(transfer, "keep_machine_id", lambda device, name: self.called("machine-id", device, name))

    def called(self, name: str, *arguments: Any) -> None:
        self.calls.append(" ".join(map(str, (name, *arguments))))
        if self.broken.get(name.replace("-", "_"), 0) > 0:
            self.broken[name.replace("-", "_")] -= 1
            raise DiskError(f"no {name} today")

    def boot_entry(self, machine: System, entry: NewBootEntry) -> boot_entries.NewOrder:
        self.called("boot-entry", entry.option.decode())
        return boot_entries.NewOrder(removed=(1, 0xBA), number=0, order=(0, 2))

    def transfer(self, device: str, files: Any, stash: Any, log: str) -> None:
        self.log = log
        self.called("transfer", device, *(item.name for item in files))


def finished(handover: Any) -> Console:
    console = Console(io.StringIO())
    stage2 = Stage2(handover=handover, machine=System(), old=System(), console=console)
    finish(stage2, RamStash(Path("/nowhere")), "/dev/sda")
    return console


GROW, TRANSFER, MACHINE_ID = "grow /dev/sda6 402653184", "transfer /dev/sda6 backup.tgz", "machine-id /dev/sda5 5ca1e"


def test_the_file_system_grows_before_the_backup_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    new = NewSystem(monkeypatch)
    assert [step.name for step in finished(GROWN).steps] == ["grow", "transfer", "machine-id"]
    assert new.calls == [GROW, TRANSFER, MACHINE_ID]


def test_nothing_grows_where_the_backup_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    new = NewSystem(monkeypatch)
    finished(HANDOVER)
    assert new.calls == [TRANSFER]


UEFI = replace(GROWN, boot_entry=NewBootEntry(option=b"new", old_partuuids=()))


def test_the_firmware_gets_its_entry_first_and_the_log_says_which_went(monkeypatch: pytest.MonkeyPatch) -> None:
    new = NewSystem(monkeypatch)
    finished(UEFI)
    assert new.calls == ["boot-entry new", GROW, TRANSFER, MACHINE_ID]
    assert "boot entry Boot0000 is first; removed: Boot0001, Boot00BA" in new.log


def test_a_firmware_that_takes_no_entry_holds_up_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    new = NewSystem(monkeypatch, boot_entry=TRIES)
    finished(UEFI)
    assert new.calls == ["boot-entry new"] * TRIES + [GROW, TRANSFER, MACHINE_ID]
    assert "step boot-entry failed permanently: no boot-entry today" in new.log


def test_growing_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    new = NewSystem(monkeypatch, grow=2)
    finished(GROWN)
    assert new.calls == [GROW, GROW, GROW, TRANSFER, MACHINE_ID]


def test_what_failed_permanently_is_in_the_log_and_the_rest_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    new = NewSystem(monkeypatch, grow=TRIES)
    console = finished(GROWN)
    assert new.calls == [GROW] * TRIES + [TRANSFER, MACHINE_ID]
    assert "step grow failed permanently: no grow today" in new.log
    assert [step.name for step in console.steps] == ["transfer", "machine-id"]


def test_a_transfer_that_fails_does_not_stop_the_machine_id(monkeypatch: pytest.MonkeyPatch) -> None:
    new = NewSystem(monkeypatch, transfer=TRIES)
    assert "step transfer failed permanently: no transfer today" in "".join(finished(GROWN).lines)
    assert new.log.count("no transfer today; trying again") == TRIES - 1, "what the next try puts on the disk"
    assert new.calls == [GROW] + [TRANSFER] * TRIES + [MACHINE_ID]
