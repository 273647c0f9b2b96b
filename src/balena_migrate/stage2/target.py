# SPDX-License-Identifier: Apache-2.0
"""The disk to write: opened exclusively, measured, read back past the caches.

Standard library only. Sources: open(2) for O_EXCL on block devices and O_DIRECT, the kernel's block/ioctl.c for
BLKRRPART, Documentation/ABI/stable/sysfs-block for holders.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from balena_migrate.core.alignment import ALIGNMENT_BYTES, align_down, align_up
from balena_migrate.core.errors import DiskError
from balena_migrate.core.mountinfo import read_mountinfo
from balena_migrate.core.retry import retry
from balena_migrate.core.system import System
from balena_migrate.core.units import MIB
from balena_migrate.stage2.aligned import aligned_memory, is_aligned

T = TypeVar("T")

READ_BYTES = MIB
"""The most that Disk.read() gives at once."""

BUSY_TRIES = 20
BUSY_PAUSE_S = 0.1
"""After an unmount someone may look at a disk for a moment (udev does); coreos-installer waits as long."""

_BLKRRPART = 0x125F


class Disk:
    """An open disk, or a file in its place. Everything here raises OSError.

    Reads and writes go past the page cache (O_DIRECT), so that what is read is what the disk has, memory stays free,
    and nothing is copied. Some loop devices, card readers and file systems refuse that, with EINVAL, and what is not
    aligned cannot be written so: that goes through the cache, which is emptied around it.

    `reads_directly` says whether read() goes past the cache. write() and sync() may be called from several threads,
    read() from one at a time.
    """

    def __init__(self, fd: int, path: Path) -> None:
        self._fd = fd
        self._direct_fd = _open_directly(path)
        self._buffer = aligned_memory(READ_BYTES + 2 * ALIGNMENT_BYTES)
        self._writes_directly = self.reads_directly = self._direct_fd >= 0
        self.path = path
        self.size_bytes = os.lseek(fd, 0, os.SEEK_END)

    def write(self, offset_bytes: int, data: memoryview) -> None:
        """All of the data is written; it is on the disk after sync()."""
        while data:
            done = self._write(offset_bytes, data)
            offset_bytes += done
            data = data[done:]

    def sync(self) -> None:
        """All that was written is on the disk, and out of the page cache: in stage 2 memory is short."""
        os.fdatasync(self._fd)
        os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def read(self, offset_bytes: int, size_bytes: int) -> memoryview:
        """The bytes that the disk has there, READ_BYTES at most; fewer only at its end. The next read() overwrites
        them."""
        start = align_down(offset_bytes)
        done = self._read(start, self._buffer[: align_up(offset_bytes + size_bytes) - start])
        return self._buffer[offset_bytes - start : min(done, offset_bytes - start + size_bytes)]

    def close(self) -> None:
        for fd in (self._direct_fd, self._fd):
            if fd >= 0:
                os.close(fd)

    def _write(self, offset_bytes: int, data: memoryview) -> int:
        if self._writes_directly and offset_bytes % ALIGNMENT_BYTES == 0 and is_aligned(data):
            try:
                return os.pwrite(self._direct_fd, data, offset_bytes)
            except OSError as error:
                _raise_unless(errno.EINVAL, error)
                self._writes_directly = False
        return os.pwrite(self._fd, data, offset_bytes)

    def _read(self, start_bytes: int, into: memoryview) -> int:
        if self.reads_directly:
            try:
                return os.preadv(self._direct_fd, [into], start_bytes)
            except OSError as error:
                _raise_unless(errno.EINVAL, error)
                self.reads_directly = False
        os.posix_fadvise(self._fd, start_bytes, len(into), os.POSIX_FADV_DONTNEED)
        return os.preadv(self._fd, [into], start_bytes)


def _open_directly(path: Path) -> int:
    """-1 where it is refused."""
    with contextlib.suppress(OSError):
        return os.open(path, os.O_RDWR | os.O_DIRECT | os.O_CLOEXEC)
    return -1


@contextlib.contextmanager
def open_disk(path: Path) -> Iterator[Disk]:
    """The disk, opened so that no one can mount or claim it or one of its partitions meanwhile.

    A regular file may stand in for it.

    Raises DiskError if it is missing, is not a disk, is in use (with who uses it), or holds the running system.
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISBLK(mode):
            _refuse_root_disk(path)
        elif not stat.S_ISREG(mode):
            raise DiskError(f"{path} is not a disk")
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_EXCL if stat.S_ISBLK(mode) else 0)
        fd = _retry_busy(lambda: os.open(path, flags))
    except OSError as error:
        raise _disk_error(path, "cannot be opened", error) from None
    with contextlib.closing(Disk(fd, path)) as disk:
        yield disk


