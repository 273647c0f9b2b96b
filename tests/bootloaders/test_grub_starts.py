# SPDX-License-Identifier: Apache-2.0
"""GRUB is asked: whatever grub.cfg and grubenv say, it starts stage 2 once, or the old system, and never waits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from balena_migrate.bootloaders.grub import BOOT_LOADER
from balena_migrate.bootloaders.grub.checks import check_boot
from balena_migrate.bootloaders.grub.files import CUSTOM_CFG, GRUB_CFG, GRUBENV
from balena_migrate.facts import Facts
from balena_migrate.findings import Severity
from balena_migrate.settings import Config
from tests.support.facts import pc_facts
from tests.support.grub import (
    INITRAMFS,
    KERNEL,
    OLDER,
    OLDER_KERNEL,
    SIMPLE,
    TEMPLATES,
    UUID,
    GrubDisk,
    Setup,
    Started,
    Template,
    came_up,
    emulated,
    environment_block,
    grub_cfg,
    start,
)

pytestmark = pytest.mark.processes

OURS = "boot/balena-migrate-initramfs"
PLAIN = f"root=UUID={UUID} ro quiet"
STAGE2 = Started(kernel=f"/{KERNEL}", initramfs=f"/{OURS}", arguments=(f"root=UUID={UUID}", "ro", "quiet", "panic=30"))
OLD = Started(kernel=f"/{KERNEL}", initramfs=f"/{INITRAMFS}", arguments=(f"root=UUID={UUID}", "ro", "quiet"))
OLDER_STARTED = replace(OLD, kernel=f"/{OLDER_KERNEL}")
FILES = {KERNEL: b"kernel" * 100, OLDER_KERNEL: b"older", INITRAMFS: b"old" * 1000, OURS: b"ours" * 1000}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A device before stage 1, what becomes of it after stage 1, and what its next two starts have to be."""

    setup: Setup = field(default_factory=Setup)
    environment: Mapping[str, str] = field(default_factory=dict)
    command_line: str = PLAIN
    custom: str = ""
    config: Config = field(default_factory=Config)
    damage: Callable[[GrubDisk], None] = lambda disk: None
    first: Started = STAGE2
    second: Started = OLD


SAVED = Setup(default="${saved_entry}", savedefault=True)
CASES = {
    "plain": Case(),
    "default-in-submenu": Case(setup=Setup(default=OLDER), second=OLDER_STARTED),
    "default-by-id": Case(setup=Setup(default=SIMPLE)),
    "nothing-saved": Case(setup=SAVED),
    "saved-in-submenu": Case(setup=SAVED, environment={"saved_entry": OLDER}, second=OLDER_STARTED),
    "prev-saved-entry": Case(
        setup=SAVED, environment={"saved_entry": "0", "prev_saved_entry": OLDER}, second=OLDER_STARTED
    ),
    "recordfail": Case(environment={"recordfail": "1"}),
    "initrdfail": Case(environment={"initrdfail": "1"}),
    "prev-entry": Case(environment={"initrdfail": "1", "prev_entry": OLDER}),
    "another-one-shot": Case(environment={"next_entry": OLDER}),
    "password": Case(setup=Setup(password=True)),
    "waits-in-its-menu": Case(setup=Setup(timeout="20")),
    "own-entry-of-the-user": Case(custom="menuentry mine --id mine {\n  true\n}\n"),
}
BROKEN: dict[str, Callable[[GrubDisk], None]] = {
    "initramfs-gone": lambda disk: disk.remove(OURS),
    "initramfs-unreadable": lambda disk: disk.make_unreadable(OURS),
}


def facts_for(case: Case) -> Facts:
    files = {
        GRUB_CFG: grub_cfg(case.setup),
        GRUBENV: environment_block(case.environment),
        **({CUSTOM_CFG: case.custom} if case.custom else {}),
    }
    facts = pc_facts(files=files)
    devices = tuple(replace(d, uuid=UUID) if d.name == "sda1" else d for d in facts.disks.devices)
    command_line = f"BOOT_IMAGE=/{KERNEL} {case.command_line}"
    return replace(
        facts,
        disks=replace(facts.disks, devices=devices),
        boot=replace(facts.boot, kernel_command_line=command_line),
    )


def armed_disk(case: Case, folder: Path) -> GrubDisk:
    """The disk after stage 1: what it writes, and what was there."""
    facts = facts_for(case)
    blockers = [f.code for f in check_boot(case.config, facts) if f.severity is Severity.BLOCKER]
    assert blockers == []
    files = {**FILES, "boot/grub/grub.cfg": emulated(grub_cfg(replace(case.setup, boot="start"))).encode()}
    for action in BOOT_LOADER.boot_actions(case.config, facts):
        content = action.content  # type: ignore[attr-defined]
        # grub-emu has loaded no kernel, so its `boot` would be an error.
        files[action.path.lstrip("/")] = content.replace(b"        boot\n", b"        start\n")
    return GrubDisk(folder / "disk", files)


def starts(case: Case, folder: Path) -> None:
    disk = armed_disk(case, folder)
    case.damage(disk)
    assert start(disk) == case.first
    if case.first != STAGE2:
        came_up(disk)
    assert start(disk) == case.second
    assert "balena-migrate" not in disk.read("boot/grub/grubenv").decode()
    came_up(disk)
    assert start(disk) == case.second


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template.name)
@pytest.mark.parametrize("name", CASES)
def test_stage_2_starts_once_and_then_the_old_system(name: str, template: Template, tmp_path: Path) -> None:
    case = CASES[name]
    starts(replace(case, setup=replace(case.setup, template=template)), tmp_path)


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template.name)
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("damage", BROKEN)
def test_what_cannot_be_loaded_leads_to_the_old_system_as_it_would_start_by_itself(
    damage: str, name: str, template: Template, tmp_path: Path
) -> None:
    case = CASES[name]
    setup = replace(case.setup, template=template)
    starts(replace(case, setup=setup, damage=BROKEN[damage], first=case.second), tmp_path)
