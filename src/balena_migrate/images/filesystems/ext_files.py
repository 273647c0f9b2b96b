# SPDX-License-Identifier: Apache-2.0
"""Reads folders of an ext4 file system, and where the content of its files lies, without mounting it.

A reader of our own, since it must work on an image that streams by (images.passes), on any device and without root
rights. It reads what mke2fs makes of a folder: extents, hash trees (as the plain lists that they are, too), 64-bit
block numbers. Nothing here believes the file system: what leads out of it, runs in circles or is absurd is an
ImageError. Checksums are not verified. Source: Linux, Documentation/filesystems/ext4.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from balena_migrate.core.errors import ImageError
from balena_migrate.core.units import MIB
from balena_migrate.images.filesystems.ext import SUPERBLOCK_BYTES, SUPERBLOCK_OFFSET, parse_superblock
from balena_migrate.images.partitions import Read

ROOT_INODE = 2
FOLDER_LIMIT_BYTES = 4 * MIB
EXTENTS_LIMIT = 65_536
"""A file of 2 GiB in one piece has 17."""
NODES_LIMIT = 1024
DEPTH_LIMIT = 5
"""Of a tree of extents (ifork.rst)."""

_READABLE = 0x2 | 0x40 | 0x80 | 0x200 | 0x400 | 0x2000 | 0x4000 | 0x8000
"""filetype, extent, 64bit, flex_bg, ea_inode, metadata_csum_seed, large_dir and inline_data. Not: a journal that is
still to be replayed (0x4), or descriptors in other places (meta_bg, 0x10)."""
_64BIT = 0x80
_BIGALLOC = 0x200
_FOLDER, _FILE = 0x4000, 0x8000
_INODE_BYTES = 128
"""As far as needed: the rest of a larger one is extra."""
_EXTENTS, _ENCRYPTED, _INLINE = 0x80000, 0x800, 0x10000000
_EXTENT_MAGIC, _EXTENT_BYTES = 0xF30A, 12
_WRITTEN_LIMIT = 32768
"""A longer extent is allocated and was never written: it reads as zeros."""


@dataclass(frozen=True, slots=True)
class Run:
    """A stretch of a file that is in one piece."""

    offset_bytes: int
    """In the file."""
    size_bytes: int
    place_bytes: int
    """In the file system, or in the image that holds it."""

    @property
    def end_bytes(self) -> int:
        """The first byte of the file behind it."""
        return self.offset_bytes + self.size_bytes


@dataclass(frozen=True, kw_only=True)
class Inode:
    """A file or folder, without its name."""

    is_folder: bool
    is_file: bool
    size_bytes: int
    flags: int
    tree: bytes = field(repr=False)
    """The root of its tree of extents."""


class ExtFiles:
    """An ext4 file system, accessed by `read(offset, length)`. Raises ImageError if it is not one that can be read."""

    def __init__(self, read: Read) -> None:
        self._read = read
        superblock = self._exactly(SUPERBLOCK_OFFSET, SUPERBLOCK_BYTES)
        system = parse_superblock(superblock)
        if system is None:
            raise ImageError("holds no ext4 file system in its root partition")
        unknown = system.incompatible & ~_READABLE
        if unknown or system.read_only_compatible & _BIGALLOC:
            raise ImageError(f"holds an ext4 file system with features that are not supported ({unknown:#x})")
        self._block_bytes, self._blocks, self._first_block = system.block_bytes, system.blocks, system.first_block
        self._inodes, self._group_inodes = struct.unpack_from("<I36xI", superblock)
        (self._inode_bytes,) = struct.unpack_from("<H", superblock, 88)
        wide = system.incompatible & _64BIT
        self._descriptor_bytes = max(64, struct.unpack_from("<H", superblock, 254)[0]) if wide else 32
        if not self._group_inodes or self._inode_bytes < _INODE_BYTES:
            raise _damaged("its inodes have no size")

    def root(self) -> Inode:
        """The root folder."""
        return self.inode(ROOT_INODE)

    def inode(self, number: int) -> Inode:
        """The file or folder with this number. Raises ImageError if there is none."""
        if not 1 <= number <= self._inodes:
            raise _damaged(f"there is no inode {number}")
        group, index = divmod(number - 1, self._group_inodes)
        place = self._inode_table(group) * self._block_bytes + index * self._inode_bytes
        raw = self._exactly(place, _INODE_BYTES)
        mode, low, flags, tree, high = struct.unpack_from("<H2xI24xI4x60s8xI", raw)
        kind = mode & 0xF000
        size_bytes = low | high << 32
        return Inode(is_folder=kind == _FOLDER, is_file=kind == _FILE, size_bytes=size_bytes, flags=flags, tree=tree)

    def names(self, folder: Inode) -> dict[str, int]:
        """The names in a folder with their inodes' numbers."""
        if not folder.is_folder or folder.size_bytes > FOLDER_LIMIT_BYTES:
            raise _damaged("a folder is none, or too large")
        found: dict[str, int] = {}
        for run in self.runs(folder):
            content = self._exactly(run.place_bytes, run.size_bytes)
            for start in range(0, len(content), self._block_bytes):
                found.update(_entries(content[start : start + self._block_bytes]))
        return found

    def runs(self, inode: Inode) -> tuple[Run, ...]:
        """Where the content of a file or folder is, in the order of its offsets; what is between two runs is zeros."""
        if not inode.flags & _EXTENTS or inode.flags & (_ENCRYPTED | _INLINE):
            raise ImageError("has a file without extents in its ext4 file system, which is not supported")
        found: list[Run] = []
        for run in _Tree(self._block, inode.tree).extents():
            offset, size, place = (blocks * self._block_bytes for blocks in run)
            if (found and offset < found[-1].end_bytes) or place + size > self._blocks * self._block_bytes:
                raise _damaged("a file's extents overlap or lead out of it")
            if offset < inode.size_bytes:
                found.append(Run(offset, min(size, inode.size_bytes - offset), place))
        return tuple(found)

    def _inode_table(self, group: int) -> int:
        """The first block of a group's inodes."""
        place = (self._first_block + 1) * self._block_bytes + group * self._descriptor_bytes
        descriptor = self._exactly(place, self._descriptor_bytes)
        high = struct.unpack_from("<I", descriptor, 40)[0] if self._descriptor_bytes > 32 else 0
        return int(struct.unpack_from("<I", descriptor, 8)[0] | high << 32)

    def _block(self, number: int) -> bytes:
        return self._exactly(number * self._block_bytes, self._block_bytes)

    def _exactly(self, offset: int, length: int) -> bytes:
        data = self._read(offset, length)
        if len(data) < length:
            raise _damaged(f"it leads out of the partition, to byte {offset}")
        return data


