# SPDX-License-Identifier: Apache-2.0
"""Zstandard, RFC 8878: frames one after another, of which skippable ones hold nothing of the image.

We walk from block to block ourselves while libzstd unpacks them: it takes the end of the file within a frame for an
end, and does not say what follows a frame. Of each block it checks the content, at the end of each frame the frame's
size and, where there is one, its checksum.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import IO, cast

from zstandard import ZstdDecompressor, ZstdError

from balena_migrate.core.errors import ImageError
from balena_migrate.core.units import KIB, MIB, in_mib
from balena_migrate.images.formats import DOWNLOAD_AGAIN, INPUT_BYTES, Format, Source
from balena_migrate.images.formats._forward import Forward
from balena_migrate.images.pieces import Piece, piece

MAGIC = b"\x28\xb5\x2f\xfd"
SKIPPABLE = tuple(bytes([0x50 + number]) + b"\x2a\x4d\x18" for number in range(16))
"""3.1.2: a frame of user data."""
WINDOW_LIMIT_BYTES = 128 * MIB
"""That of zstd --long=27, the largest that zstd -d takes without being asked to."""
WORKING_BYTES = 512 * KIB
"""What libzstd needs besides the window (ZSTD_estimateDStreamSize)."""
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
    has_checksum: bool


def read(source: Source, limit_bytes: int) -> Iterator[Piece]:
    """One frame after another. Nothing may follow the last one, as with zstd(1)."""
    frames = _Frames(Forward(source))
    decoder = ZstdDecompressor(max_window_size=WINDOW_LIMIT_BYTES)
    # It wants an IO, and calls nothing of it but read().
    reader = decoder.stream_reader(cast(IO[bytes], frames), read_size=INPUT_BYTES, read_across_frames=True)
    offset = 0
    while content := _read(reader, limit_bytes - offset % limit_bytes, frames):
        yield piece(offset, content)
        offset += len(content)


def _read(reader: Source, size: int, frames: _Frames) -> bytes:
    try:
        return reader.read(size)
    except ZstdError as error:
        raise ImageError(f"is damaged near byte {frames.position}: {error}", hint=DOWNLOAD_AGAIN) from None


def memory_bytes(start: bytes) -> int:
    """By the window of the first frame; the most that is allowed, where that is not to be seen."""
    place = 0
    while start[place : place + 4] in SKIPPABLE and len(start) >= place + 8:
        place += 8 + int.from_bytes(start[place + 4 : place + 8], "little")
    header = start[place : place + HEADER_BYTES_MAX]
    if len(header) < HEADER_BYTES_MAX or not header.startswith(MAGIC):
        return WINDOW_LIMIT_BYTES + WORKING_BYTES
    return min(_frame_header(header).window_bytes, WINDOW_LIMIT_BYTES) + WORKING_BYTES


class _Frames:
    """The frames of a file, as a source for libzstd: it gives their bytes if the file is made of whole frames only.

    Raises ImageError where it is cut short, holds anything else, or a frame needs a larger window.
    """

    def __init__(self, forward: Forward) -> None:
        self._forward = forward
        self._parts = self._walk()

    @property
    def position(self) -> int:
        """Up to where in the file bytes were given."""
        return self._forward.position

    def read(self, size: int = INPUT_BYTES, /) -> bytes:
        """About as many bytes as are wanted; none at the file's end."""
        parts, length = [], 0
        while length < size and (part := next(self._parts, b"")):
            parts.append(part)
            length += len(part)
        return b"".join(parts)

    def _walk(self) -> Generator[bytes, None, None]:
        while magic := self._forward.peek(4):
            if magic == MAGIC:
                yield from self._frame()
            elif magic in SKIPPABLE:
                header = self._forward.take(8)
                yield header
                yield from self._pass(int.from_bytes(header[4:], "little"))
            elif len(magic) < 4 and any(known.startswith(magic) for known in (MAGIC, *SKIPPABLE)):
                raise self._forward.cut_short()
            else:
                raise self._forward.something_else()

    def _frame(self) -> Generator[bytes, None, None]:
        header = _frame_header(self._forward.peek(HEADER_BYTES_MAX).ljust(HEADER_BYTES_MAX, b"\0"))
        if header.window_bytes > WINDOW_LIMIT_BYTES:
            reason = (
                f"needs {in_mib(header.window_bytes)} of memory to unpack; {in_mib(WINDOW_LIMIT_BYTES)} is the most"
            )
            raise ImageError(reason, hint="pack it again with zstd without --long, or with --long=27")
        yield self._forward.take(header.size_bytes)
        is_last = False
        while not is_last:
            block = self._forward.take(3)
            yield block
            value = int.from_bytes(block, "little")
            is_last, kind, size = bool(value & 1), value >> 1 & 3, value >> 3
            if kind == RESERVED:
                place = self._forward.position
                raise ImageError(f"is damaged near byte {place}: no block of zstd begins so", hint=DOWNLOAD_AGAIN)
            yield from self._pass(1 if kind == RUN_LENGTH else size)
        if header.has_checksum:
            yield self._forward.take(4)

    def _pass(self, size: int) -> Generator[bytes, None, None]:
        """The next bytes, all of them."""
        while size:
            part = self._forward.some(size)
            if not part:
                raise self._forward.cut_short()
            yield part
            size -= len(part)


def _frame_header(start: bytes) -> _FrameHeader:
    """Of the first HEADER_BYTES_MAX of a frame (3.1.1.1)."""
    descriptor = start[4]
    is_single_segment = bool(descriptor & 0x20)
    window_place, ids = 5, DICTIONARY_ID_BYTES[descriptor & 3]
    size_place = window_place + (not is_single_segment) + ids
    size_bytes = CONTENT_SIZE_BYTES[descriptor >> 6] or int(is_single_segment)
    if is_single_segment:
        window = int.from_bytes(start[size_place : size_place + size_bytes], "little") + (256 if size_bytes == 2 else 0)
    else:
        base = KIB << (start[window_place] >> 3)
        window = base + base // 8 * (start[window_place] & 7)
    return _FrameHeader(size_bytes=size_place + size_bytes, window_bytes=window, has_checksum=bool(descriptor & 4))


FORMAT = Format(
    name="zstd",
    what="a zstd file",
    magics=(MAGIC, *SKIPPABLE),
    unpack="zstd -dc",
    pieces=read,
    memory_bytes=memory_bytes,
)
