# SPDX-License-Identifier: Apache-2.0
"""A prepared device: where stage 1 puts the initramfs, and what goes along when it is copied."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from balena_migrate.core.units import MIB
from balena_migrate.settings import Config
from balena_migrate.workstation.lab.disks import FileSystem, Span
from balena_migrate.workstation.lab.expected import Expected
from balena_migrate.workstation.lab.guests.debian_pc import DEBIAN_12
from balena_migrate.workstation.lab.guests.debian_pi import RASPBERRYPI2
from balena_migrate.workstation.lab.guests.debian_uefi import DEBIAN_12_UEFI
from balena_migrate.workstation.lab.lookalike import find_spec
from balena_migrate.workstation.lab.machines.pc import PcMachine
from balena_migrate.workstation.lab.prepare import Prepared
from balena_migrate.workstation.lab.variables import store_of
from balena_migrate.workstation.lab.wishes import Device, Expect, Wishes

ESP = FileSystem(span=Span(start_bytes=MIB, size_bytes=MIB), folder="boot/efi", fat=True)
ROOT = FileSystem(span=Span(start_bytes=2 * MIB, size_bytes=MIB))
FIRMWARE = replace(ESP, folder="boot/firmware")


@pytest.fixture
def prepared(tmp_path: Path) -> Prepared:
    """A PC with UEFI, whose disk and store hold a word each."""
    (tmp_path / "one").mkdir()
    (tmp_path / "one/disk.img").write_text("disk")
    store_of(tmp_path / "one/disk.img").write_text("store")
    return Prepared(
        device=Device(guest=DEBIAN_12_UEFI, image=find_spec("generic-amd64")),
        wishes=Wishes(),
        expect=Expect(),
        machine=PcMachine(kernel=tmp_path / "vmlinuz"),
        drives=(tmp_path / "one/disk.img",),
        file_systems=(ROOT, ESP),
        memory_mib=1024,
        config_json=b"{}",
        content=None,
        expected=Expected(config=Config(no_flash=False), networks=frozenset(), backup=None),
    )


@pytest.mark.processes
def test_the_firmwares_variables_are_copied_with_the_disk(prepared: Prepared, tmp_path: Path) -> None:
    (tmp_path / "two").mkdir()
    copy = prepared.copied(tmp_path / "two")
    assert copy.disk == tmp_path / "two/disk.img"
    assert (copy.disk.read_text(), store_of(copy.disk).read_text()) == ("disk", "store")


def test_stage_1_puts_the_initramfs_on_the_efi_partition(prepared: Prepared) -> None:
    assert prepared.boot_fat == ESP


def test_or_on_a_raspberry_pis_boot_partition(prepared: Prepared) -> None:
    device = replace(prepared.device, guest=RASPBERRYPI2)
    assert replace(prepared, device=device, file_systems=(ROOT, FIRMWARE)).boot_fat == FIRMWARE


@pytest.mark.parametrize("change", [{"guest": DEBIAN_12}, {"boot_folder": "boot"}])
def test_where_grub_starts_stage_2_it_is_on_no_fat(prepared: Prepared, change: dict[str, Any]) -> None:
    device = replace(prepared.device, **change)
    assert replace(prepared, device=device).boot_fat is None
    assert replace(prepared, device=device, file_systems=(ROOT,)).boot_fat is None
