# SPDX-License-Identifier: Apache-2.0
"""The old system's files, to check that nothing changed that must not."""

from __future__ import annotations

import fnmatch
import hashlib
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from balena_migrate.core.paths import KNOWN_IMAGE

MAY_CHANGE = (
    # Ours: the journal, the logs, the files of stage 2, and what is known of the image.
    "var/lib/balena-migrate*",
    KNOWN_IMAGE.lstrip("/"),
    # Written by any boot of Debian.
    "var/log/*",
    "var/lib/systemd/*",
    "var/lib/dbus/*",
    "var/tmp*",
    "tmp*",
    "run*",
    "etc/machine-id",
    "etc/resolv.conf",
    "etc/.updated",
    "var/.updated",
    "root/.bash_history",
    # Written by any start of systemd-boot (systemd, docs/RANDOM_SEEDS.md).
    "boot/efi/loader/random-seed",
)
"""Paths of files that may differ after a rehearsal, as shell patterns."""


def read_tree(root: Path) -> dict[str, str]:
    """Path -> mode, owner and content (as a hash) of every file and link below the folder."""
    return {path[len(str(root)) + 1 :]: describe(path) for path in walk(root)}


def find_changes(before: Mapping[str, str], after: Mapping[str, str], may: Iterable[str] = ()) -> tuple[str, ...]:
    """Paths added ("+"), removed ("-") or changed ("~"), except those in MAY_CHANGE and `may`."""
    changed = sorted({path for path, _ in before.items() ^ after.items()})
    return tuple(f"{_mark(path, before, after)}{path}" for path in changed if not is_noise(path, may))


def is_noise(path: str, may: Iterable[str] = ()) -> bool:
    """Whether a file may change: it matches MAY_CHANGE or `may`."""
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in (*MAY_CHANGE, *may))


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _mark(path: str, before: Mapping[str, str], after: Mapping[str, str]) -> str:
    if path not in before:
        return "+"
    if path not in after:
        return "-"
    return "~"


def walk(root: Path) -> Iterable[str]:
    """Every file and link below the folder."""
    folders = [str(root)]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                else:
                    yield entry.path


def describe(path: str) -> str:
    """Mode, owner and content (as a hash) of a file or a link."""
    info = os.lstat(path)
    content = ""
    if stat.S_ISREG(info.st_mode):
        content = file_hash(Path(path))
    elif stat.S_ISLNK(info.st_mode):
        content = os.readlink(path)
    return f"{info.st_mode:o} {info.st_uid}:{info.st_gid} {content}"
