# SPDX-License-Identifier: Apache-2.0
"""Mounts as the kernel lists them in /proc/self/mountinfo (proc(5)), in both stages."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePath, PurePosixPath

from balena_migrate.core.errors import FileError
from balena_migrate.core.system import System

MOUNTINFO = "/proc/self/mountinfo"


@dataclass(frozen=True, kw_only=True)
class MountInfo:
    """One mount: a line of mountinfo."""

    mount_id: int
    parent_id: int
    """The mount that this one is mounted on."""
    device: str
    """Major and minor number, "8:1"; the major number is 0 if the file system is on no block device, or is btrfs."""
    root: str
    """The folder or file of the file system that is mounted: "/", or what a bind mount or a subvolume shows."""
    mount_point: str
    options: tuple[str, ...]
    """Of this mount: ro, nosuid, relatime ..."""
    fstype: str
    source: str
    super_options: tuple[str, ...]
    """Of the file system, wherever it is mounted: ro, data=ordered, subvol=/@ ..."""


def parse_mountinfo(text: str) -> tuple[MountInfo, ...]:
    """All mounts, in the kernel's order. Raises ValueError for what is not a mountinfo."""
    lines = text.rstrip("\n").split("\n") if text else []  # a carriage return in a name is not escaped
    return tuple(_parse_line(line) for line in lines)


def _parse_line(line: str) -> MountInfo:
    left, separator, right = line.partition(" - ")
    fields, tail = left.split(" "), right.split(" ")
    if not separator or len(fields) < 6 or len(tail) < 2:
        raise ValueError(f"not a line of mountinfo: {line!r}")
    return MountInfo(
        mount_id=int(fields[0]),
        parent_id=int(fields[1]),
        device=fields[2],
        root=_unescape(fields[3]),
        mount_point=_unescape(fields[4]),
        options=tuple(fields[5].split(",")),
        fstype=tail[0],
        source=_unescape(tail[1]),
        super_options=tuple(_unescape(tail[2]).split(",")) if len(tail) > 2 else (),
    )


def _unescape(text: str) -> str:
    """Spaces, tabs, newlines and backslashes are written in octal."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def read_mountinfo(system: System) -> tuple[MountInfo, ...]:
    """All mounts now. Raises FileError."""
    try:
        return parse_mountinfo(system.read_text(MOUNTINFO))
    except ValueError as error:
        raise FileError(MOUNTINFO, str(error)) from None


def mounts_below(mounts: tuple[MountInfo, ...], folder: PurePath) -> tuple[MountInfo, ...]:
    """The mounts at the folder and below it, each after the one that it is mounted on or that it hides.

    The kernel's order alone is not enough: a mount that was moved keeps its place in it.
    """
    found = {m.mount_id: m for m in mounts if PurePosixPath(m.mount_point).is_relative_to(folder)}

    def depth(mount: MountInfo) -> int:
        count = 0
        while mount.parent_id in found and mount.parent_id != mount.mount_id and count < len(found):
            mount, count = found[mount.parent_id], count + 1
        return count

    return tuple(sorted(found.values(), key=depth))
