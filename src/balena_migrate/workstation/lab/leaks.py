# SPDX-License-Identifier: Apache-2.0
"""Searches what a rehearsal leaves behind for the secrets that were on the device: logs, the report, and every disk.

The secrets are read from the device's own files before it is powered on. Each is searched as it is and as programs
write it. Of what is packed only the initramfs of stage 2 is looked into, and nothing of what file systems do not use.
"""

from __future__ import annotations

import base64
import contextlib
import fnmatch
import html
import json
import re
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import zstandard

from balena_migrate.core.errors import MigrateError
from balena_migrate.core.journal import parse_journal
from balena_migrate.core.paths import INITRAMFS_NAME, JOURNAL, KNOWN_IMAGE, PATCHES
from balena_migrate.core.system import System
from balena_migrate.core.units import KIB
from balena_migrate.workstation.lab.disks import Span, mounted, mounted_system
from balena_migrate.workstation.lab.diskstate import find_disk_state
from balena_migrate.workstation.lab.prepare import Prepared
from balena_migrate.workstation.lab.result import Check, DiskPart
from balena_migrate.workstation.lab.variables import store_of
from balena_migrate.workstation.mtools import FatDrive

PLACES = ("etc", "root", "var/lib")
"""Where a device keeps secrets: in files that others may not read."""
LARGEST_BYTES = 64 * KIB
SHORTEST_BYTES = 8
"""A shorter one, such as a PIN, cannot be told from other text."""
NEW = "resin-"
GZIP = b"\x1f\x8b"
"""The first bytes of a packed file (RFC 1952)."""

NEW_PLACES: Mapping[str, str] = {
    "resin-boot/config.json": "balenaOS reads its identity from there",
    "resin-boot/system-connections/*": "and its networks",
    "resin-boot/system-proxy/redsocks.conf": "and its proxy",
}
"""Files of the new system that may have secrets, and why."""
OLD_PLACES: Mapping[str, str] = {
    KNOWN_IMAGE: "a user's own image may have come with the same config.json",
}
"""The same for the old system, besides its owner's own files."""
ARMED_PLACES: Mapping[str, str] = {
    PATCHES: "stage 2 writes the new boot partition from it",
    JOURNAL: "undo writes back what was there",
}
"""The same between stage 1 and undo; all in a folder that others may not enter."""

_NAME = r'"?[\w.-]*?(?P<name>psk|passphrase|password|passwd|secret|pin|key\d?)"?'
_ASSIGNED = re.compile(
    rf'^[ \t]*{_NAME}[ \t]*[:=][ \t]*(?:"(?P<quoted>[^"\n]*)"|(?P<plain>[^"\s/].*?));?[ \t]*$', re.I | re.M
)
_IN_URL = re.compile(r"://[^/\s:@]*:(?P<plain>[^@\s]+)@")
_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----\n(?P<body>[^-]+)-----END")
_KEY = re.compile(r"(key|token|password|secret)$", re.I)
_REPORT_LINE = re.compile(rb"(balena-migrate-report line \d+) [A-Za-z0-9+/=]+")


@dataclass(frozen=True, kw_only=True)
class Secret:
    """`files` are those that have it before the device is powered on; `name` tells it without showing it."""

    name: str
    value: str = field(repr=False)
    files: tuple[str, ...]


def read_secrets(prepared: Prepared) -> tuple[Secret, ...]:
    """All secrets in the old system's files; read while the device is off."""
    found: dict[str, Secret] = {}
    with mounted_system(prepared.disk, prepared.file_systems, read_only=True) as root:
        for path in private_files(root):
            file = str(path.relative_to(root))
            for name, value in parse_secrets(path.read_text("utf-8", "replace")):
                first = found.setdefault(value, Secret(name=f"{name} of {file}", value=value, files=()))
                found[value] = Secret(name=first.name, value=value, files=(*first.files, file))
    return tuple(found.values())


