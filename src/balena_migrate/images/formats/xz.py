# SPDX-License-Identifier: Apache-2.0
"""xz. Source: The .xz File Format, 2.1 (stream header), 2.2 (padding),
3.1 (block header) and 5.3.1 (LZMA2)."""

from __future__ import annotations

from collections.abc import Iterator
from lzma import FORMAT_XZ, LZMADecompressor, LZMAError

from balena_migrate.core.errors import ImageError
from balena_migrate.core.units import MIB, in_mib
from balena_migrate.images.formats import Format, Source
from balena_migrate.images.formats._streams import read_streams
from balena_migrate.images.pieces import Piece

MAGIC = b"\xfd7zXZ\x00"
PADDING_UNIT = 4
BLOCK_HEADER = 12
"""Where that of the first block is: behind the stream header."""
LZMA2 = 0x21
WORKING_BYTES = 2 * MIB
"""What the decoder needs besides the dictionary (xz -vv: 5 MiB of memory for a dictionary of 4, 65 for one of 64)."""
DICTIONARY_LIMIT_BYTES = 64 * MIB
"""That of xz -9."""
LIMIT_BYTES = DICTIONARY_LIMIT_BYTES + WORKING_BYTES
REACHED = "Memory usage limit exceeded"
"""CPython, Modules/_lzmamodule.c, for LZMA_MEMLIMIT_ERROR."""


class _Limited:
    """Unpacks one stream, and says so where that would need too much memory."""

    def __init__(self) -> None:
        self._decoder = LZMADecompressor(FORMAT_XZ, LIMIT_BYTES)

    @property
    def eof(self) -> bool:
        return self._decoder.eof

    @property
    def needs_input(self) -> bool:
        return self._decoder.needs_input

    @property
    def unused_data(self) -> bytes:
        return self._decoder.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        try:
            return self._decoder.decompress(data, max_length)
        except LZMAError as error:
            if str(error) != REACHED:
                raise
            reason = f"needs more than {in_mib(LIMIT_BYTES)} of memory to unpack, and is not supported"
            raise ImageError(reason, hint="pack it again with xz -9 or less, better with zstd") from None


def read(source: Source, limit_bytes: int) -> Iterator[Piece]:
    """One stream after another; zeros may follow each, in multiples of four."""
    return read_streams(source, limit_bytes, MAGIC, _Limited, PADDING_UNIT)


def memory_bytes(start: bytes) -> int:
    """By the dictionary of the first block; the most that is allowed, where that is not to be seen."""
    try:
        bits = _dictionary_bits(start[BLOCK_HEADER:])
    except IndexError:
        return LIMIT_BYTES
    return min(((2 | bits & 1) << (bits // 2 + 11)) + WORKING_BYTES, LIMIT_BYTES)


def _dictionary_bits(header: bytes) -> int:
    """Mantissa and exponent, from a block header. Raises IndexError where it is cut short or has no LZMA2."""
    flags, place = header[1], 2
    for has_size in (flags & 0x40, flags & 0x80):
        if has_size:
            _, place = _variable_int(header, place)
    while True:
        kind, place = _variable_int(header, place)
        size, place = _variable_int(header, place)
        if kind == LZMA2:
            return header[place] & 0x3F
        place += size


def _variable_int(data: bytes, place: int) -> tuple[int, int]:
    """A number of seven bits a byte (1.2), and where the next thing is."""
    value = shift = 0
    while True:
        byte = data[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if not byte & 0x80:
            return value, place


FORMAT = Format(
    name="xz",
    what="an xz file",
    magics=(MAGIC,),
    unpack="xz -dc",
    pieces=read,
    memory_bytes=memory_bytes,
    is_slow=True,
)
