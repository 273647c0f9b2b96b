# SPDX-License-Identifier: Apache-2.0
"""What this firmware or this processor cannot start is refused, by what is in the image."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from balena_migrate.devices import device_types, device_types_for
from balena_migrate.facts import Facts, Firmware
from balena_migrate.images import Image
from balena_migrate.images.partitions import PartitionTable, TableKind
from tests.support.facts import pc_facts, pi_facts
from tests.support.findings import PI_IMAGE, blockers, findings
from tests.support.surveys import BOOT, DATA, some_image, some_survey

BOTH = ("EFI/BOOT/bootx64.efi", "config.json", "grub/grub.cfg")
GPT = PartitionTable(kind=TableKind.GPT, id="g", partitions=(BOOT, DATA))
BIOS, UEFI = Firmware.BIOS, Firmware.UEFI


def pc(firmware: Firmware = BIOS, machine: str = "x86_64", *, long_mode: bool = True) -> Facts:
    facts = pc_facts()
    hardware = replace(facts.hardware, machine=machine, long_mode=long_mode)
    return replace(facts, hardware=hardware, boot=replace(facts.boot, firmware=firmware))


def image(table: TableKind = TableKind.DOS, **identity: Any) -> Image:
    made = some_image(**identity)
    return replace(made, table=GPT) if table is TableKind.GPT else made


@pytest.mark.parametrize(
    ("firmware", "tried", "refused"),
    [
        (BIOS, image(), []),
        (UEFI, image(), []),
        (BIOS, image(has_bios_boot_code=False, files=("vmlinuz",)), []),
        (BIOS, image(TableKind.GPT, has_bios_boot_code=False), ["image-needs-uefi"]),
        (BIOS, image(TableKind.GPT, files=("EFI/BOOT/bootx64.efi",)), ["image-needs-uefi"]),
        (BIOS, image(TableKind.GPT), []),
        (UEFI, image(TableKind.GPT, has_bios_boot_code=False), []),
        (UEFI, image(efi_machine=None), ["image-needs-bios"]),
        (BIOS, image(efi_machine=None), []),
        (UEFI, image(efi_machine=0x014C), ["image-efi-loader"]),
        (UEFI, image(efi_machine=0xAA64), ["image-efi-loader"]),
        (UEFI, image(efi_machine=0x1234), ["image-efi-loader"]),
        (UEFI, image(efi_machine=0), ["image-efi-loader"]),
        (BIOS, image(efi_machine=0xAA64), []),
    ],
)
def test_the_firmware_starts_what_the_image_has_for_it(firmware: Firmware, tried: Image, refused: list[str]) -> None:
    assert blockers(some_survey(pc(firmware), image=tried)) == refused


@pytest.mark.parametrize(
    ("machine", "said"),
    [(0x014C, "a program for 32-bit x86"), (0x1234, "a program for the machine 0x1234"), (0, "no program")],
)
def test_the_wrong_loader_is_named(machine: int, said: str) -> None:
    found = findings(some_survey(pc(UEFI), image=image(efi_machine=machine)))
    (finding,) = (finding for finding in found if finding.code == "image-efi-loader")
    assert f"EFI/BOOT/bootx64.efi is {said}," in finding.cause


@pytest.mark.parametrize(
    ("machine", "long_mode", "slug", "arch", "refused"),
    [
        ("x86_64", True, "intel-nuc", "amd64", []),
        ("i686", True, "intel-nuc", "amd64", []),
        ("i686", False, "intel-nuc", "amd64", ["image-device-type"]),
        ("i686", False, "intel-core2-32", "i386", []),
        ("x86_64", True, "intel-core2-32", "i386", []),
        ("i686", False, "intel-core2-32", "amd64", ["image-architecture"]),
        ("i686", False, "qemux86", "", []),
        ("x86_64", True, "intel-nuc", "aarch64", ["image-architecture"]),
    ],
)
def test_a_processor_runs_what_it_can(machine: str, long_mode: bool, slug: str, arch: str, refused: list[str]) -> None:
    """A 64-bit image on a 64-bit processor under a 32-bit kernel is fine; a 32-bit one runs on both."""
    survey = some_survey(pc(machine=machine, long_mode=long_mode), image=image(slug=slug, arch=arch))
    assert [code for code in blockers(survey) if code.startswith("image-")] == refused
    if refused == ["image-device-type"]:
        assert any("no 64-bit mode, can run intel-core2-32, qemux86" in finding.cause for finding in findings(survey))


def test_a_board_has_no_firmware_of_a_pc() -> None:
    assert blockers(some_survey(pi_facts(), image=some_image(**PI_IMAGE, efi_machine=None))) == []
    refused = blockers(some_survey(pi_facts(), image=some_image(**{**PI_IMAGE, "arch": "amd64"})))
    assert refused == ["image-architecture"]


@pytest.mark.parametrize(
    ("facts", "slugs"),
    [
        (pc(BIOS), {"genericx86-64-ext", "intel-core2-32", "intel-nuc", "qemux86", "qemux86-64"}),
        (pc(UEFI), {"generic-amd64", "genericx86-64-ext", "intel-nuc"}),
        (pc(BIOS, "i686", long_mode=False), {"intel-core2-32", "qemux86"}),
        (pc(UEFI, "i686", long_mode=False), set()),
    ],
)
def test_each_firmware_and_processor_has_its_device_types(facts: Facts, slugs: set[str]) -> None:
    assert {device.slug for device in device_types_for(facts)} == slugs
    assert {"generic-amd64"} <= {device.slug for device in device_types()}
