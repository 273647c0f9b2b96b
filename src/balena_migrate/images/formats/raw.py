# SPDX-License-Identifier: Apache-2.0
"""The image as it will be on the disk."""

from __future__ import annotations

from collections.abc import Iterator

from balena_migrate.images.formats import INPUT_BYTES, Format, Source
from balena_migrate.images.pieces import Piece, piece


def read(source: Source, limit_bytes: int) -> Iterator[Piece]:
    """One piece after another, without gaps. Nothing tells where the image ends but the file's own end."""
    offset = 0
    while data := source.read(min(INPUT_BYTES, limit_bytes)):
        yield piece(offset, data)
        offset += len(data)


FORMAT = Format(name="raw", what="a disk image", magics=(), pieces=read)
