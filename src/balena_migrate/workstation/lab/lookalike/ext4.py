# SPDX-License-Identifier: Apache-2.0
"""Makes the ext4 file systems of a look-alike: the same bytes from the same files, at any time."""

from __future__ import annotations

import re
import uuid
from pathlib import Path

from balena_migrate.core.system import System
from balena_migrate.workstation.lab.lookalike.layout import Partition

FAKE_TIME_S = 1767225600
"""2026-01-01 00:00 UTC: the time of everything in an image that has a time."""
_AT_FAKE_TIME = ("env", f"E2FSPROGS_FAKE_TIME={FAKE_TIME_S}")
_INODES = re.compile(r"^(Inode count|Free inodes):\s+(\d+)$", re.MULTILINE)


def make_ext4(part: Partition, raw: Path, *options: str) -> None:
    """Create an ext4 file system in the image, without metadata_csum_seed, which GRUB 2.06 cannot read."""
    ident = str(uuid.uuid5(uuid.NAMESPACE_OID, part.label))
    extended = f"offset={part.start_bytes},hash_seed={ident},root_owner=0:0,nodiscard"
    argv: list[str | Path] = [*_AT_FAKE_TIME, "mke2fs", "-q", "-F", "-t", "ext4"]
    argv += ["-O", "^metadata_csum_seed", "-L", part.label, "-U", ident, "-E", extended, *options]
    System().run([*argv, raw, f"{part.size_bytes // 1024}k"])
    _set_other_times(f"{raw}?offset={part.start_bytes}")


def _set_other_times(file_system: str) -> None:
    """Give every inode the same ctime and atime.

    mke2fs takes them from the folder, where no program can set the one, and reading the file changes the other.
    """
    described = System().run(["dumpe2fs", "-h", file_system]).text
    inodes = {name: int(number) for name, number in _INODES.findall(described)}
    used = range(2, inodes["Inode count"] - inodes["Free inodes"] + 1)
    script = "".join(f"sif <{number}> {time} @{FAKE_TIME_S}\n" for number in used for time in ("atime", "ctime"))
    System().run([*_AT_FAKE_TIME, "debugfs", "-w", "-f", "-", file_system], data=script.encode())
