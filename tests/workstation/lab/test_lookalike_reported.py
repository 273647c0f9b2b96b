# SPDX-License-Identifier: Apache-2.0
"""The report of a look-alike survives whatever else is in the serial log, and a damaged one is not taken."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from typing import Any

import pytest

from balena_migrate.core.errors import LabError
from balena_migrate.workstation.lab.lookalike.reported import parse_report


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _data(**more: Any) -> dict[str, Any]:
    part = {"label": "resin-boot", "number": 1, "start_sector": 8192, "sectors": 81920, "check_status": 0}
    return {
        "kernel": _b64("6.1.0\n"),
        "command_line": _b64("console=ttyS0\n"),
        "memory_bytes": 1 << 29,
        "seconds": 5.25,
        "data_sectors_before": 401408,
        "disk_sectors": 8388608,
        "table": {"partitiontable": {"label": "dos"}},
        "partitions": [part],
        "config_json": _b64("{}"),
        "boot_files": {
            "names": _b64("./os-release\0./system-connections/büro\nzwei\0"),
            "sums": f"{'1' * 64};{'2' * 64};",
            "stats": "160 755 0 0;7 600 0 0;",
        },
        "root_files": {"names": _b64("./counter\0"), "sums": f"{'3' * 64};", "stats": "2 644 0 0;"},
        "state_files": {"names": "", "sums": "", "stats": ""},
        "data_files": {"names": "", "sums": "", "stats": ""},
        **more,
    }


def _lines(data: dict[str, Any]) -> list[str]:
    text = json.dumps(data).encode()
    packed = base64.b64encode(gzip.compress(text)).decode()
    pieces = [packed[i : i + 76] for i in range(0, len(packed), 76)]
    begin = f"balena-migrate-report begin {len(pieces)} {hashlib.sha256(text).hexdigest()}"
    numbered = [f"balena-migrate-report line {i} {piece}" for i, piece in enumerate(pieces, 1)]
    return [begin, *numbered, "balena-migrate-report end"]


def test_a_report_among_other_lines_is_read() -> None:
    lines = _lines(_data())
    lines[1:1] = ["[    5.1] random: crng init done", ""]
    lines[4] = "[    5.2] " + lines[4]
    report = parse_report("\r\n".join(["GRUB loading", *lines, "reboot: Power down"]))
    assert report.kernel == "6.1.0"
    assert report.command_line == "console=ttyS0"
    assert report.disk_bytes == 4 << 30
    assert report.data_bytes_before == 196 << 20
    file = report.find_boot_file("system-connections/büro\nzwei")
    assert file is not None
    assert file.sha256 == "2" * 64
    assert (file.size_bytes, file.mode) == (7, 0o600)
    part = report.find_partition("resin-boot")
    assert part is not None
    assert (part.start_bytes, part.size_bytes) == (4 << 20, 40 << 20)
    assert [(file.path, file.sha256) for file in report.root_files] == [("counter", "3" * 64)]
    assert report.state_files == ()
    assert "backup.tgz" not in {file.path for file in report.data_files}


def test_a_report_of_uefi_has_what_efibootmgr_printed() -> None:
    report = parse_report("\n".join(_lines(_data(boot_entries=_b64("BootOrder: 0001\n"), backup_at_end=True))))
    assert (report.boot_entries, report.backup_at_end) == ("BootOrder: 0001\n", True)
    other = parse_report("\n".join(_lines(_data())))
    assert (other.boot_entries, other.backup_at_end) == ("", False)


def test_profiles_are_read_without_those_that_networkmanager_makes_by_itself() -> None:
    office = "connection.id:resin-wifi-01\nconnection.type:802-11-wireless\n802-11-wireless.ssid:a:b; ü\nipv4.dns:\n"
    lo = "connection.id:lo\nconnection.type:loopback\ngsm.apn:--\n"
    report = parse_report("\n".join(_lines(_data(profiles=f"{_b64(office)};{_b64(lo)};"))))
    assert report.profiles == (
        {
            "connection.id": "resin-wifi-01",
            "connection.type": "802-11-wireless",
            "802-11-wireless.ssid": "a:b; ü",
        },
    )
    assert "a:b" not in repr(report)


def test_the_last_of_two_boots_counts() -> None:
    log = "\n".join([*_lines(_data(memory_bytes=1)), *_lines(_data(memory_bytes=2))])
    assert parse_report(log).memory_bytes == 2


@pytest.mark.parametrize("damage", ["a line is missing", "a byte is wrong", "there is none"])
def test_a_damaged_report_is_no_report(damage: str) -> None:
    lines = _lines(_data())
    if damage == "a line is missing":
        del lines[2]
    elif damage == "a byte is wrong":
        lines[2] = lines[2][:-9] + ("A" if lines[2][-9] != "A" else "B") + lines[2][-8:]
    else:
        lines = ["no bootable device"]
    with pytest.raises(LabError, match=lines[-1]):
        parse_report("\n".join(lines))
