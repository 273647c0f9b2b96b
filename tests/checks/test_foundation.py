# SPDX-License-Identifier: Apache-2.0
"""The checks of platform, storage, image and memory: what is well passes, what is not is refused with its reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from balena_migrate.checks import image, memory, platform, storage
from balena_migrate.core.memory import MemoryFacts
from balena_migrate.facts import DiskFacts, Facts
from balena_migrate.findings import Finding, Severity, blocker
from balena_migrate.images import Image, ImageKind
from balena_migrate.images.partitions.table import PartitionTable, TableKind
from balena_migrate.settings import Config
from balena_migrate.survey import Survey
from tests.support.facts import MIB, pc_facts, pi_facts
from tests.support.surveys import BOOT, DATA, carrying, some_backup, some_image, some_survey

CHECKS: tuple[Callable[[Survey], Iterator[Finding]], ...] = (platform.check, storage.check, image.check, memory.check)


def findings(survey: Survey) -> tuple[Finding, ...]:
    return (*(finding for check in CHECKS for finding in check(survey)), *survey.problems)


def blockers(survey: Survey) -> list[str]:
    return [finding.code for finding in findings(survey) if finding.severity is Severity.BLOCKER]


def test_a_good_pc_passes_and_is_told_what_was_looked_at() -> None:
    found = findings(some_survey())
    assert {finding.severity for finding in found} == {Severity.OK}
    assert {"system", "hardware", "boot-loader", "disk-size", "boot-room", "image", "memory"} <= {f.code for f in found}


def test_all_findings_come_at_once() -> None:
    facts = replace(pc_facts(), uid=1000, memory=MemoryFacts(total_bytes=200 * MIB, available_bytes=0), programs={})
    assert blockers(some_survey(facts, kit_base_bytes=0, image=None, problems=(blocker("image", "no image"),))) == [
        "not-root",
        "programs-missing",
        "no-kit",
        "image",
    ]


def test_what_was_never_run_is_refused_and_untested_turns_that_into_a_warning() -> None:
    facts = pc_facts()
    facts = replace(facts, os=replace(facts.os, version_id="13"))
    assert blockers(some_survey(facts)) == ["system-untested"]
    assert blockers(some_survey(facts, Config(untested=True))) == []
    assert blockers(some_survey(image=some_image(slug="genericx86-64-ext"))) == ["device-untested"]


def with_root(facts: Facts, *, kind: str = "part", fstype: str = "ext4") -> Facts:
    devices = tuple(replace(d, kind=kind) if d.name == "sda1" else d for d in facts.disks.devices)
    mounts = tuple(replace(m, fstype=fstype) for m in facts.disks.mounts)
    return replace(facts, disks=DiskFacts(devices=devices, mounts=mounts))


@pytest.mark.parametrize(
    ("kind", "fstype", "code", "word"),
    [
        ("lvm", "ext4", "root-on-lvm", "LVM"),
        ("crypt", "ext4", "root-on-crypt", "LUKS"),
        ("raid1", "ext4", "root-on-raid1", "RAID"),
        ("part", "btrfs", "root-file-system", "btrfs"),
        ("part", "overlay", "root-file-system", "overlay"),
    ],
)
def test_what_lies_below_root_and_is_not_supported_is_refused_with_its_name(
    kind: str, fstype: str, code: str, word: str
) -> None:
    found = [f for f in findings(some_survey(with_root(pc_facts(), kind=kind, fstype=fstype))) if f.code == code]
    assert [finding.severity for finding in found] == [Severity.BLOCKER]
    assert word in found[0].cause


def test_a_boot_folder_on_another_disk_is_refused() -> None:
    facts = pc_facts(separate_boot=True)
    other = replace(facts.disks.devices[0], name="sdb", path="/dev/sdb")
    devices = tuple(replace(d, parents=("sdb",)) if d.name == "sda2" else d for d in facts.disks.devices)
    facts = replace(facts, disks=replace(facts.disks, devices=(*devices, other)))
    assert "boot-on-other-disk" in blockers(some_survey(facts))


def test_a_disk_that_is_smaller_than_the_image_is_refused() -> None:
    large = replace(some_image(), size_bytes=9000 * MIB)
    assert blockers(some_survey(image=large)) == ["disk-too-small"]


def test_a_full_boot_folder_is_refused_with_the_arithmetic() -> None:
    facts = pc_facts()
    mounts = tuple(replace(m, free_bytes=20 * MIB) for m in facts.disks.mounts)
    survey = some_survey(replace(facts, disks=replace(facts.disks, mounts=mounts)))
    found = next(f for f in findings(survey) if f.code == "boot-full")
    assert "30 (as the running kernel's) + 10 (kit) = 40 MiB and" in found.cause
    assert found.cause.endswith("/boot has 20 MiB free")


def test_an_initramfs_for_a_fat_partition_is_counted_with_this_machines_modules_only() -> None:
    """As on a Raspberry Pi, whatever the running kernel's own initramfs holds."""
    facts = pc_facts(separate_boot=True)
    mounts = tuple(replace(m, fstype="vfat") if m.mount_point == "/boot" else m for m in facts.disks.mounts)
    survey = some_survey(replace(facts, disks=replace(facts.disks, mounts=mounts)))
    found = next(f for f in findings(survey) if f.code == "boot-room")
    assert "16 (with this machine's modules only) + 10 (kit) = 26 MiB" in found.cause


CLUSTER = 32 << 10


