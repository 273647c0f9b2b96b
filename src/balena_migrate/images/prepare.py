# SPDX-License-Identifier: Apache-2.0
"""An image in the form that is the smallest to ship and the fastest to flash, in standard formats only.

That is zstd, with zeros where the image's own file systems call it free, and a bmap beside it. Whoever reads it needs
nothing of us: `zstd -dc | dd` writes the same system, and bmaptool takes both files.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO

from balena_migrate.core.block_map import Range
from balena_migrate.core.digest import Digester, Writable
from balena_migrate.core.errors import FileError, ImageError
from balena_migrate.core.progress import Report
from balena_migrate.core.units import MIB
from balena_migrate.images import Image
from balena_migrate.images.bmap import CheckedRange, dump_bmap, parse_bmap
from balena_migrate.images.formats import format_named, read_chunks
from balena_migrate.images.formats.zstd import FORMAT as ZSTD
from balena_migrate.images.pieces import Piece, only, zeros
from balena_migrate.images.scan import HashingSource
from balena_migrate.images.zstd_packing import new_packer

SUFFIXES = (".gz", ".xz", ".bz2", ".zip", ".zst")


def prepared_name(name: str) -> str:
    """The name of an image's file for its prepared form: os.img.zst."""
    stem = next((name.removesuffix(suffix) for suffix in SUFFIXES if name.endswith(suffix)), name)
    return f"{stem.removesuffix('.img')}.img.zst"


def prepare(image: Image, target: Writable, report: Report) -> bytes:
    """The image is in `target`, packed with zstd, with zeros for what is free in it; gives the content of its bmap.

    `report` counts bytes of the image's file. Memory is bounded. Raises FileError where the file cannot be read,
    ImageError where it is another one now.
    """
    try:
        with image.path.open("rb", buffering=0) as file:
            source = HashingSource(file, report)
            chunks = read_chunks(source, format_named(image.format), MIB)
            content = _write(filled(only(chunks, image.block_map.used(image.size_bytes))), image, target)
            if source.done.digest().sha256 != image.sha256:
                raise ImageError(f"{image.path}: was changed while it was read", hint="run this again")
            return content
    except OSError as error:
        raise FileError(error.filename or image.path, os.strerror(error.errno or 0)) from None


def _write(pieces: Iterable[Piece], image: Image, target: Writable) -> bytes:
    packer = new_packer(image.size_bytes)
    ranges = _Checksums(image.block_map.used(image.size_bytes))
    for piece in pieces:
        ranges.take(piece)
        target.write(packer.compress(piece.data))
    target.write(packer.flush())
    return dump_bmap(image.size_bytes, ranges.found)


def read_back(file: BinaryIO, bmap: bytes, report: Report) -> None:
    """Raises ImageError where the prepared image in an open file is not the one that this bmap describes."""
    chunks = read_chunks(HashingSource(file, report), ZSTD, MIB)
    for _ in parse_bmap(bmap, "that was made with it").checked(chunks):
        pass


def filled(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """The same image with zeros in place of its gaps, in pieces of at most 1 MiB where it has none."""
    end = 0
    for piece in pieces:
        while end < piece.offset_bytes:
            yield zeros(end, min(MIB, piece.offset_bytes - end))
            end += min(MIB, piece.offset_bytes - end)
        yield piece
        end = piece.end_bytes


class _Checksums:
    """The SHA-256 of each of these ranges of an image, whose pieces come one after another."""

    def __init__(self, ranges: Sequence[Range]) -> None:
        self._todo = list(reversed(ranges))
        self._digest = Digester()
        self.found: list[CheckedRange] = []

    def take(self, piece: Piece) -> None:
        """Look at the next piece of the image."""
        while self._todo and self._todo[-1].start_bytes < piece.end_bytes:
            here = self._todo[-1]
            if (part := piece.part(here.start_bytes, here.end_bytes)) is not None:
                self._digest.write(part.data)
            if here.end_bytes > piece.end_bytes:
                return
            self.found.append(CheckedRange(range=self._todo.pop(), checksum=self._digest.digest().sha256))
            self._digest = Digester()
