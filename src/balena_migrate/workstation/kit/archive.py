# SPDX-License-Identifier: Apache-2.0
"""The kit as one file, byte for byte the same for the same kit."""

from __future__ import annotations

import gzip
import tarfile
from pathlib import Path
from typing import BinaryIO


class Counter:
    """A stream that only counts."""

    def __init__(self) -> None:
        self.size_bytes = 0

    def write(self, data: bytes) -> int:
        self.size_bytes += len(data)
        return len(data)

    def flush(self) -> None:
        """There is nothing to flush."""


def write_archive(folder: Path, stream: BinaryIO | Counter, name: str) -> None:
    """The stream has a .tar.gz with the folder's content in a folder `name`: sorted, of root, from 1970."""
    with (
        gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=stream, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as archive,
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
    """The size of the folder as a .tar.gz: about what an initramfs grows by."""
    counter = Counter()
    write_archive(folder, counter, folder.name)
    return counter.size_bytes
