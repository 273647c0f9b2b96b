# SPDX-License-Identifier: Apache-2.0
"""Zstandard, RFC 8878: frames one after another, of which skippable ones hold nothing of the image.

We walk from block to block ourselves while libzstd unpacks them: it takes the end of the file within a frame for an
end, and does not say what follows a frame. Of each block it checks the content, at the end of each frame the frame's
size and, where there is one, its checksum.

A frame is unpacked by one processor. Small ones, as our own packing makes them, are unpacked several at a time, and
one of nothing but zeros only once: so an image that is half free is there in a third of the time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, cast

from zstandard import ZstdDecompressor, ZstdError

from balena_migrate.core.errors import ImageError
from balena_migrate.core.parallel import in_order
from balena_migrate.core.units import KIB, MIB, in_mib
from balena_migrate.images.formats import DOWNLOAD_AGAIN, INPUT_BYTES, Format, Source
from balena_migrate.images.formats._forward import Forward
from balena_migrate.images.pieces import Piece, cut, is_zeros, piece, zeros

MAGIC = b"\x28\xb5\x2f\xfd"
SKIPPABLE = tuple(bytes([0x50 + number]) + b"\x2a\x4d\x18" for number in range(16))
"""3.1.2: a frame of user data."""
WINDOW_LIMIT_BYTES = 128 * MIB
"""That of zstd --long=27, the largest that zstd -d takes without being asked to."""
WORKING_BYTES = 512 * KIB
"""What libzstd needs besides the window (ZSTD_estimateDStreamSize)."""
SMALL_FRAME_BYTES = MIB
"""The most that a frame holds which is unpacked in one go."""
SMALL_PACKED_BYTES = 2 * SMALL_FRAME_BYTES
"""More than any packer makes of that (ZSTD_compressBound)."""
THREADS = 2
"""How many small frames are unpacked at a time. While they are, others write and read back."""
SMALL_FRAMES_MEMORY_BYTES = (THREADS + 1) * 2 * SMALL_FRAME_BYTES + THREADS * WORKING_BYTES
"""Those that are unpacked or wait, packed and unpacked."""
HEADER_BYTES_MAX = 18
CONTENT_SIZE_BYTES = (0, 2, 4, 8)
DICTIONARY_ID_BYTES = (0, 1, 2, 4)
RUN_LENGTH, RESERVED = 1, 3
"""Block types whose size is not that of their content in the file (3.1.1.2.2)."""


@dataclass(frozen=True, kw_only=True)
class _FrameHeader:
    size_bytes: int
    """With the magic number."""
    window_bytes: int
    content_bytes: int | None
    """None where it does not say."""
    checksum_bytes: int

    @property
    def is_small(self) -> bool:
        """libzstd does not look into a frame that says that it holds nothing, so that one is not."""
        return self.content_bytes is not None and 0 < self.content_bytes <= SMALL_FRAME_BYTES


def read(source: Source, limit_bytes: int) -> Iterator[Piece]:
    """One frame after another. Nothing may follow the last one, as with zstd(1)."""
    forward, offset = Forward(source), 0
    while (header := _next_frame(forward)) is not None:
        if header.is_small:
            frames = _small_frames(forward, offset, limit_bytes)
        else:
            frames = _large_frame(forward, header, offset, limit_bytes)
        for found in frames:
            yield found
            offset = found.end_bytes


def _small_frames(forward: Forward, offset_bytes: int, limit_bytes: int) -> Iterator[Piece]:
    """All small frames that come next, which begin at this offset of the image."""
    unpacker = _Unpacker()
    for whole in in_order(unpacker.unpack, _packed_frames(forward, offset_bytes), THREADS):
        yield from cut(whole, limit_bytes)


def _large_frame(forward: Forward, header: _FrameHeader, offset_bytes: int, limit_bytes: int) -> Iterator[Piece]:
    """The next frame, which has this header, piece by piece."""
    frame = _Frame(forward, header)
    # It wants an IO, and calls nothing of it but read().
    reader = ZstdDecompressor(max_window_size=WINDOW_LIMIT_BYTES).stream_reader(
        cast(IO[bytes], frame), read_size=INPUT_BYTES
    )
    while True:
        try:
            content = reader.read(limit_bytes - offset_bytes % limit_bytes)
        except ZstdError as error:
            raise _damaged(forward.position, error) from None
        if not content:
            return
        yield piece(offset_bytes, content)
        offset_bytes += len(content)


def _damaged(position: int, reason: object) -> ImageError:
    return ImageError(f"is damaged near byte {position}: {reason}", hint=DOWNLOAD_AGAIN)


def memory_bytes(start: bytes) -> int:
    """By the first frame; the most that is allowed, where that is not to be seen."""
    place = 0
    while start[place : place + 4] in SKIPPABLE and len(start) >= place + 8:
        place += 8 + int.from_bytes(start[place + 4 : place + 8], "little")
    start = start[place : place + HEADER_BYTES_MAX]
    if len(start) < HEADER_BYTES_MAX or not start.startswith(MAGIC):
        return WINDOW_LIMIT_BYTES + WORKING_BYTES
    header = _frame_header(start)
    if header.is_small:
        return SMALL_FRAMES_MEMORY_BYTES
    return min(header.window_bytes, WINDOW_LIMIT_BYTES) + WORKING_BYTES


# Small frames -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Packed:
    """A whole frame, which ends at a position of the file, and where in the image what it holds is."""

    position: int
    offset_bytes: int
    content_bytes: int
    packed: bytes


def _packed_frames(forward: Forward, offset_bytes: int) -> Iterator[_Packed]:
    """All small frames that come next."""
    while (header := _next_frame(forward)) is not None and header.is_small:
        assert header.content_bytes is not None
        frame = _Frame(forward, header)
        packed = frame.read(SMALL_PACKED_BYTES)
        if frame.read(1):
            raise _damaged(forward.position, f"a frame of {header.content_bytes} bytes goes on and on")
        position, size = forward.position, header.content_bytes
        yield _Packed(position=position, offset_bytes=offset_bytes, content_bytes=size, packed=packed)
        offset_bytes += size


class _Unpacker:
    """Unpacks small frames, in several threads, and knows the one of zeros again."""

    def __init__(self) -> None:
        self._zeros = b""

    def unpack(self, frame: _Packed) -> Piece:
        """What the frame holds. Raises ImageError where it is damaged."""
        if frame.packed == self._zeros:
            return zeros(frame.offset_bytes, frame.content_bytes)
        try:
            content = ZstdDecompressor().decompress(frame.packed)
        except ZstdError as error:
            raise _damaged(frame.position, error) from None
        if is_zeros(content):
            self._zeros = frame.packed
        return piece(frame.offset_bytes, content)


# From frame to frame, and from block to block -----------------------------------------------------------------------


def _next_frame(forward: Forward) -> _FrameHeader | None:
    """The header of the next frame that is not skippable; None at the end of the file.

    Raises ImageError where the file is cut short, holds anything else, or the frame needs a larger window.
    """
    while (magic := forward.peek(4)) != MAGIC:
        if not magic:
            return None
        if magic not in SKIPPABLE:
            is_start = any(known.startswith(magic) for known in (MAGIC, *SKIPPABLE))
            raise forward.cut_short() if is_start else forward.something_else()
        _skip(forward, int.from_bytes(forward.take(8)[4:], "little"))
    header = _frame_header(forward.peek(HEADER_BYTES_MAX).ljust(HEADER_BYTES_MAX, b"\0"))
    if header.window_bytes > WINDOW_LIMIT_BYTES:
        reason = f"needs {in_mib(header.window_bytes)} of memory to unpack; {in_mib(WINDOW_LIMIT_BYTES)} is the most"
        raise ImageError(reason, hint="pack it again with zstd without --long, or with --long=27")
    return header


def _skip(forward: Forward, size: int) -> None:
    for _ in _pass(forward, size):
        pass


def _pass(forward: Forward, size: int) -> Iterator[bytes]:
    """The next bytes, all of them, in parts. Raises ImageError where the file ends before."""
    while size:
        part = forward.some(size)
        if not part:
            raise forward.cut_short()
        yield part
        size -= len(part)


class _Frame:
    """The bytes of the next frame, which has this header, and of no more. Raises ImageError where it is cut short, or
    has a block of no known type."""

    def __init__(self, forward: Forward, header: _FrameHeader) -> None:
        self._parts = self._walk(forward, header)

    def read(self, size: int = INPUT_BYTES, /) -> bytes:
        """About as many bytes as are wanted; fewer at the frame's end."""
        found = bytearray()
        while len(found) < size and (part := next(self._parts, b"")):
            found += part
        return bytes(found)

    def _walk(self, forward: Forward, header: _FrameHeader) -> Iterator[bytes]:
        yield forward.take(header.size_bytes)
        is_last = False
        while not is_last:
            block = forward.take(3)
            yield block
            value = int.from_bytes(block, "little")
            is_last, kind, size = bool(value & 1), value >> 1 & 3, value >> 3
            if kind == RESERVED:
                raise _damaged(forward.position, "no block of zstd begins so")
            yield from _pass(forward, 1 if kind == RUN_LENGTH else size)
        yield forward.take(header.checksum_bytes)


def _frame_header(start: bytes) -> _FrameHeader:
    """Of the first HEADER_BYTES_MAX of a frame (3.1.1.1)."""
    descriptor = start[4]
    is_single_segment = bool(descriptor & 0x20)
    window_place, ids = 5, DICTIONARY_ID_BYTES[descriptor & 3]
    size_place = window_place + (not is_single_segment) + ids
    size_bytes = CONTENT_SIZE_BYTES[descriptor >> 6] or int(is_single_segment)
    content = int.from_bytes(start[size_place : size_place + size_bytes], "little") + (256 if size_bytes == 2 else 0)
    if is_single_segment:
        window = content
    else:
        base = KIB << (start[window_place] >> 3)
        window = base + base // 8 * (start[window_place] & 7)
    return _FrameHeader(
        size_bytes=size_place + size_bytes,
        window_bytes=window,
        content_bytes=content if size_bytes else None,
        checksum_bytes=descriptor & 4,
    )


FORMAT = Format(
    name="zstd",
    what="a zstd file",
    magics=(MAGIC, *SKIPPABLE),
    unpack="zstd -dc",
    pieces=read,
    memory_bytes=memory_bytes,
)
