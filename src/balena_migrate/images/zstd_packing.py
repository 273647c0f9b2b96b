# SPDX-License-Identifier: Apache-2.0
"""How images are packed with zstd, and about how large they will be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import zstandard

from balena_migrate.core.parallel import in_order
from balena_migrate.core.units import KIB
from balena_migrate.images.formats.zstd import SMALL_FRAME_BYTES, THREADS
from balena_migrate.images.pieces import Piece, in_chunks, is_zeros

LEVEL = 9
"""12 takes three times as long for one percent, and both unpack alike (measured with programs of Debian's)."""

SAMPLE_BYTES = 64 * KIB
"""What of each piece tells how well all will be packed. Alone it is packed worse than in its frame: of two images, with
93 and 89 MiB packed, this makes 102 and 98. One whole piece of 32 made 75 and 166."""


def pack(pieces: Iterable[Piece]) -> Iterator[bytes]:
    """The image, packed: frames with a checksum that hold SMALL_FRAME_BYTES of it each. Such frames are packed, and can
    be unpacked, several at a time (RFC 8878, 3: a file may have any number of them).

    The pieces have no gaps between them. As one frame, the file would be 3 % smaller.
    """
    return in_order(_pack_frame, in_chunks(pieces, SMALL_FRAME_BYTES), THREADS)


def _pack_frame(whole: Piece) -> bytes:
    return zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compress(whole.data)


class PackedSize:
    """About the size of an image's prepared form, and rather more, by a sample of each piece that is not zeros."""

    def __init__(self) -> None:
        self._packer = zstandard.ZstdCompressor(level=LEVEL)
        self._bytes = self._sample_bytes = self._packed_bytes = 0

    def take(self, piece: Piece) -> None:
        """Look at the next piece of the image."""
        content = piece.content
        if content is None or is_zeros(content):
            return
        sample = content[max(0, len(content) - SAMPLE_BYTES) // 2 :][:SAMPLE_BYTES]
        self._bytes += len(content)
        self._sample_bytes += len(sample)
        self._packed_bytes += len(self._packer.compress(sample))

    @property
    def bytes(self) -> int:
        """By what has passed so far."""
        return round(self._bytes * self._packed_bytes / max(1, self._sample_bytes))
