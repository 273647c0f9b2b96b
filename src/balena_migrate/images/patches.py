# SPDX-License-Identifier: Apache-2.0
"""Patches: blocks that replace parts of the image, and the file that carries them to stage 2.

Standard library only: stage 2 imports this too. The file, all numbers little-endian:

    magic (8 bytes), format number (4), number of blocks (4), size of the image (8)
    for each block: its offset in the image (8), its length (4), its bytes
    SHA-256 of everything before it (32)
"""

from __future__ import annotations

import hashlib
import itertools
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from balena_migrate.core.errors import FileError, ImageError
from balena_migrate.images.pieces import Piece, piece

MAGIC = b"BMPATCH\0"
FORMAT = 1
BLOCK_BYTES = 4096

_HEADER = struct.Struct("<8sIIQ")
_BLOCK = struct.Struct("<QI")


@dataclass(frozen=True, kw_only=True)
class Block:
    """Bytes at an offset in the image. They may be secret and are kept out of repr()."""

    offset_bytes: int
    content: bytes = field(repr=False)

    @property
    def end_bytes(self) -> int:
        """The first byte behind it."""
        return self.offset_bytes + len(self.content)


def split(block: Block, at_bytes: int) -> tuple[Block, ...]:
    """The block in two where it crosses this place; each part is whole."""
    if not block.offset_bytes < at_bytes < block.end_bytes:
        return (block,)
    length = at_bytes - block.offset_bytes
    return (
        Block(offset_bytes=block.offset_bytes, content=block.content[:length]),
        Block(offset_bytes=at_bytes, content=block.content[length:]),
    )


@dataclass(frozen=True, kw_only=True)
class Patches:
    """Blocks in the order of their offsets, none over another, each inside of an image of `size_bytes` or behind it.

    What is beyond its end goes to its place on the disk all the same: the copy of a GPT at the disk's end.

    Raises ImageError if that does not hold.
    """

    size_bytes: int
    blocks: tuple[Block, ...]

    def __post_init__(self) -> None:
        for block, following in itertools.pairwise(self.blocks):
            if following.offset_bytes < block.end_bytes:
                raise ImageError(f"two patches overlap at byte {following.offset_bytes} of the image")
        for block in self.blocks:
            if block.offset_bytes < self.size_bytes < block.end_bytes:
                raise ImageError(f"a patch crosses the end of the image, up to byte {block.end_bytes}")

    @property
    def end_bytes(self) -> int:
        """The first byte after all of it: the size that the disk needs."""
        return max((self.size_bytes, *(block.end_bytes for block in self.blocks[-1:])))

    def apply(self, offset: int, chunk: bytes) -> bytes:
        """The chunk of the image at `offset` with the patches in it; the same object if there are none."""
        end = offset + len(chunk)
        touching = [block for block in self.blocks if block.offset_bytes < end and block.end_bytes > offset]
        if not touching:
            return chunk
        patched = bytearray(chunk)
        for block in touching:
            first, last = max(offset, block.offset_bytes), min(end, block.end_bytes)
            start = first - block.offset_bytes
            patched[first - offset : last - offset] = block.content[start : start + last - first]
        return bytes(patched)

    def overlay(self, pieces: Iterable[Piece]) -> Iterator[Piece]:
        """The image's pieces with the patches in them; what patches a gap, or is beyond the image, in between."""
        end = 0
        for old in pieces:
            yield from self._parts(end, old.offset_bytes)
            yield self._patched(old)
            end = old.end_bytes
        yield from self._parts(end, self.end_bytes)

    def _parts(self, start_bytes: int, end_bytes: int) -> Iterator[Piece]:
        if start_bytes < end_bytes:
            parts = (piece(block.offset_bytes, block.content).part(start_bytes, end_bytes) for block in self.blocks)
            yield from (part for part in parts if part is not None)

    def _patched(self, old: Piece) -> Piece:
        if not any(self._parts(old.offset_bytes, old.end_bytes)):
            return old
        return piece(old.offset_bytes, self.apply(old.offset_bytes, old.data))


def dump_patches(patches: Patches) -> bytes:
    """The content of a file of patches, which holds secrets."""
    parts = [_HEADER.pack(MAGIC, FORMAT, len(patches.blocks), patches.size_bytes)]
    for block in patches.blocks:
        parts += [_BLOCK.pack(block.offset_bytes, len(block.content)), block.content]
    content = b"".join(parts)
    return content + hashlib.sha256(content).digest()


def parse_patches(raw: bytes, name: str) -> Patches:
    """The patches in the content of a file that dump_patches() made. Raises FileError, with its name, if damaged."""
    try:
        return _parse(raw)
    except (ValueError, struct.error) as error:
        raise FileError(name, f"is not a complete file of patches: {error}") from None
    except ImageError as error:
        raise FileError(name, error.message) from None


def _parse(raw: bytes) -> Patches:
    content, digest = raw[:-32], raw[-32:]
    magic, number, count, size_bytes = _HEADER.unpack_from(content)
    if magic != MAGIC:
        raise ValueError("it does not begin like one")
    if number != FORMAT:
        raise ValueError(f"it has the format {number}, and this version reads {FORMAT}")
    if hashlib.sha256(content).digest() != digest:
        raise ValueError("its checksum is wrong")
    blocks = []
    position = _HEADER.size
    for _ in range(count):
        offset, length = _BLOCK.unpack_from(content, position)
        position += _BLOCK.size
        blocks.append(Block(offset_bytes=offset, content=content[position : position + length]))
        position += length
    if position != len(content):
        raise ValueError("its length is wrong")
    return Patches(size_bytes=size_bytes, blocks=tuple(blocks))
