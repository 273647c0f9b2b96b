# SPDX-License-Identifier: Apache-2.0
"""GRUB is asked: whatever grub.cfg and grubenv say, it starts stage 2 once, or the old system, and never waits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from balena_migrate.bootloaders.grub import BOOT_LOADER
from balena_migrate.bootloaders.grub.checks import check_boot
from balena_migrate.bootloaders.grub.files import CUSTOM_CFG, GRUB_CFG
from balena_migrate.findings import Severity
from balena_migrate.settings import Config
from tests.support.grub import (
    INITRAMFS,
    KERNEL,
    OLD,
    OLDER,
    OLDER_KERNEL,
    OLDER_STARTED,
    OURS,
    SIMPLE,
    STAGE2,
    TEMPLATES,
    UUID,
    Case,
    GrubDisk,
    Setup,
    Started,
    Template,
    came_up,
    emulated,
    facts_for,
    grub_cfg,
    start,
)

pytestmark = pytest.mark.processes

FILES = {KERNEL: b"kernel" * 100, OLDER_KERNEL: b"older", INITRAMFS: b"old" * 1000, OURS: b"ours" * 1000}
HD1 = Config(grub_boot_dev="hd1")
GRUB_FILE = CUSTOM_CFG.lstrip("/")
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
    "own-entry-of-the-user": Case(custom="menuentry mine --id mine {\n  true\n}\n"),
}
ODD_ARGUMENTS = (
    *(
        "memmap=64K$0x18690000",
        "ds=nocloud;s=http://192.0.2.10/seed/",
        "a={1,2}",
        "b=x&y|z<u>v",
        "c=#1",
        "#d",
        "e=*?[a]",
    ),
    *("f=$root", "g=${root}", "h=%s", "i=~!^", "j=`id`", "k=a,b:c@d", "l=\\x41"),
)
WAITING = {
    "hidden-menu": Case(setup=Setup(timeout_style="hidden")),
    "waits-in-its-menu": Case(setup=Setup(timeout="3")),
}
BROKEN: dict[str, Case] = {
    "initramfs-unreadable": Case(damage=lambda disk: disk.make_unreadable(OURS), reboots=True),
    "kernel-gone": Case(setup=Setup(default=OLDER), damage=lambda disk: disk.remove(KERNEL), second=OLDER_STARTED),
    "kernel-unreadable": Case(
        setup=Setup(default=OLDER), damage=lambda disk: disk.make_unreadable(KERNEL), second=OLDER_STARTED
    ),
    "no-such-file-system": Case(damage=lambda disk: disk.replace(GRUB_FILE, UUID, UUID[::-1], times=1), config=HD1),
    "one-shot-not-cleared": Case(setup=Setup(clears=False), damage=lambda disk: disk.remove(OURS)),
    "hidden-menu": replace(WAITING["hidden-menu"], damage=lambda disk: disk.remove(OURS)),
    "waits-in-its-menu": replace(WAITING["waits-in-its-menu"], damage=lambda disk: disk.remove(OURS)),
    "fallback-to-ours": Case(custom="set fallback=balena-migrate", damage=lambda disk: disk.remove(OURS)),
}


VERSIONS = [
    template if template is TEMPLATES[-1] else pytest.param(template, marks=pytest.mark.long) for template in TEMPLATES
]
"""The last one is tried by `./test --quick`, too."""


def armed_disk(case: Case, folder: Path) -> GrubDisk:
    """The disk after stage 1: what it writes, and what was there."""
    facts = facts_for(case)
    blockers = [f.code for f in check_boot(case.config, facts) if f.severity is Severity.BLOCKER]
    assert blockers == []
    files = {**FILES, "boot/grub/grub.cfg": emulated(grub_cfg(replace(case.setup, boot="start"))).encode()}
    for action in BOOT_LOADER.boot_actions(case.config, facts):
        content = action.content  # type: ignore[attr-defined]
        # grub-emu has loaded no kernel, so its `boot` would be an error.
        files[action.path.lstrip("/")] = content.replace(b" boot\n", b" start\n")
    return GrubDisk(folder / "disk", files)


def starts(case: Case, folder: Path) -> None:
    disk = armed_disk(case, folder)
    case.damage(disk)
    assert start(disk, reboots=case.reboots) == case.first
    if case.first != STAGE2:
        came_up(disk)
    assert start(disk) == case.second
    if case.setup.clears:
        assert "balena-migrate" not in disk.read("boot/grub/grubenv").decode()
    came_up(disk)
    assert start(disk) == case.second


@pytest.mark.parametrize("template", VERSIONS, ids=lambda template: template.name)
@pytest.mark.parametrize("name", CASES)
def test_stage_2_starts_once_and_then_the_old_system(name: str, template: Template, tmp_path: Path) -> None:
    case = CASES[name]
    starts(replace(case, setup=replace(case.setup, template=template)), tmp_path)


@pytest.mark.parametrize("template", VERSIONS, ids=lambda template: template.name)
@pytest.mark.parametrize("name", CASES)
def test_without_our_initramfs_the_old_system_starts_as_it_would_by_itself(
    name: str, template: Template, tmp_path: Path
) -> None:
    case = CASES[name]
    setup = replace(case.setup, template=template)
    starts(replace(case, setup=setup, damage=lambda disk: disk.remove(OURS), first=case.second), tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("name", WAITING)
def test_a_menu_that_waits_does_so_only_for_the_old_system(name: str, tmp_path: Path) -> None:
    starts(WAITING[name], tmp_path)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.long) if name in WAITING else name for name in BROKEN]
)
def test_whatever_cannot_be_loaded_the_old_system_starts(name: str, tmp_path: Path) -> None:
    starts(replace(BROKEN[name], first=BROKEN[name].second), tmp_path)


def test_a_file_system_that_is_not_found_by_its_uuid_may_be_the_one_on_grub_boot_dev(tmp_path: Path) -> None:
    starts(Case(damage=lambda disk: disk.replace(GRUB_FILE, UUID, UUID[::-1], times=1)), tmp_path)


@pytest.mark.parametrize("argument", ODD_ARGUMENTS)
def test_an_argument_reaches_the_kernel_as_it_was(argument: str, tmp_path: Path) -> None:
    wanted = replace(STAGE2, arguments=(f"root=UUID={UUID}", argument, "panic=30"))
    starts(Case(command_line=f"root=UUID={UUID} {argument}", first=wanted), tmp_path)


@pytest.mark.parametrize(("broken", "wanted"), [(False, STAGE2), (True, OLD)])
def test_our_entry_and_its_way_back_wait_for_nobody(broken: bool, wanted: Started, tmp_path: Path) -> None:
    """Even where grub.cfg would, which is refused."""
    disk = armed_disk(Case(), tmp_path)
    disk.replace(GRUB_CFG.lstrip("/"), "set timeout=0", "set timeout=-1", times=2)
    if broken:
        disk.remove(OURS)
    assert start(disk) == wanted


STUB = f"search.fs_uuid {UUID} root hd0,gpt2\nset prefix=($root)'/boot/grub'\nconfigfile $prefix/grub.cfg\n"


@pytest.mark.parametrize("loads", [True, False])
def test_through_the_stub_that_the_firmwares_grub_reads_first(loads: bool, tmp_path: Path) -> None:
    """As under UEFI; the way back is the same where our initramfs cannot be loaded."""
    disk = armed_disk(Case(), tmp_path)
    disk.debugfs("mkdir /EFI", "mkdir /EFI/debian")
    disk.write("EFI/debian/grub.cfg", STUB.encode())
    if not loads:
        disk.remove(OURS)
    assert start(disk, prefix="/EFI/debian") == (STAGE2 if loads else OLD)
    assert "next_entry" not in disk.environment() or not disk.environment()["next_entry"]
    assert start(disk, prefix="/EFI/debian") == OLD
