# SPDX-License-Identifier: Apache-2.0
"""Settings as flags: in groups, with their defaults; switches; and what contradicts itself is wrong use."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from balena_migrate.cli.options import config_from
from balena_migrate.cli.verbs.run import run
from balena_migrate.core.errors import UsageError
from balena_migrate.core.system import System
from balena_migrate.settings import SETTINGS, SWITCHES, Group, Setting


@pytest.fixture(scope="module")
def panels() -> dict[str, str]:
    """The help of run by the titles of its groups, each without line breaks."""
    text = CliRunner().invoke(run, ["--help"], env={"COLUMNS": "80"}).output
    titles = [*Group, "Options"]
    found = {}
    for title, following in zip(titles, [*titles[1:], ""], strict=True):
        _, _, rest = text.partition(f"\n{title}:")
        found[str(title)] = " ".join(rest.partition(f"\n{following}:")[0].split())
    return found


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.key)
def test_each_setting_is_in_the_help_of_its_group_with_its_default(setting: Setting, panels: dict[str, str]) -> None:
    shown = panels[setting.group].partition(f"{setting.flag} <")[2].partition(" --")[0]
    assert setting.help in shown
    assert ("[default: " in shown) == bool(setting.default)
    assert f"[default: {setting.default}]" in shown or not setting.default


@pytest.fixture
def system(tmp_path: Path) -> System:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/balena-migrate.conf").write_text("NO_FLASH=TRUE\nDO_REBOOT=FALSE\n")
    return System(tmp_path)


def test_switches_set_what_the_old_keys_set(system: System) -> None:
    old = config_from(system, None, {"no_flash": "FALSE", "do_reboot": "TRUE"})
    assert config_from(system, None, {"flash": True, "reboot": True}) == old
    assert (old.no_flash, old.do_reboot) == (False, True)
    unset = config_from(system, None, {"flash": False, "reboot": False, "no_flash": None})
    assert (unset.no_flash, unset.do_reboot) == (True, False)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"flash": True, "no_flash": "TRUE"}, "--flash and --no-flash contradict each other"),
        ({"reboot": True, "do_reboot": ""}, "--reboot and --do-reboot contradict each other"),
    ],
)
def test_flags_that_contradict_each_other_are_wrong_use(system: System, flags: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        config_from(system, None, flags)


def test_flags_that_say_the_same_twice_are_right(system: System) -> None:
    assert not config_from(system, None, {"flash": True, "no_flash": "FALSE"}).no_flash


def test_every_switch_is_a_flag_of_run() -> None:
    options = {name for parameter in run.params for name in parameter.opts}
    assert {switch.flag for switch in SWITCHES} <= options
