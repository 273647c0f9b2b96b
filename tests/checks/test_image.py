# SPDX-License-Identifier: Apache-2.0
"""The image is for this device, by its content."""

from __future__ import annotations

from dataclasses import replace

import pytest

from balena_migrate.carried.keep import PreservedSettings
from balena_migrate.checks.image import HOME_MARGIN_BYTES
from balena_migrate.core.units import KIB
from balena_migrate.facts import Facts
from balena_migrate.findings import Finding, Severity
from balena_migrate.images import Image
from balena_migrate.images.boot_room import BootRoom
from balena_migrate.images.formats import format_named, formats
from balena_migrate.images.partitions import TableKind
from balena_migrate.settings import Config
from balena_migrate.survey import Payload, Survey
from tests.support.facts import pc_facts, pi_facts
from tests.support.findings import blockers, findings
from tests.support.surveys import image_inside, some_backup, some_image, some_survey
from tests.support.tables import DATA_FILE_SYSTEM


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (some_image(slug="raspberrypi3"), "image-device-type"),
        (some_image(slug="generic-amd64"), "image-device-type"),
        (some_image(slug=""), "image-device-type"),
    ],
)
def test_an_image_for_something_else_is_refused_by_its_content(wrong: Image, code: str) -> None:
    assert blockers(some_survey(image=wrong)) == [code]


HOME = Config(home_dir="/root")


def with_free(free_bytes: int) -> Facts:
    facts = pc_facts()
    mounts = tuple(replace(mount, free_bytes=free_bytes) for mount in facts.disks.mounts)
    return replace(facts, disks=replace(facts.disks, mounts=mounts))


@pytest.mark.parametrize(("spare_bytes", "severity"), [(0, Severity.OK), (-1, Severity.BLOCKER)])
def test_a_flasher_image_needs_room_for_what_is_inside(spare_bytes: int, severity: Severity) -> None:
    image = image_inside()
    facts = with_free(image.file_bytes + HOME_MARGIN_BYTES + spare_bytes)
    (found,) = (found for found in findings(some_survey(facts, HOME, image=image)) if found.code == "image-flasher")
    assert found.severity is severity
    assert "flasher.img.gz is a flasher image" in found.cause and "/root/extracted-flasher.img.gz" in found.cause
    command = "balena-migrate image extract /root/flasher.img.gz extracted-flasher.img.gz"
    assert (command in found.remedy) == (severity is Severity.BLOCKER)


@pytest.mark.parametrize("name", [known.name for known in formats() if known.pieces])
def test_a_format_that_is_slow_to_unpack_is_a_warning(name: str) -> None:
    survey = some_survey(image=replace(some_image(name="my os.img.x"), format=name))
    found = [finding for finding in findings(survey) if finding.code == "image-slow-format"]
    assert [finding.severity for finding in found] == [Severity.WARNING] * (name in ("xz", "bzip2"))
    assert all("balena-migrate image prepare '/root/my os.img.x'" in finding.remedy for finding in found)
    assert all(f"my os.img.x is {format_named(name).what}: " in finding.cause for finding in found)


@pytest.mark.parametrize("name", [known.name for known in formats() if known.pieces])
def test_an_image_of_any_format_has_to_fit_on_the_disk_unpacked(name: str) -> None:
    disk = some_survey().target
    assert disk is not None
    fitting = replace(some_image(), format=name, size_bytes=disk.size_bytes)
    assert "disk-too-small" not in blockers(some_survey(image=fitting))
    assert "disk-too-small" in blockers(some_survey(image=replace(fitting, size_bytes=disk.size_bytes + 512)))


def test_a_plain_image_says_nothing_of_flashers() -> None:
    assert "image-flasher" not in {found.code for found in findings(some_survey())}


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


def image_with(*, incompatible: int = 0x2C2, read_only_compatible: int = 0x6B, journal_incompatible: int = 0) -> Image:
    system = replace(
        DATA_FILE_SYSTEM,
        incompatible=incompatible,
        read_only_compatible=read_only_compatible,
        journal_incompatible=journal_incompatible,
    )
    return replace(some_image(), data_file_system=system)


def on_kernel(release: str) -> Facts:
    facts = pc_facts()
    return replace(facts, boot=replace(facts.boot, kernel_release=release))


