# SPDX-License-Identifier: Apache-2.0
"""The system and its boot loader are supported, or refused with the reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from balena_migrate import checks
from balena_migrate.core.architectures import Architecture
from balena_migrate.core.kit import Kit
from balena_migrate.core.paths import STATE_DIR
from balena_migrate.facts import Firmware, OsFacts
from balena_migrate.findings import Severity
from balena_migrate.images import Image
from balena_migrate.settings import Config
from tests.support.facts import pc_facts, pi_facts
from tests.support.findings import PI_IMAGE, blockers
from tests.support.surveys import some_image, some_survey


def test_what_was_never_run_is_refused_and_untested_turns_that_into_a_warning() -> None:
    facts = pc_facts()
    facts = replace(facts, os=replace(facts.os, id="ubuntu", version_id="24.04"))
    assert blockers(some_survey(facts)) == ["system-untested"]
    assert blockers(some_survey(facts, Config(untested=True))) == []
    assert blockers(some_survey(image=some_image(slug="genericx86-64-ext"))) == ["device-untested"]


@pytest.mark.parametrize(
    ("os", "severity", "cause"),
    [
        (
            OsFacts(id="debian", version_id="12", pretty_name="Debian GNU/Linux 12 (bookworm)"),
            Severity.OK,
            "Debian GNU/Linux 12 (bookworm), by os-release, was tested on virtual PCs",
        ),
        (
            OsFacts(id="debian", version_id="12", pretty_name="Debian GNU/Linux 12 (bookworm)", rpi_issue="Raspberry"),
            Severity.BLOCKER,
            "Raspberry Pi OS 12, by /etc/rpi-issue, is known, but was never migrated with this tool",
        ),
        (
            OsFacts(id="raspbian", version_id="12"),
            Severity.BLOCKER,
            "raspbian 12, by os-release, is known, but was never migrated with this tool",
        ),
        (
            OsFacts(id="fedora", version_id="40"),
            Severity.BLOCKER,
            "fedora 40, by os-release, is unknown, and was never migrated with this tool",
        ),
        (OsFacts(), Severity.BLOCKER, "a system without os-release is unknown, and was never migrated with this tool"),
    ],
)
def test_the_finding_says_by_what_the_system_was_known(os: OsFacts, severity: Severity, cause: str) -> None:
    """The 64-bit Raspberry Pi OS calls itself Debian in os-release; only /etc/rpi-issue tells the two apart."""
    (found,) = (
        finding
        for finding in checks.run(some_survey(replace(pi_facts(), os=os), image=some_image(**PI_IMAGE)))
        if finding.code.startswith("system")
    )
    assert found.severity is severity
    assert found.cause.startswith(cause)


def test_a_boot_partition_that_is_not_mounted_is_refused_once() -> None:
    facts = pi_facts()
    facts = replace(facts, disks=replace(facts.disks, mounts=facts.disks.mounts[:1]))
    assert blockers(some_survey(facts, image=some_image(**PI_IMAGE))) == ["pi-no-boot-partition"]


OLD_IMAGE = some_image(files=("vmlinuz",), has_bios_boot_code=False)


@pytest.mark.parametrize(
    ("firmware", "image", "missing"),
    [
        (Firmware.BIOS, OLD_IMAGE, True),
        (Firmware.BIOS, some_image(), False),
        (Firmware.BIOS, some_image(files=(), has_bios_boot_code=False), False),
        (Firmware.UEFI, OLD_IMAGE, False),
    ],
)
def test_grubs_programs_are_needed_where_the_image_has_no_boot_code(
    firmware: Firmware, image: Image, missing: bool
) -> None:
    facts = pc_facts()
    bare = replace(facts, programs={}, boot=replace(facts.boot, firmware=firmware))
    assert ("programs-missing" in blockers(some_survey(bare, image=image))) == missing
    able = replace(bare, programs={"grub-mkimage": "/usr/bin/grub-mkimage"})
    assert "programs-missing" not in blockers(some_survey(able, image=image))


@pytest.mark.parametrize(
    ("folder", "removed"),
    [
        (f"{STATE_DIR}/kit-1-amd64-0123/balena-migrate-amd64", f"{STATE_DIR}/kit-1-amd64-0123"),
        ("/home/pi/balena-migrate-amd64", "/home/pi/balena-migrate-amd64"),
    ],
)
def test_a_kit_that_is_not_as_it_was_made_is_refused(folder: str, removed: str) -> None:
    """Of a self-extracting file the folder around the kit goes: else it would not unpack again."""
    kit = Kit(path=Path(folder), architecture=Architecture.AMD64)
    survey = replace(some_survey(), kit=kit, kit_faults=("base/ld.so was changed", "base/busybox is missing"))
    (found,) = (finding for finding in checks.run(survey) if finding.severity is Severity.BLOCKER)
    assert (found.code, found.cause.partition(": ")[2]) == ("kit-damaged", "base/ld.so was changed (and 1 more)")
    assert found.remedy.startswith(f"rm -r {removed}, ")
