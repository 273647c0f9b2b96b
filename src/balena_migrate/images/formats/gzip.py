# SPDX-License-Identifier: Apache-2.0
"""gzip, RFC 1952: what balenaCloud offers besides zip, and what the original tool takes."""

from __future__ import annotations

import zlib
from collections.abc import Generator, Iterator

from balena_migrate.core.errors import ImageError
from balena_migrate.images.formats import DOWNLOAD_AGAIN, INPUT_BYTES, Format, Source
from balena_migrate.images.pieces import Piece, piece

MAGIC = b"\x1f\x8b"


def read(source: Source, limit_bytes: int) -> Iterator[Piece]:
    """One piece after another, without gaps: of one member after another, as gzip(1) reads them.

    Zeros may follow the last member (a tape's padding). No piece crosses a multiple of the limit: cutting and joining
    them again would take a slow device as long as unpacking them.
    """
    data, position, offset = source.read(INPUT_BYTES), 0, 0
    while data:
        data, position, offset = yield from _read_member(source, data, position, offset, limit_bytes)
        data, position = _skip_padding(source, data, position)


def _read_member(
    source: Source, data: bytes, position: int, offset: int, limit_bytes: int
) -> Generator[Piece, None, tuple[bytes, int, int]]:
    """Yields a member's content; returns what follows it of the bytes read, where in the file that is, and the offset.

    zlib checks the member's CRC and its size modulo 2^32 (RFC 1952, 2.3.1).
    """
    decoder = zlib.decompressobj(wbits=31)
    while not decoder.eof:
        data = data or source.read(INPUT_BYTES)
        if not data:
            reason = f"is cut short: the compressed data do not end at byte {position}"
            raise ImageError(reason, hint=DOWNLOAD_AGAIN)
        try:
            content = decoder.decompress(data, limit_bytes - offset % limit_bytes)
        except zlib.error as error:
            raise ImageError(f"is damaged near byte {position}: {error}", hint=DOWNLOAD_AGAIN) from None
        rest = decoder.unused_data if decoder.eof else decoder.unconsumed_tail
        position += len(data) - len(rest)
        data = rest
        if content:
            yield piece(offset, content)
            offset += len(content)
    return data, position, offset


def _skip_padding(source: Source, data: bytes, position: int) -> tuple[bytes, int]:
    """The start of the next member, or nothing at the file's end."""
    while True:
        rest = data.lstrip(b"\0")
        position += len(data) - len(rest)
        if rest and rest[0] != MAGIC[0]:
            reason = f"holds something else behind the compressed data, from byte {position}"
            raise ImageError(reason, hint=DOWNLOAD_AGAIN)
        if rest:
            return rest, position
        data = source.read(INPUT_BYTES)
        if not data:
            return b"", position


FORMAT = Format(name="gzip", what="a gzip file", magics=(MAGIC,), pieces=read)