CARRYING = [
    (Payload(backups=(some_backup(),)), "the backup would be lost"),
    (Payload(preserved=PreservedSettings(machine_id="0" * 32)), "the machine id (KEEP) would be lost"),
    (
        Payload(backups=(some_backup(),), preserved=PreservedSettings(machine_id="0" * 32)),
        "the backup and the machine id (KEEP) would be lost",
    ),
]


@pytest.mark.parametrize(("payload", "lost"), CARRYING)
def test_what_is_carried_over_needs_a_kernel_that_can_write_to_the_images_file_systems(
    payload: Payload, lost: str
) -> None:
    image = image_with(incompatible=0x22C2)
    found = findings(some_survey(on_kernel("3.13.0-170-generic"), image=image, payload=payload))
    newer = next(f for f in found if f.code == "image-newer-than-kernel")
    assert newer.severity is Severity.BLOCKER
    assert "metadata_csum_seed (since 4.4), and this kernel, 3.13.0-170-generic, cannot" in newer.cause
    assert newer.cause.endswith(lost)
    for able in ("4.4.0-210-generic", "6.1.0-50-amd64", "unknown"):
        assert "image-newer-than-kernel" not in codes(some_survey(on_kernel(able), image=image, payload=payload))


@pytest.mark.parametrize(
    ("features", "named"),
    [
        ({"read_only_compatible": 0x246B}, "project (since 4.5)"),
        ({"journal_incompatible": 0x12}, "journal_checksum_v3 (since 3.18)"),
        ({"incompatible": 0x400002C2}, "FEATURE_I30 (unknown)"),
    ],
)
def test_where_only_the_log_is_lost_that_is_a_warning(features: dict[str, int], named: str) -> None:
    found = findings(some_survey(on_kernel("3.13.0-170-generic"), image=image_with(**features)))
    newer = next(f for f in found if f.code == "image-newer-than-kernel")
    assert newer.severity is Severity.WARNING
    assert named in newer.cause
    assert "log" in newer.cause


def test_an_image_as_old_as_the_kernel_is_no_finding() -> None:
    facts = on_kernel("3.13.0-170-generic")
    for image in (image_with(), image_with(read_only_compatible=0x46B, journal_incompatible=0x2), some_image()):
        assert "image-newer-than-kernel" not in codes(some_survey(facts, image=image))


def codes(survey: Survey) -> set[str]:
    return {finding.code for finding in findings(survey)}


BOOT_ROOM = BootRoom(
    file_count=12, needed_bytes=48 * KIB, free_bytes=20 * KIB, freed_bytes=2 * KIB, needed_slots=3, free_slots=400
)


def boot_findings(room: BootRoom | None) -> dict[str, Finding]:
    return {f.code: f for f in findings(some_survey(boot_room=room)) if f.code.startswith("image-boot")}


def test_too_many_networks_for_resin_boot_are_refused_with_the_arithmetic() -> None:
    found = boot_findings(BOOT_ROOM)
    assert list(found) == ["image-boot-full"]
    assert found["image-boot-full"].severity is Severity.BLOCKER
    assert found["image-boot-full"].cause == (
        "the boot partition has 20 KiB free (2 of them in files that are replaced), and the 12 files for it need 48"
    )
    assert "MIGRATE_WIFI_CFG" in found["image-boot-full"].remedy


def test_a_root_folder_without_free_entries_is_refused() -> None:
    (found,) = boot_findings(replace(BOOT_ROOM, free_bytes=50 * KIB, free_slots=2)).values()
    assert (found.code, found.severity) == ("image-boot-full", Severity.BLOCKER)
    assert found.cause.endswith("its root folder has 2 entries free, and they need 3")


@pytest.mark.parametrize("slots", [3, None])
def test_enough_room_in_resin_boot_is_said(slots: int | None) -> None:
    (found,) = boot_findings(replace(BOOT_ROOM, free_bytes=48 * KIB, free_slots=slots)).values()
    assert (found.code, found.severity) == ("image-boot-room", Severity.OK)
    assert boot_findings(None) == {}


def test_an_image_for_disks_with_larger_sectors_is_refused() -> None:
    """U-Boot reads no FAT whose sectors are not the disk's."""
    assert blockers(some_survey(image=some_image(boot_sector_bytes=4096))) == ["image-boot-sectors"]


def test_an_image_whose_gpt_is_for_larger_sectors_is_refused() -> None:
    table = replace(some_image().table, kind=TableKind.GPT, sector_bytes=4096)
    assert blockers(some_survey(image=replace(some_image(), table=table))) == ["image-boot-sectors"]


