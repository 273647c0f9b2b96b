# SPDX-License-Identifier: Apache-2.0
"""gzip, RFC 1952: what balenaCloud offers besides zip, and what the original tool takes."""

from __future__ import annotations

from collections.abc import Iterator

from balena_migrate.images.fast_zlib import GZIP, Inflater
from balena_migrate.images.formats import Format, Source
from balena_migrate.images.formats._streams import read_streams
from balena_migrate.images.pieces import Piece

MAGIC = b"\x1f\x8b"


def read(source: Source, limit_bytes: int) -> Iterator[Piece]:
    """One member after another, as gzip(1) reads them; zeros may follow the last one (a tape's padding).

    zlib checks each member's CRC and its size modulo 2^32 (RFC 1952, 2.3.1).
    """
    return read_streams(source, limit_bytes, MAGIC, lambda: Inflater(GZIP))


FORMAT = Format(name="gzip", what="a gzip file", magics=(MAGIC,), unpack="gzip -dc", pieces=read)
