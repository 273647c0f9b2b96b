# SPDX-License-Identifier: Apache-2.0
"""What a look-alike's system reported on the serial console."""

from __future__ import annotations

import base64
import binascii
import gzip
import hashlib
import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from balena_migrate.core.errors import LabError
from balena_migrate.core.system import last_lines
from balena_migrate.core.units import SECTOR_BYTES

_BEGIN = re.compile(r"balena-migrate-report begin (\d+) ([0-9a-f]{64})")
_LINE = re.compile(r"balena-migrate-report line (\d+) ([A-Za-z0-9+/=]+)")


@dataclass(frozen=True, kw_only=True)
class ReportedFile:
    """A regular file; `path` is relative to the root of its partition, `mode` the permission bits."""

    path: str
    size_bytes: int
    mode: int
    uid: int
    gid: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class ReportedPartition:
    """`check_status` is e2fsck's exit status, 0 for a clean file system (and for resin-boot, which is not checked)."""

    label: str
    number: int
    start_bytes: int
    size_bytes: int
    check_status: int


@dataclass(frozen=True, kw_only=True)
class Report:
    """The state of the disk after the first boot, in which the data partition was grown."""

    kernel: str
    command_line: str
    memory_bytes: int
    uptime_s: float
    disk_bytes: int
    data_bytes_before: int
    partition_table: str
    """"dos" or "gpt"."""
    backup_at_end: bool = False
    """Whether the backup of a GPT was at the disk's end before anything was grown."""
    boot_entries: str = ""
    """What efibootmgr -v printed; "" without UEFI."""
    partitions: tuple[ReportedPartition, ...]
    config_json: bytes
    profiles: tuple[Mapping[str, str], ...] = field(default=(), repr=False)
    """The profiles that NetworkManager loaded, secrets included: nmcli's property -> value; empty values are left out.

    Empty if the image has no NetworkManager. The profile that NetworkManager creates for lo is left out.
    """
    boot_files: tuple[ReportedFile, ...]
    root_files: tuple[ReportedFile, ...]
    """Those of resin-rootA."""
    state_files: tuple[ReportedFile, ...]
    data_files: tuple[ReportedFile, ...]

    def find_partition(self, label: str) -> ReportedPartition | None:
        """The partition with this label, if there is one."""
        return next((part for part in self.partitions if part.label == label), None)

    def find_boot_file(self, path: str) -> ReportedFile | None:
        """The file of resin-boot at this path, if there is one."""
        return next((file for file in self.boot_files if file.path == path), None)


def parse_report(serial_log: str) -> Report:
    """The last complete report in a serial log, which may contain other output, also within the report.

    Raises LabError, with the log's last lines, if there is no complete and valid report.
    """
    for begin in reversed(list(_BEGIN.finditer(serial_log))):
        text = _unpack(serial_log[begin.end() :], int(begin[1]), begin[2])
        if text is not None:
            return _build(json.loads(text))
    hint = "last lines: " + last_lines(serial_log.encode("utf-8", "replace"))
    raise LabError("the new system's report is missing or incomplete", hint=hint)


def _unpack(log: str, count: int, digest: str) -> bytes | None:
    lines = {int(found[1]): found[2] for found in _LINE.finditer(log)}
    try:
        packed = base64.b64decode("".join(lines[number] for number in range(1, count + 1)), validate=True)
        text = gzip.decompress(packed)
    except (KeyError, binascii.Error, OSError, EOFError, zlib.error):
        return None
    return text if hashlib.sha256(text).hexdigest() == digest else None


def _build(data: dict[str, Any]) -> Report:
    return Report(
        kernel=_text(data["kernel"]).strip(),
        command_line=_text(data["command_line"]).strip(),
        memory_bytes=data["memory_bytes"],
        uptime_s=float(data["seconds"]),
        disk_bytes=data["disk_sectors"] * SECTOR_BYTES,
        data_bytes_before=data["data_sectors_before"] * SECTOR_BYTES,
        partition_table=data["table"]["partitiontable"]["label"],
        backup_at_end=data.get("backup_at_end", False),
        boot_entries=_text(data.get("boot_entries", "")),
        partitions=tuple(_partition(item) for item in data["partitions"]),
        config_json=base64.b64decode(data["config_json"]),
        profiles=_profiles(data.get("profiles", "")),
        boot_files=_files(data["boot_files"]),
        root_files=_files(data["root_files"]),
        state_files=_files(data["state_files"]),
        data_files=_files(data["data_files"]),
    )


def _partition(item: dict[str, Any]) -> ReportedPartition:
    return ReportedPartition(
        label=item["label"],
        number=item["number"],
        start_bytes=item["start_sector"] * SECTOR_BYTES,
        size_bytes=item["sectors"] * SECTOR_BYTES,
        check_status=item["check_status"],
    )


def _profiles(texts: str) -> tuple[Mapping[str, str], ...]:
    """Each text is nmcli's terse output, with a line "property:value" each; a ";" ends each text."""
    profiles = (_profile(_text(text)) for text in texts.split(";")[:-1])
    return tuple(profile for profile in profiles if profile.get("connection.type") != "loopback")


def _profile(text: str) -> Mapping[str, str]:
    lines = (line.partition(":") for line in text.splitlines())
    return {key: value for key, _, value in lines if value and value != "--"}


def _files(data: dict[str, str]) -> tuple[ReportedFile, ...]:
    """Three lists in the same order: names, sums, and size, mode, uid and gid; a NUL or ";" ends each."""
    lists = (_text(data["names"]).split("\0"), data["sums"].split(";"), data["stats"].split(";"))
    rows = zip(*(items[:-1] for items in lists), strict=True)
    return tuple(sorted((_file(*row) for row in rows), key=lambda file: file.path))


def _file(name: str, digest: str, stats: str) -> ReportedFile:
    size, mode, uid, gid = stats.split()
    return ReportedFile(
        path=name.removeprefix("./"),
        size_bytes=int(size),
        mode=int(mode, 8),
        uid=int(uid),
        gid=int(gid),
        sha256=digest,
    )


def _text(encoded: str) -> str:
    return base64.b64decode(encoded).decode("utf-8", "surrogateescape")
