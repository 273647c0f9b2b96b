# SPDX-License-Identifier: Apache-2.0
"""The zlib that this process uses: zlib-ng where it is there, which unpacks twice as fast, else Python's own.

This is the one place of that choice: `from balena_migrate.images.fast_zlib import zlib`. Both have the same functions.
The kits of armhf, armel and i386 have no zlib-ng.
"""

from __future__ import annotations

__all__ = ["GZIP", "RAW_DEFLATE", "Inflater", "error", "zlib"]

try:
    from zlib_ng import zlib_ng as zlib
except ImportError:
    import zlib  # type: ignore[no-redef]

GZIP, RAW_DEFLATE = 31, -15
"""Window bits: 15, plus 16 for a gzip header and trailer; negative for none (zlib.h, inflateInit2)."""

error: type[Exception] = zlib.error  # type: ignore[assignment]


class Inflater:
    """Unpacks one deflate stream, piece by piece, with the attributes of lzma.LZMADecompressor.

    zlib gives back what it could not use yet, and copies it each time; the others keep it.
    """

    def __init__(self, window_bits: int) -> None:
        self._decoder = zlib.decompressobj(wbits=window_bits)

    @property
    def eof(self) -> bool:
        """Whether the stream has ended."""
        return self._decoder.eof

    @property
    def needs_input(self) -> bool:
        """Whether decompress() can give nothing more without new data."""
        return not self._decoder.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        """What was given of what follows the stream."""
        return self._decoder.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Up to `max_length` more bytes; `data` is ignored unless it needs input. Raises zlib's error."""
        return self._decoder.decompress(self._decoder.unconsumed_tail or data, max_length)
