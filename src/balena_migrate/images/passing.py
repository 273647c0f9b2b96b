# SPDX-License-Identifier: Apache-2.0
"""Reads parts of an image as it passes, from its first byte to its last: a reader asks for them one after another."""

from __future__ import annotations

from collections.abc import Generator
from typing import Generic, TypeVar

from balena_migrate.images.pieces import Piece

T = TypeVar("T")

Reader = Generator[tuple[int, int], bytes, T]
"""Yields the places that it wants, offset and length, each behind the one before; is sent their bytes; returns what it
read out of them. So the same code reads a stream that passes once, and a file."""


class Passing(Generic[T]):
    """A reader of a part of the image that begins at `start_bytes`, from where its offsets count.

    `result` is what it returned; None before that, and for good where the image ends before, has a gap at a place that
    is wanted, or where a place is behind one that has passed already.
    """

    def __init__(self, reader: Reader[T], start_bytes: int) -> None:
        self._reader, self._start_bytes = reader, start_bytes
        self._data = bytearray()
        self._wanted: tuple[int, int] | None = None
        self.result: T | None = None
        self._advance(None)

    def take(self, chunk: Piece) -> None:
        """Look at the next piece of the image."""
        while self._wanted is not None:
            offset, length = self._wanted
            missing = offset + len(self._data)
            part = chunk.part(missing, offset + length)
            if part is None or part.offset_bytes != missing:
                if missing < chunk.end_bytes and missing < offset + length:
                    self._wanted = None
                return
            self._data += part.data
            if len(self._data) == length:
                self._advance(bytes(self._data))

    def _advance(self, data: bytes | None) -> None:
        self._data.clear()
        try:
            offset, length = self._reader.send(data) if data is not None else next(self._reader)
            self._wanted = self._start_bytes + offset, length
        except StopIteration as end:
            self._wanted, self.result = None, end.value
