# SPDX-License-Identifier: Apache-2.0
"""Which blocks of an ext2, ext3 or ext4 file system are free, by its own block bitmaps.

Free is only what the file system itself calls free, and only where all that it says of itself fits together: it was
unmounted cleanly, has no journal to replay, no feature that is unknown here, and each group's bitmap has as many free
blocks as its descriptor says. The bitmaps' checksums are not compared, since these counts are. Where anything is
odd, nothing is free, so that all of the partition gets written.

Source: Linux, Documentation/filesystems/ext4 (super.rst, group_descr.rst, blockgroup.rst).
"""

from __future__ import annotations

import bisect
import itertools
import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from balena_migrate.core.block_map import RANGES_LIMIT, Range
from balena_migrate.core.units import MIB
from balena_migrate.images.filesystems.ext import (
    SUPERBLOCK_BYTES,
    SUPERBLOCK_OFFSET,
    ExtFileSystem,
    parse_superblock,
    u16,
    u32,
)
from balena_migrate.images.passing import Reader

DESCRIPTORS_LIMIT_BYTES = 4 * MIB
"""Of an image of 8 TiB."""

_CLEAN = 1
_KNOWN_INCOMPATIBLE = 0x2 | 0x40 | 0x80 | 0x200 | 0x400 | 0x2000 | 0x4000 | 0x8000 | 0x10000 | 0x20000
"""filetype, extent, 64bit, flex_bg, ea_inode, metadata_csum_seed, large_dir, inline_data, encrypt, casefold. Not: a
journal to replay (0x4), descriptors in other places (meta_bg, 0x10), multiple mount protection (0x100)."""
_KNOWN_READ_ONLY = 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x20 | 0x40 | 0x100 | 0x400 | 0x2000 | 0x8000
"""sparse_super, large_file, btree_dir, huge_file, uninit_bg, dir_nlink, extra_isize, quota, metadata_csum, project,
verity. Not: bitmaps of clusters (bigalloc, 0x200), blocks that several files share (0x4000), orphans (0x10000)."""
_64BIT, _SPARSE_SUPER, _SPARSE_SUPER2 = 0x80, 0x1, 0x200
_HAS_CHECKSUMS = 0x10 | 0x400
"""uninit_bg or metadata_csum: only with one of them the kernel heeds the descriptors' flags."""
_BLOCK_UNINIT = 0x2
_FREE_RUN = re.compile("0+")

Stretch = tuple[int, int]
"""Of blocks: the first one, and the one behind the last."""


@dataclass(frozen=True, slots=True)
class _Group:
    """What a group's descriptor says; `bitmap` is None where there is none, since all but the metadata is free."""

    start: int
    """Its first block."""
    blocks: int
    free_blocks: int
    bitmap: int | None
    metadata: tuple[Stretch, ...]
    """What is not a file's: with flex_bg it is in another group."""


def read_free(size_bytes: int) -> Reader[tuple[Range, ...]]:
    """Reads a partition of this size as images.passing has it: what of it is free; nothing where it is no ext4.

    In front of a superblock are 1024 bytes for a boot loader, which are zeros in an image. Where they are not, another
    file system is there, and the superblock may be left from before.
    """
    start = yield 0, SUPERBLOCK_OFFSET + SUPERBLOCK_BYTES
    superblock = start[SUPERBLOCK_OFFSET:]
    system = parse_superblock(superblock)
    if any(start[:SUPERBLOCK_OFFSET]) or system is None or not _is_trusted(superblock, system, size_bytes):
        return ()
    length = system.groups * _descriptor_bytes(superblock)
    groups = _groups(superblock, system, (yield (system.first_block + 1) * system.block_bytes, length))
    metadata = tuple(sorted(part for group in groups for part in group.metadata))
    if not _is_possible(metadata, system):
        return ()
    found: list[Range] = []
    for group in sorted(groups, key=lambda group: group.bitmap or 0):
        bits = _all_free(group, metadata)
        if group.bitmap is not None:
            bitmap = yield group.bitmap * system.block_bytes, system.block_bytes
            bits = _bits(bitmap, group.blocks)
        if bits.count("0") != group.free_blocks or not _keeps(bits, group, metadata):
            return ()
        found += (_range(run, group, system.block_bytes) for run in _FREE_RUN.finditer(bits))
        found = _largest(found)
    return tuple(found)


def _is_trusted(superblock: bytes, system: ExtFileSystem, size_bytes: int) -> bool:
    """Whether all of its features are known here, it is in order, and its numbers are possible."""
    state, group_bits = u16(superblock, 58), system.block_bytes * 8
    return (
        state == _CLEAN
        and not system.incompatible & ~_KNOWN_INCOMPATIBLE
        and not system.read_only_compatible & ~_KNOWN_READ_ONLY
        and system.first_block == (system.block_bytes == 1024)
        and system.first_block < system.blocks <= size_bytes // system.block_bytes
        and 0 < system.group_blocks <= group_bits
        and system.groups * _descriptor_bytes(superblock) <= DESCRIPTORS_LIMIT_BYTES
    )


