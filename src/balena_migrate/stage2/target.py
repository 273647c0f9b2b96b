# SPDX-License-Identifier: Apache-2.0
"""The disk to write: opened exclusively, measured, read back past the caches.

Standard library only. Sources: open(2) for O_EXCL on block devices and O_DIRECT, the kernel's block/ioctl.c for
BLKFLSBUF and BLKRRPART, Documentation/ABI/stable/sysfs-block for holders.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from balena_migrate.core.errors import DiskError
from balena_migrate.core.mountinfo import read_mountinfo
from balena_migrate.core.retry import retry
from balena_migrate.core.system import System
from balena_migrate.core.units import MIB

T = TypeVar("T")

READ_BYTES = MIB
"""The most that Disk.read() gives at once."""

BUSY_TRIES = 20
BUSY_PAUSE_S = 0.1
"""After an unmount someone may look at a disk for a moment (udev does); coreos-installer waits as long."""

_BLKRRPART = 0x125F
_BLKFLSBUF = 0x1261
_ALIGNMENT = 4096


class Disk:
    """An open disk, or a file in its place. All methods but the constructor raise OSError."""

    def __init__(self, fd: int, path: Path) -> None:
        self._fd = fd
        self._path = path
        self._direct_fd: int | None = None
        self._buffer = mmap.mmap(-1, READ_BYTES)  # page-aligned, as O_DIRECT asks for
        self.path = path
        self.size_bytes = os.lseek(fd, 0, os.SEEK_END)

    @property
    def reads_directly(self) -> bool:
        """Whether read() goes past the page cache."""
        return self._direct_fd is not None

    def write(self, offset: int, data: bytes) -> None:
        """All of the data is written; not yet on the disk."""
        view = memoryview(data)
        while view:
            done = os.pwrite(self._fd, view, offset)
            offset += done
            view = view[done:]

    def sync(self) -> None:
        """All that was written is on the disk, and out of the page cache: in stage 2 memory is short."""
        os.fdatasync(self._fd)
        os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def drop_cache(self) -> None:
        """What read() gives from now on comes from the disk: past the caches, or where that is refused, after they were
        emptied."""
        self.sync()
        with contextlib.suppress(OSError):  # a file has no buffers of its own
            fcntl.ioctl(self._fd, _BLKFLSBUF)
        if self._direct_fd is None:
            with contextlib.suppress(OSError):  # tmpfs, some loop devices and card readers refuse it
                self._direct_fd = os.open(self._path, os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC)

    def read(self, offset: int, length: int) -> bytes:
        """The bytes at `offset`, READ_BYTES at most; fewer only at the end."""
        if self._direct_fd is not None:
            try:
                return self._read_directly(self._direct_fd, offset, length)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                self._close_direct()
        return os.pread(self._fd, length, offset)

    def close(self) -> None:
        self._close_direct()
        self._buffer.close()
        os.close(self._fd)

    def _read_directly(self, fd: int, offset: int, length: int) -> bytes:
        aligned = -(-length // _ALIGNMENT) * _ALIGNMENT
        with memoryview(self._buffer) as view, view[:aligned] as part:
            done = os.preadv(fd, [part], offset)
        return self._buffer[: min(done, length)]

    def _close_direct(self) -> None:
        if self._direct_fd is not None:
            os.close(self._direct_fd)
            self._direct_fd = None


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
    return retry(action, on=OSError, tries=BUSY_TRIES, pause_s=BUSY_PAUSE_S, failed=_raise_unless_busy)


def _raise_unless_busy(error: Exception) -> None:
    if not isinstance(error, OSError) or error.errno != errno.EBUSY:
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
