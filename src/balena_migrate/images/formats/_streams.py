# SPDX-License-Identifier: Apache-2.0
"""What the formats have in common that hold one packed stream after another: gzip, xz and bzip2."""

from __future__ import annotations

import lzma
from collections.abc import Callable, Iterator
from typing import Protocol

from balena_migrate.core.errors import ImageError
from balena_migrate.images import fast_zlib
from balena_migrate.images.formats import DOWNLOAD_AGAIN, Source
from balena_migrate.images.formats._forward import Forward
from balena_migrate.images.pieces import Piece, piece


class Decoder(Protocol):
    """Unpacks one stream: lzma.LZMADecompressor, bz2.BZ2Decompressor, and our Inflater."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


def read_streams(
    source: Source, limit_bytes: int, magic: bytes, decoder: Callable[[], Decoder], padding_unit: int = 1
) -> Iterator[Piece]:
    """The image's pieces (see Format.pieces), of one stream after another.

    Zeros may follow each, in multiples of `padding_unit`. No piece crosses a multiple of the limit: cutting and joining
    them again would take a slow device as long as unpacking them.
    """
    forward, offset = Forward(source), 0
    while True:
        for content in unpacked(forward, decoder(), offset, limit_bytes):
            yield piece(offset, content)
            offset += len(content)
        padding = forward.skip_zeros()
        following = forward.peek(len(magic))
        if padding % padding_unit or (following and following != magic[: len(following)]):
            raise forward.something_else()
        if not following:
            return


def unpacked(forward: Forward, decoder: Decoder, offset: int, limit_bytes: int) -> Iterator[bytes]:
    """What a stream holds, which begins at this offset of an image, cut at each multiple of the limit.

    Afterwards `forward` is at the first byte behind the stream. Raises ImageError where it is damaged or cut short.
    """
    while not decoder.eof:
        data = forward.some() if decoder.needs_input else b""
        if not data and decoder.needs_input:
            raise forward.cut_short()
        try:
            content = decoder.decompress(data, limit_bytes - offset % limit_bytes)
        # bz2 raises OSError, and EOFError if it is called again.
        except (fast_zlib.error, lzma.LZMAError, OSError, EOFError) as error:
            place = forward.position - len(data)
            raise ImageError(f"is damaged near byte {place}: {error}", hint=DOWNLOAD_AGAIN) from None
        if content:
            yield content
            offset += len(content)
    forward.step_back(len(decoder.unused_data))
