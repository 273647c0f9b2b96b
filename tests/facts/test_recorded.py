# SPDX-License-Identifier: Apache-2.0
"""Devices as `facts --json` records them: each loads, is written as it was read, is judged and planned for elsewhere.

The recordings are inventions in the form of real devices. Nothing but facts is recorded, so what the checks see carries
no network settings over.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from balena_migrate import checks
from balena_migrate.core.values import from_json, to_json
from balena_migrate.facts import FACTS_FORMAT, Facts
from balena_migrate.findings import Severity, is_refused
from balena_migrate.plan import make_plan
from balena_migrate.settings import Config
from balena_migrate.survey import Survey, accept
from tests.support.surveys import some_image, some_survey, stage1_of

FOLDER = Path(__file__).parent / "recorded"
COMMON = {"backup-none", "disk-size", "hardware", "image", "initramfs", "memory"}
"""What passes on each of them."""
GRUB = {"boot-loader", "boot-room", "grub-one-shot"}
WHAT_WAS_TESTED = {"device-untested", "system", "system-untested"}
"""Left out: that is in the tables of devices and systems, and changes with every rehearsal that is added."""
PI = {"boot-loader", "boot-room", "pi-kernel"}
RECORDED: dict[str, tuple[str, set[str], set[str]]] = {
    "debian-11-pc-lvm": (
        "intel-nuc",
        {*COMMON, *GRUB},
        {"network-lost", "root-on-lvm"},
    ),
    "debian-12-pc-mbr": (
        "intel-nuc",
        {*COMMON, *GRUB, "network-online"},
        set(),
    ),
    "noobs-raspbian-10-sd-card": (
        "raspberrypi3",
        {*COMMON, *PI},
        {"network-lost"},
    ),
    "raspberry-pi-os-12-nvme": (
        "raspberrypi4-64",
        {*COMMON, *PI, "network-online"},
        set(),
    ),
    "raspberry-pi-os-12-sd-card": (
        "raspberrypi3",
        {*COMMON, *PI},
        {"network-lost"},
    ),
    "ubuntu-22.04-pc-uefi": (
        "generic-amd64",
        {*COMMON, "boot-loader", "boot-room", "efi-boot-entry", "efi-one-shot", "network-online"},
        {"secure-boot"},
    ),
}
"""Name -> the image's device type, and the codes of the findings: those that pass, and those that block."""


def load(name: str) -> Facts:
    return from_json(Facts, json.loads((FOLDER / f"{name}.json").read_text()))


def survey_of(name: str) -> Survey:
    image = some_image(slug=RECORDED[name][0], name="balena.img.gz", files=("grub/grub.cfg",), os_version="2.113.18")
    return some_survey(load(name), Config(untested=True), image=image)


def codes(survey: Survey, severity: Severity) -> set[str]:
    return {finding.code for finding in checks.run(survey) if finding.severity is severity} - WHAT_WAS_TESTED


def test_every_recording_takes_part() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(RECORDED)


@pytest.mark.parametrize("name", RECORDED)
def test_a_recording_is_written_as_it_was_read(name: str) -> None:
    facts = load(name)
    assert facts.format == FACTS_FORMAT
    assert json.dumps(to_json(facts), indent=2) + "\n" == (FOLDER / f"{name}.json").read_text()


@pytest.mark.parametrize("name", RECORDED)
def test_a_recording_is_judged_without_its_device(name: str) -> None:
    _, passing, blocking = RECORDED[name]
    survey = survey_of(name)
    assert codes(survey, Severity.OK) == passing
    assert codes(survey, Severity.BLOCKER) == blocking
    assert codes(survey, Severity.WARNING) == set()


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("debian-12-pc-mbr", ["/boot/grub/custom.cfg", "/boot/grub/grubenv"]),
        (
            "raspberry-pi-os-12-nvme",
            ["/boot/firmware/balena-migrate-cmdline.txt", "/boot/firmware/tryboot.txt"],
        ),
    ],
)
def test_a_plan_is_made_without_the_device(name: str, written: list[str]) -> None:
    survey = survey_of(name)
    findings = checks.run(survey)
    assert not is_refused(findings)
    accepted = accept(survey, findings)
    stage1 = stage1_of(accepted)
    plan = make_plan(accepted, stage1.actions(), stage1.boot_actions())
    assert [action.path for action in plan.boot_actions] == written
