# SPDX-License-Identifier: Apache-2.0
"""What the firmware of a Raspberry Pi finds on a FAT file system in the middle of a change.

A reader as simple as a firmware's: it follows one name to one chain and looks at nothing else. It is strict where that
leads astray: every cluster of a file must be in use, and their number must be that of the file's size. Source:
Microsoft's FAT specification 1.03.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from balena_migrate.bootloaders.raspberrypi.board import Board
from balena_migrate.core.errors import LabError
from balena_migrate.workstation.lab.machines import Start
from balena_migrate.workstation.lab.machines.raspberrypi.firmware import find_start

ENTRY_BYTES = 32
DELETED, END = 0xE5, 0x00
LONG_NAME, LABEL, FOLDER = 0x0F, 0x08, 0x10


@dataclass(frozen=True, kw_only=True)
class Named:
    """A directory entry."""

    name: str
    is_folder: bool
    cluster: int
    size_bytes: int


class FatState:
    """FAT16 or FAT32 in memory, from `start_bytes` on; nothing is read before it is asked for, so it may change.

    Raises LabError where a name leads to no whole file.
    """

    def __init__(self, disk: bytes | bytearray | mmap.mmap, start_bytes: int = 0) -> None:
        self._disk = disk
        sector, per_cluster, reserved, tables, root_entries = struct.unpack_from("<HBHBH", disk, start_bytes + 11)
        (short,) = struct.unpack_from("<H", disk, start_bytes + 22)
        long, self._root_cluster = struct.unpack_from("<I4xI", disk, start_bytes + 36)
        self._is_32 = not short
        self._table = start_bytes + reserved * sector
        self._root = self._table + tables * (short or long) * sector
        self._data: int = self._root + root_entries * ENTRY_BYTES
        self._cluster_bytes: int = per_cluster * sector

    def exists(self, path: str) -> bool:
        found = self._find(path)
        return found is not None and not found.is_folder

    def read(self, path: str) -> bytes:
        """The content of a file. Raises LabError if it does not exist, or its chain is not what its size says."""
        found = self._find(path)
        if found is None or found.is_folder:
            raise LabError(f"there is no file {path}")
        content = self._content(found)
        if not 0 <= len(content) - found.size_bytes < self._cluster_bytes:
            raise LabError(f"{path} has {found.size_bytes} bytes, but its clusters have {len(content)}")
        return content[: found.size_bytes]

    def names(self) -> Iterator[str]:
        """The paths of all files, from the file system's root; what they lead to is not looked at."""
        for path, entry in self._walk():
            if entry and not entry.is_folder:
                yield path

    def broken_folders(self) -> Iterator[str]:
        """The paths of the folders that cannot be read, as where one was being made; they have no files."""
        return (path for path, entry in self._walk() if entry is None)

    def _walk(self) -> Iterator[tuple[str, Named | None]]:
        """All paths with their entries, and None in addition for a folder whose own entries cannot be read."""
        todo: list[tuple[str, Named | None]] = [("", None)]
        while todo:
            above, folder = todo.pop()
            try:
                found = [entry for entry in self._entries(folder) if entry.name not in (".", "..")]
            except LabError:
                yield above, None
                continue
            for entry in found:
                path = f"{above}/{entry.name}".lstrip("/")
                yield path, entry
                if entry.is_folder:
                    todo.append((path, entry))

    def _find(self, path: str) -> Named | None:
        folder: Named | None = None
        parts = [part for part in path.lower().split("/") if part]
        for depth, part in enumerate(parts):
            found = next((entry for entry in self._entries(folder) if entry.name.lower() == part), None)
            if found is None or depth == len(parts) - 1:
                return found
            folder = found
        return None

    def _entries(self, folder: Named | None) -> Iterator[Named]:
        raw = self._content(folder) if folder else self._root_folder()
        long: list[bytes] = []
        for start in range(0, len(raw), ENTRY_BYTES):
            entry = raw[start : start + ENTRY_BYTES]
            if entry[0] == END:
                return
            if entry[0] == DELETED:
                long = []
            elif entry[11] == LONG_NAME:
                long.insert(0, entry[1:11] + entry[14:26] + entry[28:32])
            else:
                if not entry[11] & LABEL:
                    yield self._named(entry, b"".join(long))
                long = []

    def _named(self, entry: bytes, long: bytes) -> Named:
        high, low, size = struct.unpack_from("<H4xHI", entry, 20)
        short = [entry[:8].decode("cp437").rstrip(), entry[8:11].decode("cp437").rstrip()]
        return Named(
            name=long.decode("utf-16-le", "replace").partition("\0")[0] if long else ".".join(filter(None, short)),
            is_folder=bool(entry[11] & FOLDER),
            cluster=(high << 16 if self._is_32 else 0) | low,
            size_bytes=size,
        )

    def _root_folder(self) -> bytes:
        if self._is_32:
            return self._chain(self._root_cluster)
        return bytes(self._disk[self._root : self._data])

    def _content(self, entry: Named) -> bytes:
        return self._chain(entry.cluster) if entry.cluster else b""

    def _chain(self, cluster: int) -> bytes:
        """The clusters from this one to the end mark. Raises LabError if one of them is free, bad or not there."""
        runs: list[list[int]] = []
        """First cluster and the one behind the last: files are read many times, and seldom lie in more than one run."""
        seen = set()
        first_mark = 0x0FFFFFF8 if self._is_32 else 0xFFF8
        while cluster < first_mark:
            if cluster < 2 or cluster in seen or self.place(cluster + 1) > len(self._disk):
                raise LabError(f"a chain leads to cluster {cluster}")
            seen.add(cluster)
            if runs and runs[-1][1] == cluster:
                runs[-1][1] += 1
            else:
                runs.append([cluster, cluster + 1])
            cluster = self._next(cluster)
        return b"".join(self._disk[self.place(first) : self.place(end)] for first, end in runs)

    def place(self, cluster: int) -> int:
        """Where a cluster begins on the disk, in bytes."""
        return self._data + (cluster - 2) * self._cluster_bytes

    def _next(self, cluster: int) -> int:
        if self._is_32:
            (following,) = struct.unpack_from("<I", self._disk, self._table + 4 * cluster)
            return int(following) & 0x0FFFFFFF
        (following,) = struct.unpack_from("<H", self._disk, self._table + 2 * cluster)
        return int(following)


@dataclass(frozen=True, kw_only=True)
class Boot:
    """What a board would start, with the content of everything that the firmware loads for it."""

    start: Start
    contents: tuple[bytes, ...] = field(repr=False)


def what_boots(state: FatState, board: Board) -> Boot:
    """What the board would start from this state. Raises LabError if that is nothing whole, or uncertain."""
    start = find_start(state, board)
    names = (start.kernel, *start.initramfs, start.device_tree)
    return Boot(start=start, contents=tuple(state.read(name) for name in names))
