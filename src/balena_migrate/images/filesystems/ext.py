# SPDX-License-Identifier: Apache-2.0
"""The superblock of an ext2, ext3 or ext4 file system, as far as needed (Linux, Documentation/filesystems/ext4).

The rules for growing a mounted file system are those of the kernel's fs/ext4/resize.c and super.c.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

from balena_migrate.images.passing import Reader

SUPERBLOCK_OFFSET = 1024
SUPERBLOCK_BYTES = 1024

KEPT_BACK_BLOCKS = 4096
"""The kernel reserves 2 % of the blocks, but at most this many, which not even root can use."""

JOURNAL_BYTES = 512
"""Of the journal's superblock, as far as needed."""

_MAGIC = 0xEF53
_JOURNAL_MAGIC = b"\xc0\x3b\x39\x98"
_JOURNAL_COPY, _JOURNAL_IS_COPIED, _JOURNAL_BLOCKS = 0xFD, 1, 0x10C
_EXTENT_MAGIC = 0xF30A
_CLEAN = 1
_RESIZE_INODE, _SPARSE_SUPER2 = 0x10, 0x200
_EXTENTS, _RECOVER, _JOURNAL_DEVICE, _META_BG, _64BIT = 0x40, 0x4, 0x8, 0x10, 0x80
_BIGALLOC, _READ_ONLY = 0x200, 0x1000


