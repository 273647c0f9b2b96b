# SPDX-License-Identifier: Apache-2.0
"""Whether the old system's files are as they were, on a disk that differs from the former one in known places.

All of a disk would take seconds to read, and each file's inode one more. What Linux changes in a file shows in its
inode, and what it changes in a folder in the folder's blocks: only where these differ from the former disk's is a file
looked at. And a file of which a block was overwritten, by whomever, is found by the places of its blocks.
"""

from __future__ import annotations

import array
import bisect
import fcntl
import os
import re
import stat
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from balena_migrate.core.system import System
from balena_migrate.core.units import KIB
from balena_migrate.workstation.lab.disks import FileSystem, mounted_system, require_file
from balena_migrate.workstation.lab.recording import Request
from balena_migrate.workstation.lab.snapshot import describe, find_changes

_FIEMAP = 0xC020660B
"""FS_IOC_FIEMAP (Linux, Documentation/filesystems/fiemap.rst)."""
_HEAD, _EXTENT = struct.Struct("=QQLLLL"), struct.Struct("=QQQQQLLLL")
_EXTENTS = 64
_LAST = 1

_GAP_BYTES = 64 * KIB
"""To read so much between two places costs less than to read twice."""

Inode = tuple[int, ...]
Entry = tuple[str, bool, int]
"""Of a folder: a path below the root folder, whether it is a folder, and its inode's number."""
Place = tuple[int, int, str]
"""Where bytes of a file or a folder begin and end on the disk, and its path."""


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """A part of the disk with inodes and folders' blocks: its place, what was there, and whose it is."""

    start_bytes: int
    content: bytes = field(repr=False)
    places: list[Place] = field(repr=False)

    def differing(self, disk: BinaryIO) -> Iterator[str]:
        """The paths of which the bytes are not as they were."""
        now = os.pread(disk.fileno(), len(self.content), self.start_bytes)
        if now == self.content:
            return
        for start, end, path in self.places:
            inside = slice(start - self.start_bytes, end - self.start_bytes)
            if now[inside] != self.content[inside]:
                yield path


@dataclass(frozen=True, kw_only=True)
class OldFiles:
    """The files of an old system: their description as `snapshot` has it, what was in each folder, their inodes and the
    folders', and whose the disk's places are."""

    described: dict[str, str] = field(repr=False)
    entries: dict[str, list[Entry]] = field(repr=False)
    inodes: dict[str, Inode] = field(repr=False)
    contents: list[Place] = field(repr=False)
    """Of the files, in the disk's order."""
    metadata: list[Metadata] = field(repr=False)

    def touched(self, requests: Iterable[Request]) -> set[str]:
        """The files on whose places these requests write."""
        return {path for request in requests for path in self._owners(request)}

    def _owners(self, request: Request) -> Iterator[str]:
        first = max(0, bisect.bisect_right(self.contents, request.start_bytes, key=_start_of) - 1)
        for index in range(first, bisect.bisect_left(self.contents, request.end_bytes, key=_start_of)):
            _, end, path = self.contents[index]
            if end > request.start_bytes:
                yield path

    def changes(self, disk: Path, root: Path, touched: set[str], may: Iterable[str]) -> tuple[str, ...]:
        """What differs on a disk that is mounted at a root folder, where nothing but the content of the `touched` files
        can differ unseen."""
        with disk.open("rb", buffering=0) as file:
            differing = {path for part in self.metadata for path in part.differing(file)}
        now: dict[str, str] = {}
        folders = [("", True)]
        while folders:
            folder, is_same = folders.pop()
            is_same = is_same and folder not in differing
            for path, is_folder, number in self.entries[folder] if is_same else _entries(root, folder):
                if is_folder:
                    folders.append((path, path in self.entries and number == self.inodes[path][0]))
                elif path not in self.described:
                    now[path] = "new"
                elif path in touched or (
                    (path in differing or not is_same) and self.inodes[path] != _inode(root / path)
                ):
                    now[path] = describe(str(root / path))
                else:
                    now[path] = self.described[path]
        return find_changes(self.described, now, may)


