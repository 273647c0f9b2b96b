# SPDX-License-Identifier: Apache-2.0
"""UEFI firmware starts stage 2 by BootNext, where it can."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from virt.firmware.efi.bootentry import BootEntry

from balena_migrate.bootloaders import find_boot_loader, passed_over
from balena_migrate.bootloaders.efi import BOOT_LOADER
from balena_migrate.bootloaders.efi.entry import find_esp
from balena_migrate.bootloaders.efi.new_system import BOOT_CODE_BYTES, efi_blocks, new_boot_entry
from balena_migrate.core.changes import WriteVariable
from balena_migrate.core.efi_variables import option_path, variable_path
from balena_migrate.core.load_option import HardDrive, parse_option
from balena_migrate.core.units import MIB, SECTOR_BYTES
from balena_migrate.facts import Facts, FirmwareEntry, Mount
from balena_migrate.findings import Severity
from balena_migrate.images.partitions import Partition, PartitionTable, TableKind
from balena_migrate.settings import Config
from tests.support.facts import ESP_PARTUUID, ROOT_PARTUUID, pc_facts, pi_facts, uefi_facts
from tests.support.surveys import some_image

NEW_GUID = "3d1a52ef-4a0c-4d8b-90f2-6c1de2a5f377"


def with_esp(facts: Facts, **values: Any) -> Facts:
    root, esp = facts.disks.mounts
    return replace(facts, disks=replace(facts.disks, mounts=(root, replace(esp, **values))))


def variables(facts: Facts, config: Config | None = None) -> dict[str, bytes]:
    actions = BOOT_LOADER.boot_actions(config or Config(), facts)
    return {action.path: action.value for action in actions if isinstance(action, WriteVariable)}


def test_a_uefi_pc_with_all_in_place_is_started_by_its_firmware() -> None:
    assert find_boot_loader(uefi_facts()) is BOOT_LOADER
    assert passed_over(uefi_facts()) == ()
    assert not {finding.severity for finding in BOOT_LOADER.check(Config(), uefi_facts())} - {Severity.OK}


@pytest.mark.parametrize("facts", [pc_facts(), pi_facts()])
def test_other_devices_are_not(facts: Facts) -> None:
    assert find_boot_loader(facts) is not BOOT_LOADER
    assert passed_over(facts) == ()


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (uefi_facts(unwritable="efivarfs is mounted read-only"), "mounted read-only"),
        (uefi_facts(kernel_stub=False), "an EFI stub"),
        (uefi_facts(free_bytes=23 * MIB), "23 MiB free, and about 28 MiB are needed"),
        (with_esp(uefi_facts(), options=("ro",)), "/boot/efi is mounted read-only"),
        (with_esp(uefi_facts(), source="/dev/sdb1"), "no EFI system partition is mounted"),
    ],
)
def test_where_it_cannot_the_reason_is_known(facts: Facts, reason: str) -> None:
    assert find_boot_loader(facts) is not BOOT_LOADER
    (other,) = passed_over(facts)
    assert reason in other.reason and other.remedy


def test_a_store_of_variables_that_is_nearly_full_is_no_way() -> None:
    facts = uefi_facts()
    assert facts.boot.efi
    full = replace(facts, boot=replace(facts.boot, efi=replace(facts.boot.efi, free_bytes=100)))
    assert "100 bytes free" in passed_over(full)[0].reason
    assert find_boot_loader(full) is not BOOT_LOADER


def test_the_entry_names_the_kernels_copy_on_the_esp_and_boot_next_the_entry() -> None:
    found = variables(uefi_facts(), Config(debug=True))
    assert list(found) == [option_path(0xBA), variable_path("BootNext")]
    assert found[variable_path("BootNext")] == b"\xba\0"
    entry = BootEntry(data=found[option_path(0xBA)])
    drive, file = entry.devicepath
    assert (str(entry.title), str(drive.get_partuuid())) == ("balena-migrate", ESP_PARTUUID)
    assert str(file.get_filepath()) == "\\balena-migrate-kernel.efi"
    assert entry.optdata.decode("utf-16-le") == (
        "initrd=\\balena-migrate-initramfs root=UUID=1111-root ro quiet debug panic=30\0"
    )
    drive_found = parse_option(found[option_path(0xBA)]).hard_drive
    assert drive_found == HardDrive(number=1, start_lba=2048, sectors=1_048_576, partuuid=ESP_PARTUUID)


def test_the_entry_takes_a_number_that_nothing_has() -> None:
    entry = FirmwareEntry(number=0xBA, label="x", partuuid="", file="")
    assert next(iter(variables(uefi_facts(entries=(entry,), order=(0xBB,))))) == option_path(0xBC)


def test_the_kernel_is_there_before_the_initramfs_is_and_no_folder_is_made() -> None:
    (kernel,) = BOOT_LOADER.preparations(Config(), uefi_facts())
    assert BOOT_LOADER.boot_folder(uefi_facts()) == "/boot/efi"
    assert kernel.path == "/boot/efi/balena-migrate-kernel.efi"


def test_of_two_esps_that_one_counts_which_the_system_was_started_from() -> None:
    facts = uefi_facts()
    disk, esp, root = facts.disks.devices
    other = replace(esp, name="sdb1", path="/dev/sdb1", partuuid="other")
    mounts = (Mount(source="/dev/sdb1", mount_point="/mnt", fstype="vfat"), *facts.disks.mounts)
    two = replace(facts, disks=replace(facts.disks, devices=(disk, esp, root, other), mounts=mounts))
    found = find_esp(two)
    assert found and found[1] == esp


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        (uefi_facts(left_over=("/boot/efi/balena-migrate-initramfs",)), "efi-entry-ours"),
        (
            uefi_facts(entries=(FirmwareEntry(number=7, label="balena-migrate", partuuid="", file=""),)),
            "efi-entry-ours",
        ),
        (uefi_facts(next=0), "efi-other-one-shot"),
    ],
)
def test_what_is_in_the_way_is_named(facts: Facts, code: str) -> None:
    found = [finding.code for finding in BOOT_LOADER.check(Config(), facts) if finding.severity is not Severity.OK]
    assert found == [code]


def test_the_new_system_gets_the_entry_that_balenas_flasher_writes() -> None:
    facts = uefi_facts()
    boot = Partition(number=1, start_bytes=4 * MIB, size_bytes=40 * MIB, type="x", id=NEW_GUID)
    image = replace(some_image(), boot=boot, table=PartitionTable(kind=TableKind.GPT, id="", partitions=(boot,)))
    entry = new_boot_entry(facts, image, facts.disks.devices[0], "balenaOS")
    assert entry and entry.old_partuuids == (ESP_PARTUUID, ROOT_PARTUUID)
    option = parse_option(entry.option)
    assert (option.label, option.file) == ("balenaOS", "EFI\\BOOT\\bootx64.efi")
    sectors = 40 * MIB // SECTOR_BYTES
    assert option.hard_drive == HardDrive(number=1, start_lba=8192, sectors=sectors, partuuid=NEW_GUID)
    assert efi_blocks(facts.boot, image) == ()


def test_an_mbr_image_loses_its_boot_code_and_its_id_as_its_first_start_would_do_it() -> None:
    facts = uefi_facts()
    (block,) = efi_blocks(facts.boot, some_image())
    assert (block.offset_bytes, block.content) == (0, bytes(BOOT_CODE_BYTES))
    assert efi_blocks(pc_facts().boot, some_image()) == ()
    entry = new_boot_entry(facts, some_image(), facts.disks.devices[0], "resinOS")
    assert entry
    drive = parse_option(entry.option).hard_drive
    assert drive and drive.partuuid == "00000000-01"


@pytest.mark.parametrize("facts", [pc_facts(), uefi_facts(unwritable="read-only")])
def test_a_firmware_that_takes_no_entry_gets_none(facts: Facts) -> None:
    assert new_boot_entry(facts, some_image(), facts.disks.devices[0], "balenaOS") is None
