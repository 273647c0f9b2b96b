# SPDX-License-Identifier: Apache-2.0
"""Which boot entries the firmware has after the flash, and in which order."""

from __future__ import annotations

from balena_migrate.core.handover import NewBootEntry
from balena_migrate.core.load_option import HardDrive, LoadOption, dump_option
from balena_migrate.core.paths import BOOT_ENTRY
from balena_migrate.stage2.boot_entries import plan_order

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
