# SPDX-License-Identifier: Apache-2.0
"""How images are packed with zstd, and about how large they will be."""

from __future__ import annotations

import zstandard

from balena_migrate.core.units import MIB
from balena_migrate.images.pieces import Piece

LEVEL = 9
"""12 takes three times as long for one percent, and both unpack alike (measured with programs of Debian's)."""

UNPACKING_BYTES = 9 * MIB
"""What unpacking it takes: a window of at most 8 MiB at this level, and a little to work with."""

FIRST_SAMPLES, SAMPLE_EVERY = 8, 32
"""Of the pieces that are not zeros, these first ones, and then one of each 32, tell how well all will be packed."""

MARGIN = 1.1
"""On what a few samples say of all."""


def new_packer(size_bytes: int) -> zstandard.ZstdCompressionObj:
    """Packs this many bytes as one frame with a checksum.

    In this thread alone: others would take 60 MiB of memory each, and a device with little is one that prepares.
    """
    packer = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)
    return packer.compressobj(size=size_bytes)


class PackedSize:
    """About the size of an image's prepared form, by a few of its pieces that are not zeros."""

    def __init__(self) -> None:
        self._packer = zstandard.ZstdCompressor(level=LEVEL)
        self._count = self._bytes = 0
        self._sample_bytes = self._packed_bytes = 0

    def take(self, piece: Piece) -> None:
        """Look at the next piece of the image."""
        content = piece.content
        if content is None or content.count(0) == len(content):
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