@dataclass(frozen=True, kw_only=True)
class ExtFileSystem:
    """A file system. `can_grow`: the kernel can grow it while it is mounted, by whole block groups, without changing
    its layout."""

    block_bytes: int
    blocks: int
    free_blocks: int
    """Including those reserved for root."""
    first_block: int
    """The first group's first block: 1 with blocks of 1 KiB, else 0."""
    group_blocks: int
    inode_table_blocks: int
    """Of each group."""
    descriptors_per_block: int
    reserved_descriptor_blocks: int
    """Reserved for the descriptors of future groups."""
    can_grow: bool
    incompatible: int
    """The features without which a kernel cannot mount it: see ext_features."""
    read_only_compatible: int
    """The features without which a kernel cannot write to it."""
    journal_incompatible: int = 0
    """The features without which a kernel cannot use its journal, and so cannot mount it."""

    @property
    def free_bytes(self) -> int:
        return self.free_blocks * self.block_bytes

    @property
    def usable_bytes(self) -> int:
        """The space available to root's files."""
        return self._usable_bytes(self.blocks, self.free_blocks)

    @property
    def groups(self) -> int:
        """The number of block groups; the last one may be partial."""
        return -(-(self.blocks - self.first_block) // self.group_blocks)

    @property
    def most_groups(self) -> int:
        """The most groups that can be described without changing the layout."""
        return self.descriptors_per_block * self._descriptor_blocks

    def size_bytes(self, groups: int) -> int:
        """The size of the file system with this many whole groups."""
        return (self.first_block + groups * self.group_blocks) * self.block_bytes

    def usable_bytes_with(self, groups: int) -> int:
        """The space available to root's files after growing to this many whole groups; a lower bound.

        Every new group is assumed to contain a copy of the superblock and the descriptors, which few do.
        """
        own = self.inode_table_blocks + 2 + 1 + self._descriptor_blocks
        blocks = self.first_block + groups * self.group_blocks
        free = self.free_blocks + blocks - self.blocks - (groups - self.groups) * own
        return self._usable_bytes(blocks, free)

    @property
    def _descriptor_blocks(self) -> int:
        return -(-self.groups // self.descriptors_per_block) + self.reserved_descriptor_blocks

    def _usable_bytes(self, blocks: int, free_blocks: int) -> int:
        return max(0, free_blocks - min(blocks // 50, KEPT_BACK_BLOCKS)) * self.block_bytes


def parse_superblock(superblock: bytes) -> ExtFileSystem | None:
    """Parse the SUPERBLOCK_BYTES of a superblock; None if it is not one."""
    if len(superblock) < SUPERBLOCK_BYTES or u16(superblock, 56) != _MAGIC:
        return None
    log_block, group_blocks = u32(superblock, 24), u32(superblock, 32)
    if log_block > 6 or not group_blocks:
        return None
    wide = bool(u32(superblock, 96) & _64BIT)
    block_bytes = 1024 << log_block
    inode_bytes = u16(superblock, 88) if u32(superblock, 76) else 128
    descriptor_bytes = max(u16(superblock, 254), 64) if wide else 32
    return ExtFileSystem(
        block_bytes=block_bytes,
        blocks=u32(superblock, 4) + (u32(superblock, 0x150) << 32 if wide else 0),
        free_blocks=u32(superblock, 12) + (u32(superblock, 0x158) << 32 if wide else 0),
        first_block=u32(superblock, 20),
        group_blocks=group_blocks,
        inode_table_blocks=-(-u32(superblock, 40) * inode_bytes // block_bytes),
        descriptors_per_block=max(1, block_bytes // descriptor_bytes),
        reserved_descriptor_blocks=u16(superblock, 206),
        can_grow=_can_grow(superblock),
        incompatible=u32(superblock, 96),
        read_only_compatible=u32(superblock, 100),
    )


def read_file_system() -> Reader[ExtFileSystem | None]:
    """Reads the superblock, and that of the journal, as images.passing has it; None if it is no ext4.

    Of a journal whose superblock cannot be read the features are 0.
    """
    superblock = yield SUPERBLOCK_OFFSET, SUPERBLOCK_BYTES
    system, journal = parse_superblock(superblock), find_journal(superblock)
    if system is None or journal is None:
        return system
    return replace(system, journal_incompatible=parse_journal((yield journal, JOURNAL_BYTES)))


def find_journal(superblock: bytes) -> int | None:
    """Where the journal's own superblock is in the file system, in bytes; None where the superblock does not say.

    The superblock has a copy of the journal's block list, for the case that its inode is damaged.
    """
    system = parse_superblock(superblock)
    if system is None or superblock[_JOURNAL_COPY] != _JOURNAL_IS_COPIED:
        return None
    if u16(superblock, _JOURNAL_BLOCKS) != _EXTENT_MAGIC:
        return u32(superblock, _JOURNAL_BLOCKS) * system.block_bytes or None
    if u16(superblock, _JOURNAL_BLOCKS + 6):
        return None  # its extents are in a tree
    first = _JOURNAL_BLOCKS + 12
    return (u32(superblock, first + 8) + (u16(superblock, first + 6) << 32)) * system.block_bytes or None


def parse_journal(superblock: bytes) -> int:
    """The journal's incompatible features by its superblock, 0 if it is none (Linux, filesystems/ext4/journal.rst)."""
    if len(superblock) < JOURNAL_BYTES or superblock[:4] != _JOURNAL_MAGIC:
        return 0
    return int(struct.unpack_from(">I", superblock, 40)[0])


def _can_grow(superblock: bytes) -> bool:
    """Without resize_inode, the kernel would change the layout to meta_bg; it refuses the others, or did so once."""
    compatible, incompatible, read_only = (u32(superblock, offset) for offset in (92, 96, 100))
    return (
        u16(superblock, 58) == _CLEAN
        and compatible & (_RESIZE_INODE | _SPARSE_SUPER2) == _RESIZE_INODE
        and incompatible & (_EXTENTS | _RECOVER | _JOURNAL_DEVICE | _META_BG) == _EXTENTS
        and not read_only & (_BIGALLOC | _READ_ONLY)
    )


def u16(data: bytes, offset: int) -> int:
    """A number of 16 bits of a superblock."""
    return int(struct.unpack_from("<H", data, offset)[0])


def u32(data: bytes, offset: int) -> int:
    """A number of 32 bits of a superblock."""
    return int(struct.unpack_from("<I", data, offset)[0])
