# SPDX-License-Identifier: Apache-2.0
"""Writes a tar archive in the form that every supervisor's busybox unpacks.

That is GNU tar's old form: no pax headers, no sparse members, owners as numbers only. (Python's tarfile makes the
headers; its TarFile cannot take a member back when its file changed while it was read.)
"""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Callable, Iterable
from typing import BinaryIO

from balena_migrate.carried.backup.sink import GzipSink
from balena_migrate.carried.backup.tree import Entry, Skipped, identity
from balena_migrate.core.units import MIB

ATTEMPTS = 3
"""So often a file is read that keeps changing; the last reading stays, and is reported."""

CHUNK_BYTES = MIB


class _SourceError(Exception):
    """A file of the device, and not the archive, failed; its text is the reason."""


class Archive:
    """Members are added in the order of calls.

    `roots` are the names that trees begin with: there is a member for each folder above them, with mode 0755 and
    owner root where no tree brings it. `advanced` is called with the number of bytes of files that each step has read.
    Raises OSError if the archive itself cannot be written.
    """

    def __init__(self, sink: GzipSink, roots: Iterable[str], advanced: Callable[[int], None]) -> None:
        self._sink = sink
        self._advanced = advanced
        self._links: dict[tuple[int, int], str] = {}
        self._above = {root: folders_above(root) for root in roots}
        self._wanted = frozenset(folder for folders in self._above.values() for folder in folders)
        self._folders: set[str] = set()
        self.member_count = 0

    def add(self, entry: Entry) -> Skipped | None:
        """The entry is in the archive; a Skipped says where it is not, or not as it should be."""
        for folder in self._above.pop(entry.name, ()):
            if folder not in self._folders:
                self._folders.add(folder)
                self._put(make_member(folder, tarfile.DIRTYPE))
        if entry.is_dir:
            if entry.name in self._wanted:
                self._folders.add(entry.name)
            self._put(make_member(entry.name, tarfile.DIRTYPE, entry.info))
            return None
        try:
            trouble = self._add_file(entry) if entry.is_file else self._add_link(entry)
        except _SourceError as error:
            trouble = str(error)
        return Skipped(path=entry.path, reason=trouble) if trouble else None

    def finish(self) -> None:
        """The archive has its end mark, filled up to whole records as tar does it."""
        end = 2 * tarfile.BLOCKSIZE
        self._sink.write(bytes(end + -(self._sink.raw_bytes + end) % tarfile.RECORDSIZE))

    def _put(self, info: tarfile.TarInfo) -> None:
        self._sink.write(info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape"))
        self.member_count += 1

    def _add_link(self, entry: Entry) -> str:
        info = make_member(entry.name, tarfile.SYMTYPE, entry.info)
        try:
            info.linkname = os.readlink(entry.real)
        except OSError as error:
            raise _SourceError(os.strerror(error.errno or 0)) from None
        self._put(info)
        return ""

    def _add_file(self, entry: Entry) -> str:
        """Empty, or what is doubtful about the member."""
        first = self._links.get(identity(entry.info))
        if first is not None:
            info = make_member(entry.name, tarfile.LNKTYPE, entry.info)
            info.linkname = first
            self._put(info)
            return ""
        with _open_file(entry.real) as file:
            steady = self._copy_file(entry.name, file)
        if entry.info.st_nlink > 1:
            self._links[identity(entry.info)] = entry.name
        return "" if steady else f"changed while it was read, {ATTEMPTS} times; it is there as last read"

    def _copy_file(self, name: str, file: BinaryIO) -> bool:
        """Whether one of the readings found the file the same before and after; the last reading is in the archive."""
        mark, count = self._sink.mark(), self.member_count
        for _ in range(ATTEMPTS):
            self._sink.back_to(mark)
            self.member_count = count
            try:
                steady = self._copy_once(name, file)
            except _SourceError:
                self._sink.back_to(mark)
                self.member_count = count
                raise
            if steady:
                return True
        return False

    def _copy_once(self, name: str, file: BinaryIO) -> bool:
        before = os.fstat(file.fileno())
        left = size = before.st_size
        info = make_member(name, tarfile.REGTYPE, before)
        info.size = size
        self._put(info)
        file.seek(0)
        while left and (data := read_chunk(file, min(left, CHUNK_BYTES))):
            self._sink.write(data)
            self._advanced(len(data))
            left -= len(data)
        # The header has promised the size: what is missing of a file that shrank becomes zeros.
        for start in range(0, left, CHUNK_BYTES):
            self._sink.write(bytes(min(CHUNK_BYTES, left - start)))
            self._advanced(CHUNK_BYTES)
        self._sink.write(bytes(-size % tarfile.BLOCKSIZE))
        after = os.fstat(file.fileno())
        return not left and (after.st_size, after.st_mtime_ns) == (size, before.st_mtime_ns)


def _open_file(real: str) -> BinaryIO:
    """The file, if it is one still: what became a FIFO must not hold us up, and what became a link not lead away."""
    try:
        fd = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _SourceError(os.strerror(error.errno or 0)) from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise _SourceError("is no longer a file")
    return os.fdopen(fd, "rb", buffering=0)


def read_chunk(file: BinaryIO, count: int) -> bytes:
    try:
        return file.read(count)
    except OSError as error:
        raise _SourceError(os.strerror(error.errno or 0)) from None


def folders_above(name: str) -> tuple[str, ...]:
    """The folders above a member, from the top: "." and "./data" for "./data/x"."""
    return tuple(name[:index] for index, mark in enumerate(name) if mark == "/")


def make_member(name: str, kind: bytes, info: os.stat_result | None = None) -> tarfile.TarInfo:
    """A member without content. A time before 1970 becomes 1970: busybox reads no negative numbers."""
    member = tarfile.TarInfo(name)
    member.type = kind
    member.mode = 0o755
    if info is not None:
        member.mode = stat.S_IMODE(info.st_mode)
        member.uid, member.gid = info.st_uid, info.st_gid
        member.mtime = max(0, int(info.st_mtime))
    return member