def read_old_files(disk: Path, systems: Sequence[FileSystem], described: dict[str, str]) -> OldFiles:
    """The files on a disk that is off. Needs root."""
    tables = {system: _InodeTables(disk, system) for system in systems if not system.fat}
    entries: dict[str, list[Entry]] = {}
    inodes: dict[str, Inode] = {}
    contents: list[Place] = []
    metadata: list[Place] = []
    with mounted_system(disk, systems, read_only=True) as root:
        folders = [""]
        while folders:
            folder = folders.pop()
            entries[folder] = _entries(root, folder)
            folders += [path for path, is_folder, _ in entries[folder] if is_folder]
            for path in (folder, *(path for path, is_folder, _ in entries[folder] if not is_folder)):
                system = _system_of(path, tables)
                inodes[path] = _inode(root / path)
                metadata.append((*tables[system].place(inodes[path][0]), path))
                blocks = [
                    (system.span.start_bytes + place, system.span.start_bytes + place + size, path)
                    for place, size in _extents(root / path)
                ]
                (metadata if path in entries else contents).extend(blocks)
    return OldFiles(
        described={name: text for name, text in described.items() if name in inodes and name not in entries},
        entries=entries,
        inodes=inodes,
        contents=sorted(contents),
        metadata=list(_read_metadata(disk, sorted(metadata))),
    )


class _InodeTables:
    """Where a file system has its inodes, by dumpe2fs."""

    def __init__(self, disk: Path, system: FileSystem) -> None:
        said = System().run(["dumpe2fs", f"{require_file(disk)}?offset={system.span.start_bytes}"]).text
        self._start_bytes = system.span.start_bytes
        self._block_bytes, self._size_bytes, self._per_group = (
            int(re.findall(rf"^{name}: +(\d+)$", said.expandtabs(1), re.MULTILINE)[0])
            for name in ("Block size", "Inode size", "Inodes per group")
        )
        self._tables = [int(block) for block in re.findall(r"^  Inode table at (\d+)", said, re.MULTILINE)]

    def place(self, number: int) -> tuple[int, int]:
        """Where an inode begins and ends on the disk."""
        group, index = divmod(number - 1, self._per_group)
        start = self._start_bytes + self._tables[group] * self._block_bytes + index * self._size_bytes
        return start, start + self._size_bytes


def _read_metadata(disk: Path, places: Sequence[Place]) -> Iterator[Metadata]:
    """What is at these places, which are in the disk's order, in as few parts as is quick."""
    parts: list[list[Place]] = []
    for place in places:
        if parts and place[0] - parts[-1][-1][1] <= _GAP_BYTES:
            parts[-1].append(place)
        else:
            parts.append([place])
    with disk.open("rb", buffering=0) as file:
        for part in parts:
            start, end = part[0][0], part[-1][1]
            yield Metadata(start_bytes=start, content=os.pread(file.fileno(), end - start, start), places=part)


def _entries(root: Path, folder: str) -> list[Entry]:
    with os.scandir(root / folder) as entries:
        return [
            (f"{folder}/{entry.name}".lstrip("/"), entry.is_dir(follow_symlinks=False), entry.inode())
            for entry in entries
        ]


def _start_of(place: Place) -> int:
    return place[0]


def _system_of(path: str, systems: Iterable[FileSystem]) -> FileSystem:
    """The one that the path is on."""
    above = [system for system in systems if Path(path).is_relative_to(system.folder)]
    return max(above, key=lambda system: len(system.folder))


def _inode(path: Path) -> Inode:
    """What Linux changes whenever it changes a file."""
    info = os.lstat(path)
    return (info.st_ino, info.st_mode, info.st_uid, info.st_gid, info.st_size, info.st_mtime_ns, info.st_ctime_ns)


def _extents(path: Path) -> Iterator[tuple[int, int]]:
    """Where the blocks of a file or a folder are on its file system: start and size in bytes."""
    if stat.S_IFMT(os.lstat(path).st_mode) not in (stat.S_IFREG, stat.S_IFDIR):
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        start, is_last = 0, False
        while not is_last:
            head = _HEAD.pack(start, 2**64 - 1 - start, 0, 0, _EXTENTS, 0)
            buffer = array.array("B", head + bytes(_EXTENTS * _EXTENT.size))
            fcntl.ioctl(descriptor, _FIEMAP, buffer)
            count = _HEAD.unpack_from(buffer)[3]
            is_last = count == 0
            for index in range(count):
                logical, place, size, _, _, flags, *_ = _EXTENT.unpack_from(buffer, _HEAD.size + index * _EXTENT.size)
                yield place, size
                start, is_last = logical + size, bool(flags & _LAST)
    finally:
        os.close(descriptor)
