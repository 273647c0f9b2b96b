# SPDX-License-Identifier: Apache-2.0
"""zip archives, read forward; balenaCloud offers them. Source: APPNOTE.TXT, 4.3 and 4.4.

The image is the one member that begins like a disk, with the signature of a partition table at the end of its first
sector. Others may be beside it if they are small, such as a block map or a README. Each member is unpacked, and its
sizes and its CRC are compared with what its header, its data descriptor and the central directory say.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

from balena_migrate.core.errors import ImageError
from balena_migrate.core.units import MIB, SECTOR_BYTES, in_mib
from balena_migrate.images.fast_zlib import RAW_DEFLATE, Inflater, zlib
from balena_migrate.images.formats import Format, Source, find_packing
from balena_migrate.images.formats._forward import Forward
from balena_migrate.images.formats._streams import unpacked
from balena_migrate.images.formats._zip_headers import (
    CENTRAL_ENTRY,
    DEFLATED,
    ENCRYPTED,
    END,
    LOCAL_HEADER,
    STORED,
    Member,
    damaged,
    take_descriptor,
    take_directory,
    take_local_header,
)
from balena_migrate.images.partitions.mbr import has_signature
from balena_migrate.images.pieces import Piece, piece

MEMBERS_LIMIT = 100
OTHER_LIMIT_BYTES = 64 * MIB
"""Of a member that is not the image: it is unpacked to find what follows it."""
REPACK = "unpack it elsewhere, and pack the image alone, with zstd or gzip"


def read(source: Source, limit_bytes: int) -> Iterator[Piece]:
    """The archive's image; all of the archive is read, and nothing may follow it."""
    return _Archive(Forward(source), limit_bytes).pieces()


class _Archive:
    def __init__(self, forward: Forward, limit_bytes: int) -> None:
        self._forward, self._limit_bytes = forward, limit_bytes
        self._members: list[Member] = []
        """Those that have passed, with the sizes and checksums that they really have."""
        self._image = ""
        self._others: list[str] = []

    def pieces(self) -> Iterator[Piece]:
        """Those of the image."""
        while self._forward.peek(4) == LOCAL_HEADER:
            header = take_local_header(self._forward)
            self._check_readable(header)
            yield from self._take_member(header)
        start = self._forward.peek(4)
        if start not in (CENTRAL_ENTRY, END):
            raise self._forward.something_else() if len(start) == 4 else self._forward.cut_short()
        take_directory(self._forward, self._members)
        if self._forward.peek(1):
            raise self._forward.something_else()
        if not self._image:
            there = f": there is only {', '.join(self._others)}" if self._others else ""
            raise ImageError(f"holds no disk image{there}", hint="pack the image alone, with zstd or gzip")

    def _check_readable(self, header: Member) -> None:
        if len(self._members) == MEMBERS_LIMIT:
            raise ImageError(f"has more than {MEMBERS_LIMIT} members", hint=REPACK)
        if header.flags & ENCRYPTED:
            raise ImageError(f"holds {header.name}, which is encrypted", hint=REPACK)
        if header.method not in (STORED, DEFLATED):
            reason = f"holds {header.name}, packed with method {header.method}, which is not supported"
            raise ImageError(reason, hint=REPACK)

    def _take_member(self, header: Member) -> Iterator[Piece]:
        contents = self._checked(header)
        first: list[bytes] = []
        while sum(map(len, first)) < SECTOR_BYTES and (content := next(contents, b"")):
            first.append(content)
        is_image, offset = self._is_image(header, b"".join(first)), 0
        for content in itertools.chain(first, contents):
            if is_image:
                yield piece(offset, content)
            offset += len(content)
            if not is_image and offset > OTHER_LIMIT_BYTES:
                reason = f"holds {header.name}, which is no disk image and has more than {in_mib(OTHER_LIMIT_BYTES)}"
                raise ImageError(reason, hint=REPACK)

    def _is_image(self, header: Member, start: bytes) -> bool:
        if not has_signature(start):
            inner = find_packing(start)
            self._others.append(f"{header.name} ({inner.what})" if inner else header.name)
            return False
        if self._image:
            raise ImageError(f"holds two disk images, {self._image} and {header.name}", hint=REPACK)
        self._image = header.name or "one without a name"
        return True

    def _checked(self, header: Member) -> Iterator[bytes]:
        """The member's content. Raises ImageError at its end, or before, where it is not what its headers say."""
        start, size, crc = self._forward.position, 0, 0
        for content in self._content(header):
            crc = zlib.crc32(content, crc)
            size += len(content)
            if size > header.size_bytes and not header.has_descriptor:
                raise damaged(start, f"{header.name} is larger than its header says")
            yield content
        member = replace(header, crc=crc, size_bytes=size, packed_bytes=self._forward.position - start)
        if header.has_descriptor:
            take_descriptor(self._forward, member)
        elif member != header:
            raise damaged(start, f"{header.name} does not have the size and checksum that its header says")
        self._members.append(member)

    def _content(self, header: Member) -> Iterator[bytes]:
        if header.method == DEFLATED:
            return unpacked(self._forward, Inflater(RAW_DEFLATE), 0, self._limit_bytes)
        if header.has_descriptor and not header.packed_bytes:
            # Only its end could tell its size, and that may be anything, as far as its content goes.
            raise ImageError(f"holds {header.name}, which is stored without its size", hint=REPACK)
        return self._stored(header.packed_bytes)

    def _stored(self, size_bytes: int) -> Iterator[bytes]:
        offset = 0
        while offset < size_bytes:
            limit = self._limit_bytes - offset % self._limit_bytes
            content = self._forward.some(min(limit, size_bytes - offset))
            if not content:
                raise self._forward.cut_short()
            yield content
            offset += len(content)


FORMAT = Format(name="zip", what="a zip archive", magics=(LOCAL_HEADER, END), unpack="unzip -p", pieces=read)
