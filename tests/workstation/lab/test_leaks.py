# SPDX-License-Identifier: Apache-2.0
"""What a rehearsal leaves behind is searched for every secret of its device."""

from __future__ import annotations

import base64
import gzip
import html
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import quote

import pytest
import zstandard

from balena_migrate.core.changes import ActionName, Undo, UndoRecord
from balena_migrate.core.journal import Entry, Event, append
from balena_migrate.core.paths import INITRAMFS_NAME, JOURNAL, PATCHES, STATE_DIR
from balena_migrate.core.system import System
from balena_migrate.core.units import MIB
from balena_migrate.workstation.lab import networked, owner
from balena_migrate.workstation.lab.disks import FileSystem, Span, make_disk, make_ext4, make_fat32, mounted
from balena_migrate.workstation.lab.leaks import (
    Secret,
    find_secrets,
    leak_checks,
    leave_out_reports,
    parse_secrets,
    read_secrets,
)
from balena_migrate.workstation.lab.prepare import Prepared, put_owner_files
from balena_migrate.workstation.lab.wishes import Wishes
from balena_migrate.workstation.mtools import FatDrive

VALUE = "crates;and#pallets ä/=?"
SECRET = Secret(name="psk of etc/wifi", value=VALUE, files=("etc/wifi",))
DATA = VALUE.encode()

FORMS: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda data: data,
    "hex": lambda data: data.hex().encode(),
    "HEX": lambda data: data.hex().upper().encode(),
    "UTF-16": lambda data: data.decode().encode("utf-16-le"),
    "base64": base64.b64encode,
    "base64, one behind": lambda data: base64.b64encode(b"x" + data + b"yz"),
    "base64, two behind": lambda data: base64.b64encode(b"xy" + data + b"y"),
    "JSON": lambda data: json.dumps(data.decode()).encode(),
    "URL": lambda data: quote(data).encode(),
    "URL, whole": lambda data: quote(data, safe="").encode(),
    "HTML": lambda data: html.escape(data.decode()).encode(),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_secret_is_found_in_each_form(form: str) -> None:
    text = FORMS[form](DATA)
    assert find_secrets([SECRET], b"before " + text + b" behind") == [SECRET]
    assert find_secrets([SECRET], b"before " + text[5:-5] + b" behind") == []


def test_what_was_put_on_the_lab_devices_is_all_found() -> None:
    """By the lists that the rehearsals expect: networks, profiles, proxy, config.json."""
    files = {**owner.PRIVATE_FILES, **networked.FILES, "config.json": owner.config_json("intel-nuc").decode()}
    found = {value for text in files.values() for _, value in parse_secrets(text)}
    wanted = {network.passphrase for network in (*owner.NETWORKS, *networked.NETPLAN_NETWORKS)} - {""}
    wanted |= {profile.properties.get("gsm.password", "weigh;bridge") for profile in networked.PROFILES}
    wanted |= {networked.PROXY_SETTINGS["password"].strip('"')}
    wanted |= {json.loads(files["config.json"])["apiKey"]}
    assert found == wanted


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('network={\n ssid="a"\n key_mgmt=WPA-EAP\n password="long enough"\n}\n', [("password", "long enough")]),
        (' private_key_passwd="long enough"\n private_key=/etc/a-long-path\n', [("passwd", "long enough")]),
        ("wep_key0=1234567890\n", [("key0", "1234567890")]),
        ("pin=0042\n", []),
        ("psk=\npassword=\n", []),
        ('PROXY="http://me:long-enough@192.0.2.1:3128"\n', [("password", "long-enough")]),
        ('{"deviceApiKeys": {"api.x.com": "0123456789"}}', [("deviceApiKeys", "0123456789")]),
        ('{"applicationName": "0123456789", "os": {"sshKeys": ["ssh-ed25519 public"]}}', []),
        ('{"files": [{"deviceApiKey": "0123456789"}]}', [("deviceApiKey", "0123456789")]),
        (
            "-----BEGIN PRIVATE KEY-----\nb3BlbnNza\nthe secret line\nthe end==\n-----END PRIVATE KEY-----\n",
            [("private key", "the secret line")],
        ),
    ],
)
def test_secrets_of_other_files(text: str, found: list[tuple[str, str]]) -> None:
    assert list(parse_secrets(text)) == found


# Logs and reports ---------------------------------------------------------------------------------------------------


@pytest.fixture
def nothing() -> Prepared:
    """A device without drives."""
    return cast("Prepared", SimpleNamespace(drives=(), disk=Path("/none/disk.img")))


