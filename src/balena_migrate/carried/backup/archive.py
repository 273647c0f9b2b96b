# SPDX-License-Identifier: Apache-2.0
"""Writes a tar archive in the form that every supervisor's busybox unpacks.

That is GNU tar's old form: no pax headers, no sparse members, owners as numbers only. (Python's TarFile cannot take a
member back when its file changed while it was read; nor can the program tar.)
"""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Callable, Iterable

from balena_migrate.carried.backup.header import make_header
from balena_migrate.carried.backup.sink import BATCH_BYTES, GzipSink
from balena_migrate.carried.backup.tree import Entry, Skipped, identity

ATTEMPTS = 3
"""So often a file is read that keeps changing (a small one once more); the last reading stays, and is reported."""

CHUNK_BYTES = BATCH_BYTES
"""Read at once. A file that is no larger is written only when it has been read, and need not be taken back."""

_ZEROS = bytes(tarfile.BLOCKSIZE)


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
                self._put(make_header(folder, tarfile.DIRTYPE, None))
        if entry.is_dir:
            if entry.name in self._wanted:
                self._folders.add(entry.name)
            self._put(make_header(entry.name, tarfile.DIRTYPE, entry.info))
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

    def _put(self, header: bytes) -> None:
        self._sink.write(header)
        self.member_count += 1

    def _add_link(self, entry: Entry) -> str:
        try:
            target = os.readlink(entry.real)
        except OSError as error:
            raise _SourceError(os.strerror(error.errno or 0)) from None
        self._put(make_header(entry.name, tarfile.SYMTYPE, entry.info, target=target))
        return ""

    def _add_file(self, entry: Entry) -> str:
        """Empty, or what is doubtful about the member."""
        has_names = entry.info.st_nlink > 1
        if has_names and (first := self._links.get(identity(entry.info))) is not None:
            self._put(make_header(entry.name, tarfile.LNKTYPE, entry.info, target=first))
            return ""
        fd, info = _open_file(entry.real)
        try:
            steady = self._copy_small(entry.name, fd, info) or self._copy_large(entry.name, fd)
        finally:
            os.close(fd)
        if has_names:
            self._links[identity(entry.info)] = entry.name
        return "" if steady else f"changed while it was read, {ATTEMPTS} times; it is there as last read"

    def _copy_small(self, name: str, fd: int, info: os.stat_result) -> bool:
        """Whether the file is in the archive, since one reading of all of it found it the same before and after.

        Nothing is in the archive of what was read otherwise. A mark would take ten times as long as such a file.
        """
        size = info.st_size
        if size > CHUNK_BYTES:
            return False
        data = read_chunk(fd, size) if size else b""
        if len(data) != size or not _is_same(info, os.fstat(fd)):
            return False
        self._put(make_header(name, tarfile.REGTYPE, info, size=size))
        self._sink.write(data)
        self._sink.write(_ZEROS[: -size % tarfile.BLOCKSIZE])
        self._advanced(size)
        return True

    def _copy_large(self, name: str, fd: int) -> bool:
        """Whether one of the readings found the file the same before and after; the last reading is in the archive."""
        mark, count = self._sink.mark(), self.member_count
        for _ in range(ATTEMPTS):
            self._sink.back_to(mark)
            self.member_count = count
            try:
                steady = self._copy_once(name, fd)
            except _SourceError:
                self._sink.back_to(mark)
                self.member_count = count
                raise
            if steady:
                return True
        return False

    def _copy_once(self, name: str, fd: int) -> bool:
        before = os.fstat(fd)
        left = size = before.st_size
        self._put(make_header(name, tarfile.REGTYPE, before, size=size))
        os.lseek(fd, 0, os.SEEK_SET)
        while left and (data := read_chunk(fd, min(left, CHUNK_BYTES))):
            self._sink.write(data)
            self._advanced(len(data))
            left -= len(data)
        # The header has promised the size: what is missing of a file that shrank becomes zeros.
        for start in range(0, left, CHUNK_BYTES):
            self._sink.write(bytes(min(CHUNK_BYTES, left - start)))
            self._advanced(CHUNK_BYTES)
        self._sink.write(_ZEROS[: -size % tarfile.BLOCKSIZE])
        return not left and _is_same(before, os.fstat(fd))


def _is_same(before: os.stat_result, after: os.stat_result) -> bool:
    return (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)


def _open_file(real: str) -> tuple[int, os.stat_result]:
    """The file, if it is one still: what became a FIFO must not hold us up, and what became a link not lead away."""
    try:
        fd = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _SourceError(os.strerror(error.errno or 0)) from None
    info = os.fstat(fd)
    if not stat.S_ISREG(info.st_mode):
        os.close(fd)
        raise _SourceError("is no longer a file")
    return fd, info


def read_chunk(fd: int, count: int) -> bytes:
    try:
        return os.read(fd, count)
    except OSError as error:
        raise _SourceError(os.strerror(error.errno or 0)) from None


def folders_above(name: str) -> tuple[str, ...]:
    """The folders above a member, from the top: "." and "./data" for "./data/x"."""
    return tuple(name[:index] for index, mark in enumerate(name) if mark == "/")