FIVE, CM5, CM5_LITE, FIVE_HUNDRED, FOUR = "c04170", "d04180", "b041a0", "d04190", "c03111"
OF_2024 = ("bcm2712-rpi-5-b.dtb", "kernel8.img", "overlays/bcm2712d0.dtbo")
OF_2025 = (*OF_2024, "bcm2712-rpi-500.dtb", "bcm2712-rpi-cm5-cm5io.dtb", "bcm2712-rpi-cm5l-cm4io.dtb")


def codes_on_board(revision: str, files: tuple[str, ...], slug: str = "raspberrypi5") -> list[str]:
    survey = some_survey(pi_facts(revision=revision), image=some_image(slug=slug, files=files))
    return [code for code in blockers(survey) if code.startswith("image-")]


@pytest.mark.parametrize("revision", [CM5, CM5_LITE, FIVE_HUNDRED])
def test_a_board_that_is_newer_than_the_image_is_refused(revision: str) -> None:
    """The image is for its device type, and would not start it: nobody could reach the device again."""
    assert codes_on_board(revision, OF_2024) == ["image-older-than-board"]
    assert codes_on_board(revision, OF_2025) == []


@pytest.mark.parametrize(("revision", "slug"), [(FIVE, "raspberrypi5"), (FOUR, "raspberrypi4-64")])
def test_a_board_that_every_image_of_its_type_knows(revision: str, slug: str) -> None:
    assert codes_on_board(revision, OF_2024, slug) == []


D0_FIVE, D0_FIVE_16_GIB = "b04171", "e04171"
WITHOUT_D0 = ("bcm2712-rpi-5-b.dtb", "kernel8.img", "overlays/disable-wifi.dtbo")


@pytest.mark.parametrize(
    ("revision", "more", "refused"),
    [
        (D0_FIVE, (), True),
        (D0_FIVE_16_GIB, (), True),
        (D0_FIVE, ("overlays/bcm2712d0.dtbo",), False),
        (D0_FIVE, ("bcm2712d0-rpi-5-b.dtb",), False),
        (FIVE, (), False),
        (CM5, ("bcm2712-rpi-cm5-cm5io.dtb",), True),
    ],
)
def test_a_stepping_of_the_chip_that_the_image_has_no_device_tree_for(
    revision: str, more: tuple[str, ...], refused: bool
) -> None:
    """The kernel stops at once on a BCM2712 D0 that is described as a C1."""
    assert codes_on_board(revision, (*WITHOUT_D0, *more)) == (["image-older-than-board"] if refused else [])


@pytest.mark.parametrize(
    ("revision", "slug", "version", "refused"),
    [
        ("c03115", "raspberrypi4-64", "2.85.2+rev3", True),
        ("c03115", "raspberrypi4-64", "2.88.5+rev1", False),
        ("d03114", "raspberrypi4-64", "2.85.2+rev3", False),
        ("c03141", "raspberrypicm4-ioboard", "2.90.0", True),
        ("c03141", "raspberrypi4-64", "2.91.1", False),
        ("c03140", "raspberrypicm4-ioboard", "2.90.0", False),
        ("a020d4", "raspberrypi3", "2.94.4", True),
        ("a020d4", "raspberrypi3", "2.95.3+rev1", False),
        ("a020d4", "raspberrypi3-64", "2.95.3+rev1", True),
        ("a020d4", "raspberrypi3-64", "2.101.7", False),
        ("a020d3", "raspberrypi3", "2.15.1+rev2", False),
        ("9020e1", "raspberrypi3", "2.113.18", True),
        ("9020e1", "raspberrypi3", "4.1.3+rev2", False),
        ("c03115", "raspberrypi4-64", "2022.1.1", False),
        ("c03115", "raspberrypi4-64", "", False),
    ],
)
def test_a_revision_of_the_board_that_the_images_firmware_does_not_know(
    revision: str, slug: str, version: str, refused: bool
) -> None:
    """An ESR release's version is a date, which says nothing of its firmware."""
    survey = some_survey(pi_facts(revision=revision), image=some_image(slug=slug, os_version=version))
    found = [finding for finding in findings(survey) if finding.code == "image-older-than-board"]
    assert [finding.severity for finding in found] == [Severity.BLOCKER] * refused
    if refused:
        assert version in found[0].cause and "or newer" in found[0].remedy


def test_an_image_without_device_trees_in_sight_says_nothing() -> None:
    assert codes_on_board(CM5, ("kernel8.img", "config.txt")) == []
