# SPDX-License-Identifier: Apache-2.0
"""What a disk shall hold: an image with its patches.

Standard library only: stage 2 imports this too.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Protocol

from balena_migrate.core.errors import DiskError, ImageError
from balena_migrate.images.formats import Format, read_chunks
from balena_migrate.images.patches import Patches
from balena_migrate.images.pieces import Piece, in_chunks


class RewindableSource(Protocol):
    """What an image is read from: a file, or anything else that gives its bytes in order, and again from the start."""

    def read(self, size: int, /) -> bytes: ...

    def seek(self, offset: int, /) -> int: ...


class PatchedImage:
    """An image of `size_bytes` with its patches. Raises DiskError if these are for an image of another size."""

    def __init__(self, source: RewindableSource, packed: Format, size_bytes: int, patches: Patches) -> None:
        if patches.size_bytes != size_bytes:
            reason = f"the patches are for an image of {patches.size_bytes} bytes, and this one has {size_bytes}"
            raise DiskError(reason)
        self._source = source
        self._packed = packed
        self._patches = patches
        self.size_bytes = size_bytes

    @property
    def write_bytes(self) -> int:
        """The sum of the pieces' sizes."""
        return self.size_bytes

    @property
    def end_bytes(self) -> int:
        """The size that a disk needs to hold it: patches may go behind the image."""
        return self._patches.end_bytes

    def pieces(self, chunk_bytes: int) -> Iterator[Piece]:
        """All of it, from the start, in pieces that end at multiples of `chunk_bytes`. It can be asked for again.

        Raises ImageError if the source cannot be read or is not an image of `size_bytes`; so an OSError is always
        the disk's.
        """
        try:
            yield from in_chunks(self._patches.overlay(self._image(chunk_bytes)), chunk_bytes)
        except OSError as error:
            raise ImageError(f"cannot be read: {os.strerror(error.errno or 0)}") from None

    def _image(self, chunk_bytes: int) -> Iterator[Piece]:
        self._source.seek(0)
        end = 0
        for chunk in read_chunks(self._source, self._packed, chunk_bytes):
            end = chunk.end_bytes
            if end > self.size_bytes:
                raise ImageError(f"is larger than the {self.size_bytes} bytes that it should have")
            yield chunk
        if end != self.size_bytes:
            raise ImageError(f"has {end} bytes and not the {self.size_bytes} that it should have")
