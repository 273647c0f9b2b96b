# SPDX-License-Identifier: Apache-2.0
"""An image's bytes, each with its place: pieces, and what cuts and joins them.

Pieces come in the order of their offsets, and none overlaps another. What is in a gap between two of them does not
matter: writing the image leaves it unchanged. An image ends where its last piece ends; one that ends in a gap has
an empty piece at its end.

Standard library only: stage 2 imports this too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from balena_migrate.core.block_map import Range


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of an image; `content` is None if it is all zeros. It may be secret and is kept out of repr()."""

    offset_bytes: int
    size_bytes: int
    content: bytes | None = field(repr=False)

    @property
    def end_bytes(self) -> int:
        """The first byte behind it."""
        return self.offset_bytes + self.size_bytes

    @property
    def data(self) -> bytes:
        """The bytes, also where they are zeros."""
        return bytes(self.size_bytes) if self.content is None else self.content

    def part(self, start_bytes: int, end_bytes: int) -> Piece | None:
        """The part of it between `start_bytes` and `end_bytes` of the image, or None."""
        first, last = max(self.offset_bytes, start_bytes), min(self.end_bytes, end_bytes)
        if first >= last:
            return None
        if (first, last) == (self.offset_bytes, self.end_bytes):
            return self
        if self.content is None:
            return zeros(first, last - first)
        return piece(first, self.content[first - self.offset_bytes : last - self.offset_bytes])


def piece(offset_bytes: int, content: bytes) -> Piece:
    """A piece with this content."""
    return Piece(offset_bytes, len(content), content)


def zeros(offset_bytes: int, size_bytes: int) -> Piece:
    """A piece that is all zeros."""
    return Piece(offset_bytes, size_bytes, None)


def is_zeros(content: bytes) -> bool:
    """Whether there is nothing but zeros in it. The first other byte ends the search; bytes.count() would go on."""
    return content == bytes(len(content))


def only(pieces: Iterable[Piece], used: Iterable[Range]) -> Iterator[Piece]:
    """The same image with nothing but these ranges of it, which are in order; all else is gaps."""
    ranges = iter(used)
    here = next(ranges, None)
    end = last_end = 0
    for whole in pieces:
        end = whole.end_bytes
        while here is not None and here.start_bytes < end:
            if (part := whole.part(here.start_bytes, here.end_bytes)) is not None:
                yield part
                last_end = part.end_bytes
            if here.end_bytes > end:
                break
            here = next(ranges, None)
    if last_end < end:
        yield zeros(end, 0)


def cut(whole: Piece, chunk_bytes: int) -> Iterator[Piece]:
    """The piece, cut at each multiple of `chunk_bytes`."""
    if not whole.size_bytes:
        yield whole
    start = whole.offset_bytes
    while start < whole.end_bytes:
        end = start - start % chunk_bytes + chunk_bytes
        part = whole.part(start, end)
        if part is not None:
            yield part
        start = end


def in_chunks(pieces: Iterable[Piece], chunk_bytes: int) -> Iterator[Piece]:
    """The same bytes in pieces that end at each multiple of `chunk_bytes`, at each gap, and at the end only.

    So no piece is larger than a chunk. Zeros are known as such where they fill a whole chunk.
    """
    held: list[Piece] = []
    for whole in pieces:
        if held and whole.offset_bytes != held[-1].end_bytes:
            yield _joined(held)
            held = []
        for part in cut(whole, chunk_bytes):
            if not held and part.size_bytes in (0, chunk_bytes):
                yield part
                continue
            held.append(part)
            if part.end_bytes % chunk_bytes == 0:
                yield _joined(held)
                held = []
    if held:
        yield _joined(held)


def _joined(parts: list[Piece]) -> Piece:
    """One piece with content, of parts that follow each other. Nothing is copied where there is only one."""
    return piece(parts[0].offset_bytes, parts[0].data if len(parts) == 1 else b"".join(part.data for part in parts))