def test_a_log_and_a_report_with_a_secret_fail_and_do_not_show_it(tmp_path: Path, nothing: Prepared) -> None:
    (tmp_path / "console.log").write_bytes(b"a line\nkey: " + DATA + b"\n")
    (tmp_path / "shell.log").write_bytes(b"all is well")
    logs, disks = leak_checks((SECRET,), nothing, tmp_path, f"<td>{html.escape(VALUE)}</td>")
    assert (logs.passed, disks.passed) == (False, True)
    assert logs.found == "psk of etc/wifi in console.log; psk of etc/wifi in the report"
    assert VALUE not in repr((logs, SECRET))


def test_logs_and_reports_without_one_pass(tmp_path: Path, nothing: Prepared) -> None:
    (tmp_path / "console.log").write_bytes(b"psk=***")
    checks = leak_checks((SECRET,), nothing, tmp_path, "psk of etc/wifi")
    assert [(check.passed, check.found) for check in checks] == [(True, "none of 1")] * 2


def test_without_any_secret_to_look_for_nothing_is_proven(tmp_path: Path, nothing: Prepared) -> None:
    assert not any(check.passed for check in leak_checks((), nothing, tmp_path, ""))


def test_the_new_systems_own_report_is_left_out_of_the_log(tmp_path: Path) -> None:
    lines = "balena-migrate-report begin 1 00\r\nbalena-migrate-report line 1 c2VjcmV0\r\nbalena-migrate-report end\r\n"
    (tmp_path / "console.log").write_text(f"before\r\n{lines}behind\r\n", newline="")
    leave_out_reports(tmp_path)
    text = (tmp_path / "console.log").read_bytes()
    assert text.startswith(b"before\r\n") and text.endswith(b"behind\r\n")
    assert b"report line 1 (left out)\r\n" in text and b"c2VjcmV0" not in text


# Disks --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def device(tmp_path: Path) -> Prepared:
    """A device with an old system in an ext4 file system, behind which 70 MiB are free, and what its owner has."""
    make_disk(tmp_path / "disk.img", 100 * MIB, table_id="0x1")
    span = Span(start_bytes=MIB, size_bytes=29 * MIB)
    make_ext4(tmp_path / "disk.img", span, label="root", uuid="6a1d5f6e-3a52-4b39-9d0e-5c1b8a7e2f41")
    drives = (tmp_path / "disk.img",)
    found = SimpleNamespace(disk=drives[0], drives=drives, file_systems=(FileSystem(span=span),), fat=None)
    with mounted(drives[0], span) as root:
        put_owner_files(root, "", owner.config_json("intel-nuc"), Wishes())
        (root / STATE_DIR.lstrip("/")).mkdir(parents=True)
        append(System(root), Entry(event=Event.BEGIN))
    return cast("Prepared", found)


