# SPDX-License-Identifier: Apache-2.0
"""How an image file is packed, and its bytes as they will be on the disk.

Standard library only: stage 2 imports this too.
"""

from __future__ import annotations

import zlib
from collections.abc import Generator, Iterator
from enum import StrEnum
from typing import Protocol

from balena_migrate.core.errors import ImageError

INPUT_BYTES = 256 << 10
"""What is read from the file at once."""

MAGIC_BYTES = 8
AGAIN = "download it again, and compare its SHA-256 with the one at its source"


class Source(Protocol):
    """What an image is read from: a file, or anything else that gives its bytes in order."""

    def read(self, size: int, /) -> bytes: ...


class ImageFormat(StrEnum):
    """How an image file is packed."""

    RAW = "raw"
    GZIP = "gzip"


_REFUSED = (
    (b"PK\x03\x04", "a zip archive", "unpack it with unzip, and pack the image with gzip"),
    (b"PK\x05\x06", "an empty zip archive", "download the image again"),
    (b"\xfd7zXZ\x00", "an xz file", "unpack it with xz -d, and pack the image with gzip"),
    (b"\x28\xb5\x2f\xfd", "a zstd file", "unpack it with zstd -d, and pack the image with gzip"),
    (b"BZh", "a bzip2 file", "unpack it with bzip2 -d, and pack the image with gzip"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-zip archive", "unpack it, and pack the image with gzip"),
)


def sniff_format(start: bytes) -> ImageFormat:
    """The format by the first bytes of a file, at least MAGIC_BYTES; the file's name says nothing.

    Raises ImageError for formats that we know and do not read, with what to do. All else is RAW: whether it is a
    disk image its partition table tells.
    """
    for magic, what, remedy in _REFUSED:
        if start.startswith(magic):
            raise ImageError(f"is {what}, which is not supported", hint=remedy)
    return ImageFormat.GZIP if start.startswith(b"\x1f\x8b") else ImageFormat.RAW


def read_chunks(source: Source, image_format: ImageFormat, chunk_bytes: int) -> Iterator[bytes]:
    """The image's bytes in chunks of this size; only the last may be shorter. Reads the source to its last byte.

    Memory stays bounded whatever the file holds. Raises ImageError where it is damaged, cut short, or where something
    else follows the compressed data.
    """
    pieces = _read_raw(source) if image_format is ImageFormat.RAW else _read_gzip(source, chunk_bytes)
    buffer = bytearray()
    for piece in pieces:
        if not buffer and len(piece) == chunk_bytes:
            yield piece
            continue
        buffer += piece
        while len(buffer) >= chunk_bytes:
            yield bytes(memoryview(buffer)[:chunk_bytes])
            del buffer[:chunk_bytes]
    if buffer:
        yield bytes(buffer)


def _read_raw(source: Source) -> Iterator[bytes]:
    while data := source.read(INPUT_BYTES):
        yield data


def _read_gzip(source: Source, limit_bytes: int) -> Iterator[bytes]:
    """Members one after another, as gzip(1) reads them; zeros may follow the last (a tape's padding)."""
    data, position = source.read(INPUT_BYTES), 0
    while data:
        data, position = yield from _read_member(source, data, position, limit_bytes)
        data, position = _skip_padding(source, data, position)


def _read_member(
    source: Source, data: bytes, position: int, limit_bytes: int
) -> Generator[bytes, None, tuple[bytes, int]]:
    """Yields a member's content; returns what follows it of the bytes read, and where in the file that is.

    zlib checks the member's CRC and its size modulo 2^32 (RFC 1952, 2.3.1).
    """
    decoder = zlib.decompressobj(wbits=31)
    while not decoder.eof:
        data = data or source.read(INPUT_BYTES)
        if not data:
            raise ImageError(f"is cut short: the compressed data do not end at byte {position}", hint=AGAIN)
        try:
            piece = decoder.decompress(data, limit_bytes)
        except zlib.error as error:
            raise ImageError(f"is damaged near byte {position}: {error}", hint=AGAIN) from None
        rest = decoder.unused_data if decoder.eof else decoder.unconsumed_tail
        position += len(data) - len(rest)
        data = rest
        if piece:
            yield piece
    return data, position


def _skip_padding(source: Source, data: bytes, position: int) -> tuple[bytes, int]:
    """The start of the next member, or nothing at the file's end."""
    while True:
        rest = data.lstrip(b"\0")
        position += len(data) - len(rest)
        if rest and rest[0] != 0x1F:
            raise ImageError(f"holds something else behind the compressed data, from byte {position}", hint=AGAIN)
        if rest:
            return rest, position
        data = source.read(INPUT_BYTES)
        if not data:
            return b"", position