def _descriptor_bytes(superblock: bytes) -> int:
    return max(64, u16(superblock, 254)) if u32(superblock, 96) & _64BIT else 32


# Groups -------------------------------------------------------------------------------------------------------------


def _groups(superblock: bytes, system: ExtFileSystem, descriptors: bytes) -> list[_Group]:
    return [_group(superblock, system, descriptors, number) for number in range(system.groups)]


def _group(superblock: bytes, system: ExtFileSystem, descriptors: bytes, number: int) -> _Group:
    size = _descriptor_bytes(superblock)
    low = struct.unpack_from("<IIIHHHH", descriptors, number * size)
    high = struct.unpack_from("<IIIH", descriptors, number * size + 32) if size > 32 else (0, 0, 0, 0)
    block_bitmap, inode_bitmap, inode_table = (low[i] | high[i] << 32 for i in range(3))
    start = system.first_block + number * system.group_blocks
    unused = low[6] & _BLOCK_UNINIT and system.read_only_compatible & _HAS_CHECKSUMS
    metadata = [
        (block_bitmap, block_bitmap + 1),
        (inode_bitmap, inode_bitmap + 1),
        (inode_table, inode_table + system.inode_table_blocks),
    ]
    if _has_copy(superblock, system, number):
        blocks = 1 + -(-len(descriptors) // system.block_bytes) + system.reserved_descriptor_blocks
        metadata.append((start, start + blocks))
    return _Group(
        start=start,
        blocks=min(system.group_blocks, system.blocks - start),
        free_blocks=low[3] | high[3] << 16,
        bitmap=None if unused else block_bitmap,
        metadata=tuple(metadata),
    )


def _has_copy(superblock: bytes, system: ExtFileSystem, number: int) -> bool:
    """Whether a group begins with a copy of the superblock and the descriptors (blockgroup.rst, sparse_super)."""
    if u32(superblock, 92) & _SPARSE_SUPER2:
        return number in (0, u32(superblock, 588), u32(superblock, 592))
    if not system.read_only_compatible & _SPARSE_SUPER or number <= 1:
        return True
    return any(_is_power(number, base) for base in (3, 5, 7))


def _is_power(number: int, base: int) -> bool:
    while number % base == 0:
        number //= base
    return number == 1


def _is_possible(metadata: Sequence[Stretch], system: ExtFileSystem) -> bool:
    """Whether all of these, which are in order, are in the file system, and none is over another."""
    apart = all(one[1] <= other[0] for one, other in itertools.pairwise(metadata))
    return apart and metadata[0][0] >= system.first_block and metadata[-1][1] <= system.blocks


# Blocks -------------------------------------------------------------------------------------------------------------


def _bits(bitmap: bytes, blocks: int) -> str:
    """A character for each block of a group, "0" where it is free."""
    return format(int.from_bytes(bitmap, "little"), f"0{len(bitmap) * 8}b")[::-1][:blocks]


def _all_free(group: _Group, metadata: Sequence[Stretch]) -> str:
    """The same for a group without a bitmap."""
    bits = bytearray(b"0" * group.blocks)
    for first, end in _inside(group, metadata):
        bits[first:end] = b"1" * (end - first)
    return bits.decode("ascii")


def _keeps(bits: str, group: _Group, metadata: Sequence[Stretch]) -> bool:
    """Whether no block of the file system's own is called free."""
    return all("0" not in bits[first:end] for first, end in _inside(group, metadata))


def _inside(group: _Group, metadata: Sequence[Stretch]) -> Iterator[Stretch]:
    """The parts of these that are in a group, counted from its first block."""
    group_end = group.start + group.blocks
    at = max(0, bisect.bisect(metadata, (group.start, 0)) - 1)
    for start, end in metadata[at : bisect.bisect(metadata, (group_end, 0))]:
        first, last = max(start, group.start) - group.start, min(end, group_end) - group.start
        if first < last:
            yield first, last


def _range(run: re.Match[str], group: _Group, block_bytes: int) -> Range:
    return Range((group.start + run.start()) * block_bytes, (group.start + run.end()) * block_bytes)


def _largest(found: list[Range]) -> list[Range]:
    """As many as a map can hold later on, so that memory stays bounded."""
    if len(found) <= 2 * RANGES_LIMIT:
        return found
    return sorted(found, key=lambda part: part.size_bytes)[-RANGES_LIMIT:]
