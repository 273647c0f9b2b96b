# SPDX-License-Identifier: Apache-2.0
"""Whether the old system's files are as they were, on a disk that differs from the former one in known places.

All of a disk would take seconds to read. What the kernel changes in a file shows in its inode; and a file of which a
block was overwritten, by whomever, is found by the places of its blocks.
"""

from __future__ import annotations

import array
import bisect
import fcntl
import os
import stat
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from balena_migrate.workstation.lab.disks import FileSystem, mounted_system
from balena_migrate.workstation.lab.recording import Request
from balena_migrate.workstation.lab.snapshot import describe, find_changes, walk

_FIEMAP = 0xC020660B
"""FS_IOC_FIEMAP (Linux, Documentation/filesystems/fiemap.rst)."""
_HEAD, _EXTENT = struct.Struct("=QQLLLL"), struct.Struct("=QQQQQLLLL")
_EXTENTS = 64
_LAST = 1

Inode = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class OldFiles:
    """The files of an old system: their description as `snapshot` has it, their inodes, and whose the disk's places
    are."""

    described: dict[str, str] = field(repr=False)
    inodes: dict[str, Inode] = field(repr=False)
    starts: list[int] = field(repr=False)
    places: list[tuple[int, str]] = field(repr=False)
    """For each of `starts`: where the extent ends, and its file."""

    def touched(self, requests: Iterable[Request]) -> set[str]:
        """The files on whose places these requests write."""
        return {path for request in requests for path in self._owners(request)}

    def _owners(self, request: Request) -> Iterator[str]:
        first = max(0, bisect.bisect_right(self.starts, request.start_bytes) - 1)
        for index in range(first, bisect.bisect_left(self.starts, request.end_bytes)):
            end, path = self.places[index]
            if end > request.start_bytes:
                yield path

    def changes(self, root: Path, touched: set[str], may: Iterable[str]) -> tuple[str, ...]:
        """What differs below a root folder, where nothing but the `touched` files can differ unseen."""
        now: dict[str, str] = {}
        for path in walk(root):
            name = path[len(str(root)) + 1 :]
            if name not in self.described:
                now[name] = "new"
            elif name in touched or self.inodes[name] != _inode(path):
                now[name] = describe(path)
            else:
                now[name] = self.described[name]
        return find_changes(self.described, now, may)


def read_old_files(disk: Path, systems: Sequence[FileSystem], described: dict[str, str]) -> OldFiles:
    """The files on a disk that is off. Needs root."""
    inodes, places = {}, []
    with mounted_system(disk, systems, read_only=True) as root:
        for path in walk(root):
            name = path[len(str(root)) + 1 :]
            inodes[name] = _inode(path)
            start = _start(path, root, systems)
            places += [(start + place, start + place + size, name) for place, size in _extents(path)]
    places.sort()
    return OldFiles(
        described={name: text for name, text in described.items() if name in inodes},
        inodes=inodes,
        starts=[start for start, _, _ in places],
        places=[(end, name) for _, end, name in places],
    )


def _start(path: str, root: Path, systems: Sequence[FileSystem]) -> int:
    """Where on the disk the path's file system begins."""
    below = [s for s in systems if not s.fat and Path(path).is_relative_to(root / s.folder)]
    return max(below, key=lambda system: len(system.folder)).span.start_bytes


def _inode(path: str) -> Inode:
    """What Linux changes whenever it changes a file."""
    info = os.lstat(path)
    return (info.st_ino, info.st_mode, info.st_uid, info.st_gid, info.st_size, info.st_mtime_ns, info.st_ctime_ns)


def _extents(path: str) -> Iterator[tuple[int, int]]:
    """Where a file's blocks are on its file system: start and size in bytes."""
    if not stat.S_ISREG(os.lstat(path).st_mode):
        return
    with Path(path).open("rb") as file:
        start, is_last = 0, False
        while not is_last:
            head = _HEAD.pack(start, 2**64 - 1 - start, 0, 0, _EXTENTS, 0)
            buffer = array.array("B", head + bytes(_EXTENTS * _EXTENT.size))
            fcntl.ioctl(file, _FIEMAP, buffer)
            count = _HEAD.unpack_from(buffer)[3]
            is_last = count == 0
            for index in range(count):
                logical, place, size, _, _, flags, *_ = _EXTENT.unpack_from(buffer, _HEAD.size + index * _EXTENT.size)
                yield place, size
                start, is_last = logical + size, bool(flags & _LAST)
