# SPDX-License-Identifier: Apache-2.0
"""The table of scenarios: what is rehearsed at all, and which scenarios share a stage 1."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from balena_migrate.core import journal
from balena_migrate.core.changes import ActionName, MakeDir
from balena_migrate.core.system import System
from balena_migrate.core.units import MIB
from balena_migrate.settings import SETTINGS, Config
from balena_migrate.strategies import MemoryNeed
from balena_migrate.survey import accept
from balena_migrate.workstation.lab import owner
from balena_migrate.workstation.lab.acts import MEMORY_NEED, NewSystem, OldSystem, PowerCut, Stage1, Status, Undo
from balena_migrate.workstation.lab.guests.debian_pc import DEBIAN_12, DEBIAN_12_I386
from balena_migrate.workstation.lab.guests.debian_pi import PI_GUESTS
from balena_migrate.workstation.lab.guests.debian_uefi import DEBIAN_12_UEFI
from balena_migrate.workstation.lab.scenarios import MIGRATION, NO_FLASH, NO_SETUP
from balena_migrate.workstation.lab.scenarios.table import SCENARIOS, find_scenario, shares_stage1
from tests.support.surveys import carrying, stage1_of

ORIGINAL_KEYS = (
    *("STRATEGY", "HOME_DIR", "NO_FLASH", "TERM_EXIT", "NO_SETUP", "DO_REBOOT", "IMAGE_NAME", "DEBUG"),
    *("LOG_DRIVE", "LOG_FS_TYPE", "BACKUP_FILE", "BACKUP_SCRIPT", "BACKUP_DIRECTORIES", "GRUB_BOOT_DEV"),
    *("HAS_WIFI_CFG", "MIGRATE_ALL_WIFIS", "MIGRATE_WIFI_CFG"),
)
"""All keys of the description that the project began with."""


@pytest.mark.parametrize("key", ORIGINAL_KEYS)
def test_every_key_of_the_original_description_is_rehearsed(key: str) -> None:
    assert key in {setting.key for setting in SETTINGS}
    rehearsed = {key for scenario in SCENARIOS.values() for key in scenario.wishes.settings}
    assert key in rehearsed | set(owner.default_settings("image"))


def test_keys_that_switch_something_are_rehearsed_switched() -> None:
    """The default settings say FALSE to none of these, which is not what has to be seen to work."""
    wished = {item for scenario in SCENARIOS.values() for item in scenario.wishes.settings.items()}
    switches = ("NO_FLASH", "NO_SETUP", "DEBUG", "HAS_WIFI_CFG")
    assert {(key, "TRUE") for key in switches} | {("TERM_EXIT", "reboot -f"), ("DO_REBOOT", "FALSE")} <= wished


def test_a_settings_key_is_known() -> None:
    keys = {setting.key for setting in SETTINGS}
    for scenario in SCENARIOS.values():
        assert set(scenario.wishes.settings) <= keys, scenario.name


def test_every_boot_chain_is_migrated_to_its_end_in_the_tests() -> None:
    """The other boards, and most of the other endings, are in ./rehearse --all."""
    migrations = [scenario for scenario in SCENARIOS.values() if NewSystem() in scenario.acts]
    boards = {guest.name for guest in (DEBIAN_12, DEBIAN_12_I386, DEBIAN_12_UEFI, *PI_GUESTS)}
    assert boards <= {scenario.device.guest.name for scenario in migrations}
    migrated = {scenario.device.guest.name for scenario in migrations if scenario.in_tests}
    assert migrated == {DEBIAN_12.name, DEBIAN_12_UEFI.name, "raspberrypi3-64", "raspberrypi-zero"}


def test_undo_is_rehearsed_on_a_pc_and_on_a_raspberry_pi_before_the_reboot() -> None:
    for name in ("pc-undo", "raspberrypi3-64-undo"):
        acts = find_scenario(name).acts
        assert acts[0] == Stage1(stays=True) and Undo() in acts and acts[-1] == OldSystem(at_once=True)


def test_a_power_cut_in_stage_1_waits_for_what_stage_1_prints(tmp_path: Path) -> None:
    """Otherwise the rehearsal would wait for it for an hour."""
    acts = {act for scenario in SCENARIOS.values() for act in scenario.acts}
    ((cut, name),) = ((act, act.at) for act in acts if isinstance(act, PowerCut) and isinstance(act.at, ActionName))
    (title,) = (action.title for action in stage1_of(accept(carrying(), ())).actions() if action.name == name)
    (tmp_path / "var/lib").mkdir(parents=True)
    printed: list[str] = []
    change = MakeDir(name=name, title=title, path="/made")
    journal.apply(System(tmp_path), (change,), printed.append, arm=True)
    assert printed == [f"{cut.announcement} {title}"]


def test_what_stage_2_needs_is_found_in_what_check_prints() -> None:
    need = MemoryNeed(parts=(("unpacked initramfs", 30 * MIB), ("image", 100 * MIB)), device_bytes=331 * MIB)
    found = re.search(MEMORY_NEED, need.text)
    assert found is not None and found.groups() == ("130", "331")


def test_scenarios_that_begin_alike_share_a_stage_1() -> None:
    assert shares_stage1(find_scenario("pc-network"))
    assert shares_stage1(find_scenario("pc-network-cut-stage2"))
    assert not shares_stage1(find_scenario("pc-bios-2.15")), "it has an image and wishes of its own"
    assert not shares_stage1(find_scenario("pc-cut-stage1")), "its power goes before stage 1 is done"


def test_settings_that_forbid_the_flash_change_how_a_migration_ends() -> None:
    scenario = find_scenario("pc-bios")
    config = Config(no_flash=False)
    assert scenario.acts_for(config) == MIGRATION
    assert scenario.acts_for(replace(config, no_flash=True)) == NO_FLASH
    assert scenario.acts_for(replace(config, no_setup=True)) == NO_SETUP
    assert find_scenario("pc-undo").acts_for(replace(config, no_flash=True)) == find_scenario("pc-undo").acts
    assert any(isinstance(act, Status) for act in NO_SETUP)
