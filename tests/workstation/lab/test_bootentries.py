# SPDX-License-Identifier: Apache-2.0
"""The boot entries of a firmware are judged after stage 1, and once the new system has reported."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from balena_migrate.workstation.lab.bootentries import armed_checks, new_entry_checks, partition_path
from balena_migrate.workstation.lab.result import Check
from balena_migrate.workstation.lab.variables import BootEntry, BootVariables

PARTITION = "HD(1,GPT,7d2f6a31-0c8e-4b59-a1d4-3e97c05b8f26,0x800,0x80000)"
MENU = BootEntry(number=0, label="UiApp", path="FvName(7cb8)/FvFileName(462c)", bootable=False)
DEBIAN = BootEntry(number=1, label="debian", path=rf"{PARTITION}/\EFI\debian\shimx64.efi")
SHELL = BootEntry(number=2, label="EFI Internal Shell", path="FvName(7cb8)/FvFileName(7c04)")
BEFORE = BootVariables(entries=(MENU, DEBIAN, SHELL), order=(1, 0, 2), next=None)
OURS = BootEntry(
    number=0x10,
    label="balena-migrate",
    path=rf"{PARTITION}/\balena-migrate-kernel.efi",
    optional=r"panic=5 initrd=\balena-migrate-initramfs".encode("utf-16-le"),
)
ARMED = replace(BEFORE, entries=(*BEFORE.entries, OURS), next=0x10)
TABLE = "label: gpt\nlabel-id: 0c8e7d2f-6a31-4b59-a1d4-3e97c05b8f26\n"
NEW_PARTITION = "HD(1,GPT,11111111-2222-3333-4444-555555555555,0x800,0x1000)"
NEW = BootEntry(number=1, label="balenaOS", path=rf"{NEW_PARTITION}/\EFI\BOOT\bootx64.efi")
AFTER = BootVariables(entries=(MENU, SHELL, NEW), order=(1, 0, 2), next=None)
SHOWN = f"""\
BootCurrent: 0001
BootOrder: 0001,0000,0002
Boot0001* balenaOS\t{NEW_PARTITION}/File(\\EFI\\BOOT\\bootx64.efi)
"""


def failed(checks: Iterable[Check]) -> list[str]:
    return [check.name for check in checks if not check.passed]


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    disk = tmp_path / "disk"
    with disk.open("wb") as file:
        file.truncate(4 << 20)
    script = f"{TABLE}start=2048, size=4096, uuid=11111111-2222-3333-4444-555555555555\n"
    subprocess.run(["sfdisk", "-q", "--no-tell-kernel", disk], input=script.encode(), check=True, capture_output=True)
    return disk


def test_boot_next_names_the_kernel_of_stage_2_and_nothing_else_changed() -> None:
    assert failed(armed_checks(BEFORE, ARMED, by_firmware=True)) == []


@pytest.mark.parametrize(
    ("now", "what"),
    [
        (BEFORE, "what BootNext names"),
        (replace(ARMED, next=2), "what BootNext names"),
        (replace(ARMED, entries=(MENU, DEBIAN, SHELL, replace(OURS, optional=b""))), "what BootNext names"),
        (
            replace(ARMED, entries=(*BEFORE.entries, replace(OURS, path=OURS.path.replace("/\\", "/\\EFI\\")))),
            "what BootNext names",
        ),
        (replace(ARMED, order=(0x10, 1, 0, 2)), "BootOrder after stage 1"),
        (replace(ARMED, entries=(MENU, SHELL, OURS)), "other boot entries after stage 1"),
    ],
)
def test_stage_1_that_set_no_boot_entry_or_more_than_that_is_seen(now: BootVariables, what: str) -> None:
    assert what in failed(armed_checks(BEFORE, now, by_firmware=True))


def test_where_grub_starts_stage_2_the_firmware_boots_as_before() -> None:
    assert failed(armed_checks(BEFORE, BEFORE, by_firmware=False)) == []
    assert failed(armed_checks(BEFORE, ARMED, by_firmware=False)) == ["the firmware's boot entries after stage 1"]


@pytest.mark.processes
def test_the_new_systems_entry_is_first_and_the_old_systems_are_gone(disk: Path) -> None:
    assert failed(new_entry_checks(ARMED, AFTER, disk, "balenaOS", SHOWN)) == []


@pytest.mark.processes
@pytest.mark.parametrize(
    ("now", "shown", "what"),
    [
        (replace(AFTER, entries=(MENU, SHELL)), SHOWN, "boot entry of the new system"),
        (
            replace(AFTER, entries=(MENU, SHELL, replace(NEW, path=f"{NEW.path}x"))),
            SHOWN,
            "boot entry of the new system",
        ),
        (replace(AFTER, entries=(MENU, SHELL, replace(NEW, bootable=False))), SHOWN, "boot entry of the new system"),
        (replace(AFTER, order=(2, 1, 0)), SHOWN, "the first boot entry"),
        (replace(AFTER, order=(1, 2, 0)), SHOWN, "order of the other boot entries"),
        (replace(AFTER, entries=(*AFTER.entries, OURS)), SHOWN, "boot entries of the old system that are left"),
        (AFTER, SHOWN.replace("Current: 0001", "Current: 0002"), "entry that started the new system"),
        (AFTER, SHOWN.replace("0001,", ""), "order that the new system's efibootmgr shows"),
        (AFTER, SHOWN.replace("BOOT\\", ""), "boot entry that the new system's efibootmgr shows"),
    ],
)
def test_a_wrong_entry_of_the_new_system_is_seen(disk: Path, now: BootVariables, shown: str, what: str) -> None:
    assert what in failed(new_entry_checks(ARMED, now, disk, "balenaOS", shown))


@pytest.mark.processes
def test_a_partition_in_an_mbr_is_named_by_the_disks_id(tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(bytes(4 << 20))
    script = b"label: dos\nlabel-id: 0x5a3c91e7\nstart=2048, size=4096\n"
    subprocess.run(
        ["sfdisk", "-q", "--no-tell-kernel", tmp_path / "disk"], input=script, check=True, capture_output=True
    )
    assert partition_path(tmp_path / "disk", 1) == "HD(1,MBR,0x5a3c91e7,0x800,0x1000)"
