# SPDX-License-Identifier: Apache-2.0
"""What will be in the backup, and under which name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from balena_migrate.carried.backup import BackupItem, plan_backups
from balena_migrate.carried.backup.plan import name_on_data, plain_items
from balena_migrate.carried.backup.tree import SKIPPED_LIMIT, SkipList, Skipped, virtual_mounts
from balena_migrate.carried.backup.volumes import parse_inline, parse_volumes
from balena_migrate.core.errors import ConfigError
from balena_migrate.core.mountinfo import parse_mountinfo
from balena_migrate.core.paths import KNOWN_IMAGE
from balena_migrate.core.system import System
from balena_migrate.settings import Config, parse_settings


@pytest.fixture
def device(tmp_path: Path) -> System:
    """A device with /srv/app (two files and a folder), /etc/app.cfg and HOME_DIR=/home."""
    for folder in ("srv/app/sub", "etc", "home"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "srv/app/a.db").write_bytes(b"x" * 5000)
    (tmp_path / "srv/app/sub/b.log").write_bytes(b"")
    (tmp_path / "etc/app.cfg").write_text("cfg")
    return System(tmp_path)


def config(**values: object) -> Config:
    return Config(home_dir="/home", **values)  # type: ignore[arg-type]


def test_sizes_are_counted(device: System) -> None:
    plan = plan_backups(config(backup_directories=("/srv",)), device)[-1]
    assert plan.items == (BackupItem(source="/srv", name="srv"),)
    assert plan.file_count == 5
    assert plan.archive_bytes == 5 * 512 + 5120
    assert plan.unpacked_bytes == 3 * 4096 + 8192
    assert 0 < plan.expected_bytes < plan.archive_bytes / 10
    assert (plan.volumes, plan.problems, plan.skipped) == ((), (), ())


def test_no_folders_no_backup(device: System) -> None:
    assert plan_backups(config(backup_directories=()), device) == ()


def test_folders_inside_of_others_are_taken_once() -> None:
    items = plain_items(("/etc/ssh", "/etc/", "/srv/../var", "/etc"))
    assert [(item.source, item.name) for item in items] == [("/etc", "etc"), ("/var", "var")]
    assert plain_items(("/", "/etc")) == (BackupItem(source="/", name="."),)


def test_what_is_missing_is_told(device: System) -> None:
    plan = plan_backups(config(backup_directories=("/etc", "/nothing")), device)[-1]
    assert plan.problems == ("there is no '/nothing'",)


@pytest.mark.parametrize(
    ("file", "volumes", "name"),
    [
        ("backup.tgz", False, "migration-backup.tgz"),
        ("mine.tgz", False, "mine.tgz"),
        ("mine.tgz", True, "backup.tgz"),
        ("backup.tgz", True, "backup.tgz"),
    ],
)
def test_only_volumes_get_the_supervisors_name(file: str, volumes: bool, name: str) -> None:
    assert name_on_data(file, for_supervisor=volumes) == name


def test_a_name_that_resin_data_has_is_refused(device: System) -> None:
    with pytest.raises(ConfigError, match="docker"):
        plan_backups(config(backup_file="docker"), device)


def test_volumes_and_folders_are_two_backups_and_none_is_in_the_other(device: System) -> None:
    plain, volumes = plan_backups(config(backup_directories=("/",), backup_volumes=("data=/srv/app",)), device)
    assert (plain.name, plain.name_on_data, plain.volumes) == ("backup.tgz", "migration-backup.tgz", ())
    assert (volumes.name, volumes.name_on_data, volumes.volumes) == ("volumes.tgz", "backup.tgz", ("data",))
    assert {"/home/backup.tgz", "/home/volumes.tgz"} <= plain.left_out.keys() & volumes.left_out.keys()


def test_what_is_known_of_the_image_stays_here(device: System) -> None:
    """It is as large as the image's boot partition, and as secret."""
    known = device.real(KNOWN_IMAGE)
    known.parent.mkdir(parents=True)
    known.write_text("known")
    plan = plan_backups(config(backup_directories=("/var",)), device)[-1]
    assert [skipped.path for skipped in plan.skipped if skipped.reason == "what is known of the image"] == [KNOWN_IMAGE]


def test_the_two_may_not_have_one_name(device: System) -> None:
    settings = config(backup_file="volumes.tgz", backup_volumes=("data=/srv/app",))
    with pytest.raises(ConfigError, match=r"volumes\.tgz"):
        plan_backups(settings, device)
    assert plan_backups(config(backup_file="volumes.tgz"), device)[0].name == "volumes.tgz"


def test_a_script_is_looked_at(device: System) -> None:
    script = device.root / "home/make"
    settings = config(backup_script="make", backup_volumes=("data",))
    plan = plan_backups(settings, device)[-1]
    assert (plan.script, plan.volumes, plan.problems) == ("/home/make", ("data",), ("there is no '/home/make'",))
    script.touch(mode=0o644)
    plan = plan_backups(settings, device)[-1]
    assert plan.problems == ("'/home/make' is not executable",)


