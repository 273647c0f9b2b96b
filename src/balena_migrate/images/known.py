# SPDX-License-Identifier: Apache-2.0
"""What is known of an image from an earlier call, so that a file that has not changed is not read again.

The last image's `Image` and its start file are in one file, in a folder that only root can enter: both hold secrets.
The same file is one with the same path, device, inode, size, and times of its last write and of its last change of any
kind. No program can set the last of these (inode(7): ctime). Not seen are a write at the very moment that the clock
shows a second time, as it was set back, and what is written to the block device below the file system. The worst that
comes of it is a start of stage 2 in vain: it compares the SHA-256 of what it has loaded before the line. The bmap
beside the image is held to the same.

Whatever is wrong with the file, or with the place for it, the image is read again, and nothing fails.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import logging
import os
import pkgutil
import stat
import struct
import time
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from balena_migrate import core, images
from balena_migrate.core.digest import Digester
from balena_migrate.core.errors import FileError, MigrateError
from balena_migrate.core.paths import KNOWN_DIR, KNOWN_IMAGE
from balena_migrate.core.system import System
from balena_migrate.core.units import KIB, MIB
from balena_migrate.core.values import from_json, parse_json, to_json
from balena_migrate.images import Image
from balena_migrate.images.bmap import find_bmap
from balena_migrate.images.pieces import is_zeros
from balena_migrate.images.scan import create_private

LOG = logging.getLogger(__name__)

MAGIC = b"BMIMAGE\0"
FORMAT = 1
SETTLED_S = 2.0
"""A file that was changed less than this before it was read is not remembered: another change might get the same time,
as FAT counts in steps of two seconds."""
RESERVE_BYTES = 256 * MIB
"""What stays free on the file system of the running system."""

JSON_LIMIT_BYTES = 64 * MIB

_HEADER = struct.Struct("<8sIIII")
"""Magic, format number, length of the JSON behind it, CRC-32 of that, and of the start file's data; little-endian.
The start file follows at the next multiple of a block, with its holes."""
_BLOCK_BYTES = 4 * KIB


@dataclass(frozen=True, kw_only=True)
class FileState:
    """A file in a state that is like no other."""

    path: Path
    device: int
    inode: int
    size_bytes: int
    mtime_ns: int
    ctime_ns: int


@dataclass(frozen=True, kw_only=True)
class Source:
    """What an image is read from, and where the image inside of it would be put."""

    file: FileState
    bmap: FileState | None
    """The bmap beside it, with which it is compared."""
    extracted: Path

    def is_settled(self, start_s: float) -> bool:
        """Whether a change after that time gives it other times than it has.

        They may be in the future: on a device without a clock each start begins with the same old date.
        """
        files = (self.file, self.bmap or self.file)
        times_ns = (time_ns for file in files for time_ns in (file.mtime_ns, file.ctime_ns))
        return all(abs(start_s - time_ns / 1e9) >= SETTLED_S for time_ns in times_ns)


def read_source(path: Path, extracted: Path) -> Source:
    """The state of the files of the image at `path` on the running machine. Raises OSError."""
    bmap = find_bmap(path)
    return Source(file=_read_state(path), bmap=_read_state(bmap) if bmap else None, extracted=extracted)


def _read_state(path: Path) -> FileState:
    info = path.stat()
    return FileState(
        path=path,
        device=info.st_dev,
        inode=info.st_ino,
        size_bytes=info.st_size,
        mtime_ns=info.st_mtime_ns,
        ctime_ns=info.st_ctime_ns,
    )


def is_unchanged(source: Source) -> bool:
    """Whether the files are there as they were."""
    try:
        return read_source(source.file.path, source.extracted) == source
    except OSError:
        return False


def find_known(system: System, source: Source, work_dir: Path) -> Image | None:
    """What is known of the image in this file, with its start file in `work_dir`; None if it has to be read."""
    try:
        _trust(system.stat(KNOWN_DIR, follow=False), stat.S_IFDIR)
        with system.open(KNOWN_IMAGE) as file:
            _trust(os.fstat(file.fileno()), stat.S_IFREG)
            return _load(file, source, work_dir / f"{source.file.path.name}.start")
    except (MigrateError, OSError, ValueError, struct.error) as error:
        LOG.debug("the image has to be read: %s", error)
        return None


def remember(system: System, source: Source, image: Image, start_s: float) -> None:
    """The image is known from now on, and no other, unless there is no place for that.

    `start_s` is the time when its file was opened.
    """
    if not source.is_settled(start_s):
        LOG.debug("the image is not remembered: it was changed just before it was read")
        return
    try:
        if not system.exists(KNOWN_DIR):
            system.make_dir(KNOWN_DIR, mode=0o700)
        _trust(system.stat(KNOWN_DIR, follow=False), stat.S_IFDIR)
        _expect_room(system, image.start_file)
        with image.start_file.open("rb") as start, system.replacing(KNOWN_IMAGE) as file:
            _save(file, source, image, start)
    except (FileError, OSError) as error:
        LOG.debug("the image is not remembered: %s", error)


def now_s() -> float:
    """The clock that files get their times from."""
    return time.time()


def _trust(info: os.stat_result, kind: int) -> None:
    """Raises FileError unless it is root's (or whoever runs this), and nobody else's to read or write."""
    is_ours = info.st_uid == os.geteuid() and not stat.S_IMODE(info.st_mode) & 0o077
    if stat.S_IFMT(info.st_mode) != kind or not is_ours:
        raise FileError(KNOWN_DIR, "others may have written what is in it")


def _expect_room(system: System, start_file: Path) -> None:
    space = system.statvfs(KNOWN_DIR)
    if space.f_bavail * space.f_frsize < RESERVE_BYTES + start_file.stat().st_size:
        raise FileError(KNOWN_DIR, "has not enough room")


def _save(file: BinaryIO, source: Source, image: Image, start: BinaryIO) -> None:
    document = {"code": code_digest(), "source": to_json(source), "image": to_json(image)}
    text = json.dumps(document).encode()
    file.write(bytes(_HEADER.size))
    file.write(text)
    file.seek(_start_offset(text))
    checksum = _copy(start, file)
    file.seek(0)
    file.write(_HEADER.pack(MAGIC, FORMAT, len(text), zlib.crc32(text), checksum))


def _load(file: BinaryIO, source: Source, start_file: Path) -> Image:
    """Raises ValueError if the file is of another image or another version of this tool, or damaged."""
    magic, number, size, text_checksum, checksum = _HEADER.unpack(file.read(_HEADER.size))
    if (magic, number) != (MAGIC, FORMAT):
        raise ValueError("what is known has another format")
    text = file.read(min(size, JSON_LIMIT_BYTES))
    if zlib.crc32(text) != text_checksum:
        raise ValueError("what is known is damaged")
    document = parse_json(text)
    known = (document.get("code"), document.get("source")) if isinstance(document, dict) else None
    if known != (code_digest(), to_json(source)):
        raise ValueError("another image is known, or another version of this program has read it")
    file.seek(_start_offset(text))
    with create_private(start_file) as copy:
        if _copy(file, copy) != checksum:
            raise ValueError("what is known of the image's start is damaged")
    return replace(from_json(Image, document.get("image")), start_file=start_file)


def _start_offset(text: bytes) -> int:
    return -(-(_HEADER.size + len(text)) // _BLOCK_BYTES) * _BLOCK_BYTES


def _copy(source: BinaryIO, target: BinaryIO) -> int:
    """The rest of the source is in the target, zeros as holes; returns the CRC-32 of all else."""
    checksum = 0
    while data := source.read(MIB):
        if is_zeros(data):
            target.seek(len(data), os.SEEK_CUR)
        else:
            target.write(data)
            checksum = zlib.crc32(data, checksum)
    target.truncate()
    return checksum


@functools.cache
def code_digest() -> str:
    """Tells the code that reads images from that of any other version: the same file may tell another one more."""
    digester = Digester()
    for package in (core, images):
        for module in sorted(found.name for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")):
            digester.write(read_code(module))
    return digester.digest().sha256


def read_code(module: str) -> bytes:
    """The module's file, also where that is in a zip file."""
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin is not None, module
    content: bytes = spec.loader.get_data(spec.origin)  # type: ignore[union-attr]
    return content
