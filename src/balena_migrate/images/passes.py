# SPDX-License-Identifier: Apache-2.0
"""Any part of an image file, also of one that is packed: forward as it streams by, and what lies before in another
pass. So nothing of it needs to be unpacked to a disk first."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from balena_migrate.core.errors import FileError, ImageError
from balena_migrate.core.progress import Report
from balena_migrate.core.units import MIB
from balena_migrate.images.formats import magic_bytes, read_chunks, sniff_format
from balena_migrate.images.formats.raw import FORMAT as RAW
from balena_migrate.images.pieces import Piece, zeros

PASSES_LIMIT = 32
"""What mke2fs makes of a folder takes four. Each may take a slow device a minute."""


@contextlib.contextmanager
def opened(path: Path, size_bytes: int, report: Report) -> Iterator[Passes]:
    """The parts of an image file whose image has this size; `report` counts that, from 0 again in each pass.

    (Bytes of the file would be none for minutes: a GiB of zeros is packed into one MiB.)
    Raises FileError if it cannot be opened. Each ImageError of the block gets the path put before its message.
    """
    try:
        file = path.open("rb", buffering=0)
    except OSError as error:
        raise FileError(path, os.strerror(error.errno or 0)) from None
    try:
        with file:
            yield Passes(file, size_bytes, report)
    except ImageError as error:
        raise ImageError(f"{path}: {error.message}", hint=error.hint) from None


class Passes:
    """The parts of an open image file. Of a packed one, a piece of 1 MiB is in memory; a raw one is read in place.

    Raises ImageError as formats.read_chunks does, where the file cannot be read, and where too many passes are needed.
    """

    def __init__(self, file: BinaryIO, size_bytes: int, report: Report) -> None:
        self._file, self._size_bytes, self._report = file, size_bytes, report
        self._packed = sniff_format(file.read(magic_bytes()))
        self._count = 0
        self._here = zeros(0, 0)
        self._chunks: Iterator[Piece] = iter(())
        self._rewind(0)

    def read(self, offset: int, length: int) -> bytes:
        """These bytes; fewer only at the end."""
        return b"".join(part.data for part in self.parts(offset, offset + length))

    def parts(self, start_bytes: int, end_bytes: int) -> Iterator[Piece]:
        """What is between the two, in pieces that follow each other; less only at the end."""
        place = start_bytes
        if place < self._here.offset_bytes or (self._packed is RAW and place >= self._here.end_bytes):
            self._rewind(place)
        while place < end_bytes:
            part = self._here.part(place, end_bytes)
            if part is not None and part.offset_bytes == place:
                yield part
                place = part.end_bytes
            elif not self._go_on():
                return

    def _rewind(self, place: int) -> None:
        """Start again: a raw file at this place."""
        start = place if self._packed is RAW else 0
        self._count += self._packed is not RAW
        if self._count > PASSES_LIMIT:
            raise ImageError(
                "would have to be unpacked too often", hint="unpack it first; a raw image is read in place"
            )
        self._file.seek(start)
        self._here = zeros(start, 0)
        self._chunks = (
            Piece(start + chunk.offset_bytes, chunk.size_bytes, chunk.content)
            for chunk in read_chunks(self._file, self._packed, MIB)
        )

    def _go_on(self) -> bool:
        """Whether there is another piece, which then is the present one."""
        try:
            following = next(self._chunks, None)
        except OSError as error:
            raise ImageError(f"cannot be read: {os.strerror(error.errno or 0)}") from None
        self._here = following or zeros(self._here.end_bytes, 0)
        self._report(self._here.end_bytes, self._size_bytes)
        return following is not None
