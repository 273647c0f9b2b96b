# SPDX-License-Identifier: Apache-2.0
"""The kit as a .tar.gz: the same kit gives the same bytes."""

from __future__ import annotations

import gzip
import tarfile
from pathlib import Path
from typing import BinaryIO


class Counter:
    """A stream that counts bytes and discards them."""

    def __init__(self) -> None:
        self.size_bytes = 0

    def write(self, data: bytes) -> int:
        self.size_bytes += len(data)
        return len(data)

    def flush(self) -> None:
        """Do nothing: nothing is buffered."""


def write_archive(folder: Path, stream: BinaryIO | Counter, name: str) -> None:
    """Write the folder as a folder `name`: sorted, owned by root, dated 1970.

    The format is ustar, because older versions of busybox ignore the long names of pax. Raises ValueError for a path
    that ustar cannot hold.
    """
    with (
        gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=stream, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.USTAR_FORMAT) as archive,
    ):
        archive.add(folder, name, recursive=False, filter=_plain)
        for path in sorted(folder.rglob("*")):
            archive.add(path, f"{name}/{path.relative_to(folder)}", recursive=False, filter=_plain)


def _plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.mtime = 0
    info.uid = info.gid = 0
    info.uname = info.gname = "root"
    return info


def size_bytes(folder: Path) -> int:
    """The sum of the sizes of all files in the folder."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())


def packed_size_bytes(folder: Path) -> int:
    """The size of the folder as a .tar.gz, which is about what it adds to an initramfs."""
    counter = Counter()
    write_archive(folder, counter, folder.name)
    return counter.size_bytes