def private_files(root: Path) -> Iterator[Path]:
    """The small files in PLACES that only their owner may read."""
    for path in sorted(path for place in PLACES for path in (root / place).rglob("*")):
        info = path.lstat()
        if path.is_file() and not path.is_symlink() and not info.st_mode & 0o007 and info.st_size <= LARGEST_BYTES:
            yield path


def parse_secrets(text: str) -> Iterator[tuple[str, str]]:
    """The names and values of all secrets in a file that are long enough: JSON, PEM, or assignments of any form."""
    for name, value in _all_secrets(text):
        if len(value.encode()) >= SHORTEST_BYTES:
            yield name, value


def _all_secrets(text: str) -> Iterator[tuple[str, str]]:
    if text.lstrip().startswith("{"):
        with contextlib.suppress(ValueError):
            yield from _in_json("", json.loads(text))
            return
    for found in _PEM.finditer(text):
        yield "private key", found["body"].splitlines()[-2:][0]
    for found in _ASSIGNED.finditer(text):
        yield found["name"].lower(), found["quoted"] or found["plain"] or ""
    for found in _IN_URL.finditer(text):
        yield "password", found["plain"]


def _in_json(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """Texts by the names of their keys, which tell what is secret; deviceApiKeys has a key for each server."""
    is_keys = isinstance(value, dict) and name.endswith("Keys")
    items = value.items() if isinstance(value, dict) else ((name, item) for item in value)
    for key, item in items:
        if isinstance(item, dict | list):
            yield from _in_json(key, item)
        elif isinstance(item, str) and (is_keys or _KEY.search(key)):
            yield (name if is_keys else key), item


def forms(secret: str) -> frozenset[bytes]:
    """A secret as it is, and as programs write it: in base64 wherever it starts in a longer text."""
    data = secret.encode()
    texts = {secret, *(json.dumps(secret, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False))}
    texts |= {quote(secret), quote(secret, safe=""), quote(secret).replace("%20", "+"), html.escape(secret)}
    texts |= {data.hex(), data.hex().upper(), *(_base64_core(data, before) for before in range(3))}
    return frozenset({text.encode() for text in texts} | {secret.encode("utf-16-le")})


def _base64_core(data: bytes, before: int) -> str:
    """The characters of base64 that tell nothing but this, behind that number of other bytes."""
    text = base64.b64encode(bytes(before) + data + bytes(2)).decode()
    return text[-(-8 * before // 6) : 8 * (before + len(data)) // 6]


def find_secrets(secrets: Iterable[Secret], content: bytes) -> list[Secret]:
    """Those that are in the content, in any form."""
    return [secret for secret in secrets if any(form in content for form in forms(secret.value))]


# What is left behind ------------------------------------------------------------------------------------------------


def leak_checks(secrets: tuple[Secret, ...], prepared: Prepared, folder: Path, report: str) -> tuple[Check, ...]:
    """Check the logs in the folder, the report's text, and what is on all drives; the device is off."""
    logs = {log.name: log.read_bytes() for log in sorted(folder.glob("*.log"))} | {"the report": report.encode()}
    shown = [f"{secret.name} in {name}" for name, text in logs.items() for secret in find_secrets(secrets, text)]
    try:
        kept, more = list(_on_drives(secrets, prepared)), []
    except (MigrateError, OSError) as error:
        kept, more = [], [f"the disks cannot be read: {error}"]
    return (
        _check("secrets in the serial logs and in the report", secrets, shown),
        _check("secrets on the disks, outside of their places", secrets, kept + more),
    )


def _check(name: str, secrets: tuple[Secret, ...], leaks: list[str]) -> Check:
    found = "; ".join(leaks) or f"none of {len(secrets)}"
    return Check(name=name, passed=bool(secrets) and not leaks, expected="none", found=found)


def _on_drives(secrets: tuple[Secret, ...], prepared: Prepared) -> Iterator[str]:
    """Each secret that is where none may be, and the place."""
    for drive in prepared.drives:
        state = find_disk_state(drive)
        parts = state.parts if state else ()
        if drive == prepared.disk and not any(part.label.startswith(NEW) for part in parts):
            yield from _on_old_system(secrets, prepared)
            continue
        for part in parts:
            with opened(drive, part) as root:
                yield from _below(secrets, root, part.label, NEW_PLACES)
    store = store_of(prepared.disk)
    if store.exists():
        yield from (
            f"{secret.name} in the firmware's variables" for secret in find_secrets(secrets, store.read_bytes())
        )


def _on_old_system(secrets: tuple[Secret, ...], prepared: Prepared) -> Iterator[str]:
    with mounted_system(prepared.disk, prepared.file_systems, read_only=True) as root:
        journal = root / JOURNAL.lstrip("/")
        armed = journal.exists() and parse_journal(journal.read_text()).pending
        yield from _below(secrets, root, "", {**OLD_PLACES, **(ARMED_PLACES if armed else {})})
    if prepared.fat:
        with _copied(prepared.disk, prepared.fat.span.start_bytes) as root:
            yield from _below(secrets, root, f"/{prepared.fat.folder}", {})


@contextlib.contextmanager
def opened(drive: Path, part: DiskPart) -> Iterator[Path]:
    """A folder with the files of a partition; it is empty where there is none, as on a disk in the midst of a flash."""
    with contextlib.ExitStack() as held:
        if part.fstype == "ext4":
            span = Span(start_bytes=part.start_bytes, size_bytes=part.size_bytes)
            yield held.enter_context(mounted(drive, span, read_only=True))
        elif part.fstype == "vfat":
            yield held.enter_context(_copied(drive, part.start_bytes))
        else:
            yield Path(held.enter_context(tempfile.TemporaryDirectory()))


@contextlib.contextmanager
def _copied(drive: Path, offset_bytes: int) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="balena-migrate-lab-") as name:
        FatDrive(image=drive, offset_bytes=offset_bytes).copy_all_out(Path(name))
        yield Path(name)


def _below(secrets: tuple[Secret, ...], root: Path, label: str, places: Mapping[str, str]) -> Iterator[str]:
    for file in _files_with_any(secrets, root):
        name = f"{label}/{file.relative_to(root)}"
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in places):
            continue
        for secret in find_secrets(secrets, file.read_bytes()):
            if name.lstrip("/") not in secret.files:
                yield f"{secret.name} in {name}"
    for file in root.rglob(INITRAMFS_NAME):
        found = find_secrets(secrets, unpacked(file.read_bytes()))
        yield from (f"{secret.name} in what is packed in {label}/{file.relative_to(root)}" for secret in found)


def unpacked(initramfs: bytes) -> bytes:
    """What is packed in it; nothing where it is damaged, as some rehearsals want it."""
    with contextlib.suppress(zlib.error, zstandard.ZstdError):
        if initramfs.startswith(GZIP):
            return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(initramfs)
        return zstandard.ZstdDecompressor().decompressobj().decompress(initramfs)
    return b""


def _files_with_any(secrets: tuple[Secret, ...], root: Path) -> list[Path]:
    """The files below the folder that have any of the secrets, found by grep, which reads a whole disk in seconds."""
    patterns = b"\n".join(sorted(form for secret in secrets for form in forms(secret.value)))
    argv = ["grep", "--recursive", "--text", "--fixed-strings", "--files-with-matches", "--null", "--devices=skip"]
    found = System().run([*argv, "--file=-", root], data=patterns, ok=(0, 1)).stdout
    return [Path(name.decode("utf-8", "surrogateescape")) for name in found.split(b"\0") if name]


def leave_out_reports(folder: Path) -> None:
    """The logs in the folder no longer have the look-alike's report, in which the new system sends its config.json.

    What it said is in the checks by now.
    """
    for log in folder.glob("*.log"):
        log.write_bytes(_REPORT_LINE.sub(rb"\1 (left out)", log.read_bytes()))