def put(device: Prepared, path: str, content: bytes, *entries: Entry) -> None:
    with mounted(device.disk, device.file_systems[0].span) as root:
        (root / path.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
        (root / path.lstrip("/")).write_bytes(content)
        for entry in entries:
            append(System(root), entry)


def on_disks(device: Prepared, secrets: tuple[Secret, ...], folder: Path) -> tuple[bool, str]:
    check = leak_checks(secrets, device, folder, "")[1]
    return check.passed, check.found


@pytest.mark.loop
def test_the_owners_own_files_may_have_them_and_no_other(device: Prepared, tmp_path: Path) -> None:
    secrets = read_secrets(device)
    assert [secret.name for secret in secrets] == [
        "psk of etc/NetworkManager/system-connections/Yard.nmconnection",
        "psk of etc/wpa_supplicant/wpa_supplicant.conf",
        "apiKey of root/migration/config.json",
    ]
    assert on_disks(device, secrets, tmp_path) == (True, "none of 3")
    put(device, "var/log/syslog", b"x" * 1000 + base64.b64encode(b"a" + secrets[0].value.encode()))
    put(device, "etc/wpa_supplicant/wpa_supplicant.conf", secrets[2].value.encode("utf-16-le"))
    passed, found = on_disks(device, secrets, tmp_path)
    assert not passed
    assert set(found.split("; ")) == {
        "psk of etc/NetworkManager/system-connections/Yard.nmconnection in /var/log/syslog",
        "apiKey of root/migration/config.json in /etc/wpa_supplicant/wpa_supplicant.conf",
    }


@pytest.mark.loop
@pytest.mark.parametrize("path", [PATCHES, JOURNAL])
def test_patches_and_journal_may_have_them_until_undo(device: Prepared, tmp_path: Path, path: str) -> None:
    secrets = read_secrets(device)
    record = UndoRecord(undo=Undo.REWRITE, path="/x", content=secrets[1].value.encode())
    intent = Entry(event=Event.INTENT, number=1, name=ActionName.PATCHES, title="", record=record)
    put(device, PATCHES, secrets[1].value.encode() if path == PATCHES else b"", intent)
    assert on_disks(device, secrets, tmp_path)[0]
    put(device, "x", b"", Entry(event=Event.UNDONE, number=1), Entry(event=Event.END))
    passed, found = on_disks(device, secrets, tmp_path)
    assert not passed and f"in {path}" in found


@pytest.mark.loop
def test_a_log_drive_may_have_none(device: Prepared, tmp_path: Path) -> None:
    secrets = read_secrets(device)
    span = make_disk(tmp_path / "log.img", 20 * MIB, table_id="0x2")
    make_ext4(tmp_path / "log.img", span, label="logs", uuid="7d3e9c10-4fb2-4a86-9a1b-c60f2d85e37b")
    both = cast(Any, SimpleNamespace(**{**vars(device), "drives": (device.disk, tmp_path / "log.img")}))
    assert on_disks(both, secrets, tmp_path)[0]
    with mounted(tmp_path / "log.img", span) as root:
        (root / "migrate.log").write_bytes(secrets[0].value.encode())
    assert on_disks(both, secrets, tmp_path)[1].endswith("in logs/migrate.log")


@pytest.mark.loop
def test_the_new_systems_boot_partition_may_have_them_where_balenaos_reads_them(tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    span = make_disk(disk, 100 * MIB, table_id="0x1")
    make_fat32(disk, span, label="resin-boot", volume_id="12345678")
    device = cast(Any, SimpleNamespace(disk=disk, drives=(disk,)))
    (tmp_path / "source/system-connections").mkdir(parents=True)
    for name in ("config.json", "system-connections/a"):
        (tmp_path / "source" / name).write_bytes(DATA)
    fat = FatDrive(image=disk, offset_bytes=span.start_bytes)
    fat.copy_in((tmp_path / "source").iterdir())
    assert on_disks(device, (SECRET,), tmp_path) == (True, "none of 1")
    fat.write_file("device-type.json", DATA)
    assert on_disks(device, (SECRET,), tmp_path) == (False, "psk of etc/wifi in resin-boot/device-type.json")


@pytest.mark.loop
@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_the_initramfs_of_stage_2_is_looked_into(
    device: Prepared, tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    secrets = read_secrets(device)
    put(device, f"boot/{INITRAMFS_NAME}", pack(b"x" * 100_000))
    assert on_disks(device, secrets, tmp_path) == (True, "none of 3")
    put(device, f"boot/{INITRAMFS_NAME}", pack(b"x" * 100_000 + secrets[0].value.encode()) + bytes(4))
    assert on_disks(device, secrets, tmp_path)[1].endswith("in what is packed in /boot/balena-migrate-initramfs")
    put(device, f"boot/{INITRAMFS_NAME}", b"torn")
    assert on_disks(device, secrets, tmp_path) == (True, "none of 3")


@pytest.mark.loop
def test_an_old_boot_partition_may_have_none(device: Prepared, tmp_path: Path) -> None:
    """A Raspberry Pi's, which every user can read."""
    span = Span(start_bytes=30 * MIB, size_bytes=70 * MIB)
    make_fat32(device.disk, span, label="bootfs", volume_id="12345678")
    fat = FatDrive(image=device.disk, offset_bytes=span.start_bytes)
    pi = cast(Any, SimpleNamespace(**{**vars(device), "fat": FileSystem(span=span, folder="boot", fat=True)}))
    fat.write_file("cmdline.txt", b"quiet")
    assert on_disks(pi, read_secrets(device), tmp_path) == (True, "none of 3")
    fat.write_file("initramfs", read_secrets(device)[0].value.encode())
    assert on_disks(pi, read_secrets(device), tmp_path)[1].endswith("in /boot/initramfs")


@pytest.mark.loop
def test_the_firmwares_variables_may_have_none(device: Prepared, tmp_path: Path) -> None:
    secrets = read_secrets(device)
    (tmp_path / "variables.fd").write_bytes(b"\xff" + secrets[0].value.encode("utf-16-le"))
    assert on_disks(device, secrets, tmp_path)[1].endswith("in the firmware's variables")


@pytest.mark.processes
def test_disks_that_cannot_be_read_are_no_proof(tmp_path: Path) -> None:
    device = cast(Any, SimpleNamespace(disk=tmp_path / "no.img", drives=(tmp_path / "no.img",)))
    passed, found = on_disks(device, (SECRET,), tmp_path)
    assert not passed and found.startswith("the disks cannot be read: ")
