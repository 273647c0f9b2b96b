# SPDX-License-Identifier: Apache-2.0
"""Every check of a device and its image: what is well passes, and all that is not is reported at once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from balena_migrate.core.memory import MemoryFacts
from balena_migrate.core.units import MIB
from balena_migrate.findings import Severity, blocker
from balena_migrate.settings import Config, InitramfsName
from tests.support.facts import pc_facts, pi_facts
from tests.support.findings import PI_IMAGE, blockers, findings
from tests.support.surveys import some_image, some_survey


def test_a_good_pc_passes_and_is_told_what_was_looked_at() -> None:
    found = findings(some_survey())
    assert {finding.severity for finding in found} == {Severity.OK}
    assert {"system", "hardware", "boot-loader", "disk-size", "boot-room", "image", "memory"} <= {f.code for f in found}


def test_all_findings_come_at_once() -> None:
    facts = replace(pc_facts(), uid=1000, memory=MemoryFacts(total_bytes=200 * MIB, available_bytes=0), programs={})
    config = Config(initramfs=InitramfsName.INITRAMFS_TOOLS)
    assert blockers(
        some_survey(facts, config, kit_base_bytes=0, image=None, problems=(blocker("image", "no image"),))
    ) == [
        "not-root",
        "programs-missing",
        "no-kit",
        "image",
    ]


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
