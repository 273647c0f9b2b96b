# SPDX-License-Identifier: Apache-2.0
"""The headers of a zip archive, in the order in which they are in it. Source: APPNOTE.TXT, 4.3.7 to 4.3.16, 4.5.3."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct, pack

from balena_migrate.core.errors import ImageError
from balena_migrate.images.formats import DOWNLOAD_AGAIN
from balena_migrate.images.formats._forward import Forward

LOCAL_HEADER, CENTRAL_ENTRY, DESCRIPTOR = b"PK\x03\x04", b"PK\x01\x02", b"PK\x07\x08"
END, ZIP64_END, ZIP64_LOCATOR = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"

STORED, DEFLATED = 0, 8
ENCRYPTED, HAS_DESCRIPTOR = 1, 8
"""Bits of the flags (4.4.4)."""
ZIP64_FIELD = 1
IN_ZIP64 = 0xFFFFFFFF
"""A size or place that is in the zip64 field."""
COUNT_IN_ZIP64 = 0xFFFF

_LOCAL = Struct("<4x2xHH4xIIIHH")
_CENTRAL = Struct("<4x4xHH4xIIIHHH8xI")
_END = Struct("<4x4xHHIIH")
_ZIP64_END = Struct("<4xQ12xQQQQ")
_ZIP64_LOCATOR = Struct("<4x4xQ4x")


@dataclass(frozen=True, kw_only=True)
class Member:
    """One member, as one of its headers describes it, or as it is."""

    name: str
    place: int
    """Where in the archive its local header is."""
    flags: int
    method: int
    crc: int
    packed_bytes: int
    size_bytes: int

    @property
    def has_descriptor(self) -> bool:
        """Whether its CRC and sizes follow its content, and the local header may lack them."""
        return bool(self.flags & HAS_DESCRIPTOR)


def damaged(place: int, reason: str) -> ImageError:
    """The error for an archive that contradicts itself, at this byte."""
    return ImageError(f"is damaged near byte {place}: {reason}", hint=DOWNLOAD_AGAIN)


def take_local_header(forward: Forward) -> Member:
    """The local header that is next."""
    place = forward.position
    flags, method, crc, packed, size, name_bytes, extra_bytes = _LOCAL.unpack(forward.take(_LOCAL.size))
    name = _text(forward.take(name_bytes))
    size, packed = _zip64_values(forward.take(extra_bytes), (size, packed), place)
    return Member(name=name, place=place, flags=flags, method=method, crc=crc, packed_bytes=packed, size_bytes=size)


def take_descriptor(forward: Forward, member: Member) -> None:
    """The data descriptor that is next says of the member what it is; its signature and size are the writer's choice.

    (4.3.9; a size of 8 bytes is written where the local header has a zip64 field, and by some writers without it.)
    """
    values = (member.crc, member.packed_bytes, member.size_bytes)
    for form in ("<IQQ", "<III"):
        for signature in (DESCRIPTOR, b""):
            if form == "<IQQ" or max(values) <= IN_ZIP64:
                expected = signature + pack(form, *values)
                if forward.peek(len(expected)) == expected:
                    forward.take(len(expected))
                    return
    if len(forward.peek(len(DESCRIPTOR) + Struct("<IQQ").size)) < Struct("<III").size:
        raise forward.cut_short()
    raise damaged(forward.position, f"{member.name} does not have the size and checksum that follow it")


def take_directory(forward: Forward, members: Sequence[Member]) -> None:
    """The central directory, which is next, has these members, and its end is where it says."""
    start = forward.position
    entries: list[Member] = []
    while forward.peek(4) == CENTRAL_ENTRY and len(entries) <= len(members):
        entries.append(_take_central_entry(forward))
    if sorted(map(_essence, entries), key=lambda essence: essence[1]) != list(map(_essence, members)):
        raise damaged(start, "its directory lists other members than it has")
    _take_end(forward, (len(members), len(members), forward.position - start, start))


def _essence(member: Member) -> tuple[object, int, object]:
    """What both headers of a member have to say."""
    return member.name, member.place, (member.method, member.crc, member.packed_bytes, member.size_bytes)


def _take_central_entry(forward: Forward) -> Member:
    start = forward.position
    fields = _CENTRAL.unpack(forward.take(_CENTRAL.size))
    flags, method, crc, packed, size, name_bytes, extra_bytes, comment_bytes, place = fields
    name = _text(forward.take(name_bytes))
    size, packed, place = _zip64_values(forward.take(extra_bytes), (size, packed, place), start)
    forward.take(comment_bytes)
    return Member(name=name, place=place, flags=flags, method=method, crc=crc, packed_bytes=packed, size_bytes=size)


def _take_end(forward: Forward, values: tuple[int, int, int, int]) -> None:
    """The end of the central directory, which is next, has these: number of entries, here and in all, size, place."""
    place = forward.position
    zip64 = values
    if forward.peek(4) == ZIP64_END:
        rest_bytes, *found = _ZIP64_END.unpack(forward.take(_ZIP64_END.size))
        zip64 = (found[0], found[1], found[2], found[3])
        (end,) = _ZIP64_LOCATOR.unpack(_expect(forward, ZIP64_LOCATOR, _ZIP64_LOCATOR.size))
        if end != place or rest_bytes != _ZIP64_END.size - 12:
            raise damaged(place, "its end contradicts itself")
    here, total, size, start, comment_bytes = _END.unpack(_expect(forward, END, _END.size))
    limits = (COUNT_IN_ZIP64, COUNT_IN_ZIP64, IN_ZIP64, IN_ZIP64)
    found_32 = (here, total, size, start)
    pairs = zip(values, found_32, limits, strict=True)
    if zip64 != values or any(found != min(value, limit) and found != limit for value, found, limit in pairs):
        raise damaged(place, "its end contradicts its directory")
    forward.take(comment_bytes)


def _expect(forward: Forward, signature: bytes, size: int) -> bytes:
    start = forward.peek(4)
    if start != signature:
        raise forward.something_else() if len(start) == 4 else forward.cut_short()
    return forward.take(size)


def _zip64_values(extra: bytes, values: tuple[int, ...], place: int) -> list[int]:
    """The values, each from the zip64 field where it does not fit in its own (4.5.3: they are there in this order)."""
    wide = _zip64_field(extra)
    found = []
    for value in values:
        if value == IN_ZIP64:
            if len(wide) < 8:
                raise damaged(place, "a size is missing")
            value, wide = int.from_bytes(wide[:8], "little"), wide[8:]
        found.append(value)
    return found


def _zip64_field(extra: bytes) -> bytes:
    while len(extra) >= 4:
        kind, size = int.from_bytes(extra[:2], "little"), int.from_bytes(extra[2:4], "little")
        if kind == ZIP64_FIELD:
            return extra[4 : 4 + size]
        extra = extra[4 + size :]
    return b""


def _text(name: bytes) -> str:
    """For messages, without what a terminal would take for a command."""
    return "".join(char if char.isprintable() else "?" for char in name.decode("utf-8", "replace"))
