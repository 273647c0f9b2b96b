# SPDX-License-Identifier: Apache-2.0
"""The kernel's initramfs format: cpio archives of the form "newc", one behind the other, each perhaps compressed.

Source: the kernel's Documentation/driver-api/early-userspace/buffer-format.rst.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from balena_migrate.core.digest import Writable

MAGIC = b"070701"
WITH_SUM = b"070702"
HEADER_BYTES = 110
TRAILER = "TRAILER!!!"
ALIGNED = 4
NAME_LIMIT_BYTES = 4096


class Archive:
    """Writes an archive to an open file. Everything belongs to root and has the time 0, so that it is reproducible.

    Parents have to be added before what is in them; the kernel does not create them.
    """

    def __init__(self, file: Writable) -> None:
        self._file = file
        self._entries = 0
        self.size_bytes = 0

    def folder(self, name: str) -> None:
        self._entry(name, stat.S_IFDIR | 0o755)

    def file(self, name: str, content: bytes, *, mode: int = 0o644) -> None:
        self._entry(name, stat.S_IFREG | mode, len(content))
        self._write(content)
        self._pad()

    def link(self, name: str, target: str) -> None:
        self._entry(name, stat.S_IFLNK | 0o777, len(target.encode()))
        self._write(target.encode())
        self._pad()

    def character_device(self, name: str, major: int, minor: int) -> None:
        self._entry(name, stat.S_IFCHR | 0o600, device=(major, minor))

    def copy(self, name: str, path: Path) -> None:
        """A file, a link, or a folder with everything in it, sorted. Raises OSError."""
        if path.is_symlink():
            self.link(name, str(path.readlink()))
        elif path.is_dir():
            self.folder(name)
            for inner in sorted(path.iterdir()):
                self.copy(f"{name}/{inner.name}", inner)
        else:
            self.file(name, path.read_bytes(), mode=stat.S_IMODE(path.stat().st_mode))

    def end(self) -> None:
        """The archive is complete."""
        self._entry(TRAILER, 0)

    def _entry(self, name: str, mode: int, size: int = 0, device: tuple[int, int] = (0, 0)) -> None:
        raw = name.encode() + b"\0"
        self._entries += 1
        links = 2 if stat.S_ISDIR(mode) else 1
        fields = (self._entries, mode, 0, 0, links, 0, size, 0, 0, *device, len(raw), 0)
        self._write(MAGIC + b"".join(b"%08X" % value for value in fields) + raw)
        self._pad()

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self.size_bytes += len(data)

    def _pad(self) -> None:
        self._write(bytes(-self.size_bytes % ALIGNED))


def read_names(file: BinaryIO) -> Iterator[PurePosixPath]:
    """The names in the archives of an uncompressed initramfs, the first byte of which is read next.

    Padding between archives is skipped. It ends where something else follows, such as a compressed part, with the
    file at its first byte. Raises ValueError for an archive that is damaged or cut short.
    """
    while True:
        start = file.tell()
        header = file.read(HEADER_BYTES)
        lead = len(header) - len(header.lstrip(b"\0"))
        if lead:
            file.seek(start + lead)
            continue
        if header[:6] not in (MAGIC, WITH_SUM):
            file.seek(start)
            return
        if len(header) < HEADER_BYTES:
            raise ValueError("the archive is cut short")
        name_bytes, size_bytes = _number(header[94:102]), _number(header[54:62])
        if not 0 < name_bytes <= NAME_LIMIT_BYTES:
            raise ValueError(f"the archive has a name of {name_bytes} bytes")
        name = file.read(name_bytes).rstrip(b"\0").decode("utf-8", "surrogateescape")
        end = start + _aligned(_aligned(HEADER_BYTES + name_bytes) + size_bytes)
        if file.seek(0, 2) < end and name != TRAILER:
            raise ValueError(f"the archive is cut short in {name}")
        file.seek(min(end, file.tell()))
        if name != TRAILER:
            yield PurePosixPath(name)


def _number(field: bytes) -> int:
    """Of hexadecimal digits. Raises ValueError for all else: int() takes a sign, which would lead back."""
    if not re.fullmatch(rb"[0-9A-Fa-f]+", field):
        raise ValueError("the archive has a number that is none")
    return int(field, 16)


def _aligned(size_bytes: int) -> int:
    return -(-size_bytes // ALIGNED) * ALIGNED
