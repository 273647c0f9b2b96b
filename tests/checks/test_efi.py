# SPDX-License-Identifier: Apache-2.0
"""Can this UEFI firmware start balenaOS?"""

from __future__ import annotations

from dataclasses import replace

import pytest

from balena_migrate.checks.efi import check
from balena_migrate.facts import Facts
from balena_migrate.findings import Severity
from tests.support.facts import pc_facts, uefi_facts
from tests.support.surveys import some_survey


def with_room(free_bytes: int) -> Facts:
    facts = uefi_facts()
    assert facts.boot.efi
    return replace(facts, boot=replace(facts.boot, efi=replace(facts.boot.efi, free_bytes=free_bytes)))


@pytest.mark.parametrize(
    ("facts", "severity", "code"),
    [
        (uefi_facts(), Severity.OK, "efi-boot-entry"),
        (uefi_facts(bits=32), Severity.BLOCKER, "efi-32-bit"),
        (uefi_facts(bits=0), Severity.BLOCKER, "efi-32-bit"),
        (uefi_facts(readable=False, unwritable="efivarfs is not mounted"), Severity.BLOCKER, "efi-variables-hidden"),
        (uefi_facts(unwritable="efivarfs is mounted read-only"), Severity.WARNING, "efi-no-boot-entry"),
        (with_room(100), Severity.WARNING, "efi-no-boot-entry"),
        (with_room(4096), Severity.OK, "efi-boot-entry"),
        (uefi_facts(damaged=("Boot0003",)), Severity.WARNING, "efi-entry-damaged"),
    ],
)
def test_what_is_wrong_with_the_firmware_is_said(facts: Facts, severity: Severity, code: str) -> None:
    assert (severity, code) in [(finding.severity, finding.code) for finding in check(some_survey(facts))]


def test_a_pc_with_bios_has_none_of_it() -> None:
    assert list(check(some_survey(pc_facts()))) == []
