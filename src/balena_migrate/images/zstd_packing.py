# SPDX-License-Identifier: Apache-2.0
"""How images are packed with zstd, and about how large they will be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import zstandard

from balena_migrate.core.parallel import in_order
from balena_migrate.images.formats.zstd import SMALL_FRAME_BYTES, THREADS
from balena_migrate.images.pieces import Piece, in_chunks, is_zeros

LEVEL = 9
"""12 takes three times as long for one percent, and both unpack alike (measured with programs of Debian's)."""

FIRST_SAMPLES, SAMPLE_EVERY = 8, 32
"""Of the pieces that are not zeros, these first ones, and then one of each 32, tell how well all will be packed."""

MARGIN = 1.1
"""On what a few samples say of all."""


def pack(pieces: Iterable[Piece]) -> Iterator[bytes]:
    """The image, packed: frames with a checksum that hold SMALL_FRAME_BYTES of it each. Such frames are packed, and can
    be unpacked, several at a time (RFC 8878, 3: a file may have any number of them).

    The pieces have no gaps between them. As one frame, the file would be 3 % smaller.
    """
    return in_order(_pack_frame, in_chunks(pieces, SMALL_FRAME_BYTES), THREADS)


def _pack_frame(whole: Piece) -> bytes:
    return zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compress(whole.data)


class PackedSize:
    """About the size of an image's prepared form, by a few of its pieces that are not zeros."""

    def __init__(self) -> None:
        self._packer = zstandard.ZstdCompressor(level=LEVEL)
        self._count = self._bytes = 0
        self._sample_bytes = self._packed_bytes = 0

    def take(self, piece: Piece) -> None:
        """Look at the next piece of the image."""
        content = piece.content
        if content is None or is_zeros(content):
            return
        self._bytes += len(content)
        if self._count < FIRST_SAMPLES or self._count % SAMPLE_EVERY == 0:
            self._sample_bytes += len(content)
            self._packed_bytes += len(self._packer.compress(content))
        self._count += 1

    @property
    def bytes(self) -> int:
        """By what has passed so far."""
        return round(self._bytes * self._packed_bytes / max(1, self._sample_bytes) * MARGIN)
