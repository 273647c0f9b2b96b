# SPDX-License-Identifier: Apache-2.0
"""Is this a system that we know: root, operating system, device, boot loader, programs, kit."""

from __future__ import annotations

from collections.abc import Iterator

from balena_migrate.checks.subject import Subject
from balena_migrate.devices import device_types_for
from balena_migrate.findings import Finding, Severity
from balena_migrate.systems import find_system

ALWAYS_NEEDED = ("mkinitramfs",)


def check(subject: Subject) -> Iterator[Finding]:
    yield from _check_root(subject)
    yield from _check_system(subject)
    yield from _check_hardware(subject)
    yield from _check_boot_loader(subject)
    yield from _check_programs(subject)
    yield from _check_kit(subject)


def _check_root(subject: Subject) -> Iterator[Finding]:
    if subject.facts.uid != 0:
        yield Finding(
            code="not-root",
            severity=Severity.BLOCKER,
            cause="this is not run by root",
            remedy="run it with sudo",
        )


def _check_system(subject: Subject) -> Iterator[Finding]:
    facts = subject.facts.os
    name = facts.pretty_name or f"{facts.id} {facts.version_id}".strip() or "a system without os-release"
    family = find_system(subject.facts)
    release = family.find_release(facts) if family else None
    if release and release.tested:
        yield Finding(code="system", severity=Severity.OK, cause=f"{name} was tested: {release.tested}")
        return
    known = "is known, but was never run" if release else "is not known"
    yield untested(subject, "system-untested", f"{name} {known} with this tool")


def _check_hardware(subject: Subject) -> Iterator[Finding]:
    facts = subject.facts
    name = facts.hardware.model or f"a {facts.hardware.machine} machine"
    found = device_types_for(facts)
    if found:
        slugs = ", ".join(device.slug for device in found)
        yield Finding(code="hardware", severity=Severity.OK, cause=f"{name} ({facts.boot.firmware}) can run: {slugs}")
        return
    yield Finding(
        code="hardware-unknown",
        severity=Severity.BLOCKER,
        cause=f"no device type is known for {name} with {facts.boot.firmware} firmware",
    )


def _check_boot_loader(subject: Subject) -> Iterator[Finding]:
    if subject.facts.boot.secure_boot:
        yield Finding(
            code="secure-boot",
            severity=Severity.BLOCKER,
            cause="Secure Boot is on; it would not start balenaOS",
            remedy="switch it off in the firmware's setup",
        )
    loader = subject.boot_loader
    if loader is None:
        yield Finding(
            code="boot-loader-unknown",
            severity=Severity.BLOCKER,
            cause=f"no boot loader that we know starts this device ({subject.facts.boot.firmware} firmware)",
            remedy="on a PC with BIOS: install grub-pc and run update-grub",
        )
        return
    yield Finding(code="boot-loader", severity=Severity.OK, cause=f"{loader.name} starts this device")
    yield from loader.check(subject.config, subject.facts)


def _check_programs(subject: Subject) -> Iterator[Finding]:
    loader = subject.boot_loader
    needed = (*ALWAYS_NEEDED, *(loader.programs if loader else ()))
    missing = [name for name in needed if name not in subject.facts.programs]
    if missing:
        yield Finding(
            code="programs-missing",
            severity=Severity.BLOCKER,
            cause=f"these programs are missing: {', '.join(missing)}",
            remedy="install the packages that hold them (initramfs-tools, grub-common, grub-pc-bin)",
        )


def _check_kit(subject: Subject) -> Iterator[Finding]:
    if not subject.kit_base_bytes:
        yield Finding(
            code="no-kit",
            severity=Severity.BLOCKER,
            cause="the tool does not run from a kit, so it has no stage 2 to put into an initramfs",
            remedy="make one with `balena-migrate kit build` on a workstation and run that on the device",
        )


def untested(subject: Subject, code: str, cause: str) -> Finding:
    """What was not tested is refused, unless the user takes that on."""
    if subject.config.untested:
        return Finding(code=code, severity=Severity.WARNING, cause=cause)
    return Finding(
        code=code, severity=Severity.BLOCKER, cause=cause, remedy="try it on one that you can reach, with --untested"
    )
