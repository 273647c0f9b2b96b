# SPDX-License-Identifier: Apache-2.0
"""Is this a system that can be migrated: root, operating system, device, boot loader, programs, kit?"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from balena_migrate.bootloaders import passed_over
from balena_migrate.checks._untested import untested
from balena_migrate.core.errors import ImageError
from balena_migrate.core.kit import Kit
from balena_migrate.core.paths import STATE_DIR
from balena_migrate.devices import device_types_for
from balena_migrate.facts import OsFacts
from balena_migrate.findings import BLOCKS, PASSES, WARNS, Code, Finding, blocker, passed
from balena_migrate.initramfs import builder_named
from balena_migrate.survey import Survey
from balena_migrate.systems import OperatingSystem, find_system

CODES = (
    Code("not-root", BLOCKS, "balena-migrate is not running as root.", "Run it with sudo."),
    Code("system", PASSES, "The release that os-release names was migrated in tests."),
    Code(
        "system-untested",
        BLOCKS + WARNS,
        "This release of the operating system was never migrated with this tool.",
        "Try it on a device within reach, with UNTESTED.",
    ),
    Code("hardware", PASSES, "The device types whose images run on this hardware."),
    Code("hardware-unknown", BLOCKS, "No device type is known for this hardware and firmware."),
    Code(
        "secure-boot",
        BLOCKS,
        "Secure Boot is on and would not start balenaOS.",
        "Have it turned off in the firmware setup, at the device.",
    ),
    Code("boot-loader", PASSES, "The boot loader that starts this device."),
    Code(
        "boot-loader-unknown",
        BLOCKS,
        "No supported boot loader starts this device.",
        "On a PC with BIOS, install grub-pc and run update-grub; with UEFI, mount the EFI system partition, and give it"
        " room.",
    ),
    Code(
        "programs-missing",
        BLOCKS,
        "Programs that stage 1 needs are not installed: for an image without a boot loader for BIOS, or to make the"
        " initramfs.",
        "Install grub-common and grub-pc-bin, or use an image that brings its boot loader; for"
        " INITRAMFS=initramfs-tools also that.",
    ),
    Code(
        "no-kit",
        BLOCKS,
        "The tool does not run from a kit, so there is no stage 2 to put into an initramfs.",
        "Build a kit with `balena-migrate kit build` on a workstation, and run it on the device.",
    ),
    Code(
        "kit-damaged",
        BLOCKS,
        "Files of the kit that stage 2 would run from are not as they were when the kit was made.",
        "Remove the kit from the device, and unpack it again; `balena-migrate kit verify` compares all of it.",
    ),
)


def check(survey: Survey) -> Iterator[Finding]:
    yield from _check_root(survey)
    yield from _check_system(survey)
    yield from _check_hardware(survey)
    yield from _check_boot_loader(survey)
    yield from _check_programs(survey)
    yield from _check_kit(survey)


def _check_root(survey: Survey) -> Iterator[Finding]:
    if survey.facts.uid != 0:
        yield blocker("not-root", "not running as root", "run it with sudo")


def _check_system(survey: Survey) -> Iterator[Finding]:
    facts = survey.facts.os
    family = find_system(survey.facts)
    release = family.find_release(facts) if family else None
    name = _system_name(facts, family)
    if release and release.tested:
        yield passed("system", f"{name} was tested {release.tested}")
        return
    known = "is known, but was never migrated" if release else "is unknown, and was never migrated"
    yield untested(survey.config, "system-untested", f"{name} {known} with this tool")


def _system_name(facts: OsFacts, family: OperatingSystem | None) -> str:
    """What the system calls itself, and where: nothing else is compared."""
    if family and facts.rpi_issue:
        return f"{family.name} {facts.version_id}, by /etc/rpi-issue,"
    return f"{facts.name}, by os-release," if facts.name else "a system without os-release"


def _check_hardware(survey: Survey) -> Iterator[Finding]:
    facts = survey.facts
    name = facts.hardware.model or f"a {facts.hardware.machine} machine"
    found = device_types_for(facts)
    if found:
        slugs = ", ".join(device.slug for device in found)
        yield passed("hardware", f"{name} ({facts.boot.firmware}) can run: {slugs}")
        return
    yield blocker("hardware-unknown", f"no device type is known for {name} with {facts.boot.firmware} firmware")


def _check_boot_loader(survey: Survey) -> Iterator[Finding]:
    if survey.facts.boot.secure_boot:
        cause = "Secure Boot is on and would not start balenaOS"
        yield blocker("secure-boot", cause, "have it turned off in the firmware setup, at the device")
    loader = survey.boot_loader
    if loader is None:
        yield from _check_no_loader(survey)
        return
    yield passed("boot-loader", f"{loader.name} starts this device")
    yield from loader.check(survey.config, survey.facts)


def _check_no_loader(survey: Survey) -> Iterator[Finding]:
    others = passed_over(survey.facts)
    reasons = (f"no supported boot loader starts this device ({survey.facts.boot.firmware} firmware)",)
    cause = "; ".join((*reasons, *(other.reason for other in others)))
    remedy = others[0].remedy if others else "on a PC with BIOS, install grub-pc and run update-grub"
    yield blocker("boot-loader-unknown", cause, remedy)


def _check_programs(survey: Survey) -> Iterator[Finding]:
    needed = (*builder_named(survey.config.initramfs).programs, *_asset_programs(survey))
    missing = [name for name in needed if name not in survey.facts.programs]
    if missing:
        cause = f"these programs are missing: {', '.join(missing)}"
        remedy = "install the packages that provide them (grub-common, grub-pc-bin, initramfs-tools)"
        yield blocker("programs-missing", cause, remedy)


def _asset_programs(survey: Survey) -> tuple[str, ...]:
    """What the boot loader starts for this image: nothing where that brings its own boot loader."""
    with contextlib.suppress(ImageError):  # that it cannot be booted is a finding of its own
        if survey.boot_loader and survey.asset_files():
            return survey.boot_loader.programs
    return ()


def _check_kit(survey: Survey) -> Iterator[Finding]:
    if not survey.kit_base_bytes:
        cause = "the tool is not running from a kit, so there is no stage 2 to put into an initramfs"
        remedy = "build a kit with `balena-migrate kit build` on a workstation, and run it on the device"
        yield blocker("no-kit", cause, remedy)
    elif survey.kit and survey.kit_faults:
        more = f" (and {len(survey.kit_faults) - 1} more)" if len(survey.kit_faults) > 1 else ""
        cause = f"the kit is not as it was made, and stage 2 would run from it: {survey.kit_faults[0]}{more}"
        remedy = f"rm -r {_unpacked(survey.kit)}, and unpack the kit again, or start its .run file again"
        yield blocker("kit-damaged", cause, remedy)


def _unpacked(kit: Kit) -> Path:
    """The folder whose removal lets the kit be unpacked again; a self-extracting file has one of its own around it."""
    return kit.path.parent if kit.path.is_relative_to(STATE_DIR) else kit.path
