# SPDX-License-Identifier: Apache-2.0
"""Formats of image files: one file each, which holds a `FORMAT`. The folder is the registry.

Formats that we only recognize, to say what to do about them, are files of the same kind.

The standard library, zlib-ng and zstandard only: stage 2 imports this too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Protocol

from balena_migrate.core.errors import ImageError
from balena_migrate.core.plugins import load_all
from balena_migrate.core.units import GIB, KIB
from balena_migrate.images.pieces import Piece, in_chunks

INPUT_BYTES = 256 * KIB
"""How much is read from the file at once."""

DOWNLOAD_AGAIN = "download it again, and compare its SHA-256 with the one at its source"
"""The remedy for a damaged file."""


ENDINGS = (".gz", ".zst", ".xz", ".zip", ".bz2")
"""Of the names of packed files. They tell nothing: what a file is, its content says."""


class Source(Protocol):
    """What an image is read from: a file, or anything else that gives its bytes in order."""

    def read(self, size: int, /) -> bytes: ...


Pieces = Callable[[Source, int], Iterator[Piece]]

START_BYTES = 4 * KIB
"""How much of a file's start Format.memory_bytes asks for."""
SMALL_BYTES = 64 * KIB
"""The memory of a decoder that needs hardly any: deflate's window is 32 KiB, and its tables are smaller."""
UNPACKED_LIMIT_BYTES = 64 * GIB
"""No image of balenaOS comes near it. A few MiB can hold more zeros than a disk has, and reading them takes hours."""


def _small(_start: bytes) -> int:
    return SMALL_BYTES


@dataclass(frozen=True, kw_only=True)
class Format:
    """How an image file is packed.

    `pieces(source, limit_bytes)` yields the image's pieces (see images.pieces), none larger than the limit, and reads
    the source to its last byte. Memory stays bounded whatever the file holds. It raises ImageError where the file is
    damaged, cut short, or where something else follows the image. It is None for a format that is not supported.
    """

    name: str
    what: str
    """What a file of this format is, with an article: "a zip archive"."""
    magics: tuple[bytes, ...]
    """How such a file may begin; none for RAW, which every file is that is nothing else."""
    unpack: str
    """The start of a command that writes what such a file holds to its standard output; the file's name ends it."""
    pieces: Pieces | None = None
    memory_bytes: Callable[[bytes], int] = _small
    """What the decoder needs, by the file's first START_BYTES, besides the piece and the input at hand."""
    is_slow: bool = False
    """Whether it is unpacked many times slower than gzip is."""


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
    found = find_packing(start) or next(raw for raw in formats() if not raw.magics)
    _reader(found)
    return found


def unpacked_name(name: str) -> str:
    """A file's name without the ending that says how it is packed."""
    return next((name.removesuffix(ending) for ending in ENDINGS if name.endswith(ending)), name)


def find_packing(start: bytes) -> Format | None:
    """The format that these bytes begin like, other than RAW, be it supported or not."""
    return next((known for known in formats() if start.startswith(known.magics)), None)


def format_named(name: str) -> Format:
    """The format with this name. Raises ImageError if there is none."""
    for known in formats():
        if known.name == name:
            return known
    raise ImageError(f"has a format that is unknown here: {name}")


def read_chunks(source: Source, packed: Format, chunk_bytes: int) -> Iterator[Piece]:
    """The image in pieces that end at multiples of `chunk_bytes` (see images.pieces.in_chunks).

    Raises ImageError as Format.pieces does, where the format is not supported, where the image is packed once more, and
    where it is larger than UNPACKED_LIMIT_BYTES.
    """
    for chunk in in_chunks(_reader(packed)(source, chunk_bytes), chunk_bytes):
        if chunk.offset_bytes == 0 and packed.magics and chunk.content:
            _refuse_second_packing(packed, chunk.content)
        if chunk.end_bytes > UNPACKED_LIMIT_BYTES:
            raise ImageError(f"is larger than {UNPACKED_LIMIT_BYTES // GIB} GiB, which no balenaOS image is")
        yield chunk


def _refuse_second_packing(packed: Format, start: bytes) -> None:
    inner = find_packing(start)
    if inner is not None:
        reason = f"is {packed.what}, and what it holds is {inner.what}: the image is packed twice"
        raise ImageError(reason, hint=f"unpack it once: {packed.unpack} FILE > NEWFILE")


def _reader(packed: Format) -> Pieces:
    if packed.pieces is None:
        raise ImageError(f"is {packed.what}, which is not supported", hint=f"use an image that is {repacked(packed)}")
    return packed.pieces


def repacked(packed: Format) -> str:
    """The command that makes an image of this format one that is quick to unpack, for a remedy."""
    return f"packed with zstd: {packed.unpack} FILE | zstd -10 -o NEWFILE.zst"