def reread_partitions(path: Path) -> bool:
    """The kernel knows the partitions that the disk's table describes now, and devtmpfs has their nodes.

    False if this device has no partitions for the kernel (a loop device without partscan, a file). Raises DiskError
    where one of the old partitions stays in use, with who uses it.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _retry_busy(lambda: fcntl.ioctl(fd, _BLKRRPART))
        finally:
            os.close(fd)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOTTY):
            return False
        raise _disk_error(path, "its partition table cannot be read again", error) from None
    return True


def _retry_busy(action: Callable[[], T]) -> T:
    failed = functools.partial(_raise_unless, errno.EBUSY)
    return retry(action, on=OSError, tries=BUSY_TRIES, pause_s=BUSY_PAUSE_S, failed=failed)


def _raise_unless(expected: int, error: Exception) -> None:
    if not isinstance(error, OSError) or error.errno != expected:
        raise error


def _disk_error(path: Path, what: str, error: OSError) -> DiskError:
    if error.errno != errno.EBUSY:
        return DiskError(f"{path}: {what}: {os.strerror(error.errno or 0)}")
    users = find_users(path)
    return DiskError(
        f"{path}: {what}: it is in use: {', '.join(users) or 'by an unknown user'}",
        hint="unmount it and stop what uses it",
    )


# Who uses a disk ----------------------------------------------------------------------------------------------------


def find_users(path: Path) -> tuple[str, ...]:
    """Who holds the disk or a part of it: mounts, swap, and devices on top of it such as LVM's and RAID's."""
    devices = _devices_on(path)
    users = [f"{source} is mounted at {point}" for number, source, point in _mounts() if number in devices]
    for line in _lines("/proc/swaps")[1:]:
        if line and _device_number(line.split()[0]) in devices:
            users.append(f"{line.split()[0]} is used as swap")
    own = _sysfs_folder(path).name
    stacked = (name for name in devices.values() if not name.startswith(own))
    return (*users, *(f"{name} is on top of it" for name in stacked))


def _refuse_root_disk(path: Path) -> None:
    """Opening with O_EXCL fails for it as well, but this names the one mistake that must not be made."""
    devices = _devices_on(path)
    if any(number in devices for number, _, point in _mounts() if point == "/"):
        raise DiskError(f"{path} holds the root file system of the running system")


def _mounts() -> Iterator[tuple[str, str, str]]:
    """Device number, source and mount point of each mount; btrfs has a number of its own, so there the source's."""
    for mount in read_mountinfo(System("/")):
        number = mount.device if not mount.device.startswith("0:") else _device_number(mount.source)
        yield number, mount.source, mount.mount_point


def _devices_on(path: Path) -> dict[str, str]:
    """Device number -> kernel name of the disk, its partitions, and all devices on top of them."""
    found: dict[str, str] = {}
    todo = [_sysfs_folder(path)]
    while todo:
        folder = todo.pop()
        number = "".join(_lines(folder / "dev"))
        if not number or number in found:
            continue
        found[number] = folder.name
        todo += [child.parent for child in folder.glob("*/partition")]
        todo += [holder.resolve() for holder in folder.glob("holders/*")]
    return found


def _sysfs_folder(path: Path) -> Path:
    return Path("/sys/dev/block", _device_number(str(path))).resolve()


def _device_number(path: str) -> str:
    """ "8:0"; "" if the path is no block device."""
    try:
        found = Path(path).stat()
    except OSError:
        return ""
    if not stat.S_ISBLK(found.st_mode):
        return ""
    return f"{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}"


def _lines(path: Path | str) -> list[str]:
    try:
        return Path(path).read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return []
