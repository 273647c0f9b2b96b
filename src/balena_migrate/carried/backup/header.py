# SPDX-License-Identifier: Apache-2.0
"""The header of a member, in GNU tar's old form: no pax headers, owners as numbers only.

tarfile makes any header, and takes as long for it as for reading a small file. So the common one is made here; for a
long name, a huge owner or a huge file there is tarfile. (Fields: GNU tar manual, "Basic Tar Format".)
"""

from __future__ import annotations

import os
import stat
import tarfile
import zlib

_SHORT_OCTAL = 8**7
"""Numbers below this one fit into a field of 8 bytes, and below the next one into a field of 12."""
_LONG_OCTAL = 8**11

_START = b"%b%07o\0%07o\0%07o\0%011o\0%011o\0"
"""What is before the checksum: name, mode, owner, group, size, time."""

_END_BYTES = tarfile.BLOCKSIZE - 156
"""The size of what is after it: kind, name of the link's target, magic, and fields that stay empty."""


def make_header(name: str, kind: bytes, info: os.stat_result | None, *, size: int = 0, target: str = "") -> bytes:
    """The header of a member of this kind (tarfile.REGTYPE, ...). Without `info` its mode is 0755, its owner root.

    A time before 1970 becomes 1970: busybox reads no negative numbers.
    """
    mode, uid, gid, mtime = 0o755, 0, 0, 0
    if info is not None:
        mode, uid, gid = stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid
        mtime = max(0, int(info.st_mtime))
    raw = _encoded(name + "/" if kind == tarfile.DIRTYPE and not name.endswith("/") else name)
    link = _encoded(target)
    fits = len(raw) <= tarfile.LENGTH_NAME and len(link) <= tarfile.LENGTH_LINK
    if not (fits and uid < _SHORT_OCTAL and gid < _SHORT_OCTAL and size < _LONG_OCTAL and mtime < _LONG_OCTAL):
        return _any_header(name, kind, target, mode=mode, uid=uid, gid=gid, size=size, mtime=mtime)
    start = _START % (raw.ljust(tarfile.LENGTH_NAME, b"\0"), mode, uid, gid, size, mtime)
    end = kind + link.ljust(tarfile.LENGTH_LINK, b"\0") + tarfile.GNU_MAGIC
    # The checksum's own field counts as eight blanks.
    checksum = _sum(start) + 8 * ord(" ") + _sum(end)
    return b"%b%06o\0 %b" % (start, checksum, end.ljust(_END_BYTES, b"\0"))


def _encoded(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _sum(data: bytes) -> int:
    """The sum of at most 256 bytes, ten times as fast as sum(): the lower half of their Adler-32 is one more than it,
    modulo 65521 (RFC 1950, section 9)."""
    return (zlib.adler32(data) & 0xFFFF) - 1


def _any_header(name: str, kind: bytes, target: str, **values: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    for field, value in values.items():
        setattr(member, field, value)
    return member.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
