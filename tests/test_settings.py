# SPDX-License-Identifier: Apache-2.0
"""Settings are read as the first description has them; what is wrong is named with file and line."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from balena_migrate.core.errors import ConfigError
from balena_migrate.core.handover import TermExit
from balena_migrate.core.system import System
from balena_migrate.settings import SETTINGS, Config, Setting, parse_settings, read_config


def test_the_defaults_are_those_of_the_first_description() -> None:
    config = Config()
    assert config.no_flash, "nothing is flashed unless the user says so"
    assert (config.home_dir, config.term_exit, config.backup_file) == ("./", TermExit.CONTINUE, "backup.tgz")
    assert config.backup_directories == ("/etc",)
    assert config.grub_boot_dev == "hd0"
    assert not (config.do_reboot or config.no_setup or config.debug or config.has_wifi_cfg or config.migrate_all_wifis)
    assert (config.image_name, config.log_drive, config.backup_script, config.migrate_wifi_cfg) == ("", "", "", "")


def test_every_field_has_its_row_in_the_table() -> None:
    assert [setting.field for setting in SETTINGS] == [field.name for field in fields(Config)]


FIRST_DESCRIPTION = """\
# a settings file as the first description shows it
STRATEGY="DEFAULT"
HOME_DIR=./
NO_FLASH=TRUE
TERM_EXIT="exit 0"
NO_SETUP=
DO_REBOOT=
IMAGE_NAME="resin-raspberrypi3-2.15.1+rev2-dev-v7.16.6.img.gz"
DEBUG=
LOG_DRIVE=/dev/sdb1
LOG_FS_TYPE=ext4
BACKUP_FILE=backup.tgz
BACKUP_SCRIPT=
BACKUP_DIRECTORIES="/etc /home/pi"   # two
GRUB_BOOT_DEV=hd0
HAS_WIFI_CFG=
MIGRATE_ALL_WIFIS='TRUE'
MIGRATE_WIFI_CFG=
"""


def test_a_file_of_the_first_description_is_read() -> None:
    config = Config(**parse_settings(FIRST_DESCRIPTION, "test"))
    assert config.image_name == "resin-raspberrypi3-2.15.1+rev2-dev-v7.16.6.img.gz"
    assert config.backup_directories == ("/etc", "/home/pi")
    assert config.migrate_all_wifis
    assert not config.no_setup


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("IMAGE_NAM=x", "test:2: unknown setting IMAGE_NAM (did you mean IMAGE_NAME?)"),
        ("NO_FLASH=maybe", "test:2: NO_FLASH must be TRUE or FALSE"),
        ("TERM_EXIT=halt", 'test:2: TERM_EXIT must be "exit 0" or "reboot -f"'),
        ("STRATEGY=RESIZE", "test:2: STRATEGY cannot be RESIZE, which is not available; omit the setting"),
        ("IMAGE_NAME=../x", "test:2: IMAGE_NAME must be an absolute path, or that of a file below HOME_DIR"),
        ("BACKUP_DIRECTORIES=etc", "test:2: BACKUP_DIRECTORIES 'etc' is not an absolute path"),
        ("GRUB_BOOT_DEV=sda", 'test:2: GRUB_BOOT_DEV must be a GRUB disk such as "hd0"'),
        ("export NO_FLASH=TRUE", 'test:2: not a line of the form KEY="value"'),
        ("HOME_DIR=a b", "test:2: a value with spaces must be in quotes"),
        ('HOME_DIR="a', "test:2: no closing quotation"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(line: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_settings(f"# first line\n{line}\n", "test")
    assert str(caught.value) == message


def test_nothing_is_executed() -> None:
    values = parse_settings('HOME_DIR="$(touch /tmp/balena-migrate-was-here)`id`"\n', "test")
    assert values["home_dir"] == "$(touch /tmp/balena-migrate-was-here)`id`"


def test_flags_win_over_the_file_and_both_names_of_the_file_are_read(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/balena-migration.conf").write_text("IMAGE_NAME=a\nDEBUG=TRUE\n")
    system = System(tmp_path)
    assert read_config(system, None, {}).image_name == "a"
    (tmp_path / "etc/balena-migrate.conf").write_text("IMAGE_NAME=b\n")
    config = read_config(system, None, {"image_name": "c", "no_flash": False, "debug": None})
    assert (config.image_name, config.no_flash, config.debug) == ("c", False, False)


def test_a_settings_file_that_is_named_has_to_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        read_config(System(tmp_path), "/none.conf", {})
    assert read_config(System(tmp_path), None, {}) == Config(home_dir=str(Path.cwd()))


@pytest.mark.parametrize(
    ("name", "path"),
    [("os.img.gz", "/home/os.img.gz"), ("images/os.img", "/home/images/os.img"), ("/srv/os.img", "/srv/os.img")],
)
def test_an_image_is_a_file_below_home_dir_or_an_absolute_path(name: str, path: str) -> None:
    config = Config(**parse_settings(f"IMAGE_NAME={name}\nHOME_DIR=/home\n", "test"))
    assert config.in_home(config.image_name) == path


@pytest.mark.parametrize("name", ["", "/", ".", "..", "../x", "a/../../x"])
def test_what_is_no_image_name(name: str) -> None:
    with pytest.raises(ConfigError, match="IMAGE_NAME must be"):
        parse_settings(f"IMAGE_NAME={name}\n", "test")


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.key)
def test_default_and_example_of_a_setting_are_good_values_for_it(setting: Setting) -> None:
    if setting.default or setting.parse is str:
        assert setting.parse(setting.default) == getattr(Config(), setting.field)
    if setting.example:
        setting.parse(setting.example)
    assert setting.default or setting.example or setting.is_flag
