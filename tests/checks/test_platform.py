# SPDX-License-Identifier: Apache-2.0
"""The system and its boot loader are supported, or refused with the reason."""

from __future__ import annotations

from dataclasses import replace

from balena_migrate.settings import Config
from tests.support.facts import pc_facts, pi_facts
from tests.support.findings import PI_IMAGE, blockers
from tests.support.surveys import some_image, some_survey


def test_what_was_never_run_is_refused_and_untested_turns_that_into_a_warning() -> None:
    facts = pc_facts()
    facts = replace(facts, os=replace(facts.os, version_id="13"))
    assert blockers(some_survey(facts)) == ["system-untested"]
    assert blockers(some_survey(facts, Config(untested=True))) == []
    assert blockers(some_survey(image=some_image(slug="genericx86-64-ext"))) == ["device-untested"]


def test_a_boot_partition_that_is_not_mounted_is_refused_once() -> None:
    facts = pi_facts()
    facts = replace(facts, disks=replace(facts.disks, mounts=facts.disks.mounts[:1]))
    assert blockers(some_survey(facts, image=some_image(**PI_IMAGE))) == ["pi-no-boot-partition"]