def test_volumes_inline(device: System) -> None:
    assert parse_inline("data=/srv/app", device) == BackupItem(source="/srv/app", name="./data")
    assert parse_inline("data=/etc/app.cfg", device) == BackupItem(source="/etc/app.cfg", name="./data/app.cfg")


def test_a_path_with_a_blank_stands_in_quotes() -> None:
    values = parse_settings("""BACKUP_VOLUMES="data=/srv/app 'db=/var/my db'"\n""", "f")
    assert values == {"backup_volumes": ("data=/srv/app", "db=/var/my db")}


def test_volumes_from_a_file(device: System) -> None:
    (device.root / "home/volumes.yml").write_text(
        "# comment\n"
        "- volume: data\n"
        "  items:\n"
        "    - source: /srv/app\n"
        "      target: /app/./x/\n"
        "      filter: '\\.db$'\n"
        "    - item:\n"
        "      source: /etc/app.cfg\n"
        "- volume: other-1\n"
        "  items: [{source: /etc/app.cfg, target: conf/main.cfg}]\n"
    )
    plan = plan_backups(config(backup_volumes=("volumes.yml",)), device)[-1]
    assert plan.items == (
        BackupItem(source="/srv/app", name="./data/app/x", pattern=r"\.db$"),
        BackupItem(source="/etc/app.cfg", name="./data/app.cfg"),
        BackupItem(source="/etc/app.cfg", name="./other-1/conf/main.cfg"),
    )
    assert plan.volumes == ("data", "other-1")
    assert plan.name_on_data == "backup.tgz"
    # data/app/x and a.db of the first (sub holds no match), then one file each
    assert plan.file_count == 4


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: [", "not valid YAML"),
        ("{}", "a list of volumes"),
        ("[]", "a list of volumes"),
        ("- 1", "must be an object"),
        ("- {volume: d}", "'items' is missing"),
        ("- {volume: d, items: []}", "items must be a list"),
        ("- {volume: d, items: [{}]}", "'source' is missing"),
        ("- {volume: d, items: [{source: x}]}", "not an absolute path"),
        ("- {volume: d, items: [{source: 7}]}", "must be text"),
        ("- {volume: d, items: [{source: /x, sorce: 1}]}", "unknown key 'sorce'"),
        ("- {volume: d, items: [{source: /x, target: ../y}]}", "leads out of the volume"),
        ("- {volume: d, items: [{source: /x, filter: '('}]}", "not a regular expression"),
        ("- {volume: my data, items: [{source: /x}]}", "not the name of a volume"),
        ("- {volume: ../x, items: [{source: /x}]}", "not the name of a volume"),
        ("- {volume: .x, items: [{source: /x}]}", "not the name of a volume"),
        ("- &a [x]\n- *a", "not valid YAML"),
        ("- !!python/object/apply:os.system [x]", "not valid YAML"),
        ("[" * 50_000, "not valid YAML"),
    ],
)
def test_bad_volume_files_are_refused(device: System, text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        parse_volumes(text, "/home/volumes.yml", device)
    assert str(caught.value).startswith("/home/volumes.yml:")


@pytest.mark.parametrize("words", [("missing.yml",), ("a.yml", "b.yml"), ("=/srv",), ("a b=/srv",), ("data=srv",)])
def test_bad_volume_settings_are_refused(device: System, words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError):
        plan_backups(config(backup_volumes=words), device)


def test_only_matching_files_and_their_folders_are_taken(device: System) -> None:
    (device.root / "home/v.yml").write_text("- {volume: d, items: [{source: /srv, filter: 'b[.]log$'}]}")
    plan = plan_backups(config(backup_volumes=("v.yml",)), device)[-1]
    assert plan.file_count == 4  # d, app, sub, b.log


def test_virtual_mounts_are_known_by_type() -> None:
    text = (
        "22 28 0:20 / /proc rw,nosuid - proc proc rw\n"
        "23 28 0:21 / /srv/a\\040b/sys rw shared:7 - sysfs sysfs rw\n"
        "28 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
    )
    assert virtual_mounts(parse_mountinfo(text)) == ("/proc", "/srv/a b/sys")


@pytest.mark.skipif(not hasattr(os, "setxattr"), reason="no extended attributes here")
def test_extended_attributes_are_counted(device: System) -> None:
    try:
        os.setxattr(device.root / "etc/app.cfg", "user.note", b"x")
    except OSError:
        pytest.skip("this file system has no extended attributes")
    plan = plan_backups(config(), device)[-1]
    assert plan.attributes_count == 1


def test_a_monstrous_sparse_file_is_planned_at_once(device: System) -> None:
    with (device.root / "etc/monster").open("wb") as file:
        file.truncate(8 << 40)
    plan = plan_backups(config(), device)[-1]
    assert plan.archive_bytes > 8 << 40 and plan.expected_bytes < plan.archive_bytes / 50


def test_many_skipped_files_are_counted_and_the_first_named() -> None:
    skipped = SkipList()
    for number in range(SKIPPED_LIMIT + 5):
        skipped.add(Skipped(path=f"/{number}", reason="a FIFO"))
    assert (len(skipped.named), skipped.count) == (SKIPPED_LIMIT, SKIPPED_LIMIT + 5)
