# SPDX-License-Identifier: Apache-2.0
"""An image in the form that is the smallest to ship and the fastest to flash, in standard formats only.

That is zstd, with zeros where the image's own file systems call it free, and a bmap beside it. Whoever reads it needs
nothing of us: `zstd -dc | dd` writes the same system, and bmaptool takes both files.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from balena_migrate.core.digest import Writable
from balena_migrate.core.errors import FileError, ImageError
from balena_migrate.core.progress import Report
from balena_migrate.core.units import MIB
from balena_migrate.images import Image
from balena_migrate.images.bmap import CheckedRange, Checksums, dump_bmap, parse_bmap
from balena_migrate.images.formats import format_named, read_chunks, unpacked_name
from balena_migrate.images.formats.zstd import FORMAT as ZSTD
from balena_migrate.images.pieces import Piece, only, zeros
from balena_migrate.images.scan import HashingSource
from balena_migrate.images.zstd_packing import pack


def prepared_name(name: str) -> str:
    """The name of an image's file for its prepared form: os.img.zst."""
    return f"{unpacked_name(name).removesuffix('.img')}.img.zst"


def prepare(image: Image, target: Writable, report: Report) -> bytes:
    """The image is in `target`, packed with zstd, with zeros for what is free in it; gives the content of its bmap.

    `report` counts bytes of the image's file. Memory is bounded. Raises FileError where the file cannot be read,
    ImageError where it is another one now.
    """
    try:
        with image.path.open("rb", buffering=0) as file:
            source = HashingSource(file, report)
            content = _write(read_chunks(source, format_named(image.format), MIB), image, target)
            if source.done.digest().sha256 != image.sha256:
                raise ImageError(f"{image.path}: was changed while it was read", hint="run this again")
            return content
    except OSError as error:
        raise FileError(error.filename or image.path, os.strerror(error.errno or 0)) from None


def _write(chunks: Iterator[Piece], image: Image, target: Writable) -> bytes:
    used = image.block_map.used(image.size_bytes)
    checksums = Checksums(used, "sha256")
    found: list[CheckedRange] = []

    def checked() -> Iterator[Piece]:
        for piece in filled(only(chunks, used)):
            found.extend(checksums.take(piece))
            yield piece

    for packed in pack(checked()):
        target.write(packed)
    return dump_bmap(image.size_bytes, found)


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