class _Tree:
    """A tree of extents. It has a bounded number of nodes, and each is one level lower than the one that names it: so
    it ends."""

    def __init__(self, block: Callable[[int], bytes], root: bytes) -> None:
        self._block, self._root = block, root
        self._nodes = self._count = 0

    def extents(self) -> Iterator[tuple[int, int, int]]:
        """First block in the file, number of blocks, first block in the file system; without those never written."""
        (depth,) = struct.unpack_from("<H", self._root, 6)
        return self._below(self._root, depth)

    def _below(self, node: bytes, wanted_depth: int) -> Iterator[tuple[int, int, int]]:
        magic, count, _, depth = struct.unpack_from("<HHHH", node)
        self._nodes += 1
        self._count += count
        if magic != _EXTENT_MAGIC or depth != wanted_depth or (count + 1) * _EXTENT_BYTES > len(node):
            raise _damaged("a tree of extents")
        if depth > DEPTH_LIMIT or self._nodes > NODES_LIMIT or self._count > EXTENTS_LIMIT:
            raise _damaged("a file is in too many parts")
        for start in range(_EXTENT_BYTES, (count + 1) * _EXTENT_BYTES, _EXTENT_BYTES):
            if depth:
                low, high = struct.unpack_from("<4xIH", node, start)
                yield from self._below(self._block(low | high << 32), depth - 1)
                continue
            first, length, high, low = struct.unpack_from("<IHHI", node, start)
            if length <= _WRITTEN_LIMIT:
                yield first, length, low | high << 32


def _entries(block: bytes) -> Iterator[tuple[str, int]]:
    """The names in a block of a folder. What a hash tree or a checksum has there looks like a deleted entry."""
    place = 0
    while place < len(block):
        if len(block) - place < 8:
            raise _damaged("a folder")
        inode, size, name_bytes = struct.unpack_from("<IHB", block, place)
        if size < 8 + name_bytes or size % 4 or place + size > len(block):
            raise _damaged("a folder")
        if inode:
            yield block[place + 8 : place + 8 + name_bytes].decode("utf-8", "replace"), inode
        place += size


def _damaged(what: str) -> ImageError:
    return ImageError(f"holds a damaged ext4 file system: {what}")
