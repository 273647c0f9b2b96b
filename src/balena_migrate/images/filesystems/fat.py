# SPDX-License-Identifier: Apache-2.0
"""Reads FAT16 and FAT32: names, contents, labels, free space, and whether the file system is consistent.

A reader of our own, since it must work on a disk image and on parts of a stream, on any device, and since it verifies
what mtools wrote. Source: Microsoft's FAT specification 1.03; where Linux differs (on which FAT is FAT32), Linux
(fs/fat/inode.c).
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field

from balena_migrate.core.errors import ImageError
from balena_migrate.core.units import MIB
from balena_migrate.images.partitions import Read

ENTRY_BYTES = 32
ENTRIES_LIMIT = 20_000
DEPTH_LIMIT = 16
FOLDER_LIMIT_BYTES = 2 * MIB
"""As Microsoft's specification has it: 65,536 entries."""
FAT_LIMIT_BYTES = 16 * MIB
"""Of one allocation table. A boot partition of 1 GiB with clusters of one sector has one of 8 MiB."""

_ATTR_LABEL = 0x08
_ATTR_FOLDER = 0x10
_ATTR_LONG_NAME = 0x0F
_FAT12_CLUSTERS = 4085


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """The layout of the file system, in bytes from its start."""

    sector_bytes: int
    """Of the file system's logical sectors, whatever the disk's are."""
    cluster_bytes: int
    fat_start: int
    fat_bytes: int
    fat_count: int
    root_start: int
    root_bytes: int
    """Size of FAT16's fixed root folder; 0 for FAT32, whose root is a chain of clusters."""
    root_cluster: int
    data_start: int
    cluster_count: int
    label: str

    @property
    def is_fat32(self) -> bool:
        return self.root_bytes == 0


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A file or folder: its path without a leading "/", its size, and the clusters that hold it."""

    path: str
    is_folder: bool
    size_bytes: int
    chain: array[int] = field(repr=False)


def parse_geometry(sector: bytes) -> Geometry:
    """Parse the boot sector. Raises ImageError if this is not FAT16 or FAT32."""
    if len(sector) < 512 or sector[510:512] != b"\x55\xaa":
        raise ImageError("is not a FAT file system")
    sector_bytes, per_cluster, reserved, fats, root_entries, total16 = struct.unpack_from("<HBHBHH", sector, 11)
    fat16_sectors, total32, fat32_sectors = struct.unpack_from("<H8xII", sector, 22)
    powers = sector_bytes in (512, 1024, 2048, 4096) and per_cluster and not per_cluster & (per_cluster - 1)
    fat_sectors = fat16_sectors or fat32_sectors
    if not (powers and reserved and fats in (1, 2) and fat_sectors and (root_entries or not fat16_sectors)):
        raise ImageError("is not a FAT file system")
    fat32 = not fat16_sectors
    root_start = reserved + fats * fat_sectors
    data_start = root_start + (0 if fat32 else -(-root_entries * ENTRY_BYTES // sector_bytes))
    cluster_count = ((total16 or total32) - data_start) // per_cluster
    if not fat32 and cluster_count < _FAT12_CLUSTERS:
        raise ImageError("is FAT12 or damaged; balenaOS images use FAT16 or FAT32")
    fat_bytes = fat_sectors * sector_bytes
    if fat_bytes > FAT_LIMIT_BYTES:
        raise ImageError(f"has allocation tables of {fat_bytes} bytes, more than the FAT of any balenaOS image")
    if (cluster_count + 2) * (4 if fat32 else 2) > fat_bytes or cluster_count < 1:
        raise ImageError("is a damaged FAT file system: its allocation table does not match its size")
    return Geometry(
        sector_bytes=sector_bytes,
        cluster_bytes=per_cluster * sector_bytes,
        fat_start=reserved * sector_bytes,
        fat_bytes=fat_bytes,
        fat_count=fats,
        root_start=root_start * sector_bytes,
        root_bytes=(data_start - root_start) * sector_bytes,
        root_cluster=struct.unpack_from("<I", sector, 44)[0] if fat32 else 0,
        data_start=data_start * sector_bytes,
        cluster_count=cluster_count,
        label=_text(sector[71:82] if fat32 else sector[43:54]),
    )


class Fat:
    """A FAT file system, accessed by `read(offset, length)`. Raises ImageError if it is not one, or is damaged.

    All names are read at once; `entries` is sorted by path. `label` is the volume label: the entry in the root folder,
    else the boot sector's field, else "".
    """

    def __init__(self, read: Read) -> None:
        self._read = read
        self.geometry = parse_geometry(read(0, 512))
        copy, *others = self._read_copies()
        self._copies_differ = any(other != copy for other in others)
        self._table = self._unpack(copy)
        self._used = bytearray(len(self._table))
        root = self._chain(self.geometry.root_cluster) if self.geometry.is_fat32 else array("I")
        self._root = self._folder(root) or read(self.geometry.root_start, self.geometry.root_bytes)
        self._count = 0
        self.entries = tuple(sorted(self._walk("", self._root, depth=0), key=lambda entry: entry.path))
        self._by_name = {entry.path.lower(): entry for entry in self.entries}
        self.label = _find_label(self._root) or self.geometry.label.removeprefix("NO NAME")

    def _read_copies(self) -> list[bytes]:
        size = self.geometry.fat_bytes
        copies = [self._read(self.geometry.fat_start + i * size, size) for i in range(self.geometry.fat_count)]
        if any(len(copy) != size for copy in copies):
            raise ImageError("is a truncated FAT file system")
        return copies

    def _unpack(self, copy: bytes) -> array[int]:
        """The successor of each cluster; the upper four bits of FAT32 are reserved.

        There may be two million: a tuple of them would take 70 MiB. (FAT is in the byte order of all our machines.)
        """
        if not self.geometry.is_fat32:
            return array("H", copy[: 2 * (self.geometry.cluster_count + 2)])
        entries = copy[: 4 * (self.geometry.cluster_count + 2)]
        mask = int.from_bytes(b"\xff\xff\xff\x0f" * (len(entries) // 4), "little")
        return array("I", (int.from_bytes(entries, "little") & mask).to_bytes(len(entries), "little"))

    # Content ----------------------------------------------------------------------------------------------------

    @property
    def files(self) -> tuple[str, ...]:
        """The paths of all files, sorted."""
        return tuple(entry.path for entry in self.entries if not entry.is_folder)

    def find(self, path: str) -> Entry | None:
        """Find a file or folder; names are case-insensitive."""
        return self._by_name.get(path.lower())

    def read_file(self, path: str) -> bytes:
        """The content of a file. Raises ImageError if it does not exist."""
        entry = self.find(path)
        if entry is None or entry.is_folder:
            raise ImageError(f"there is no file {path}")
        content = self.read_start(path, entry.size_bytes)
        if len(content) < entry.size_bytes:
            raise ImageError(f"is a damaged FAT file system: {path} is truncated")
        return content

    def read_start(self, path: str, length: int) -> bytes:
        """The first bytes of a file, fewer where it is shorter. Raises ImageError if it does not exist."""
        entry = self.find(path)
        if entry is None or entry.is_folder:
            raise ImageError(f"there is no file {path}")
        length = min(length, entry.size_bytes)
        clusters = -(-length // self.geometry.cluster_bytes)
        return b"".join(self._contents(entry.chain[:clusters]))[:length]

    @property
    def free_clusters(self) -> int:
        return self._table[2:].count(0)

    @property
    def free_root_slots(self) -> int:
        """Free entries in FAT16's fixed root folder: deleted ones, and all from the end mark on."""
        marks = self._root[::ENTRY_BYTES]
        used = marks.index(0) if 0 in marks else len(marks)
        return len(marks) - used + marks[:used].count(0xE5)

    def check(self) -> None:
        """Raise ImageError unless all copies of the table are equal, the length of every chain matches its file's size,
        and no cluster is lost. (That no cluster is in two chains is true of every Fat.)"""
        if self._copies_differ:
            raise ImageError("is an inconsistent FAT file system: its allocation tables differ")
        for entry in self.entries:
            wanted = -(-entry.size_bytes // self.geometry.cluster_bytes)
            if not entry.is_folder and len(entry.chain) != wanted:
                raise ImageError(
                    f"is an inconsistent FAT file system: the size of {entry.path} does not match its clusters"
                )
        bad = self._table[2:].count(self._bad)
        if self._used.count(1) + bad + self.free_clusters != self.geometry.cluster_count:
            raise ImageError("is an inconsistent FAT file system: it has lost clusters")

    # Chains -----------------------------------------------------------------------------------------------------

    @property
    def _bad(self) -> int:
        """The mark of a bad cluster; all higher values mean the end of a chain."""
        return 0x0FFFFFF7 if self.geometry.is_fat32 else 0xFFF7

    def _chain(self, cluster: int) -> array[int]:
        """The clusters of a file or folder. No cluster may occur twice, in any chain: so every chain ends."""
        chain = array("I")
        while cluster <= self._bad:
            if not 2 <= cluster < len(self._table) or self._used[cluster]:
                raise ImageError(f"is a damaged FAT file system: a chain leads to cluster {cluster}")
            self._used[cluster] = 1
            chain.append(cluster)
            cluster = self._table[cluster]
        return chain

    def _contents(self, chain: array[int]) -> Iterator[bytes]:
        """The content of the clusters. Neighbours are read at once: a kernel may have 50,000 clusters of one sector."""
        size = self.geometry.cluster_bytes
        for first, count in _runs(chain):
            yield self._read(self.geometry.data_start + (first - 2) * size, count * size)

    # Folders ----------------------------------------------------------------------------------------------------

    def _walk(self, parent: str, folder: bytes, depth: int) -> Iterator[Entry]:
        for raw, long_name in _slots(folder):
            self._count += 1
            if self._count > ENTRIES_LIMIT or depth > DEPTH_LIMIT:
                raise ImageError("is a damaged FAT file system: it contains too many files")
            name = long_name or _short_name(raw)
            if raw[11] & _ATTR_LABEL or name in (".", ".."):
                continue
            entry = self._entry(parent + name, raw)
            yield entry
            if entry.is_folder:
                yield from self._walk(f"{entry.path}/", self._folder(entry.chain), depth + 1)

    def _folder(self, chain: array[int]) -> bytes:
        if len(chain) * self.geometry.cluster_bytes > FOLDER_LIMIT_BYTES:
            raise ImageError("is a damaged FAT file system: a folder is too large")
        return b"".join(self._contents(chain))

    def _entry(self, path: str, raw: bytes) -> Entry:
        high, low, size = struct.unpack_from("<H4xHI", raw, 20)
        cluster = (high << 16 if self.geometry.is_fat32 else 0) | low
        return Entry(
            path=path,
            is_folder=bool(raw[11] & _ATTR_FOLDER),
            size_bytes=size,
            chain=self._chain(cluster) if cluster else array("I"),
        )


def _runs(chain: array[int]) -> Iterator[tuple[int, int]]:
    """First cluster and number of clusters of each part of the chain that is in one piece."""
    first = count = 0
    for cluster in chain:
        if count and cluster == first + count:
            count += 1
            continue
        if count:
            yield first, count
        first, count = cluster, 1
    if count:
        yield first, count


def _find_label(folder: bytes) -> str:
    for raw, _ in _slots(folder):
        if raw[11] & (_ATTR_LABEL | _ATTR_FOLDER) == _ATTR_LABEL:
            return _text(raw[:11])
    return ""


def _slots(folder: bytes) -> Iterator[tuple[bytes, str]]:
    """The entries of a folder with their long names ("" if there is none), without deleted ones."""
    parts: dict[int, bytes] = {}
    checksum = -1
    for offset in range(0, len(folder) - ENTRY_BYTES + 1, ENTRY_BYTES):
        raw = folder[offset : offset + ENTRY_BYTES]
        if raw[0] == 0:
            return
        if raw[0] != 0xE5 and raw[11] & 0x3F == _ATTR_LONG_NAME:
            if raw[0] & 0x40:
                parts, checksum = {}, raw[13]
            parts[raw[0] & 0x1F] = raw[1:11] + raw[14:26] + raw[28:32]
            continue
        if raw[0] != 0xE5:
            yield raw, _long_name(parts) if parts and checksum == _checksum(raw[:11]) else ""
        parts = {}


def _long_name(parts: dict[int, bytes]) -> str:
    units = b"".join(parts[number] for number in sorted(parts))
    return units.decode("utf-16-le", "replace").split("\0", 1)[0]


def _checksum(short: bytes) -> int:
    """The checksum that links a long name to its short name."""
    total = 0
    for byte in short:
        total = ((total & 1) << 7) + (total >> 1) + byte & 0xFF
    return total


def _short_name(raw: bytes) -> str:
    """NAME.EXT; two bits introduced by Windows NT mark each part as lower case."""
    base = _text(raw[:8])
    extension = _text(raw[8:11])
    base = base.lower() if raw[12] & 0x08 else base
    extension = extension.lower() if raw[12] & 0x10 else extension
    return f"{base}.{extension}" if extension else base


def _text(raw: bytes) -> str:
    """A name of fixed length; an initial 0xE5, the mark of a deleted entry, is stored as 0x05."""
    return (b"\xe5" + raw[1:] if raw[:1] == b"\x05" else raw).decode("cp437").rstrip()