@pytest.mark.parametrize(("missing_bytes", "code"), [(0, "boot-room"), (CLUSTER, "boot-full")])
@pytest.mark.parametrize("kit_bytes", [20 * MIB, 20 * MIB - 2])
def test_room_on_fat_is_counted_in_clusters_to_the_last_one(missing_bytes: int, code: str, kit_bytes: int) -> None:
    """The initramfs in whole clusters; config.txt and cmdline.txt beside the old; two files of our own; the folder."""
    facts = pi_facts(files={"config.txt": "x" * (CLUSTER - 4096), "cmdline.txt": "x" * (CLUSTER - 4095)})
    free = (26 * MIB // CLUSTER + 1 + 2 + 2 + 1) * CLUSTER - missing_bytes
    facts = with_boot_mount(facts, block_bytes=CLUSTER, free_bytes=free)
    found = [f.code for f in storage.check(some_survey(facts, kit_base_bytes=kit_bytes)) if f.code.startswith("boot-")]
    assert found == [code]


def with_boot_mount(facts: Facts, **changes: Any) -> Facts:
    mounts = tuple(replace(mount, **changes) if mount.fstype == "vfat" else mount for mount in facts.disks.mounts)
    return replace(facts, disks=replace(facts.disks, mounts=mounts))


PI_IMAGE = {"slug": "raspberrypi3-64", "name": "balena-cloud-x-raspberrypi3-64-2.113.18.img.gz", "arch": "aarch64"}


@pytest.mark.parametrize("boot", ["/boot", "/boot/firmware", "/mnt/my boot"])
@pytest.mark.parametrize(
    ("disk", "numbers"), [("mmcblk0", (1, 2)), ("mmcblk0", (6, 7)), ("sda", (1, 2)), ("nvme0n1", (1, 2))]
)
def test_a_raspberry_pi_passes_wherever_its_boot_partition_is(disk: str, numbers: tuple[int, int], boot: str) -> None:
    survey = some_survey(pi_facts(disk=disk, boot=boot, numbers=numbers), image=some_image(**PI_IMAGE))
    found = findings(survey)
    assert [finding for finding in found if finding.severity is not Severity.OK] == []
    assert survey.target is not None
    assert survey.target.name == disk
    assert any(finding.code == "boot-room" and boot in finding.cause for finding in found)


def test_a_boot_partition_on_another_disk_than_the_root_is_refused() -> None:
    """As with the firmware's files on a card and the system on a USB disk: only one of the two gets written."""
    card, usb = pi_facts(), pi_facts(disk="sda")
    mounts = (usb.disks.mounts[0], card.disks.mounts[1])
    facts = replace(card, disks=DiskFacts(devices=card.disks.devices + usb.disks.devices, mounts=mounts))
    survey = some_survey(facts, image=some_image(**PI_IMAGE))
    assert blockers(survey) == ["boot-on-other-disk"]
    cause = next(f.cause for f in findings(survey) if f.code == "boot-on-other-disk")
    assert cause == "/boot/firmware is on /dev/mmcblk0, and the root file system on /dev/sda"


def test_a_boot_partition_that_is_not_mounted_is_refused_once() -> None:
    facts = pi_facts()
    facts = replace(facts, disks=replace(facts.disks, mounts=facts.disks.mounts[:1]))
    assert blockers(some_survey(facts, image=some_image(**PI_IMAGE))) == ["pi-no-boot-partition"]


def test_a_log_drive_has_to_be_there_and_on_another_disk() -> None:
    assert blockers(some_survey(config=Config(log_drive="/dev/sda1"))) == ["log-drive-on-target"]
    assert blockers(some_survey(config=Config(log_drive="/dev/sdz1"))) == ["log-drive-missing"]
    facts = pc_facts()
    stick = replace(facts.disks.devices[1], name="sdb1", path="/dev/sdb1", parents=(), uuid="s", fstype="vfat")
    facts = replace(facts, disks=replace(facts.disks, devices=(*facts.disks.devices, stick)))
    assert blockers(some_survey(facts, Config(log_drive="/dev/sdb1"))) == ["log-drive-file-system"]
    assert blockers(some_survey(facts, Config(log_drive="/dev/sdb1", log_fs_type="vfat"))) == []


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (some_image(slug="raspberrypi3"), "image-device-type"),
        (some_image(slug="generic-amd64"), "image-device-type"),
        (some_image(slug=""), "image-device-type"),
        (some_image(kind=ImageKind.FLASHER), "image-flasher"),
    ],
)
def test_an_image_for_something_else_is_refused_by_its_content(wrong: Image, code: str) -> None:
    assert blockers(some_survey(image=wrong)) == [code]


def test_a_gpt_image_does_not_boot_from_bios() -> None:
    gpt = replace(some_image(), table=PartitionTable(kind=TableKind.GPT, id="g", partitions=(BOOT, DATA)))
    assert blockers(some_survey(image=gpt)) == ["image-needs-uefi"]


@pytest.mark.parametrize(
    ("name", "warned"),
    [
        ("resin-raspberrypi3-2.15.1.img.gz", True),
        ("resin-genericx86-64-2.15.1.img.gz", False),
        ("my-image.img.gz", False),
    ],
)
def test_a_name_that_speaks_of_another_device_is_a_warning(name: str, warned: bool) -> None:
    found = [f.severity for f in findings(some_survey(image=some_image(name=name))) if f.code == "image-name"]
    assert found == ([Severity.WARNING] if warned else [])


def test_memory_is_counted_to_the_byte_that_decides() -> None:
    def total(size: int) -> list[str]:
        return blockers(some_survey(replace(pc_facts(), memory=MemoryFacts(total_bytes=size, available_bytes=0))))

    need = 4 * (30 + 10) * MIB + 100 * MIB + memory.PATCHES_BYTES + memory.RESERVE_BYTES
    assert total(need) == []
    assert total(need - 1) == ["memory-too-small"]


def test_the_backup_counts_in_memory() -> None:
    assert blockers(carrying(backups=(some_backup(expected_bytes=2000 * MIB),))) == ["memory-too-small"]
