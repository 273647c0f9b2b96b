# SPDX-License-Identifier: Apache-2.0
"""Formats of image files: one file each, which holds a `FORMAT`. The folder is the registry.

Formats that we only recognize, to say what to do about them, are files of the same kind.

Standard library only: stage 2 imports this too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Protocol

from balena_migrate.core.errors import ImageError
from balena_migrate.core.plugins import load_all
from balena_migrate.core.units import KIB
from balena_migrate.images.pieces import Piece, in_chunks

INPUT_BYTES = 256 * KIB
"""How much is read from the file at once."""

DOWNLOAD_AGAIN = "download it again, and compare its SHA-256 with the one at its source"
"""The remedy for a damaged file."""


class Source(Protocol):
    """What an image is read from: a file, or anything else that gives its bytes in order."""

    def read(self, size: int, /) -> bytes: ...


Pieces = Callable[[Source, int], Iterator[Piece]]


@dataclass(frozen=True, kw_only=True)
class Format:
    """How an image file is packed.

    `pieces(source, limit_bytes)` yields the image's pieces (see images.pieces), none larger than the limit, and reads
    the source to its last byte. Memory stays bounded whatever the file holds. It raises ImageError where the file is
    damaged, cut short, or where something else follows the image. It is None for a format that is not supported; then
    `remedy` says what to do.
    """

    name: str
    what: str
    """What a file of this format is, with an article: "a zip archive"."""
    magics: tuple[bytes, ...]
    """How such a file may begin; none for RAW, which every file is that is nothing else."""
    pieces: Pieces | None = None
    remedy: str = ""


@cache
def formats() -> tuple[Format, ...]:
    """All formats, by file name."""
    return load_all(__name__, __path__, "FORMAT")


def magic_bytes() -> int:
    """How much of a file's start sniff_format() asks for."""
    return max(len(magic) for known in formats() for magic in known.magics)


def sniff_format(start: bytes) -> Format:
    """The format by the first bytes of a file, magic_bytes() of them; the file's name says nothing.

    Raises ImageError for one that is not supported, with what to do. A file that begins like none is RAW: whether it is
    a disk image its partition table tells.
    """
    known = [known for known in formats() if start.startswith(known.magics)]
    found = known[0] if known else next(raw for raw in formats() if not raw.magics)
    _reader(found)
    return found


def format_named(name: str) -> Format:
    """The format with this name. Raises ImageError if there is none."""
    for known in formats():
        if known.name == name:
            return known
    raise ImageError(f"has a format that is unknown here: {name}")


def read_chunks(source: Source, packed: Format, chunk_bytes: int) -> Iterator[Piece]:
    """The image in pieces that end at multiples of `chunk_bytes` (see images.pieces.in_chunks).

    Raises ImageError as Format.pieces does, and where the format is not supported.
    """
    return in_chunks(_reader(packed)(source, chunk_bytes), chunk_bytes)


def _reader(packed: Format) -> Pieces:
    if packed.pieces is None:
        raise ImageError(f"is {packed.what}, which is not supported", hint=packed.remedy)
    return packed.pieces
