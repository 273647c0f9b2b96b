# SPDX-License-Identifier: Apache-2.0
"""The initramfs of a look-alike: the programs of the sources and `init.sh`."""

from __future__ import annotations

import gzip
import importlib.resources
import os
import stat
from collections.abc import Iterator
from pathlib import Path

_APPLETS = (
    *(
        "awk",
        "base64",
        "basename",
        "cat",
        "chmod",
        "chroot",
        "cp",
        "cut",
        "dd",
        "find",
        "findfs",
        "grep",
        "gzip",
        "insmod",
    ),
    *("mkdir", "mount"),
    *("poweroff", "readlink", "seq", "sh", "sha256sum", "sleep", "stat", "sync", "tr", "umount", "uname", "wc"),
)
_FOLDERS = ("dev", "proc", "sys", "tmp")


def init_script() -> bytes:
    """The text of /init."""
    return importlib.resources.files(__package__).joinpath("init.sh").read_bytes()


def make_initramfs(root: Path, init: bytes | None = None) -> bytes:
    """A compressed cpio archive of the folder, busybox's applets and /init; the same bytes for the same input."""
    script = init_script() if init is None else init
    return gzip.compress(b"".join(_records(root, script)), compresslevel=6, mtime=0)


def _records(root: Path, init: bytes) -> Iterator[bytes]:
    number = 0
    for name, mode, content in _entries(root, init):
        number += 1
        yield _record(number, name, mode, content)
    # The kernel opens /dev/console for init before devtmpfs is there.
    yield _record(number + 1, "dev/console", stat.S_IFCHR | 0o600, b"", device=(5, 1))
    yield _record(0, "TRAILER!!!", 0, b"")


def _entries(root: Path, init: bytes) -> Iterator[tuple[str, int, bytes]]:
    for name in _FOLDERS:
        yield name, stat.S_IFDIR | 0o755, b""
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_dir():
            yield name, stat.S_IFDIR | 0o755, b""
        else:
            yield name, stat.S_IFREG | 0o755, path.read_bytes()
    for applet in _APPLETS:
        yield f"bin/{applet}", stat.S_IFLNK | 0o777, b"busybox"
    yield "init", stat.S_IFREG | 0o755, init


def _record(number: int, name: str, mode: int, content: bytes, device: tuple[int, int] = (0, 0)) -> bytes:
    """One file in cpio's "newc" form (Linux, Documentation/driver-api/early-userspace/buffer-format.rst)."""
    path = os.fsencode(name) + b"\0"
    fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(path), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + path
    return _pad(head) + _pad(content)


def _pad(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
