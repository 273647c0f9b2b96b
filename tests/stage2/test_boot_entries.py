# SPDX-License-Identifier: Apache-2.0
"""Which boot entries the firmware has after the flash, and in which order."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from balena_migrate.core.efi_variables import (
    EFIVARS,
    dump_numbers,
    find_options,
    find_value,
    option_path,
    variable_path,
    write_variable,
)
from balena_migrate.core.handover import NewBootEntry
from balena_migrate.core.load_option import HardDrive, LoadOption, dump_option
from balena_migrate.core.paths import BOOT_ENTRY
from balena_migrate.core.system import System
from balena_migrate.stage2 import boot_entries
from balena_migrate.stage2.boot_entries import plan_order, write_boot_entry

OLD = "0b7b3a50-1f4f-4fb7-8f5a-40b3a8c2d901"
OTHER = "a7d6f1c3-0f0a-4ce2-8b0d-9e6f3b5a2c18"
NEW = NewBootEntry(option=b"new", old_partuuids=(OLD, "5a3c91e7-01"))


def option(label: str, partuuid: str = "") -> bytes:
    drive = HardDrive(number=1, start_lba=2048, sectors=4096, partuuid=partuuid) if partuuid else None
    return dump_option(LoadOption(label=label, hard_drive=drive, file="\\EFI\\debian\\shimx64.efi"))


def test_what_named_the_old_disk_goes_and_all_else_keeps_its_place() -> None:
    options = {0: option("PXE"), 1: option("debian", OLD), 2: option("stick", OTHER), 5: option("old", "5a3c91e7-01")}
    new = plan_order(options, (1, 2, 5, 0), NEW)
    assert new.removed == (1, 5)
    assert (new.number, new.order) == (1, (1, 2, 0))


def test_entries_of_ours_and_of_balenas_flashers_go_wherever_they_lead() -> None:
    options = {
        0xBA: option(BOOT_ENTRY, OTHER),
        1: option("resinOS", OTHER),
        2: option("balenaOS"),
        3: option("balena", OTHER),
    }
    new = plan_order(options, (1, 2, 3), NEW)
    assert new.removed == (1, 2, 0xBA)
    assert (new.number, new.order) == (0, (0, 3))


def test_an_entry_that_makes_no_sense_is_left_alone() -> None:
    new = plan_order({0: b"\1", 1: option("debian", OLD)}, (0, 1), NEW)
    assert new.removed == (1,)
    assert (new.number, new.order) == (1, (1, 0))


def test_a_number_that_the_order_names_and_nothing_has_is_taken_once() -> None:
    new = plan_order({1: option("PXE")}, (0, 1), NEW)
    assert (new.number, new.order) == (0, (0, 1))


def test_it_can_be_done_again() -> None:
    options = {0: option("PXE"), 1: option("balenaOS", OTHER)}
    new = plan_order(options, (1, 0), NEW)
    assert (new.removed, new.number, new.order) == ((1,), 1, (1, 0))


def test_the_variables_are_what_was_planned_and_the_same_the_second_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In a folder in place of efivarfs, which a test cannot have."""
    monkeypatch.setattr(boot_entries, "variables", contextlib.nullcontext)
    (tmp_path / EFIVARS.lstrip("/")).mkdir(parents=True)
    machine, attributes = System(tmp_path), b"\7\0\0\0"
    for number, value in ((0, option("PXE")), (1, option("debian", OLD)), (0xBA, option(BOOT_ENTRY, OLD))):
        write_variable(machine, option_path(number), attributes + value)
    write_variable(machine, variable_path("BootOrder"), attributes + dump_numbers((1, 0)))
    entry = NewBootEntry(option=option("balenaOS", OTHER), old_partuuids=(OLD,))
    for removed in ((1, 0xBA), (1,)):
        assert write_boot_entry(machine, entry).removed == removed
        assert find_options(machine) == {0: option("PXE"), 1: entry.option}
        assert find_value(machine, "BootOrder") == dump_numbers((1, 0))
