# SPDX-License-Identifier: Apache-2.0
"""A gzip file that can be rewound to a mark while it is written, and knows its SHA-256."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any, BinaryIO

from balena_migrate.core.digest import Digester

LEVEL = 3
"""Of zlib's levels the last fast one: on a device of 2012 the backup has to end the same day."""

_GZIP_WINDOW = 31
"""Window bits 15 plus 16: a gzip header and trailer around the deflate stream (zlib.h, deflateInit2)."""


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A moment in the life of a sink; opaque."""

    raw_bytes: int
    compressor: Any
    packed: Digester


class GzipSink:
    """Compresses into an open file. The memory it takes does not depend on how much is written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._compressor = zlib.compressobj(LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
        self._packed = Digester(file=file)
        self.raw_bytes = 0

    @property
    def size_bytes(self) -> int:
        """What is in the file so far; zlib may hold back more."""
        return self._packed.size_bytes

    def write(self, data: bytes) -> None:
        self._packed.write(self._compressor.compress(data))
        self.raw_bytes += len(data)

    def mark(self) -> Mark:
        return Mark(raw_bytes=self.raw_bytes, compressor=self._compressor.copy(), packed=self._packed.copy())

    def back_to(self, mark: Mark) -> None:
        """Whatever was written since the mark never was."""
        if self.size_bytes != mark.packed.size_bytes:
            self._file.seek(mark.packed.size_bytes)
            self._file.truncate()
        self._compressor = mark.compressor.copy()
        self._packed = mark.packed.copy()
        self.raw_bytes = mark.raw_bytes

    def finish(self) -> str:
        """The file is a complete gzip file; returns its SHA-256 in hexadecimal."""
        self._packed.write(self._compressor.flush())
        self._file.flush()
        return self._packed.digest().sha256
