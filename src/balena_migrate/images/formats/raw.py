# SPDX-License-Identifier: Apache-2.0
"""The image as it will be on the disk."""

from __future__ import annotations

from collections.abc import Iterator

from balena_migrate.images.formats import Format, Source
from balena_migrate.images.pieces import Piece, piece


def read(source: Source, limit_bytes: int) -> Iterator[Piece]:
    """One piece after another, without gaps, none across a multiple of the limit. Nothing tells where the image ends
    but the file's own end."""
    offset = 0
    while data := source.read(limit_bytes - offset % limit_bytes):
        yield piece(offset, data)
        offset += len(data)


FORMAT = Format(name="raw", what="a disk image", magics=(), unpack="cat", pieces=read)
