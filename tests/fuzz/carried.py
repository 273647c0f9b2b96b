# SPDX-License-Identifier: Apache-2.0
"""Readers of what the owner wants on the new system: config.json, backups, settings, and what KEEP asks for."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

from balena_migrate.carried.backup import BackupPlan
from balena_migrate.carried.backup.script import run_script
from balena_migrate.carried.backup.supervisor import find_supervisor
from balena_migrate.carried.backup.volumes import parse_inline, parse_names, parse_volumes
from balena_migrate.carried.config_json import merged, parse_config_json
from balena_migrate.carried.keep import (
    parse_authorized_keys,
    parse_connman,
    parse_hostname,
    parse_ntp_conf,
    parse_timesyncd_conf,
)
from balena_migrate.core.errors import BackupError, ConfigError, FileError
from balena_migrate.core.system import Result, System
from balena_migrate.settings import SETTINGS, parse_settings, parse_value
from tests.fuzz.reader import Reader, of_bytes, of_text, these

CONFIG_JSON = """{"applicationId": 1, "apiKey": "k", "deviceType": "raspberrypi3", "apiEndpoint": "https://api.example",
 "os": {"sshKeys": ["ssh-ed25519 AAAA"], "network": {"connectivity": {"uri": ""}}}, "hostname": "barn", "x": 1.5e3}"""
KEYS = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 me@barn\nfrom="1.2.3.4",command="a" ssh-rsa AAAAB3Nz== x\n# c\n'
NTP = "pool 2.debian.pool.ntp.org iburst\nserver -4 ntp.example.org port 5 # x\nservers 192.0.2.1\nserver 127.127.1.0\n"
VOLUMES = """volumes:
  - volume: data
    items:
      - source: /srv/app
        target: app
        filter: '\\.db$'
  - volume: logs
    items: [{source: /var/log}]
"""
SETTINGS_FILE = """# mine
HOME_DIR="/root/balena"
IMAGE_NAME=image.img.gz
BACKUP_DIRECTORIES="/etc '/srv/a b'"
PROXY="http://me:secret@192.0.2.1:3128"
NO_FLASH="FALSE"
"""
PLAN = BackupPlan(name="backup.tgz", script="/script", volumes=("data",), name_on_data="x.tgz", left_out={})


def backup(content: bytes, folder: Path) -> None:
    """What the owner's own program made."""

    def runner(argv: Sequence[str], data: bytes | None, timeout_s: float | None) -> Result:
        Path(argv[1]).write_bytes(content)
        return Result(stdout=b"", stderr=b"", returncode=0)

    run_script(System("/", runner=runner), PLAN, str(folder / "backup.tgz"))


def tar(form: int) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as made:
        for name in ("./data", "./data/file", f"./data/{'long/' * 40}ü"):
            member = tarfile.TarInfo(name)
            member.type = tarfile.DIRTYPE if name == "./data" else tarfile.REGTYPE
            made.addfile(member)
    return file.getvalue()


def unpacked_backup(content: bytes, folder: Path) -> None:
    """A damaged archive in a packing that is whole."""
    backup(gzip.compress(content, 1), folder)


def kept(text: str) -> None:
    parse_hostname(text)
    parse_authorized_keys(text)
    parse_ntp_conf(text)
    parse_timesyncd_conf(text)
    parse_connman(text)


def volumes(text: str) -> None:
    system = System("/nowhere")
    parse_volumes(text, "/root/volumes.yml", system)


def inline_volume(text: str) -> None:
    parse_inline(text, System("/nowhere"))
    parse_names((text.partition("=")[0],))


def every_setting(text: str) -> None:
    """The text as the value of each setting; each refuses by itself."""
    for setting in SETTINGS:
        try:
            parse_value(setting, text, "file")
        except ConfigError as error:
            assert error.message


READERS = (
    Reader(
        name="carried.config_json.parse_config_json",
        read=of_bytes(lambda content: merged(parse_config_json(content, "file"), {"a": {"b": 1}}, content)),
        samples=these(CONFIG_JSON),
        raises=(FileError,),
        covers=("carried.config_json.read_config_json",),
        is_text=True,
    ),
    Reader(
        name="carried.keep.parse_authorized_keys",
        read=of_text(kept),
        samples=these(KEYS, NTP, "[Time]\nNTP=a b\nNTP=\nFallbackNTP=c\n", "Timeservers=a;b,c\n", "barn\n"),
        covers=tuple(
            f"carried.keep.{name}"
            for name in (
                *("parse_hostname", "parse_ntp_conf", "parse_timesyncd_conf", "parse_connman", "read_preserved"),
            )
        ),
        is_text=True,
    ),
    Reader(
        name="carried.backup.volumes.parse_volumes",
        read=of_text(volumes),
        samples=these(VOLUMES),
        raises=(ConfigError, FileError),
        covers=("carried.backup.volumes.read_volumes",),
        is_text=True,
    ),
    Reader(
        name="carried.backup.volumes.parse_inline",
        read=of_text(inline_volume),
        samples=these("data=/srv/app"),
        raises=(ConfigError, FileError),
        covers=("carried.backup.volumes.parse_names",),
        is_text=True,
    ),
    Reader(
        name="carried.backup.script.run_script",
        read=backup,
        samples=these(*(gzip.compress(tar(form)) for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT))),
        raises=(BackupError,),
        cost=10,
    ),
    Reader(
        name="carried.backup.script.run_script",
        read=unpacked_backup,
        samples=these(*(tar(form) for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT))),
        raises=(BackupError,),
        cost=10,
    ),
    Reader(
        name="carried.backup.supervisor.find_supervisor",
        read=of_text(lambda text: find_supervisor(text, text)),
        samples=these("balena-cloud-x-intel-nuc-2.82.11+rev1-v12.4.6.img.gz", "2.82.11+rev1"),
        is_text=True,
    ),
    Reader(
        name="settings.parse_settings",
        read=of_text(lambda text: parse_settings(text, "/etc/balena-migrate.conf")),
        samples=these(SETTINGS_FILE),
        raises=(ConfigError,),
        covers=("settings.read_config",),
        is_text=True,
    ),
    Reader(
        name="settings.parse_value",
        read=of_text(every_setting),
        samples=these("TRUE", "/etc '/srv/a b'", "http://me:p@192.0.2.1:3128", "reboot -f", "60"),
        covers=tuple(
            f"settings.parse_{name}"
            for name in (
                *("flag", "words", "set", "seconds", "proxy", "paths", "name", "image_name", "strategy"),
                *("initramfs", "term_exit", "grub_device"),
            )
        ),
        is_text=True,
        limit_bytes=8 * 1024,
    ),
)
